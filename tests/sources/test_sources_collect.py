"""Many keys over one client: the upstream's budget is used up, its limit never broken, and a dead upstream ends it."""

import threading
import time
from datetime import date

import pytest
from local_servers import Reply, channel_of, kis_error
from pauses import undisturbed

from azak_assets.sources.collect import collect
from azak_assets.sources.failures import Empty, RateLimited, Unauthorized, Unavailable
from azak_assets.sources.records import Batch
from azak_assets.warehouse.calls.rate_limit import PostgresRateLimiter

DAY = date(2022, 1, 3)
BAR = {
    "stck_bsop_date": "20220103", "stck_clpr": "100", "stck_oprc": "100", "stck_hgpr": "100", "stck_lwpr": "100",
    "acml_vol": "1", "acml_tr_pbmn": "100",
}  # fmt: skip


def answered(key):
    return Batch([key], [], 1, "0" * 64)


@pytest.mark.timing
def test_at_least_95_percent_of_the_budget_and_no_rejection(kis, kis_client, engine):
    """The real budget and the real client against a server that counts the last second."""
    codes = [f"{number:06d}" for number in range(60)]
    kis.daily = {code: [BAR] for code in codes}
    kis.per_second = 18
    client = kis_client(per_second=15, sleep=time.sleep, channel=channel_of(PostgresRateLimiter(engine)))
    client.daily_bars(codes[0], DAY, DAY)  # the token, outside the measurement

    def measure() -> tuple[int, float]:
        kis.rejections, start = 0, time.monotonic()
        results = dict(collect(lambda code: client.daily_bars(code, DAY, DAY), codes))
        rate = len(codes) / (time.monotonic() - start)
        assert {code: len(batch.records) for code, batch in results.items()} == dict.fromkeys(codes, 1)
        return kis.rejections, rate

    rejections, rate = undisturbed(measure)
    assert rejections == 0
    assert rate >= 0.95 * 15


def test_progress_is_told_in_the_callers_thread(kis, kis_client):
    seen = []
    here = threading.get_ident()
    results = collect(answered, list("abcde"), on_progress=lambda *at: seen.append((*at, threading.get_ident())))
    assert sorted(key for key, _ in results) == list("abcde")
    assert seen == [(done, 5, here) for done in range(1, 6)]


def test_one_keys_failure_leaves_the_others_alone(kis, kis_client):
    kis.daily = {"005930": [BAR], "000660": [BAR]}
    client = kis_client()
    results = dict(collect(lambda code: client.daily_bars(code, DAY, DAY), ["005930", "999999", "000660"]))
    assert isinstance(results["999999"], Empty)
    assert len(results["005930"].records) == len(results["000660"].records) == 1


def test_wrong_keys_end_the_round_at_once(kis, kis_client):
    kis.token_faults.extend([Reply({"error_code": "EGW00103", "error_description": "유효하지 않은 AppKey"}, 403)] * 500)
    client = kis_client()
    with pytest.raises(Unauthorized):
        list(collect(lambda code: client.daily_bars(code, DAY, DAY), [f"{n:06d}" for n in range(500)]))
    assert len(kis.server.requests) < 50


def test_an_upstream_that_is_down_ends_the_round_after_two_rounds_of_workers():
    asked = []

    def ask(key):
        asked.append(key)
        raise Unavailable("kis", "down")

    with pytest.raises(Unavailable):
        list(collect(ask, list(range(1000)), workers=4))
    assert 8 <= len(asked) < 100


def test_many_stocks_without_data_do_not_end_the_round():
    def ask(key):
        raise Empty("kis", "nothing")

    results = list(collect(ask, list(range(100)), workers=4))
    assert len(results) == 100


def test_a_used_up_quota_ends_the_round():
    def ask(key):
        raise RateLimited("naver", "quota", action="stop")

    with pytest.raises(RateLimited):
        list(collect(ask, list(range(100))))


def test_a_consumer_that_leaves_early_cancels_the_rest():
    asked = []

    def ask(key):
        asked.append(key)
        time.sleep(0.01)
        return answered(key)

    results = collect(ask, list(range(1000)), workers=2)
    next(results)
    results.close()
    assert len(asked) < 50


def test_a_programming_error_is_not_swallowed():
    def ask(key):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(collect(ask, [1, 2, 3]))


def test_a_long_limit_is_survived_with_eight_threads(kis, kis_client):
    codes = [f"{number:06d}" for number in range(20)]
    kis.daily = {code: [BAR] for code in codes}
    kis.faults.extend([Reply(kis_error("EGW00201", "초당 거래건수를 초과하였습니다."), 500)] * 5)
    client = kis_client()
    results = dict(collect(lambda code: client.daily_bars(code, DAY, DAY), codes))
    assert all(len(batch.records) == 1 for batch in results.values())
