"""The summaries of `azak run` and `azak replay-payloads` print text from outside as it is, never as Rich's markup."""

import io

import pytest
from rich.console import Console

from azak_assets.cli.replay_payloads import Rerun
from azak_assets.cli.replay_payloads import _summarize as summarize_replay
from azak_assets.cli.run import RunOutcome
from azak_assets.cli.run import _summarize as summarize_run

HOSTILE = "[속보] 가온전자 [/red] 신제품 [bold]공개[/x]"


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_states_checks_and_failures_of_a_run(console: Console, database: str) -> None:
    outcome = RunOutcome(
        states={"raw.news_articles": f"state {HOSTILE}"},
        failed_checks=[f"check {HOSTILE}"],
        failures=[f"step {HOSTILE}"],
    )
    summarize_run(console, database, outcome)
    for what in ("state", "check", "step"):
        assert f"{what} {HOSTILE}" in printed(console)


def test_failures_of_a_replay(console: Console) -> None:
    done = Rerun(outcome=RunOutcome(failures=[HOSTILE]))
    summarize_replay(console, done)
    assert HOSTILE in printed(console)
