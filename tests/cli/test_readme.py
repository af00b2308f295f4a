"""The README says what the code does."""

import re
import subprocess
import sys
from datetime import datetime, timedelta
from itertools import pairwise

import pandas as pd

from azak_assets import krx
from azak_assets.cli.environment import DEFAULT_SEED
from azak_assets.sandbox.worlds.seeded import SeededWorld
from azak_assets.settings import REPOSITORY, described
from azak_assets.text.mentions import MentionFinder

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_every_setting_stands_in_the_readme_with_its_default_and_meaning() -> None:
    for name, default, meaning in described():
        shown = f"`{default}`" if default else ""
        assert f"| `{name}` | {shown} | {meaning} |" in README, f"README.md lacks or misstates {name}"


def test_the_readme_names_no_setting_that_does_not_exist() -> None:
    table = README.split("<!-- settings:")[1].split("Live means")[0]
    named = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    assert named == {name for name, _, _ in described()}


def test_every_make_target_it_names_exists() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", README, flags=re.MULTILINE))
    assert {"run", "test", "help", "bench", "lint", "docs"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_make_help_lists_every_target() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    phony = re.findall(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)[0].split()
    # Below `make test` a make also tells which directory it enters.
    command = ["make", "--no-print-directory", "help"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert [line.split()[1] for line in listed.splitlines()] == phony


def test_make_test_knows_every_file_with_a_test_of_a_pace() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    (known,) = re.findall(r"^TIMED := (.*)$", makefile, flags=re.MULTILINE)
    mark = "@pytest.mark." + "timing"
    marked = {file for file in (REPOSITORY / "tests").rglob("test_*.py") if mark in file.read_text(encoding="utf-8")}
    assert {str(file.relative_to(REPOSITORY)) for file in marked} == set(known.split())


def test_make_run_takes_another_port() -> None:
    shown = subprocess.run(
        ["make", "--dry-run", "--always-make", "run", "PORT=3917", f"PYTHON={sys.executable}"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "azak up --port 3917" in shown
    assert "`make run PORT=3001`" in README


def test_what_a_fresh_clone_is_told_to_type_is_on_no_path_of_its_own() -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)
    typed = [*blocks, *re.findall(r"`(eval .*?)`", README)]
    assert len(typed) > 2
    for text in typed:
        assert not re.search(r"(?<!\.venv/bin/)\bazak ", text.split("#")[0]), text


def test_the_stock_of_the_predict_example_has_news_in_any_twenty_sessions_of_the_default_world() -> None:
    (code,) = re.findall(r"azak predict (\d{6})", README)
    world = SeededWorld(DEFAULT_SEED)
    now = datetime(2027, 12, 30, 18, tzinfo=krx.KST)
    issue = world.issue(code, now)
    assert issue is not None
    finder = MentionFinder(pd.DataFrame({"stock_code": [code], "name": [issue.name], "aliases": [[]]}))
    articles = [one for one in world.search(f'"{issue.name}"', now) if one.published_at.year >= 2026]
    days = sorted({one.published_at.date() for one in articles if finder.find(one.title)})
    # Twenty sessions are four weeks; the command looks thirty days back.
    assert max(later - earlier for earlier, later in pairwise(days)) < timedelta(days=20)
