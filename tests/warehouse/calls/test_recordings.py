"""Raw answers on disk: whole or not at all, found again by their question, removed by their age."""

import gzip
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from azak_assets import krx
from azak_assets.ports import RecordedAnswer, RecordedRequest
from azak_assets.warehouse.calls import recordings
from azak_assets.warehouse.calls.playback import PlaybackClock, RunRecordings
from azak_assets.warehouse.calls.recordings import KeptRun, PayloadWriter, folder_of, read_body, runs, worlds

TODAY = date(2026, 11, 26)


QUESTION = RecordedRequest("kis", "/quotes?code=005930", (("tr_id", "FHKST03010100"),))


def asked(**changes: Any) -> RecordedRequest:
    return replace(QUESTION, **changes)


def answers(run: KeptRun, others: Sequence[KeptRun] = ()) -> RunRecordings:
    return RunRecordings(run, others, PlaybackClock(run.began_at))


def writer(folder: Path, run_id: str = "a-run", *, day: date = TODAY, hour: int = 10, keep_days: int = 30):
    at = datetime(day.year, day.month, day.day, hour, tzinfo=krx.KST)
    about = {"job": "news", "assets": ["raw/news_articles"], "tags": {"dagster/partition": "2026-11-26"}}
    return PayloadWriter(folder, run_id=run_id, about=about, keep_days=keep_days, now=lambda: at)


def keep(folder: Path, body: bytes, question: RecordedRequest = QUESTION, run_id: str = "a-run", **when) -> None:
    one = writer(folder, run_id, **when)
    one.keep(question, RecordedAnswer(200, {"content-type": "application/json"}, body))
    one.close()


def test_an_answer_is_found_again_by_its_question(tmp_path: Path) -> None:
    keep(tmp_path, "삼성전자".encode())
    (run,) = runs(tmp_path, TODAY, TODAY)
    assert (run.run_id, run.about["job"]) == ("a-run", "news")
    stored = answers(run).find(QUESTION)
    assert stored is not None
    assert (stored.status, stored.body) == (200, "삼성전자".encode())
    assert stored.headers == {"content-type": "application/json"}
    for other in (asked(path="/quotes?code=000660"), asked(upstream="mk"), asked(headers=())):
        of_nothing = answers(run)
        assert of_nothing.find(other) is None
        assert list(of_nothing.missing) == [(other.upstream, other.path, other.headers)]


def test_the_same_body_is_kept_once_a_day(tmp_path: Path) -> None:
    for number in range(5):
        keep(tmp_path, b"the same" * 1000, asked(path=f"/{number}"), run_id=f"run {number}")
    bodies = list(tmp_path.rglob("*.gz"))
    assert len(bodies) == 1
    assert gzip.decompress(bodies[0].read_bytes()) == b"the same" * 1000
    assert len(runs(tmp_path, TODAY, TODAY)) == 5


def test_a_run_s_own_answer_comes_before_a_newer_one_of_another(tmp_path: Path) -> None:
    keep(tmp_path, b"at ten", run_id="first", hour=10)
    keep(tmp_path, b"at eleven", run_id="second", hour=11)
    keep(tmp_path, b"only there", asked(path="/else"), run_id="third", hour=12)
    first, *_ = found = runs(tmp_path, TODAY, TODAY)
    told = [answers(run, found).find(QUESTION) for run in found]
    assert [stored and stored.body for stored in told] == [b"at ten", b"at eleven", b"at eleven"]
    assert answers(first, found).find(asked(path="/else")) is not None


def test_of_two_answers_to_one_question_in_a_run_the_last_counts(tmp_path: Path) -> None:
    one = writer(tmp_path)
    one.keep(QUESTION, RecordedAnswer(500, {}, b"broken"))
    one.keep(QUESTION, RecordedAnswer(200, {}, b"fine"))
    one.close()
    (run,) = runs(tmp_path, TODAY, TODAY)
    stored = answers(run).find(QUESTION)
    assert stored is not None
    assert (stored.status, stored.body) == (200, b"fine")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: gzip.compress(b"another body"),
        lambda content: content[:-6] + bytes([content[-6] ^ 1]) + content[-5:],
    ],
    ids=["cut", "empty", "another", "a bit"],
)
def test_a_body_that_is_not_what_its_name_says_is_not_kept(tmp_path: Path, damage) -> None:
    keep(tmp_path, b"a body of some length" * 50)
    (body,) = tmp_path.rglob("*.gz")
    body.write_bytes(damage(body.read_bytes()))
    (run,) = runs(tmp_path, TODAY, TODAY)
    assert answers(run).find(QUESTION) is None


def test_a_line_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    keep(tmp_path, b"whole")
    (index,) = tmp_path.rglob("*.jsonl")
    index.write_bytes(index.read_bytes() + b'{"at": "2026-11-26T10:00:00+09:00", "upstr')
    (run,) = runs(tmp_path, TODAY, TODAY)
    assert len(run.answers) == 1
    index.write_bytes(b'{"run_id": "a-r')
    assert runs(tmp_path, TODAY, TODAY) == []


def test_days_before_the_newest_ones_are_removed_when_a_run_ends(tmp_path: Path) -> None:
    for back in range(5):
        keep(tmp_path, b"x", run_id=f"run {back}", day=TODAY - timedelta(days=back))
    (tmp_path / "notes").mkdir()
    keep(tmp_path, b"x", keep_days=3)
    assert recordings.days(tmp_path) == [TODAY - timedelta(days=back) for back in (2, 1, 0)]
    assert (tmp_path / "notes").is_dir()


def test_with_no_days_nothing_is_kept_and_what_there_was_goes(tmp_path: Path) -> None:
    keep(tmp_path, b"x")
    keep(tmp_path, b"y", keep_days=0)
    assert recordings.days(tmp_path) == []


def test_a_run_over_midnight_is_one_run(tmp_path: Path) -> None:
    clock = [datetime(2026, 11, 25, 23, 59, tzinfo=krx.KST)]
    one = PayloadWriter(tmp_path, run_id="late", about={}, keep_days=30, now=lambda: clock[0])
    one.keep(asked(path="/1"), RecordedAnswer(200, {}, b"1"))
    clock[0] += timedelta(minutes=2)
    one.keep(asked(path="/2"), RecordedAnswer(200, {}, b"2"))
    one.close()
    (run,) = runs(tmp_path, TODAY - timedelta(days=1), TODAY)
    assert len(run.answers) == 2
    assert run.began_at == datetime(2026, 11, 25, 23, 59, tzinfo=krx.KST)
    (second_half,) = runs(tmp_path, TODAY, TODAY)
    assert len(second_half.answers) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_warning_and_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one = writer(tmp_path)
    day = tmp_path / TODAY.isoformat()
    day.mkdir()
    (day / one._name).symlink_to("/dev/full")
    with caplog.at_level(logging.WARNING):
        for number in range(3):
            one.keep(QUESTION, RecordedAnswer(200, {}, b"%d" % number))
    one.close()
    (day / one._name).unlink()  # read, it never ends
    (warning,) = caplog.records
    assert "No space left" in warning.getMessage()
    assert "AZAK_PAYLOAD_DAYS" in warning.getMessage()
    assert runs(tmp_path, TODAY, TODAY) == []


def test_a_folder_that_cannot_be_made_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    one = writer(tmp_path / "file" / "below")
    with caplog.at_level(logging.WARNING):
        one.keep(QUESTION, RecordedAnswer(200, {}, b"x"))
        one.keep(QUESTION, RecordedAnswer(200, {}, b"x"))
    one.close()
    assert len(caplog.records) == 1


def test_threads_that_keep_the_same_body_leave_one_whole_file(tmp_path: Path) -> None:
    one = writer(tmp_path)
    body = os.urandom(200_000)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: one.keep(asked(path=f"/{number % 4}"), RecordedAnswer(200, {}, body)), range(64)))
    one.close()
    (run,) = runs(tmp_path, TODAY, TODAY)
    assert {read_body(kept) for kept in run.answers.values()} == {body}
    assert len(list(tmp_path.rglob(".*"))) == 0


WRITES_UNTIL_KILLED = """
import os, sys, types
from pathlib import Path
from azak_assets.ports import RecordedRequest, RecordedAnswer
from azak_assets.warehouse.calls.recordings import PayloadWriter
one = PayloadWriter(Path(sys.argv[1]), run_id=sys.argv[2], about={}, keep_days=30)
print("writing", flush=True)
number = 0
while True:
    answer = RecordedAnswer(200, {}, f"{number} ".encode() + os.urandom(60_000))
    one.keep(RecordedRequest("kis", f"/{number}"), answer)
    number += 1
"""


def test_killed_in_the_middle_nothing_reads_as_good_that_is_not_whole(tmp_path: Path) -> None:
    for round_ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITES_UNTIL_KILLED, str(tmp_path), f"run {round_}"], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(0.05 + 0.037 * round_)
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=30)
        child.stdout.close()
    found = runs(tmp_path, date(2020, 1, 1), date(2100, 1, 1))
    assert len(found) == 6
    for run in found:
        bodies = {path: read_body(kept) for (_, path, _), kept in run.answers.items()}
        # Every line's body is there and whole: the body is moved into place before its line is written.
        assert bodies
        assert all(body is not None and body.startswith(f"{path[1:]} ".encode()) for path, body in bodies.items())


def test_worlds_have_folders_of_their_own(tmp_path: Path) -> None:
    for world in ("live", "seed:1", "replay:0a1b"):
        keep(folder_of(tmp_path, world), b"x")
    assert worlds(tmp_path) == ["live", "replay:0a1b", "seed:1"]
    assert worlds(tmp_path / "nothing") == []


def test_a_line_says_who_asked_what_when_and_what_came(tmp_path: Path) -> None:
    keep(tmp_path, b"abc")
    (index,) = tmp_path.rglob("*.jsonl")
    head, line = map(json.loads, index.read_text().splitlines())
    assert head["run_id"] == "a-run"
    assert line == {
        "at": "2026-11-26T10:00:00+09:00",
        "upstream": "kis",
        "path": "/quotes?code=005930",
        "asked_with": {"tr_id": "FHKST03010100"},
        "status": 200,
        "headers": {"content-type": "application/json"},
        "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "bytes": 3,
    }
