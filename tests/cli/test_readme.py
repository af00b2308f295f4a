"""The README says what the code does."""

from azak_assets.settings import REPOSITORY, described

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
    for target in ("run", "test", "help", "bench", "lint"):
        assert f"\n{target}:" in makefile
