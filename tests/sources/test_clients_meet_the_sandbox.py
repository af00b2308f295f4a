"""The clients against the sandbox, where a promise needs both: what is asked for has an answer there.

Neither shares code with the other, so each checks the other's reading of the contract.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date, datetime, timedelta
from itertools import pairwise

import pandas as pd
import pytest
from local_servers import MemoryTokens

from azak_assets import krx
from azak_assets.ports import Channel
from azak_assets.sandbox import Limits, SeededWorld, create_app, start_in_thread
from azak_assets.sources.collect import collect
from azak_assets.sources.failures import Empty, SourceFailure
from azak_assets.sources.kis.client import KisClient
from azak_assets.sources.opendart import OpenDartClient
from azak_assets.text.filings import amended, report_name
from azak_assets.universe import Issue, tiers

NOW = datetime(2026, 11, 20, 18, 0, tzinfo=krx.KST)
UNLIMITED = Limits(kis_a_second=10**9, opendart_a_day=10**9)
Start = Callable[..., tuple[KisClient, OpenDartClient]]


@pytest.fixture
def start(channel: Channel) -> Iterator[Start]:
    """Clients of a seed's sandbox whose clocks all read what `now` returns."""
    with ExitStack() as stack:

        def run(seed: int, now: Callable[[], datetime], limits: Limits = UNLIMITED) -> tuple[KisClient, OpenDartClient]:
            url = stack.enter_context(start_in_thread(create_app(SeededWorld(seed), clock=now, limits=limits)))
            kis = KisClient(
                base_url=f"{url}/kis", master_base_url=f"{url}/kis-master", app_key="a-key", app_secret="a-secret",
                tokens=MemoryTokens(now), channel=channel, per_second=10_000, now=now, sleep=lambda _: None,
            )  # fmt: skip
            dart = OpenDartClient(f"{url}/opendart/api", api_key="a-key", channel=channel, per_second=10_000)
            stack.callback(kis.close)
            stack.callback(dart.close)
            return kis, dart

        yield run


def of_tiers_1_and_2(kis: KisClient) -> list[str]:
    """The stocks that `raw.stocks` gives minute bars, as its asset takes them from the master files."""
    listed = [
        Issue(r.stock_code, r.market, r.security_kind in ("stock", "preferred"), r.market_cap_krw)
        for r in kis.listed_stocks().records
    ]
    return sorted(code for code, tier in tiers(listed).items() if tier <= 2)


@pytest.mark.parametrize("seed", [1, 2])
def test_every_stock_of_tiers_1_and_2_has_past_minutes(start: Start, seed: int) -> None:
    now = [NOW - timedelta(days=7)]
    kis, _ = start(seed, lambda: now[0])
    lists = [of_tiers_1_and_2(kis)]
    now[0] = NOW
    lists.append(of_tiers_1_and_2(kis))
    assert [len(codes) for codes in lists] == [20, 20]
    codes = sorted(set().union(*lists))
    # Yesterday, and nearly a year ago.
    for day in (date(2026, 11, 19), date(2025, 11, 24)):
        answers = dict(collect(lambda code, day=day: kis.minute_bars(code, day), codes))
        assert not {code: str(one) for code, one in answers.items() if isinstance(one, SourceFailure)}
        assert all(not batch.rejects for batch in answers.values())
        for code in codes[:3]:
            (bar,) = kis.daily_bars(code, day, day).records
            minutes = answers[code].records
            assert sum(minute.volume for minute in minutes) == bar.volume
            assert bool(minutes) != bar.is_halted


@pytest.mark.parametrize("seed", [1])
def test_flows_and_after_hours_prices_of_every_stock_are_read_without_a_reject(start: Start, seed: int) -> None:
    """Halts, a split, a newcomer and one that left among them."""
    now = [NOW]
    kis, _ = start(seed, lambda: now[0])
    codes = [stock.stock_code for stock in kis.listed_stocks().records]
    for ask, newest in ((kis.investor_flows, date(2026, 11, 20)), (kis.overtime_bars, date(2026, 9, 11))):
        now[0] = datetime.combine(newest, NOW.timetz())
        answers = dict(collect(ask, codes))
        unknown = {code for code, one in answers.items() if isinstance(one, Empty)}
        assert not {code: str(one) for code, one in answers.items() if isinstance(one, SourceFailure)}.keys() - unknown
        assert len(unknown) == (ask == kis.overtime_bars), "the newcomer is not listed in September"
        batches = [batch for batch in answers.values() if not isinstance(batch, SourceFailure)]
        assert not [reject for batch in batches for reject in batch.rejects]
        assert {batch.records[-1].trade_date for batch in batches} == {newest}
        assert max(len(batch.records) for batch in batches) == 30


def test_breadth_is_read_for_every_index_and_again_over_the_weekend(start: Start) -> None:
    now = [NOW]
    kis, _ = start(1, lambda: now[0])
    codes = ["0001", "1001", "2001", *sorted({stock.sector for stock in kis.listed_stocks().records if stock.sector})]
    assert len(codes) > 10
    for later in (timedelta(0), timedelta(hours=23)):
        now[0] = NOW + later
        for code in codes:
            batch = kis.index_breadth(code)
            assert batch.rejects == []
            assert [one.trade_date for one in batch.records] == [NOW.date()]


def test_the_brokers_calendar_is_the_committed_one(start: Start) -> None:
    kis, _ = start(1, lambda: NOW)
    batch = kis.market_days(date(2026, 11, 20), date(2027, 2, 28))
    assert batch.rejects == []
    assert batch.requests == 5
    assert [day.day for day in batch.records] == [date(2026, 11, 20) + timedelta(days=n) for n in range(101)]
    assert {day.day for day in batch.records if day.is_open} == {
        session.day for session in krx.sessions(date(2026, 11, 20), date(2027, 2, 28))
    }


def test_the_brokers_calendar_ends_where_it_ends(start: Start) -> None:
    kis, _ = start(1, lambda: NOW)
    batch = kis.market_days(date(2027, 12, 20), date(2028, 1, 31))
    assert batch.records[-1].day == date(2027, 12, 31)
    assert batch.rejects == []


def test_a_correction_points_at_a_filing_of_its_own_filer(start: Start) -> None:
    _, dart = start(1, lambda: NOW)
    frame = pd.DataFrame(dart.filings(date(2026, 8, 20), NOW.date()).records)
    frame["amends_rcept_no"] = amended(frame, frame.iloc[:0])
    pointing = frame.dropna(subset="amends_rcept_no").merge(
        frame, left_on="amends_rcept_no", right_on="rcept_no", suffixes=("", "_first")
    )
    assert len(pointing) > 300
    assert (pointing.filer_name == pointing.filer_name_first).all()
    assert (pointing.corp_code == pointing.corp_code_first).all()
    names = (pointing.report_nm.map(report_name), pointing.report_nm_first.map(report_name))
    assert (names[0] == names[1]).all()
    assert pointing.rm_first.str.contains("정").mean() > 0.9


def test_a_client_that_lost_its_token_waits_out_the_minute(start: Start, channel: Channel) -> None:
    now = [NOW]
    kis, _ = start(1, lambda: now[0])
    day = date(2026, 11, 19)
    (code, *_) = of_tiers_1_and_2(kis)
    first = kis.daily_bars(code, day, day).records
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += timedelta(seconds=seconds)

    forgetful = KisClient(
        base_url=kis._gateway.http._base_url, master_base_url="http://127.0.0.1:9", app_key="a-key",
        app_secret="a-secret",
        tokens=MemoryTokens(lambda: now[0]), channel=channel, per_second=10_000, now=lambda: now[0], sleep=sleep,
    )  # fmt: skip
    assert forgetful.daily_bars(code, day, day).records == first
    forgetful.close()
    assert len(slept) == 1
    assert 60 <= slept[0] <= 70


def test_a_split_of_the_sandbox_is_read_to_the_won(start: Start) -> None:
    """Its base price, from the day's change, over the last close is the ratio it names."""
    kis, _ = start(1, lambda: NOW)
    codes = [issue.stock_code for issue in kis.listed_stocks().records]
    marked = []
    for code, batch in collect(lambda code: kis.daily_bars(code, date(2026, 11, 6), date(2026, 11, 10)), codes):
        assert not isinstance(batch, SourceFailure), code
        marked += [pair for pair in pairwise(batch.records) if pair[1].base_price is not None]
    ((before, split),) = marked
    assert split.trade_date == date(2026, 11, 9)
    assert split.base_reason == "split or merger of shares"
    assert split.base_price is not None
    assert split.base_price / before.close == pytest.approx(split.base_ratio, abs=0.005)
