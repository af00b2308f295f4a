"""Daily and index bars: one call a range, raw prices, halts, unfinished sessions, and rows that must not land."""

import csv
import gzip
from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest

from azak_assets import krx
from azak_assets.sources.collect import collect
from azak_assets.sources.failures import ContractChanged, Empty

KST = ZoneInfo("Asia/Seoul")
AFTERWARDS = datetime(2026, 3, 1, 12, 0, tzinfo=KST)
MONDAY, FRIDAY = date(2022, 1, 3), date(2022, 1, 7)


def daily_row(day, **changes):
    row = {
        "stck_bsop_date": f"{day:%Y%m%d}", "stck_clpr": "78600", "stck_oprc": "79400", "stck_hgpr": "79800",
        "stck_lwpr": "78200", "acml_vol": "13502112", "acml_tr_pbmn": "1066006837750", "flng_cls_code": "00",
        "prtt_rate": "0.00", "mod_yn": "N", "prdy_vrss_sign": "2", "prdy_vrss": "-700", "revl_issu_reas": "",
    }  # fmt: skip
    return {**row, **changes}


def index_row(day, **changes):
    row = {
        "stck_bsop_date": f"{day:%Y%m%d}", "bstp_nmix_prpr": "2610.81", "bstp_nmix_oprc": "2630.12",
        "bstp_nmix_hgpr": "2640.00", "bstp_nmix_lwpr": "2606.01", "acml_vol": "892653", "acml_tr_pbmn": "9289660",
        "mod_yn": "N",
    }  # fmt: skip
    return {**row, **changes}


@pytest.fixture
def client(kis_client):
    return kis_client(now=lambda: AFTERWARDS)


def days_of(start, end):
    return [session.day for session in krx.sessions(start, end)]


def test_a_bar_is_read_to_the_won_and_known_ten_minutes_after_the_close(kis, client):
    kis.daily["005930"] = [daily_row(MONDAY)]
    (bar,) = client.daily_bars("005930", MONDAY, MONDAY).records
    assert (bar.stock_code, bar.trade_date, bar.is_halted) == ("005930", MONDAY, False)
    assert (bar.open, bar.high, bar.low, bar.close) == (79400, 79800, 78200, 78600)
    assert (bar.volume, bar.turnover_krw) == (13_502_112, 1_066_006_837_750)
    assert bar.known_at == datetime(2022, 1, 3, 15, 40, tzinfo=KST)


def test_the_request_asks_for_raw_prices_with_every_header_the_broker_wants(kis, client):
    kis.daily["005930"] = [daily_row(MONDAY)]
    client.daily_bars("005930", MONDAY, MONDAY)
    (request,) = kis.quotes
    assert request.path == "/uapi/domestic-stock/v1/quotations/inquire-daily-itemchartprice"
    assert request.query == {
        "FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": "005930", "FID_INPUT_DATE_1": "20220103",
        "FID_INPUT_DATE_2": "20220103", "FID_PERIOD_DIV_CODE": "D", "FID_ORG_ADJ_PRC": "1",
    }  # fmt: skip
    assert request.headers["tr_id"] == "FHKST03010100"
    assert request.headers["custtype"] == "P"
    assert request.headers["content-type"] == "application/json; charset=utf-8"
    assert {"authorization", "appkey", "appsecret"} <= request.headers.keys()


def test_one_call_serves_a_hundred_sessions_and_bars_come_oldest_first(kis, client):
    days = days_of(date(2021, 1, 4), date(2022, 12, 29))[:100]
    kis.daily["005930"] = [daily_row(day) for day in days]
    batch = client.daily_bars("005930", days[0], days[-1])
    assert [bar.trade_date for bar in batch.records] == days
    assert batch.requests == len(kis.quotes) == 1


def test_longer_ranges_are_paged_backwards_without_gap_or_repeat(kis, client):
    days = days_of(date(2021, 1, 4), date(2022, 12, 29))[:370]
    kis.daily["005930"] = [daily_row(day) for day in days]
    batch = client.daily_bars("005930", days[0], days[-1])
    assert [bar.trade_date for bar in batch.records] == days
    assert batch.rejects == []
    assert batch.requests == 4


def paged(kis, days, **changes):
    """The bars of `days`, as pages of 100 or 50 rows; some rows changed, by their day."""
    kis.daily["005930"] = [daily_row(day) for day in days]
    kis.index["0001"] = [index_row(day) for day in days]
    between = kis._between
    kis._between = lambda rows, query: [
        {**row, **changes.get(f"d{row['stck_bsop_date']}", {})} for row in between(rows, query)
    ]


@pytest.mark.parametrize(
    "written", ["", "-", "0", "00000000", "20210000", "2021-05-06", "19000101", "20990101", "2022010"]
)
def test_one_bad_date_in_a_full_page_hides_no_older_session(kis, client, written):
    days = days_of(date(2021, 1, 4), date(2022, 12, 29))[:250]
    bad = days[170]
    paged(kis, days, **{f"d{bad:%Y%m%d}": {"stck_bsop_date": written}})
    for batch, calls in (
        (client.daily_bars("005930", days[0], days[-1]), 3),
        (client.index_bars("0001", days[0], days[-1]), 5),
    ):
        days_found = [bar.trade_date for bar in batch.records]
        assert days_found == [day for day in days if day != bad]
        assert (batch.requests, len(batch.rejects)) == (calls, 2), (
            "the row, and the session that it leaves without a bar"
        )
        assert batch.rejects[1].value == str(bad)


def test_a_row_without_a_date_in_a_full_page_hides_no_older_session_either(kis, client):
    days = days_of(date(2021, 1, 4), date(2022, 12, 29))[:250]
    paged(kis, days)
    between = kis._between
    kis._between = lambda rows, query: [
        {k: v for k, v in row.items() if k != "stck_bsop_date" or v != f"{days[170]:%Y%m%d}"}
        for row in between(rows, query)
    ]
    batch = client.daily_bars("005930", days[0], days[-1])
    assert [bar.trade_date for bar in batch.records] == [day for day in days if day != days[170]]
    assert [reject.value for reject in batch.rejects] == [str(days[170])]


def test_a_full_page_without_any_session_asked_is_a_changed_contract(kis, client):
    days = days_of(date(2021, 1, 4), date(2022, 12, 29))[:250]
    kis._daily = lambda query: {"rt_cd": "0", "output1": {}, "output2": [daily_row(day) for day in days[150:]]}
    with pytest.raises(ContractChanged, match=r"none of 100 rows is about a session of 2021-01-04 … 2021-08-06"):
        client.daily_bars("005930", days[0], days[149])
    assert len(kis.quotes) == 1


@pytest.mark.parametrize("padding", [{}, dict.fromkeys(daily_row(MONDAY), ""), {"stck_clpr": "0", "acml_vol": "0"}])
def test_rows_that_name_no_day_are_skipped(kis, client, padding):
    kis.daily["005930"] = [daily_row(MONDAY)]
    between = kis._between
    kis._between = lambda rows, query: [*between(rows, query), padding, padding]
    batch = client.daily_bars("005930", MONDAY, MONDAY)
    assert (len(batch.records), batch.rejects) == (1, [])


def test_an_unknown_code_answered_with_empty_texts_is_empty(kis, client):
    kis._between = lambda rows, query: [dict.fromkeys(daily_row(MONDAY), "")]
    with pytest.raises(Empty, match="no daily bar of 999999"):
        client.daily_bars("999999", MONDAY, FRIDAY)


def test_a_stock_listed_later_costs_no_further_call_and_is_no_failure(kis, client):
    days = days_of(date(2021, 1, 4), date(2022, 12, 29))[:370]
    kis.daily["005930"] = [daily_row(day) for day in days[-30:]] + [{}, {}]
    batch = client.daily_bars("005930", days[0], days[-1])
    assert [bar.trade_date for bar in batch.records] == days[-30:]
    assert (batch.rejects, batch.requests) == ([], 1)


def test_a_halted_session_keeps_its_carried_close_and_has_no_other_price(kis, client):
    halted = {"stck_oprc": "0", "stck_hgpr": "0", "stck_lwpr": "0", "acml_vol": "0", "acml_tr_pbmn": "0"}
    kis.daily["005930"] = [daily_row(MONDAY, **halted)]
    (bar,) = client.daily_bars("005930", MONDAY, MONDAY).records
    assert (bar.open, bar.high, bar.low, bar.close) == (None, None, None, 78600)
    assert (bar.volume, bar.turnover_krw, bar.is_halted) == (0, 0, True)


CARRIED = {"stck_oprc": "78600", "stck_hgpr": "78600", "stck_lwpr": "78600", "mod_yn": "Y"}


@pytest.mark.parametrize(
    "written",
    [
        {"stck_oprc": "0", "stck_hgpr": "0", "stck_lwpr": "0"},
        {"stck_oprc": "", "stck_hgpr": "", "stck_lwpr": ""},
        {"stck_oprc": "", "stck_hgpr": "0", "stck_lwpr": "0", "acml_tr_pbmn": ""},
        {"stck_oprc": "0", "stck_hgpr": "0", "stck_lwpr": "0", "mod_yn": "Y"},
        CARRIED,
    ],
)
def test_a_halt_may_be_written_in_several_ways(kis, client, written):
    kis.daily["005930"] = [daily_row(MONDAY, acml_vol="0", **{"acml_tr_pbmn": "0", **written})]
    batch = client.daily_bars("005930", MONDAY, MONDAY)
    (bar,) = batch.records
    assert (bar.open, bar.high, bar.low, bar.close) == (None, None, None, 78600)
    assert (bar.volume, bar.turnover_krw, bar.is_halted, batch.rejects) == (0, 0, True, [])


@pytest.mark.parametrize(
    ("written", "is_halted"),
    [
        ({**CARRIED, "acml_vol": "5"}, False),
        ({**CARRIED, "acml_vol": "0", "mod_yn": "N"}, False),
        ({**CARRIED, "acml_vol": "0", "stck_lwpr": "0"}, None),
        ({"stck_oprc": "0", "stck_hgpr": "0", "stck_lwpr": "0", "acml_vol": "5"}, None),
        ({"stck_oprc": "", "stck_hgpr": "", "stck_lwpr": "", "acml_vol": ""}, None),
    ],
)
def test_what_only_resembles_a_halt_is_none(kis, client, written, is_halted):
    kis.daily["005930"] = [daily_row(MONDAY, **written)]
    batch = client.daily_bars("005930", MONDAY, MONDAY)
    assert [bar.is_halted for bar in batch.records] == ([] if is_halted is None else [is_halted])
    assert len(batch.rejects) == (is_halted is None)


@pytest.mark.parametrize(
    ("now", "known"),
    [
        (datetime(2022, 1, 7, 8, 0, tzinfo=KST), 4),
        (datetime(2022, 1, 7, 13, 0, tzinfo=KST), 4),
        (datetime(2022, 1, 7, 15, 39, 59, tzinfo=KST), 4),
        (datetime(2022, 1, 7, 15, 40, tzinfo=KST), 5),
    ],
)
def test_todays_bar_is_left_out_until_ten_minutes_after_the_close(kis, kis_client, now, known):
    kis.daily["005930"] = [daily_row(day) for day in days_of(MONDAY, FRIDAY)]
    batch = kis_client(now=lambda: now).daily_bars("005930", MONDAY, FRIDAY)
    assert len(batch.records) == known
    assert batch.rejects == []


def test_an_exam_day_ends_at_half_past_four(kis, kis_client):
    exam = date(2024, 11, 14)
    kis.daily["005930"] = [daily_row(exam)]
    before = kis_client(now=lambda: datetime(2024, 11, 14, 16, 39, tzinfo=KST)).daily_bars("005930", exam, exam)
    assert (before.records, before.requests) == ([], 0)
    after = kis_client(now=lambda: datetime(2024, 11, 14, 16, 40, tzinfo=KST)).daily_bars("005930", exam, exam)
    assert after.records[0].known_at == datetime(2024, 11, 14, 16, 40, tzinfo=KST)


def test_a_server_that_sends_todays_bar_unasked_changes_nothing(kis, kis_client):
    kis.daily["005930"] = [daily_row(day) for day in days_of(MONDAY, FRIDAY)]
    kis._between = lambda rows, query: rows[::-1]
    now = datetime(2022, 1, 7, 13, 0, tzinfo=KST)
    batch = kis_client(now=lambda: now).daily_bars("005930", MONDAY, FRIDAY)
    assert [bar.trade_date for bar in batch.records] == days_of(MONDAY, date(2022, 1, 6))
    assert batch.rejects == []


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"stck_clpr": "칠만"}, "stck_clpr", "is not a whole number"),
        ({"stck_clpr": ""}, "stck_clpr", "is missing or empty"),
        ({"acml_vol": "-"}, "acml_vol", "is missing or empty"),
        ({"acml_vol": "-5"}, "acml_vol", "is outside"),
        ({"acml_vol": "99999999999999999999"}, "acml_vol", "is outside"),
        ({"acml_vol": "9" * 5000}, "acml_vol", "is outside"),
        ({"acml_vol": 13502112.0}, "acml_vol", "is a JSON float, not a whole number"),
        ({"acml_vol": True}, "acml_vol", "is a JSON bool, not a whole number"),
        ({"acml_vol": "１３５"}, "acml_vol", "is not a whole number"),
        ({"acml_vol": "1_350"}, "acml_vol", "is not a whole number"),
        ({"stck_oprc": "79,400"}, "stck_oprc", "is not a whole number"),
        ({"stck_oprc": "0"}, "stck_hgpr", "contradict"),
        ({"stck_hgpr": "78000"}, "stck_hgpr", "contradict"),
        ({"stck_clpr": "0"}, "stck_clpr", "is outside 1"),
        ({"stck_bsop_date": "2022-01-05"}, "stck_bsop_date", "YYYYMMDD"),
        ({"stck_bsop_date": "20220109"}, "stck_bsop_date", "outside the days asked"),
        ({"acml_tr_pbmn": None}, "acml_tr_pbmn", "is missing or empty"),
    ],
)
def test_a_bad_row_is_refused_by_name_and_the_good_ones_land(kis, client, changes, field, reason):
    days = days_of(MONDAY, FRIDAY)
    bad = days[2]
    kis.daily["005930"] = [daily_row(day, **(changes if day == bad else {})) for day in days]
    kis._between = lambda rows, query: rows[::-1]
    batch = client.daily_bars("005930", MONDAY, FRIDAY)
    assert [bar.trade_date for bar in batch.records] == [day for day in days if day != bad]
    first, gap = batch.rejects
    assert (first.field, reason in first.reason) == (field, True)
    assert '"stck_bsop_date"' in first.record
    assert (gap.value, gap.field) == (str(bad), "stck_bsop_date")


def test_a_row_on_a_closed_day_inside_the_range_is_refused(kis, client):
    saturday = date(2022, 1, 8)
    kis.daily["005930"] = [daily_row(FRIDAY), daily_row(saturday), daily_row(date(2022, 1, 10))]
    batch = client.daily_bars("005930", FRIDAY, date(2022, 1, 10))
    assert [bar.trade_date for bar in batch.records] == [FRIDAY, date(2022, 1, 10)]
    assert [(r.value, r.reason) for r in batch.rejects] == [("2022-01-08", "is a day on which the market was closed")]


def test_a_lost_session_between_two_others_is_named(kis, client):
    days = days_of(MONDAY, FRIDAY)
    kis.daily["005930"] = [daily_row(day) for day in days if day != days[1]]
    batch = client.daily_bars("005930", MONDAY, FRIDAY)
    assert [(r.record, r.value) for r in batch.rejects] == [("005930", "2022-01-04")]


def test_of_two_different_bars_for_one_day_neither_is_sure(kis, client):
    kis.daily["005930"] = [daily_row(MONDAY), daily_row(MONDAY), daily_row(MONDAY, acml_vol="1")]
    batch = client.daily_bars("005930", MONDAY, MONDAY)
    assert batch.records == []
    told = [(r.value, r.reason) for r in batch.rejects]
    assert told == [("2022-01-03", "has two conflicting rows: both are rejected")] * 2


def test_an_answer_without_any_bar_is_empty_and_says_for_what(client):
    with pytest.raises(Empty, match=r"no daily bar of 999999 in the 5 session\(s\) from 2022-01-03 to 2022-01-07") as e:
        client.daily_bars("999999", MONDAY, FRIDAY)
    assert e.value.action == "alert"


def test_a_future_range_makes_no_call(kis, client):
    batch = client.daily_bars("005930", date(2026, 3, 3), date(2026, 3, 6))
    assert (batch.records, batch.requests, kis.quotes) == ([], 0, [])


def test_a_reversed_range_is_refused(client):
    with pytest.raises(ValueError, match="2022-01-07, is after the last, 2022-01-03"):
        client.daily_bars("005930", FRIDAY, MONDAY)


def test_an_answer_about_another_stock_is_not_believed(kis, client):
    kis.daily["005930"] = [daily_row(MONDAY)]
    kis._daily = lambda query: {"rt_cd": "0", "output1": {"stck_shrn_iscd": "000660"}, "output2": [daily_row(MONDAY)]}
    with pytest.raises(ContractChanged, match="asked for 005930, the answer is about 000660"):
        client.daily_bars("005930", MONDAY, MONDAY)


def test_equal_payloads_have_equal_hashes_and_others_do_not(kis, client):
    kis.daily["005930"] = [daily_row(MONDAY)]
    first, again = (client.daily_bars("005930", MONDAY, MONDAY).payload_sha256 for _ in range(2))
    kis.daily["005930"] = [daily_row(MONDAY, acml_vol="13502113")]
    assert first == again != client.daily_bars("005930", MONDAY, MONDAY).payload_sha256
    assert len(first) == 64


def test_index_volume_becomes_shares_and_turnover_krw(kis, client):
    kis.index["0001"] = [index_row(date(2022, 5, 9))]
    (bar,) = client.index_bars("0001", date(2022, 5, 9), date(2022, 5, 9)).records
    assert (bar.index_code, bar.open, bar.high, bar.low, bar.close) == ("0001", 2630.12, 2640.0, 2606.01, 2610.81)
    assert (bar.volume, bar.turnover_krw) == (892_653_000, 9_289_660_000_000)
    assert bar.known_at == datetime(2022, 5, 9, 15, 40, tzinfo=KST)


def test_an_index_is_paged_by_fifty(kis, client):
    days = days_of(date(2022, 1, 3), date(2022, 12, 29))[:120]
    kis.index["1001"] = [index_row(day) for day in days]
    batch = client.index_bars("1001", days[0], days[-1])
    assert [bar.trade_date for bar in batch.records] == days
    assert batch.requests == 3


def test_an_index_must_have_every_session(kis, client):
    kis.index["0001"] = [index_row(day) for day in days_of(MONDAY, FRIDAY)[:-1]]
    batch = client.index_bars("0001", MONDAY, FRIDAY)
    assert len(batch.records) == 4
    assert [(r.record, r.value) for r in batch.rejects] == [("0001", "2022-01-07")]


@pytest.mark.parametrize(
    "value", ["", "-", "nan", "inf", "0", "이천", "-2610.81", "2_610.81", "２６１０.81", "2.6e3", "2,610.81", 2610.81]
)
def test_an_unusable_index_value_is_refused(kis, client, value):
    kis.index["0001"] = [index_row(MONDAY), index_row(date(2022, 1, 4), bstp_nmix_prpr=value)]
    batch = client.index_bars("0001", MONDAY, date(2022, 1, 4))
    assert [bar.trade_date for bar in batch.records] == [MONDAY]
    assert batch.rejects[0].field == "bstp_nmix_prpr"


def test_recorded_bars_of_a_month_arrive_to_the_won(recorded_data, kis, client):
    """Every halted issue, and every tenth of the others, of January 2022."""
    with gzip.open(recorded_data / "2022-01" / "daily_bars.csv.gz", "rt", encoding="utf-8") as file:
        recorded = list(csv.DictReader(file))
    halted = {row["stock_code"] for row in recorded if row["volume"] == "0"}
    codes = sorted(halted | set(sorted({row["stock_code"] for row in recorded})[::10]))
    chosen = [row for row in recorded if row["stock_code"] in codes]
    for row in chosen:
        kis.daily.setdefault(row["stock_code"], []).append({
            "stck_bsop_date": row["trade_date"].replace("-", ""), "stck_oprc": row["open"], "stck_hgpr": row["high"],
            "stck_lwpr": row["low"], "stck_clpr": row["close"], "acml_vol": row["volume"],
            "acml_tr_pbmn": row["turnover_krw"],
        })  # fmt: skip
    answers = dict(collect(lambda code: client.daily_bars(code, MONDAY, date(2022, 1, 28)), codes))
    bars = [bar for batch in answers.values() for bar in batch.records]
    assert [reject for batch in answers.values() for reject in batch.rejects] == []
    assert {batch.requests for batch in answers.values()} == {1}
    assert len(bars) == len(chosen)
    assert sum(bar.volume for bar in bars) == sum(int(row["volume"]) for row in chosen)
    assert sum(bar.turnover_krw for bar in bars) == sum(int(row["turnover_krw"]) for row in chosen)
    assert sum(bar.is_halted for bar in bars) == sum(row["volume"] == "0" for row in chosen) > 100
    assert all((bar.open is None) == bar.is_halted and bar.close > 0 for bar in bars)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # one into five: KIS writes two decimals, the base price is the close less its change
        ({"prtt_rate": "0.20", "prdy_vrss": "600", "revl_issu_reas": "06"}, (78_000, 0.2, "split or merger of shares")),
        ({"prtt_rate": "0.97", "prdy_vrss": "-700", "flng_cls_code": "01"}, (79_300, 0.97, "ex rights")),
        ({"prtt_rate": "5.00", "prdy_vrss": "0", "revl_issu_reas": "77"}, (78_600, 5.0, None)),
        ({"prtt_rate": "0.00", "revl_issu_reas": "06"}, (None, None, None)),
        ({"prtt_rate": "", "flng_cls_code": "02"}, (None, None, None)),
    ],
)
def test_a_base_price_that_is_not_the_last_close_comes_with_its_ratio_and_reason(kis, client, changes, expected):
    kis.daily["005930"] = [daily_row(MONDAY, **changes)]
    batch = client.daily_bars("005930", MONDAY, MONDAY)
    (bar,) = batch.records
    assert (bar.base_price, bar.base_ratio, bar.base_reason) == expected
    assert batch.rejects == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"prtt_rate": "half"}, "prtt_rate"),
        ({"prtt_rate": ["0.5"]}, "prtt_rate"),
        ({"prtt_rate": "0.50", "prdy_vrss": ""}, "prdy_vrss"),
        ({"prtt_rate": "0.50", "prdy_vrss": "78600"}, "prdy_vrss"),
    ],
)
def test_a_base_price_that_cannot_be_read_costs_no_bar_and_is_named(kis, client, changes, field):
    kis.daily["005930"] = [daily_row(MONDAY, **changes)]
    batch = client.daily_bars("005930", MONDAY, MONDAY)
    (bar,) = batch.records
    assert (bar.close, bar.base_price) == (78_600, None)
    assert [one.field for one in batch.rejects] == [field]
