"""Which session an instant belongs to: boundaries to the second, midnights, zones, columns that answer as scalars."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azak_assets import krx

SESSIONS = krx.sessions(krx.FIRST_DAY, krx.LAST_DAY)
ZONES = [krx.KST, UTC, ZoneInfo("America/New_York")]

# Instants the calendar can answer for in both questions: from its first midnight to before its last close.
BEGIN = datetime(2010, 1, 1, tzinfo=krx.KST)
END = SESSIONS[-1].close_at
MICROSECOND = timedelta(microseconds=1)


def kst(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=krx.KST)


def _instants() -> st.SearchStrategy[datetime]:
    """Anywhere in the calendar, and often within a microsecond of a close or of a midnight in Korea."""
    anywhere = st.integers(0, (END - BEGIN) // MICROSECOND - 1).map(lambda n: BEGIN + n * MICROSECOND)
    around_a_close = st.builds(
        lambda n, nudge: SESSIONS[n].close_at + nudge * MICROSECOND,
        st.integers(0, len(SESSIONS) - 2),
        st.integers(-1, 1),
    )
    around_midnight = st.builds(
        lambda n, nudge: datetime.combine(SESSIONS[n].day, time.min, krx.KST) + nudge * MICROSECOND,
        st.integers(0, len(SESSIONS) - 1),
        st.integers(-1, 1),
    )
    return st.builds(datetime.astimezone, st.one_of(anywhere, around_a_close, around_midnight), st.sampled_from(ZONES))


instants = _instants()


@pytest.mark.parametrize(
    ("known_at", "expected"),
    [
        # a regular day
        ("2026-11-18T00:00:00", "2026-11-18"),
        ("2026-11-18T15:29:59", "2026-11-18"),
        ("2026-11-18T15:29:59.999999", "2026-11-18"),
        ("2026-11-18T15:30:00", "2026-11-19"),
        ("2026-11-18T15:30:01", "2026-11-19"),
        ("2026-11-18T23:59:59", "2026-11-19"),
        # the exam day closes an hour later
        ("2026-11-19T15:30:00", "2026-11-19"),
        ("2026-11-19T16:29:59", "2026-11-19"),
        ("2026-11-19T16:30:00", "2026-11-20"),
        ("2026-11-19T16:30:01", "2026-11-20"),
        # a weekend
        ("2026-11-20T15:30:00", "2026-11-23"),
        ("2026-11-21T12:00:00", "2026-11-23"),
        ("2026-11-22T23:59:59", "2026-11-23"),
        # Chuseok, from Wednesday's close to Monday's
        ("2026-09-23T15:29:59", "2026-09-23"),
        ("2026-09-23T15:30:00", "2026-09-28"),
        ("2026-09-25T10:00:00", "2026-09-28"),
        # the year's end
        ("2026-12-30T15:30:00", "2027-01-04"),
        ("2026-12-31T10:00:00", "2027-01-04"),
        # the last close at 15:00 and the first at 15:30
        ("2016-07-29T14:59:59", "2016-07-29"),
        ("2016-07-29T15:00:00", "2016-08-01"),
        ("2016-08-01T15:00:00", "2016-08-01"),
        ("2016-08-01T15:30:00", "2016-08-02"),
    ],
)
def test_news_is_tradable_in_the_first_session_that_closes_after_it(known_at: str, expected: str) -> None:
    assert krx.tradable_session(kst(known_at)).day == date.fromisoformat(expected)
    assert krx.current_or_next_session(kst(known_at)).day == date.fromisoformat(expected)


@pytest.mark.parametrize(
    ("known_at", "expected"),
    [
        ("2026-11-17T14:59:59+00:00", "2026-11-17"),  # 23:59:59 in Korea
        ("2026-11-17T15:00:00+00:00", "2026-11-18"),  # midnight in Korea
        ("2026-11-18T08:00:00+00:00", "2026-11-18"),  # after the close: the day stays, only the tradable session moves
        ("2026-11-20T14:59:59+00:00", "2026-11-20"),  # Friday's last second
        ("2026-11-20T15:00:00+00:00", "2026-11-23"),  # Saturday in Korea
        ("2026-11-22T15:00:00+00:00", "2026-11-23"),  # Monday's first second
        ("2026-11-20T10:00:00-05:00", "2026-11-23"),  # the same Saturday, told from New York
        ("2026-09-23T23:59:59+09:00", "2026-09-23"),
        ("2026-09-24T00:00:00+09:00", "2026-09-28"),  # Chuseok
    ],
)
def test_the_trading_day_follows_the_date_in_korea(known_at: str, expected: str) -> None:
    assert krx.trading_day_of(datetime.fromisoformat(known_at)) == date.fromisoformat(expected)


@pytest.mark.parametrize(
    ("now", "closed", "current_or_next"),
    [
        ("2026-11-18T08:59:59", "2026-11-17", "2026-11-18"),
        ("2026-11-18T12:00:00", "2026-11-17", "2026-11-18"),
        ("2026-11-18T15:30:00", "2026-11-18", "2026-11-19"),
        ("2026-11-19T16:29:59", "2026-11-18", "2026-11-19"),
        ("2026-11-21T12:00:00", "2026-11-20", "2026-11-23"),
        ("2027-01-01T00:00:00", "2026-12-30", "2027-01-04"),
    ],
)
def test_the_last_closed_and_the_current_session(now: str, closed: str, current_or_next: str) -> None:
    assert krx.last_closed_session(kst(now)).day == date.fromisoformat(closed)
    assert krx.current_or_next_session(kst(now)).day == date.fromisoformat(current_or_next)


@given(instants.filter(lambda at: at >= SESSIONS[0].close_at))
def test_the_last_closed_session_is_the_one_before_the_tradable_one(now: datetime) -> None:
    assert krx.next_session(krx.last_closed_session(now).day) == krx.tradable_session(now)


def test_windows_start_after_the_previous_session_day_and_end_with_their_own() -> None:
    assert krx.news_window(date(2026, 11, 18)) == (kst("2026-11-18T00:00:00"), kst("2026-11-19T00:00:00"))
    assert krx.news_window(date(2026, 11, 23)) == (kst("2026-11-21T00:00:00"), kst("2026-11-24T00:00:00"))
    assert krx.news_window(date(2026, 9, 28)) == (kst("2026-09-24T00:00:00"), kst("2026-09-29T00:00:00"))


def test_windows_tile_time_without_gap_or_overlap() -> None:
    windows = [krx.news_window(one.day) for one in SESSIONS[1:]]
    assert [end for _, end in windows[:-1]] == [start for start, _ in windows[1:]]


@given(instants.filter(lambda at: at >= krx.news_window(SESSIONS[1].day)[0]))
def test_an_instant_lies_in_the_window_of_its_trading_day(at: datetime) -> None:
    start, end = krx.news_window(krx.trading_day_of(at))
    assert start <= at < end


def test_a_closed_day_has_no_window_and_the_first_session_no_known_start() -> None:
    with pytest.raises(krx.NotASession, match="Chuseok"):
        krx.news_window(date(2026, 9, 25))
    with pytest.raises(krx.OutsideCalendar, match="the session before 2010-01-04"):
        krx.news_window(date(2010, 1, 4))


# Columns.


@given(st.lists(instants, max_size=20), st.sampled_from(ZONES), st.sampled_from(["us", "ns"]))
def test_a_column_answers_as_its_values_do(values: list[datetime], zone: tzinfo, unit: str) -> None:
    index = [f"row {n}" for n in range(len(values))]
    column = pd.Series(values, index=index, name="known_at", dtype=pd.DatetimeTZDtype(unit, zone))
    days, sessions = krx.trading_days_of(column), krx.tradable_sessions_of(column)
    assert days.tolist() == [krx.trading_day_of(value) for value in values]
    assert sessions.tolist() == [krx.tradable_session(value).day for value in values]
    for answer in (days, sessions):
        assert answer.dtype == object
        assert answer.name == "known_at"
        assert answer.index.tolist() == index


def test_a_nanosecond_before_the_close_is_before_the_close() -> None:
    close = pd.Timestamp(kst("2026-11-18T15:30:00")).as_unit("ns")
    column = pd.Series([close - pd.Timedelta(1, "ns"), close])
    assert krx.tradable_sessions_of(column).tolist() == [date(2026, 11, 18), date(2026, 11, 19)]


# Refusals.


def test_a_naive_instant_is_refused() -> None:
    naive = datetime(2026, 11, 18, 9)  # noqa: DTZ001 - the point of the test
    for question in (krx.tradable_session, krx.trading_day_of, krx.last_closed_session, krx.current_or_next_session):
        with pytest.raises(ValueError, match="has no time zone: attach the zone it was written in"):
            question(naive)


@pytest.mark.parametrize("question", [krx.trading_days_of, krx.tradable_sessions_of])
def test_a_column_without_zone_or_with_gaps_is_refused(
    question: Callable[[pd.Series], pd.Series],
) -> None:
    naive = pd.Series(pd.to_datetime(["2026-11-18 09:00"]), name="known_at")
    with pytest.raises(ValueError, match=r"column 'known_at' has dtype datetime64\[.*\], not time-zone-aware"):
        question(naive)
    with pytest.raises(ValueError, match="column 'known_at' has dtype object, not time-zone-aware"):
        question(naive.astype(object))
    with pytest.raises(ValueError, match="column 'known_at' has 1 empty values"):
        question(naive.dt.tz_localize(krx.KST).reindex([0, 1]))


@pytest.mark.parametrize("at", ["2009-12-31T23:59:59", "2027-12-30T15:30:00", "2028-01-03T09:00:00"])
def test_an_instant_the_calendar_cannot_answer_for_is_refused(at: str) -> None:
    inside = kst("2026-11-18T09:00:00")
    with pytest.raises(krx.OutsideCalendar, match="which covers 2010-01-01 to 2027-12-31"):
        krx.tradable_session(kst(at))
    with pytest.raises(krx.OutsideCalendar, match="which covers 2010-01-01 to 2027-12-31"):
        krx.tradable_sessions_of(pd.Series([inside, kst(at)]))
