"""Which recorded answer a question of a re-run gets, and what time it is then."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from azak_assets import krx
from azak_assets.ports import RecordedAnswer, RecordedRequest
from azak_assets.warehouse.calls.playback import PlaybackClock, RunRecordings
from azak_assets.warehouse.calls.recordings import KeptRun, PayloadWriter, runs

TEN = datetime(2026, 11, 20, 10, tzinfo=krx.KST)


QUOTE = RecordedRequest("kis", "/quote?code=005930")


def minutes_until(hour: str) -> RecordedRequest:
    return RecordedRequest("kis", f"/minutes?code=005930&hour={hour}", timeless="/minutes?code=005930")


def kept(folder: Path, *told: tuple[str, int, RecordedRequest, bytes], name: str = "a-run") -> KeptRun:
    """A run that began at ten, with (clock, status, question, body) of each answer."""
    clock = [TEN]
    writer = PayloadWriter(folder, run_id=name, about={}, keep_days=30, now=lambda: clock[0])
    for at, status, asked, body in told:
        clock[0] = datetime.fromisoformat(f"2026-11-20 {at}").replace(tzinfo=krx.KST)
        writer.keep(asked, RecordedAnswer(status, {}, body))
    writer.close()
    return next(run for run in runs(folder, TEN.date(), TEN.date()) if run.run_id == name)


class Replayed:
    """The answers of a collector, and the clock they move."""

    def __init__(self, run: KeptRun, others: Sequence[KeptRun] = (), *, asks_again: bool = True) -> None:
        self.clock = PlaybackClock(run.began_at)
        self.answers = RunRecordings(run, others, self.clock, asks_again=asks_again)

    def ask(self, asked: RecordedRequest = QUOTE) -> str | None:
        stored = self.answers.find(asked)
        return stored and stored.body.decode()

    @property
    def now(self) -> str:
        return f"{self.clock.now():%H:%M:%S}"


def test_a_question_asked_again_and_again_is_answered_in_turn_each_at_its_time(tmp_path: Path) -> None:
    run = kept(tmp_path, *((f"10:{5 * n:02}:01", 200, QUOTE, f"body {n}".encode()) for n in range(4)))
    replayed = Replayed(run)
    heard = []
    for _ in range(4):
        heard.append((replayed.ask(), replayed.now))
        replayed.clock.sleep(299)
    assert heard == [("body 0", "10:00:01"), ("body 1", "10:05:01"), ("body 2", "10:10:01"), ("body 3", "10:15:01")]
    assert replayed.ask() is None
    assert replayed.answers.missing == {}, "the run has ended"


def test_a_snapshot_without_an_answer_is_missing_and_the_next_one_stays_the_next_ones(tmp_path: Path) -> None:
    run = kept(tmp_path, ("10:00:01", 200, QUOTE, b"first"), ("10:10:01", 200, QUOTE, b"third"))
    replayed = Replayed(run)
    assert replayed.ask() == "first"
    replayed.clock.sleep(299)
    assert replayed.ask() is None
    assert list(replayed.answers.missing) == [("kis", "/quote?code=005930", ())]
    replayed.clock.sleep(300)
    assert replayed.ask() == "third"


def test_an_answer_of_a_round_that_is_not_made_again_is_passed_over(tmp_path: Path) -> None:
    run = kept(tmp_path, ("10:00:01", 200, QUOTE, b"first"), ("10:05:01", 200, QUOTE, b"second"))
    replayed = Replayed(run)
    replayed.clock.sleep(300)
    assert replayed.ask() == "second"


def test_of_attempts_that_failed_and_one_that_did_not_the_last_counts(tmp_path: Path) -> None:
    told = [("10:00:01", 500), ("10:00:03", 500), ("10:00:09", 200), ("10:05:01", 500)]
    replayed = Replayed(kept(tmp_path, *((at, status, QUOTE, str(status).encode()) for at, status in told)))
    assert (replayed.ask(), replayed.now) == ("200", "10:00:09")
    replayed.clock.sleep(291)
    assert replayed.ask() == "500", "nobody asked again within the round"


@pytest.mark.parametrize("asks_again", [True, False])
def test_questions_that_hold_the_clock_are_answered_in_turn_whatever_the_clock_says(
    tmp_path: Path, asks_again: bool
) -> None:
    pages = [
        ("10:00:01", 200, minutes_until("100101"), b"newest"),
        ("10:00:02", 200, minutes_until("093000"), b"older"),
    ]
    replayed = Replayed(kept(tmp_path, *pages), asks_again=asks_again)
    assert [replayed.ask(minutes_until("100100")), replayed.ask(minutes_until("092959"))] == ["newest", "older"]
    assert replayed.ask(minutes_until("090000")) is None


def test_the_same_hour_gets_its_own_page(tmp_path: Path) -> None:
    pages = [("10:00:01", 200, minutes_until("153000"), b"last"), ("10:00:02", 200, minutes_until("093000"), b"first")]
    replayed = Replayed(kept(tmp_path, *pages), asks_again=False)
    assert [replayed.ask(minutes_until("093000")), replayed.ask(minutes_until("153000"))] == ["first", "last"]


def test_another_runs_answer_does_not_move_the_clock_and_is_none_of_a_collector(tmp_path: Path) -> None:
    empty = kept(tmp_path, ("10:00:00", 200, RecordedRequest("kis", "/else"), b"else"))
    other = kept(tmp_path, ("10:20:00", 200, QUOTE, b"theirs"), name="other")
    replayed = Replayed(empty, [empty, other], asks_again=False)
    assert (replayed.ask(), replayed.now) == ("theirs", "10:00:00")
    assert Replayed(empty, [empty, other]).ask() is None


def test_each_thread_reads_the_instant_of_its_own_answer_and_the_first_the_newest() -> None:
    clock = PlaybackClock(TEN)

    def hear(seconds: int) -> datetime:
        clock.advance_to(TEN + timedelta(seconds=seconds))
        return clock.now()

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as another:
        assert one.submit(hear, 9).result() == TEN + timedelta(seconds=9)
        assert another.submit(hear, 3).result() == TEN + timedelta(seconds=3)
        assert one.submit(clock.now).result() == TEN + timedelta(seconds=9)
    assert clock.now() == TEN + timedelta(seconds=9)
    clock.sleep(1)
    assert clock.now() == TEN + timedelta(seconds=10)
