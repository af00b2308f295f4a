"""A collector's loop: whose turn it is, what a failed round costs, and when it ends."""

import logging
from datetime import datetime, timedelta

import pytest

from azak_assets import krx
from azak_assets.ingest import loop
from azak_assets.sources.failures import SourceFailure, Unauthorized, Unavailable

START = datetime(2026, 11, 20, 10, 0, tzinfo=krx.KST)
LOG = logging.getLogger("a test")


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Every:
    """A feed that is due every few minutes; ``fails`` says what its rounds of these numbers end with."""

    def __init__(self, minutes: int, fails: dict[int, SourceFailure] | None = None) -> None:
        self.every, self.fails = timedelta(minutes=minutes), fails or {}
        self.rounds: list[datetime] = []

    def due_at(self, now: datetime) -> datetime:
        return self.rounds[-1] + self.every if self.rounds else START

    def round(self, now: datetime) -> None:
        self.rounds.append(now)
        if failure := self.fails.get(len(self.rounds)):
            raise failure


def run(*feeds: Every, minutes: int = 10) -> None:
    clock = Clock()
    loop.run(feeds, until=START + timedelta(minutes=minutes), now=clock, sleep=clock.sleep, log=LOG)


def test_each_feed_is_asked_when_it_is_due_until_the_end() -> None:
    five, two = Every(5), Every(2)
    run(five, two)
    assert [(at - START).seconds // 60 for at in five.rounds] == [0, 5]
    assert [(at - START).seconds // 60 for at in two.rounds] == [0, 2, 4, 6, 8]


def test_an_upstream_that_is_down_costs_a_round_and_not_the_collector() -> None:
    feed = Every(2, {2: Unavailable("kis", "a server error")})
    run(feed)
    assert len(feed.rounds) == 5


def test_a_refusal_of_us_ends_the_collector_at_once() -> None:
    feed = Every(2, {2: Unauthorized("kis", "a wrong key")})
    with pytest.raises(Unauthorized):
        run(feed)
    assert len(feed.rounds) == 2


def test_a_collector_of_which_no_round_came_through_fails_with_the_last_failure() -> None:
    down = [Unavailable("kis", f"server error {n}") for n in range(5)]
    with pytest.raises(Unavailable, match="server error 4"):
        run(Every(2, dict(enumerate(down, start=1))))


def test_once_is_one_round_of_each_and_raises_its_failure() -> None:
    first, second = Every(5), Every(5, {1: Unavailable("kis", "a server error")})
    with pytest.raises(Unavailable):
        loop.once([first, second], lambda: START)
    assert (len(first.rounds), len(second.rounds)) == (1, 1)
