"""The seeded market: the same for everyone, always, and one that the exchange's rules would allow."""

import csv
from collections import Counter
from datetime import date, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest

from azak_assets import krx
from azak_assets.sandbox import SeededWorld
from azak_assets.sandbox.worlds.companies import PLAIN_WORDS
from azak_assets.sandbox.worlds.market import DELISTED_AFTER, NEWCOMER_ON, SPLIT_ON

NOW = datetime(2026, 11, 20, 18, 0, tzinfo=krx.KST)
START, TODAY = date(2024, 1, 2), NOW.date()


def _bars(world, code, *, start=START, end=TODAY, now=NOW, adjusted=False):
    return world.daily_bars(code, start, end, now, adjusted=adjusted)


@pytest.fixture(scope="module")
def every(seeded):
    """All daily bars of all issues ever listed, with the issue."""
    codes = {issue.code for when in (NOW, NOW - timedelta(days=60)) for issue in seeded.issues(when)}
    return [(seeded.issue(code, NOW), _bars(seeded, code)) for code in sorted(codes)]


def test_two_worlds_of_one_seed_give_the_same_bytes(start, clock, seeded, make_broker):
    first, second = start(seeded, clock=clock), start(SeededWorld(1), clock=clock)
    headers = {"X-Naver-Client-Id": "a", "X-Naver-Client-Secret": "b"}
    code = seeded.issues(NOW)[0].code
    paths = [
        "/sandbox/world",
        "/kis-master/kospi_code.mst.zip",
        "/opendart/api/list.json?crtfc_key=k&bgn_de=20261101&end_de=20261120&page_count=100",
        "/opendart/api/corpCode.xml?crtfc_key=k",
        "/naver/v1/search/news.json?query=코스피&display=100&sort=date",
        "/hankyung/feed/finance",
    ]
    for path in paths:
        assert first.get(path, headers=headers).content == second.get(path, headers=headers).content, path
    one, two = make_broker(first), make_broker(second)
    assert one.daily(code, "20260701", "20261120") == two.daily(code, "20260701", "20261120")
    assert one.minutes(code, "153000", "20261118") == two.minutes(code, "153000", "20261118")
    assert SeededWorld(2).issues(NOW) != seeded.issues(NOW)


def test_the_past_is_the_same_tomorrow_and_a_year_from_now(seeded):
    past, later = datetime(2026, 3, 13, 20, 0, tzinfo=krx.KST), NOW
    fresh = SeededWorld(1)
    until = past.date()
    for code in [issue.code for issue in fresh.issues(past)[::40]]:
        assert _bars(fresh, code, end=until, now=past) == _bars(seeded, code, end=until, now=later)
    assert fresh.index_bars("1001", START, until, past) == seeded.index_bars("1001", START, until, later)
    # A filing may still be marked as corrected for some sessions; a fortnight on it is final.
    final = until - timedelta(days=14)
    early = fresh.filings(final - timedelta(days=30), final, past)
    assert early == seeded.filings(final - timedelta(days=30), final, later)
    known = {(a.link, a.published_at) for a in fresh.search("코스피", past)}
    assert known == {(a.link, a.published_at) for a in seeded.search("코스피", later) if a.published_at <= past}


def test_nothing_of_the_future_is_told(seeded):
    noon = datetime(2026, 11, 20, 12, 0, tzinfo=krx.KST)
    assert max(article.published_at for article in seeded.search("코스피", noon)) <= noon
    assert len(seeded.filings(noon.date(), noon.date(), noon)) < len(seeded.filings(noon.date(), noon.date(), NOW))
    code = seeded.issues(noon)[0].code
    assert seeded.daily_bars(code, date(2026, 11, 21), date(2027, 12, 1), noon, adjusted=False) == []
    assert seeded.minute_bars(code, date(2026, 11, 23), noon) == []
    assert seeded.issue(code, noon).previous_close == _bars(seeded, code, end=date(2026, 11, 19))[-1].close


def test_two_hundred_invented_issues(seeded, every):
    assert len(every) == 200
    assert len(seeded.issues(NOW)) == 199
    assert all(krx.is_stock_code(issue.code) and issue.code.startswith("99") for issue, _ in every)
    assert len({issue.name for issue, _ in every}) == 200
    assert Counter(issue.market for issue, _ in every).keys() == {"KOSPI", "KOSDAQ", "KONEX"}
    assert sum(issue.is_preferred for issue, _ in every) == 6
    assert sum(not issue.code[4].isdigit() for issue, _ in every) >= 5
    values = sorted((issue.market_cap_krw for issue, _ in every), reverse=True)
    assert sum(values[:10]) > 0.4 * sum(values)


def test_no_name_or_code_is_of_a_real_issuer(every, recorded_data):
    names, codes = set(), set()
    for file, name, code in (
        ("listing_2026-03-20.csv", "Name", "Code"),
        ("delistings_2026-03-20.csv", "Name", "Symbol"),
        ("corp_codes_listed_2026-04-28.csv", "corp_name", "stock_code"),
    ):
        with (recorded_data / file).open(encoding="utf-8-sig", newline="") as lines:
            for row in csv.DictReader(lines):
                names.add(row[name])
                codes.add(row[code])
    assert len(names) > 5000
    assert not names & ({issue.name for issue, _ in every} | set(PLAIN_WORDS))
    assert not codes & {issue.code for issue, _ in every}


def test_prices_obey_ticks_and_daily_limits(every):
    checked = 0
    for issue, bars in every:
        for bar in bars[::7]:
            if bar.volume == 0:
                assert (bar.open, bar.high, bar.low, bar.turnover_krw) == (0, 0, 0, 0)
                assert bar.close == bar.reference
                continue
            limits = krx.price_limits(bar.reference, bar.day, issue.market)
            prices = (bar.open, bar.high, bar.low, bar.close)
            assert limits.lower <= bar.low <= min(prices)
            assert max(prices) <= bar.high <= limits.upper
            # The lower limit may lie off the grid of the prices around it.
            on_grid = [p for p in prices if p == limits.lower or krx.round_to_tick(p, bar.day, issue.market) == p]
            assert len(on_grid) == 4, (issue.code, bar)
            assert bar.low * bar.volume <= bar.turnover_krw <= bar.high * bar.volume
            checked += 1
    assert checked > 15_000


def test_bars_are_on_sessions_and_chain_by_reference(every):
    sessions = [session.day for session in krx.sessions(START, NOW.date())]
    for issue, bars in every:
        days = [bar.day for bar in bars]
        assert days == [day for day in sessions if days[0] <= day <= days[-1]]
        for before, bar in pairwise(bars):
            if bar.day != SPLIT_ON or bar.ratio == 0:
                assert bar.reference == before.close, (issue.code, bar)


def test_halts_last_several_days_and_end(every):
    lengths = []
    for _, bars in every:
        run = 0
        for bar in bars:
            if bar.volume == 0:
                run += 1
            elif run:
                lengths.append(run)
                run = 0
    assert len(lengths) > 20
    assert 2 <= np.median(lengths) <= 8
    assert max(lengths) <= 20


def test_one_split_one_newcomer_one_delisting(seeded, every):
    splits = [(issue.code, bar) for issue, bars in every for bar in bars if bar.ratio]
    assert [(bar.day, bar.ratio, bar.reason) for _, bar in splits] == [(SPLIT_ON, 0.2, "06")]
    code = splits[0][0]
    raw, adjusted = _bars(seeded, code), _bars(seeded, code, adjusted=True)
    before = [bar.day for bar in raw].index(SPLIT_ON) - 1
    assert raw[before].close // 5 == adjusted[before].close
    assert raw[before].volume == 0
    assert raw[before + 1].close < raw[before].close / 3
    assert raw[before + 1] == type(raw[0])(**{
        **{name: getattr(adjusted[before + 1], name) for name in raw[0].__slots__}, "ratio": 0.2
    })  # fmt: skip
    shares = [seeded.issue(code, datetime(2026, 11, day, 20, 0, tzinfo=krx.KST)).listed_shares for day in (6, 9)]
    assert shares[1] == 5 * shares[0]

    starts = {bars[0].day for _, bars in every}
    assert starts == {START, NEWCOMER_ON}
    ends = Counter(bars[-1].day for _, bars in every)
    assert ends == {NOW.date(): 199, DELISTED_AFTER: 1}
    gone = next(issue.code for issue, bars in every if bars[-1].day == DELISTED_AFTER)
    assert gone not in {issue.code for issue in seeded.issues(NOW)}
    assert any(company.stock_code == gone for company in seeded.companies(NOW))


def test_indices_are_those_of_their_members(seeded, every):
    day, before = date(2026, 9, 15), date(2026, 9, 14)
    evening = datetime(2026, 9, 15, 20, 0, tzinfo=krx.KST)
    for code, market in (("0001", "KOSPI"), ("1001", "KOSDAQ")):
        value = base = volume = turnover = 0
        for issue, bars in every:
            bar = next((bar for bar in bars if bar.day == day), None)
            if issue.market == market and bar is not None:
                shares = seeded.issue(issue.code, evening).listed_shares
                value += bar.close * shares
                base += bar.reference * shares
                volume += bar.volume
                turnover += bar.turnover_krw
        first, last = seeded.index_bars(code, before, day, evening)
        assert last.close / first.close == pytest.approx(value / base, abs=2e-5)
        assert (last.volume, last.turnover_krw) == (volume, turnover)
        assert last.low <= min(last.open, last.close) <= max(last.open, last.close) <= last.high


def test_returns_have_a_market_clustered_volatility_and_no_runaway(every):
    closes = np.array([[bar.close for bar in bars] for issue, bars in every if len(bars) == len(every[0][1])], float)
    returns = np.diff(np.log(closes), axis=1)
    returns = np.where(np.abs(returns) > 1, 0, returns)
    assert 0.015 < returns.std() < 0.035
    market = returns.mean(axis=0)
    assert np.corrcoef(returns, market)[:-1, -1].mean() > 0.2
    size = np.abs(returns - market)
    clustering = [np.corrcoef(row[:-1], row[1:])[0, 1] for row in size]
    assert np.mean(clustering) > 0.05
    assert np.median(closes[:, -1] / closes[:, 0]) == pytest.approx(1, abs=0.7)


def test_headlines_of_the_night_explain_the_next_open(seeded):
    # Good and bad words against the return of the first session after the headline, in excess of the market's mean.
    good, bad = ("흑자전환", "공급계약", "국책과제"), ("적자전환", "리콜", "압수수색")
    issues = {issue.name: issue.code for issue in seeded.issues(NOW) if issue.market == "KOSPI"}
    means = {}
    for kind, words in (("good", good), ("bad", bad)):
        moves = []
        for word in words:
            for article in seeded.search(word, NOW)[:200]:
                session = krx.tradable_session(article.published_at)
                name = next((name for name in issues if article.title.startswith(name)), None)
                if name is None or article.published_at >= session.open_at or session.day > NOW.date():
                    continue
                bar = next(iter(_bars(seeded, issues[name], start=session.day, end=session.day)), None)
                if bar is not None and bar.volume:
                    moves.append(np.log(bar.close / bar.reference))
        assert len(moves) > 30
        means[kind] = np.mean(moves)
    assert means["good"] > 0.004
    assert means["bad"] < -0.004
