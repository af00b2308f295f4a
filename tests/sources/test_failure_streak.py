"""When a round of requests ends before every key was asked."""

import pytest

from azak_assets.sources.failures import Empty, NotForThisAccount, NotKept, SourceFailure, Unavailable
from azak_assets.sources.streak import FailureStreak

DOWN = Unavailable("kis", "a server error")


def count(streak: FailureStreak, *answers: SourceFailure | None) -> bool:
    for answer in answers:
        streak.add(answer)
    return streak.is_at_limit


def test_as_many_failures_in_a_row_as_the_limit_end_a_round() -> None:
    streak = FailureStreak(limit=3)
    assert not count(streak, DOWN, DOWN)
    assert count(streak, DOWN)


@pytest.mark.parametrize(
    "answer", [None, Empty("kis", "no bars"), NotKept("kis", "not kept"), NotForThisAccount("reddit", "private")]
)
def test_an_upstream_that_answers_begins_a_new_count(answer: SourceFailure | None) -> None:
    streak = FailureStreak(limit=3)
    assert not count(streak, DOWN, DOWN, answer, DOWN, DOWN)
    assert streak.length == 2
    assert count(streak, DOWN)
