"""How `azak up` follows the first load: a Dagster that is busy is asked again, a load that is gone is told.

The questions go over HTTP to a server that answers like a webserver in trouble; the load itself is in `test_up`.
"""

import json
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from rich.progress import Progress

from azak_assets.cli import first_load, graphql
from azak_assets.cli.environment import CannotStart
from azak_assets.cli.processes import Child

Answer = Callable[[BaseHTTPRequestHandler], None]


def data(**found: Any) -> Answer:
    """A proper answer to one question."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(handler, 200, json.dumps({"data": found}))

    return answer


def send(handler: BaseHTTPRequestHandler, status: int, body: str) -> None:
    content = body.encode()
    handler.send_response(status)
    handler.send_header("content-length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def hung_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def no_graphql(handler: BaseHTTPRequestHandler) -> None:
    send(handler, 500, "<html>busy</html>")


def statement_timeout(handler: BaseHTTPRequestHandler) -> None:
    send(handler, 200, json.dumps({"errors": [{"message": "canceling statement due to statement timeout"}]}))


TROUBLES = [hung_up, no_graphql, statement_timeout]


class Webserver:
    """Gives the answers in their order, the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        answers = self.answers

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                (answers.pop(0) if len(answers) > 1 else answers[0])(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def will_answer(self, *answers: Answer) -> str:
        self.answers[:] = answers
        return self.url


@pytest.fixture
def webserver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webserver]:
    for module in (graphql, first_load):
        monkeypatch.setattr(module, "POLL_S", 0.01)
    made = Webserver()
    with made.server:
        Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield made
        made.server.shutdown()


def run(status: str) -> Answer:
    return data(runOrError={"__typename": "Run", "status": status, "stepStats": [], "executionPlan": None})


def backfill(status: str, runs: int = 0, error: str | None = None) -> Answer:
    told = {"message": error} if error else None
    found = {"__typename": "PartitionBackfill", "status": status, "error": told, "runs": [{"id": "run"}] * runs}
    return data(partitionBackfillOrError=found)


def follow(url: str, children: list[Child] | None = None) -> None:
    with Progress(disable=True) as bar:
        first_load._follow(url, "run", bar, "prices", children or [])


@pytest.fixture
def ended(tmp_path: Path) -> Child:
    """A child that has ended by itself."""
    command = [sys.executable, "-c", ""]
    child = Child.start("daemon", command, environment={}, log=tmp_path / "log", cwd=tmp_path)
    child.process.wait()
    assert child.process.stdin is not None
    child.process.stdin.close()
    return child


def test_questions_without_an_answer_are_asked_again(webserver: Webserver) -> None:
    follow(webserver.will_answer(*TROUBLES, run("STARTED"), *TROUBLES, run("SUCCESS")))
    asked = webserver.will_answer(*TROUBLES, backfill("REQUESTED"), *TROUBLES, backfill("REQUESTED", runs=1))
    assert first_load._run_of_backfill(asked, "backfill", []) == "run"


@pytest.mark.parametrize("trouble", TROUBLES)
def test_but_not_for_ever(webserver: Webserver, monkeypatch: pytest.MonkeyPatch, trouble: Answer) -> None:
    monkeypatch.setattr(graphql, "PATIENCE_S", 0.3)
    with pytest.raises(CannotStart):
        follow(webserver.will_answer(trouble))


def test_nor_when_a_process_has_ended(webserver: Webserver, ended: Child) -> None:
    with pytest.raises(CannotStart):
        graphql.ask_patiently(webserver.will_answer(hung_up), first_load.RUN_STATUS, [ended], id="run")
    with pytest.raises(CannotStart, match="ended"):
        follow(webserver.will_answer(run("STARTED")), [ended])
    with pytest.raises(CannotStart, match="ended"):
        first_load._run_of_backfill(webserver.will_answer(backfill("REQUESTED")), "backfill", [ended])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (run("FAILURE"), "failed: .*/runs/run"),
        (run("CANCELED"), "was canceled: .*/runs/run"),
        (data(runOrError={"__typename": "RunNotFoundError"}), "is gone"),
    ],
)
def test_a_run_that_does_not_succeed_is_told(webserver: Webserver, answer: Answer, said: str) -> None:
    with pytest.raises(CannotStart, match=said):
        follow(webserver.will_answer(answer))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (backfill("CANCELED"), "is canceled and made no run"),
        (backfill("CANCELING"), "is canceling"),
        (backfill("FAILED", error="no such asset"), "no such asset"),
        (data(partitionBackfillOrError={"__typename": "BackfillNotFoundError"}), "is gone"),
    ],
)
def test_a_backfill_that_makes_no_run_is_told(webserver: Webserver, answer: Answer, said: str) -> None:
    with pytest.raises(CannotStart, match=said):
        first_load._run_of_backfill(webserver.will_answer(answer), "backfill", [])
