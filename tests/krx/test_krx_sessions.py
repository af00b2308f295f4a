"""The committed calendar against its witnesses, its files against themselves, and the questions one may ask of days."""

import csv
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import exchange_calendars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from azak_assets import krx

DATA = Path(krx.__file__).parent / "data"
ALL_DAYS = [krx.FIRST_DAY + timedelta(days=n) for n in range((krx.LAST_DAY - krx.FIRST_DAY).days + 1)]
SESSION_DAYS = [one.day for one in krx.sessions(krx.FIRST_DAY, krx.LAST_DAY)]

any_day = st.dates(krx.FIRST_DAY, krx.LAST_DAY)
session_day = st.integers(0, len(SESSION_DAYS) - 1).map(SESSION_DAYS.__getitem__)


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


# The witnesses.


def test_the_calendar_trades_exactly_on_the_days_on_which_the_market_was_seen_to_trade(recorded_data: Path) -> None:
    lines = (recorded_data / "observed_sessions_2011_2026-08-14.csv").read_text(encoding="utf-8").split()[1:]
    observed = {date.fromisoformat(line) for line in lines}
    wrong = {
        day: "traded, but the calendar is closed" if day in observed else "no trade, but the calendar is open"
        for day in ALL_DAYS
        if date(2011, 1, 1) <= day <= max(observed) and krx.is_session(day) != (day in observed)
    }
    assert len(observed) == 3840
    assert wrong == {}


# What exchange_calendars 4.13.2 gets wrong, by day; a newer release that agrees fails this test and shortens the list.
OPEN_FOR_EXCHANGE_CALENDARS_ONLY = {
    date(2026, 6, 3): "local elections; observed: no trading",
    date(2026, 7, 17): "Constitution Day, a holiday again from 2026; observed: no trading",
    date(2027, 5, 3): "substitute for Labour Day, a public holiday from 2026",
    date(2027, 7, 19): "substitute for Constitution Day",
}
EXAM_DAYS_AFTER_ITS_LAST = {
    date(2021, 11, 18),
    date(2022, 11, 17),
    date(2023, 11, 16),
    date(2024, 11, 14),
    date(2025, 11, 13),
    date(2026, 11, 19),
    date(2027, 11, 18),
}


# exchange_calendars 4.13.2 reads Series.values of aware columns, which pandas 3.1 deprecates.
@pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
def test_exchange_calendars_differs_in_the_known_days_and_hours_only() -> None:
    oracle = exchange_calendars.get_calendar("XKRX", start=krx.FIRST_DAY, end=krx.LAST_DAY)
    hours = {
        label.date(): (opens.to_pydatetime(), closes.to_pydatetime())
        for label, opens, closes in oracle.schedule[["open", "close"]].itertuples()
    }
    assert set(SESSION_DAYS) ^ set(hours) == set(OPEN_FOR_EXCHANGE_CALENDARS_ONLY)
    other_hours = {
        one.day
        for one in krx.sessions(krx.FIRST_DAY, krx.LAST_DAY)
        if hours[one.day] != (one.open_at.astimezone(UTC), one.close_at.astimezone(UTC))
    }
    assert other_hours == EXAM_DAYS_AFTER_ITS_LAST


# The files against themselves: a slip of the hand in a row must not pass.


def test_closures_are_ordered_weekdays_inside_the_calendar_each_with_a_name_and_a_source() -> None:
    closures = krx.weekday_closures()
    days = [closure.day for closure in closures]
    assert days == sorted(set(days))
    assert len(days) == len(rows("closures.csv"))
    for closure in closures:
        assert krx.FIRST_DAY <= closure.day <= krx.LAST_DAY
        assert closure.day.weekday() < 5, f"{closure.day} is a weekend day, closed without a row"
        assert closure.name.strip()
        assert closure.source.strip()


def test_weekends_and_weekday_closures_are_all_the_days_without_a_session() -> None:
    closed = {closure.day for closure in krx.weekday_closures()}
    assert {day for day in ALL_DAYS if not krx.is_session(day)} == closed | {d for d in ALL_DAYS if d.weekday() >= 5}


def test_every_year_has_its_regular_closures() -> None:
    by_year: dict[int, list[str]] = {}
    for closure in krx.weekday_closures():
        by_year.setdefault(closure.day.year, []).append(closure.name)
    assert sorted(by_year) == list(range(2010, 2028))
    for year, names in by_year.items():
        assert names[-1] == "Year-end closing", year
        assert any("Seollal" in name for name in names), year
        assert any("Chuseok" in name for name in names), year


def test_what_nobody_has_announced_yet_says_so() -> None:
    for closure in krx.weekday_closures():
        assert closure.source.startswith("projected") == (closure.day.year == 2027), closure
    uncertain = {closure.day for closure in krx.weekday_closures() if "likely" in closure.source}
    assert uncertain == {date(2027, 5, 3), date(2027, 7, 19)}


def test_special_hours_lie_on_sessions_differ_from_the_regular_ones_and_are_sourced() -> None:
    special = rows("special_hours.csv")
    days = [date.fromisoformat(row["day"]) for row in special]
    assert days == sorted(set(days))
    for day, row in zip(days, special, strict=True):
        assert krx.session(day).note == row["note"] != ""
        assert krx.session(day).open_at.time() == time(10)
        assert row["source"].strip()


@pytest.mark.parametrize("year", range(2010, 2028))
def test_every_year_opens_late_on_its_first_session_and_shifts_on_its_exam_day(year: int) -> None:
    year_of_sessions = krx.sessions(date(year, 1, 1), date(year, 12, 31))
    special = [one for one in year_of_sessions if one.note]
    assert special[0] == year_of_sessions[0]
    assert [one.note for one in special].count("first session of the year") == 1
    exams = special[1:]
    # In 2017 the earthquake moved the exam by a week after the hours of the first date had been announced.
    assert len(exams) == (2 if year == 2017 else 1)
    for exam in exams:
        assert (exam.day.weekday(), exam.day.month) == (3, 12 if year == 2020 else 11)
        regular = krx.next_session(exam.day)
        assert exam.close_at.time() == (datetime.combine(exam.day, regular.close_at.time()) + timedelta(hours=1)).time()


# Single days that mattered.


@pytest.mark.parametrize(
    ("day", "reason"),
    [
        ("2015-08-14", "Temporary holiday, 70th anniversary of the Liberation"),
        ("2016-05-06", "Temporary holiday between Children's Day and the weekend"),
        ("2017-05-09", "19th presidential election (brought forward)"),
        ("2020-08-17", "Temporary holiday after Liberation Day"),
        ("2024-10-01", "Temporary holiday, Armed Forces Day"),
        ("2025-01-27", "Temporary holiday before Seollal"),
        ("2026-05-01", "Labour Day"),
        ("2026-06-03", "9th nationwide local elections"),
        ("2026-07-17", "Constitution Day"),
        ("2026-12-31", "Year-end closing"),
        ("2027-02-09", "Substitute holiday for Seollal"),
        ("2027-07-19", "Substitute holiday for Constitution Day"),
        ("2027-12-27", "Substitute holiday for Christmas Day"),
    ],
)
def test_closed_for_a_named_reason(day: str, reason: str) -> None:
    with pytest.raises(krx.NotASession) as caught:
        krx.session(date.fromisoformat(day))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    "day",
    [
        "2024-07-17",  # Constitution Day was no holiday from 2008 to 2025
        "2012-10-09",  # nor Hangul Day before 2013
        "2021-12-27",  # nor had Christmas a substitute before 2023
        "2026-09-28",  # Chuseok has no substitute for a Saturday
        "2027-03-03",  # no presidential election: the one of 2025 began a new term
        "2027-06-07",  # Memorial Day has no substitute
    ],
)
def test_open_where_one_might_expect_a_holiday(day: str) -> None:
    assert krx.is_session(date.fromisoformat(day))


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2017-09-29", "2017-10-11", ["09-29", "10-10", "10-11"]),
        ("2018-09-20", "2018-09-28", ["09-20", "09-21", "09-27", "09-28"]),
        ("2023-09-27", "2023-10-05", ["09-27", "10-04", "10-05"]),
        ("2025-10-01", "2025-10-13", ["10-01", "10-02", "10-10", "10-13"]),
        ("2026-09-21", "2026-09-28", ["09-21", "09-22", "09-23", "09-28"]),
        ("2027-09-13", "2027-09-17", ["09-13", "09-17"]),
    ],
)
def test_chuseok_weeks(start: str, end: str, expected: list[str]) -> None:
    found = krx.sessions(date.fromisoformat(start), date.fromisoformat(end))
    assert [f"{one.day:%m-%d}" for one in found] == expected


@pytest.mark.parametrize(
    ("day", "opens", "closes", "note"),
    [
        ("2010-11-18", "10:00", "16:00", "college entrance exam (CSAT)"),
        ("2016-01-04", "10:00", "15:00", "first session of the year"),
        ("2016-07-29", "09:00", "15:00", ""),
        ("2016-08-01", "09:00", "15:30", ""),
        ("2017-11-16", "10:00", "16:30", "exam (CSAT) postponed by the Pohang earthquake"),
        ("2017-11-23", "10:00", "16:30", "college entrance exam (CSAT), postponed from 2017-11-16"),
        ("2020-12-03", "10:00", "16:30", "college entrance exam (CSAT)"),
        ("2024-11-14", "10:00", "16:30", "college entrance exam (CSAT)"),
        ("2025-01-02", "10:00", "15:30", "first session of the year"),
        ("2025-11-13", "10:00", "16:30", "college entrance exam (CSAT)"),
        ("2026-11-18", "09:00", "15:30", ""),
        ("2026-11-19", "10:00", "16:30", "college entrance exam (CSAT)"),
        ("2026-11-20", "09:00", "15:30", ""),
        ("2027-01-04", "10:00", "15:30", "first session of the year"),
    ],
)
def test_hours_of_a_session(day: str, opens: str, closes: str, note: str) -> None:
    at = date.fromisoformat(day)
    one = krx.session(at)
    assert one == krx.Session(
        at,
        datetime.combine(at, time.fromisoformat(opens), krx.KST),
        datetime.combine(at, time.fromisoformat(closes), krx.KST),
        note,
    )
    assert one.open_at.utcoffset() == timedelta(hours=9)


# Moving among sessions.


def test_neighbours_of_a_closed_day_and_of_a_session() -> None:
    holiday, before, after = date(2026, 9, 25), date(2026, 9, 23), date(2026, 9, 28)
    assert krx.previous_session(holiday).day == krx.session_on_or_before(holiday).day == before
    assert krx.next_session(holiday).day == krx.session_on_or_after(holiday).day == after
    assert krx.session_on_or_before(before).day == krx.session_on_or_after(before).day == before
    assert krx.next_session(before).day == after
    assert krx.previous_session(after).day == before


@given(session_day, session_day)
def test_shift_undoes_count_between(a: date, b: date) -> None:
    assert krx.shift(a, krx.count_between(a, b)).day == b


@given(any_day, any_day)
def test_count_between_counts_the_sessions_after_a_up_to_b(a: date, b: date) -> None:
    first, last = sorted((a, b))
    expected = sum(first < one.day <= last for one in krx.sessions(first, last))
    assert krx.count_between(a, b) == (expected if a <= b else -expected)


@given(any_day)
def test_next_and_previous_pass_over_closed_days_only(day: date) -> None:
    if day > SESSION_DAYS[0]:
        before = krx.previous_session(day).day
        assert before < day
        assert not any(krx.is_session(d) for d in ALL_DAYS if before < d < day)
    if day < SESSION_DAYS[-1]:
        after = krx.next_session(day).day
        assert day < after
        assert not any(krx.is_session(d) for d in ALL_DAYS if day < d < after)


# Refusals.


def test_a_closed_day_is_refused_with_its_reason_and_its_neighbours() -> None:
    with pytest.raises(krx.NotASession) as caught:
        krx.session(date(2026, 9, 25))
    assert str(caught.value) == (
        "2026-09-25 is not a KRX session (Chuseok); "
        "the nearest sessions are 2026-09-23 before it and 2026-09-28 after it"
    )
    assert (caught.value.day, caught.value.before, caught.value.after) == (
        date(2026, 9, 25),
        date(2026, 9, 23),
        date(2026, 9, 28),
    )


def test_a_weekend_is_refused_by_its_weekday_and_an_edge_names_its_one_neighbour() -> None:
    with pytest.raises(krx.NotASession, match=r"2026-11-21 is not a KRX session \(a Saturday\)"):
        krx.shift(date(2026, 11, 21), 1)
    with pytest.raises(krx.NotASession, match=r"2027-12-30 before it$") as caught:
        krx.session(krx.LAST_DAY)
    assert caught.value.after is None
    with pytest.raises(krx.NotASession, match=r"the nearest sessions are 2010-01-04 after it$"):
        krx.session(krx.FIRST_DAY)


@pytest.mark.parametrize("day", [date(2009, 12, 31), date(2028, 1, 3)])
def test_a_day_outside_the_calendar_is_refused_with_its_range(day: date) -> None:
    for question in (krx.is_session, krx.session, krx.next_session, krx.session_on_or_before):
        with pytest.raises(
            krx.OutsideCalendar, match=f"{day} is outside the KRX calendar, which covers 2010-01-01 to 2027-12-31; "
        ):
            question(day)


def test_walking_off_the_calendar_is_refused() -> None:
    with pytest.raises(krx.OutsideCalendar, match="the session after 2027-12-30 is outside"):
        krx.next_session(date(2027, 12, 30))
    with pytest.raises(krx.OutsideCalendar, match="the session before 2010-01-04 is outside"):
        krx.previous_session(date(2010, 1, 4))
    with pytest.raises(krx.OutsideCalendar, match="the session 3 sessions after 2027-12-28 is outside"):
        krx.shift(date(2027, 12, 28), 3)
    # A negative position must not wrap around to the end of the list.
    with pytest.raises(krx.OutsideCalendar, match="the session 1 sessions before 2010-01-04 is outside"):
        krx.shift(date(2010, 1, 4), -1)


def test_an_instant_is_no_day() -> None:
    with pytest.raises(TypeError, match=r"is an instant, not a KST date: ask trading_day_of\(\)"):
        krx.is_session(datetime(2026, 11, 19, 9, tzinfo=krx.KST))


# Loading.


LOADED = (
    "import sys\n"
    "from azak_assets import krx; krx.weekday_closures()\n"
    "print(*sorted({'pandas', 'numpy', 'exchange_calendars'} & set(sys.modules)))"
)


def test_loading_pulls_in_no_heavy_library() -> None:
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, check=True, text=True)
    assert done.stdout.split() == []
