"""Entry, exit and outcome by the calendar: after-close news, Chuseok, halts, delistings, splits."""

from datetime import date, datetime, timedelta
from math import log, nan
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from azak_assets import krx
from azak_assets.scoring.bars import (
    FALLBACK_SIGMA,
    BarHistory,
    is_unexplained_jump,
    session_returns,
)
from azak_assets.scoring.horizons import (
    Bar,
    MinuteEntry,
    entry_of,
    flat_band,
    needs_minutes,
    outcome_of,
    resolve,
)
from tests.harness import at


def known(day: date) -> datetime:
    return krx.session(day).close_at + timedelta(minutes=10)


def bars_of(start: date, closes: list[float | None], *, halted: tuple[date, ...] = ()) -> dict[date, Bar]:
    """A bar a session from `start` on, open one won below the close; None leaves the session out."""
    found = {}
    for n, close in enumerate(closes):
        day = krx.shift(start, n).day
        if close is not None and day in halted:
            found[day] = Bar(nan, nan, nan, close, True, known(day))
        elif close is not None:
            found[day] = Bar(close - 1, close + 1, close - 2, close, False, known(day))
    return found


MONDAY = date(2025, 9, 29)  # the week before Chuseok: closed 2025-10-03 and 10-06 … 10-09


def resolved(cutoff: str, horizon: int, bars: dict[date, Bar], **changes: object):
    entry = entry_of(at(cutoff), None)
    options = {"minute": None, "market_days": set(bars), "delisted_on": None} | changes
    return resolve(entry, horizon, bars, **options)


class TestEntry:
    def test_before_the_open_takes_that_open(self) -> None:
        entry = entry_of(at("2025-09-29 08:59:59"), None)
        assert (entry.day, entry.at, entry.kind) == (MONDAY, at("2025-09-29 09:00"), "open")
        assert entry.exit_day(1) == MONDAY

    def test_at_the_open_it_is_too_late_for_the_open(self) -> None:
        entry = entry_of(at("2025-09-29 09:00"), None)
        assert (entry.day, entry.kind, entry.at) == (MONDAY, "close", at("2025-09-29 15:30"))
        assert entry.exit_day(1) == date(2025, 9, 30)

    def test_in_session_takes_the_first_minute_where_there_are_minutes(self) -> None:
        minute = MinuteEntry(at("2025-09-29 10:01"), 101.0, 105.0, 99.0)
        entry = entry_of(at("2025-09-29 10:00:30"), minute)
        assert (entry.kind, entry.at, entry.exit_day(1)) == ("minute", minute.at, MONDAY)

    def test_after_close_news_waits_for_the_next_session(self) -> None:
        entry = entry_of(at("2025-09-29 15:30"), None)
        assert (entry.day, entry.kind) == (date(2025, 9, 30), "open")
        assert not needs_minutes(at("2025-09-29 15:30"))

    def test_weekend_news_belongs_to_monday(self) -> None:
        assert entry_of(at("2025-09-27 12:00"), None).day == MONDAY

    def test_the_exam_day_opens_an_hour_late(self) -> None:
        assert entry_of(at("2025-11-13 09:30"), None).kind == "open"
        assert not needs_minutes(at("2025-11-13 09:30"))
        assert needs_minutes(at("2025-11-12 09:30"))


class TestChuseok:
    def test_five_sessions_cross_the_holidays(self) -> None:
        """Entry 2025-09-30: sessions 30, 10-01, 10-02, then nothing until 10-10, 10-13: fourteen days for five
        sessions."""
        entry = entry_of(at("2025-09-29 18:00"), None)
        assert [entry.exit_day(h) for h in (1, 3, 4, 5)] == [
            date(2025, 9, 30),
            date(2025, 10, 2),
            date(2025, 10, 10),
            date(2025, 10, 13),
        ]

    def test_a_missing_bar_in_between_does_not_shift_the_exit(self) -> None:
        whole = resolved("2025-09-29 18:00", 5, bars_of(MONDAY, [100, 101, 102, 103, 104, 105, 106]))
        holed = resolved("2025-09-29 18:00", 5, bars_of(MONDAY, [100, 101, 102, None, 104, 105, 106]))
        assert whole.status == holed.status == "matured"
        assert whole.exit_price == holed.exit_price == 105


class TestSettle:
    def test_matured_at_the_exit_close(self) -> None:
        one = resolved("2025-09-29 08:00", 1, bars_of(MONDAY, [100]))
        assert (one.status, one.entry_price, one.exit_price, one.known_at) == ("matured", 99, 100, known(MONDAY))
        assert one.log_return == pytest.approx(log(100 / 99))

    def test_pending_until_the_market_has_traded_the_exit_day(self) -> None:
        one = resolved("2025-09-29 08:00", 5, bars_of(MONDAY, [100, 101]))
        assert (one.status, one.exit_day, one.log_return) == ("pending", date(2025, 10, 10), None)

    @pytest.mark.parametrize(("horizon", "reason"), [(1, "halted_entry"), (5, "halted_entry")])
    def test_halted_on_the_entry_session(self, horizon: int, reason: str) -> None:
        one = resolved("2025-09-29 08:00", horizon, bars_of(MONDAY, [100] * 6, halted=(MONDAY,)))
        assert (one.status, one.censor_reason) == ("censored", reason)

    def test_halted_on_the_exit_session(self) -> None:
        exit_day = krx.shift(MONDAY, 4).day
        one = resolved("2025-09-29 08:00", 5, bars_of(MONDAY, [100] * 6, halted=(exit_day,)))
        assert (one.status, one.censor_reason, one.exit_price) == ("censored", "halted_exit", None)

    def test_a_halt_in_between_does_not_censor(self) -> None:
        one = resolved("2025-09-29 08:00", 5, bars_of(MONDAY, [100] * 6, halted=(krx.shift(MONDAY, 2).day,)))
        assert one.status == "matured"

    def test_missing_though_the_market_traded(self) -> None:
        bars = bars_of(MONDAY, [100]) | bars_of(krx.shift(MONDAY, 5).day, [100])
        traded = {krx.shift(MONDAY, n).day for n in range(6)}
        one = resolved("2025-09-29 08:00", 5, bars, market_days=traded)
        assert (one.status, one.censor_reason) == ("censored", "no_exit_bar")

    def test_missing_at_the_end_may_be_a_request_that_failed_and_waits(self) -> None:
        traded = {MONDAY, krx.shift(MONDAY, 4).day}
        one = resolved("2025-09-29 08:00", 5, bars_of(MONDAY, [100]), market_days=traded)
        assert (one.status, one.censor_reason) == ("pending", None)

    def test_delisted_before_the_exit(self) -> None:
        traded = {krx.shift(MONDAY, n).day for n in range(6)}
        one = resolved("2025-09-29 08:00", 5, bars_of(MONDAY, [100]), market_days=traded, delisted_on=date(2025, 10, 1))
        assert (one.status, one.censor_reason) == ("censored", "delisted")

    def test_a_split_nobody_explained_censors(self) -> None:
        one = resolved("2025-09-29 08:00", 5, bars_of(MONDAY, [50_000, 50_500, 10_100, 10_200, 10_300]))
        assert (one.status, one.censor_reason) == ("censored", "unexplained_jump")

    def test_limit_up_and_limit_down_are_no_jumps(self) -> None:
        one = resolved("2025-09-29 08:00", 5, bars_of(MONDAY, [10_000, 13_000, 9_100, 9_200, 9_300]))
        assert one.status == "matured"

    def test_a_jump_before_entry_leaves_the_score_alone(self) -> None:
        one = resolved("2025-09-30 08:00", 1, bars_of(MONDAY, [50_000, 10_000]))
        assert one.status == "matured"


class TestJump:
    def test_the_limit_itself_is_legal_and_one_tick_more_is_not(self) -> None:
        day = date(2025, 9, 30)
        upper = krx.price_limits(10_000, day, "KOSPI").upper
        assert not is_unexplained_jump(10_000, upper, day)
        assert is_unexplained_jump(10_000, upper + 10, day)

    def test_before_june_2015_the_limit_was_fifteen_percent(self) -> None:
        assert is_unexplained_jump(10_000, 12_000, date(2015, 6, 12))
        assert not is_unexplained_jump(10_000, 12_000, date(2015, 6, 15))


class TestOutcome:
    def test_the_edge_is_flat(self) -> None:
        band = flat_band(0.02, 5)
        assert band == pytest.approx(0.5 * 0.02 * 5**0.5)
        assert [outcome_of(r, 0.02, 5) for r in (band, band * 1.001, -band, -band * 1.001)] == [
            "flat",
            "up",
            "flat",
            "down",
        ]


def history(rows: list[dict[str, object]], *factors: dict[str, object]) -> BarHistory:
    no_factor = {"stock_code": "", "ex_date": None, "factor": 1.0, "known_at": None, "superseded_at": None}
    no_factor["observed_at"] = pd.Timestamp("2026-01-01T00:00Z")
    defaults = {"open": 1, "high": 1, "low": 1, "is_halted": False, "superseded_at": None}
    frame = pd.DataFrame([defaults | row for row in rows])
    frame["observed_at"] = pd.Timestamp("2026-01-01T00:00Z")
    return BarHistory(frame, pd.DataFrame([no_factor | one for one in factors], columns=list(no_factor)))


def rows_of(stock: str, start: date, closes: list[float]) -> list[dict[str, object]]:
    days = [krx.shift(start, n).day for n in range(len(closes))]
    return [
        {"stock_code": stock, "trade_date": d, "close": c, "known_at": known(d)}
        for d, c in zip(days, closes, strict=True)
    ]


class TestSigma:
    CLOSES: ClassVar = [10_000 + 37 * (n * n % 11) for n in range(30)]
    START = date(2025, 6, 2)

    def test_sample_deviation_of_the_last_twenty_returns_known(self) -> None:
        cutoff = known(krx.shift(self.START, 24).day)
        expected = np.diff(np.log(self.CLOSES[4:25])).std(ddof=1)
        assert history(rows_of("005930", self.START, self.CLOSES)).sigma20("005930", cutoff) == pytest.approx(expected)

    def test_a_bar_known_one_microsecond_later_is_not_in_it(self) -> None:
        cutoff = known(krx.shift(self.START, 24).day) - timedelta(microseconds=1)
        expected = np.diff(np.log(self.CLOSES[3:24])).std(ddof=1)
        assert history(rows_of("005930", self.START, self.CLOSES)).sigma20("005930", cutoff) == pytest.approx(expected)

    def test_nineteen_returns_give_none_and_then_the_median_of_the_market(self) -> None:
        twenty = self.CLOSES[:21]
        bars = history(
            rows_of("005930", self.START, twenty[:20])
            + [
                row
                for n in range(3)
                for row in rows_of(f"00000{n}", self.START, [c * (1 + n * (k % 2) / 50) for k, c in enumerate(twenty)])
            ]
        )
        cutoff = known(krx.shift(self.START, 20).day)
        assert bars.sigma20("005930", cutoff) is None
        own = [bars.sigma20(f"00000{n}", cutoff) for n in range(3)]
        assert bars.market_sigma20(cutoff) == pytest.approx(np.median(own))
        assert bars.market_sigma20(cutoff - timedelta(seconds=1)) == FALLBACK_SIGMA

    def test_halts_and_jumps_give_no_return(self) -> None:
        rows = rows_of("005930", self.START, [100, 101, 101, 102, 20, 21])
        rows[2]["is_halted"] = True
        # Neither side of the halted third session has a return: what happened meanwhile is not one session's.
        returns = session_returns(history(rows).current("005930"), 1)
        assert returns == pytest.approx([log(101 / 100), log(21 / 20)])

    def test_a_correction_is_seen_from_its_own_instant_on(self) -> None:
        rows = rows_of("005930", self.START, [100, 101])
        corrected = rows[1] | {"close": 105, "known_at": at("2025-06-10 08:00"), "observed_at": at("2025-06-10 08:00")}
        rows[1] |= {"superseded_at": at("2025-06-10 08:00")}
        bars = history([*rows, corrected])
        assert bars.as_of("005930", at("2025-06-10 07:59"), "known").close.tolist() == [100, 101]
        assert bars.as_of("005930", at("2025-06-10 08:00"), "known").close.tolist() == [100, 105]


class TestFactors:
    START = date(2025, 6, 2)
    SPLIT = krx.shift(date(2025, 6, 2), 3).day

    def split(self, **changes: object) -> dict[str, object]:
        return {"stock_code": "005930", "ex_date": self.SPLIT, "factor": 0.2, "known_at": known(self.SPLIT)} | changes

    def test_an_explained_split_is_a_return_like_any_other(self) -> None:
        bars = history(rows_of("005930", self.START, [100, 101, 102, 21, 22]), self.split()).current("005930")
        expected = [log(101 / 100), log(102 / 101), log(21 / 20.4), log(22 / 21)]
        assert session_returns(bars, 1) == pytest.approx(expected)
        assert session_returns(bars, 3) == pytest.approx([log(21 / 20), log(22 / 20.2)])

    def test_a_move_beyond_the_limit_stays_unexplained_when_the_factor_is_another(self) -> None:
        bars = history(rows_of("005930", self.START, [100, 101, 102, 21, 22]), self.split(factor=0.5)).current("005930")
        assert session_returns(bars, 1) == pytest.approx([log(101 / 100), log(102 / 101), log(22 / 21)])

    def test_it_is_seen_from_its_own_instant_on_and_never_before(self) -> None:
        late = at("2025-07-01 08:00")
        bars = history(rows_of("005930", self.START, [100, 101, 102, 21, 22]), self.split(known_at=late))
        assert bars.as_of("005930", late - timedelta(microseconds=1), "known").factor.tolist() == [1] * 5
        assert bars.as_of("005930", late, "known").factor.tolist() == [1, 1, 1, 0.2, 1]

    def test_the_median_of_the_market_does_not_feel_a_split(self) -> None:
        closes = [10_000.0 + 37 * (n * n % 11) for n in range(21)]
        halved = [*closes[:12], *(close / 2 for close in closes[12:])]
        ex_date = krx.shift(self.START, 12).day
        factor = {"stock_code": "000001", "ex_date": ex_date, "factor": 0.5, "known_at": known(ex_date)}
        cutoff = known(krx.shift(self.START, 20).day)
        plain = history(rows_of("000001", self.START, closes)).market_sigma20(cutoff)
        assert history(rows_of("000001", self.START, halved), factor).market_sigma20(cutoff) == pytest.approx(plain)
        assert history(rows_of("000001", self.START, halved)).market_sigma20(cutoff) == FALLBACK_SIGMA

    def test_a_forecast_across_a_split_matures_at_the_adjusted_return(self) -> None:
        bars = bars_of(MONDAY, [1000, 1010, 205, 210])
        day = krx.shift(MONDAY, 2).day
        bars[day] = bars[day]._replace(factor=0.2)
        one = resolved("2025-09-29 08:00", 3, bars)
        assert (one.status, one.entry_price, one.exit_price, one.factor) == ("matured", 999, 205, 0.2)
        assert one.log_return == pytest.approx(log(205 / (999 * 0.2)))
        # Entered on the first session at the new price: there is nothing to adjust.
        after = resolved("2025-10-01 08:00", 2, bars)
        assert (after.factor, after.log_return) == (1, pytest.approx(log(210 / 204)))


class TestSessionReturns:
    def test_counted_by_the_calendar_and_not_by_rows(self) -> None:
        rows = rows_of("005930", MONDAY, [100, 101, 102, 103, 104, 105])
        del rows[2]
        bars = history(rows).current("005930")
        # (0→2) and (2→4) miss an end; (1→3), (3→5) remain
        assert session_returns(bars, 2) == pytest.approx([log(103 / 101), log(105 / 103)])

    def test_a_stock_without_bars_has_none(self) -> None:
        assert not len(session_returns(history(rows_of("005930", MONDAY, [100])).current("000000"), 5))
        assert not len(session_returns(history(rows_of("005930", MONDAY, [100])).current("005930"), 5))
