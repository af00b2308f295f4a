"""Investor flows, after-hours prices and breadth: one call each, no range, what is not known yet is no zero."""

from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_servers import Reply, kis_error

from azak_assets import krx
from azak_assets.sources.failures import ContractChanged, Empty, NotForThisAccount
from azak_assets.sources.fields import parse_rows
from azak_assets.sources.kis import flows

THURSDAY, FRIDAY = date(2026, 9, 10), date(2026, 9, 11)
EVENING = datetime(2026, 9, 11, 18, 30, tzinfo=krx.KST)
FLOWS, OVERTIME, TABLE = "FHKST01010900", "FHPST02320000", "FHPUP02120000"


def flow(day: date, **changes: Any) -> dict[str, Any]:
    """The row of the official sample (000660, 2022-01-13) on another day."""
    row = {
        "stck_bsop_date": f"{day:%Y%m%d}", "stck_clpr": "129500", "prdy_vrss": "1500", "prdy_vrss_sign": "2",
        "prsn_ntby_qty": "-287624", "frgn_ntby_qty": "159345", "orgn_ntby_qty": "134460",
        "prsn_ntby_tr_pbmn": "-37176", "frgn_ntby_tr_pbmn": "20594", "orgn_ntby_tr_pbmn": "17379",
        "prsn_shnu_vol": "467525", "frgn_shnu_vol": "1591171", "orgn_shnu_vol": "650114",
        "prsn_shnu_tr_pbmn": "60418", "frgn_shnu_tr_pbmn": "205691", "orgn_shnu_tr_pbmn": "84035",
        "prsn_seln_vol": "755149", "frgn_seln_vol": "1431826", "orgn_seln_vol": "515654",
        "prsn_seln_tr_pbmn": "97594", "frgn_seln_tr_pbmn": "185097", "orgn_seln_tr_pbmn": "66656",
    }  # fmt: skip
    return {**row, **changes}


BLANK = {name: "" for name in flow(FRIDAY) if name[:5] in {"prsn_", "frgn_", "orgn_"}}


def overtime(day: date, **changes: Any) -> dict[str, Any]:
    row = {
        "stck_bsop_date": f"{day:%Y%m%d}", "ovtm_untp_prpr": "2930", "ovtm_untp_prdy_vrss": "25",
        "ovtm_untp_prdy_vrss_sign": "2", "ovtm_untp_prdy_ctrt": "0.86", "ovtm_untp_vol": "1200", "stck_clpr": "2905",
        "prdy_vrss": "-5", "prdy_vrss_sign": "5", "prdy_ctrt": "-0.17", "acml_vol": "993311",
        "ovtm_untp_tr_pbmn": "3510000",
    }  # fmt: skip
    return {**row, **changes}


def level(day: date, **changes: Any) -> dict[str, Any]:
    row = {
        "stck_bsop_date": f"{day:%Y%m%d}", "bstp_nmix_prpr": "2807.63", "prdy_vrss_sign": "2",
        "bstp_nmix_prdy_vrss": "10.30", "acml_vol": "758166", "acml_tr_pbmn": "13576970",
    }  # fmt: skip
    return {**row, **changes}


HEAD = {
    "bstp_nmix_prpr": "2807.63", "bstp_nmix_prdy_vrss": "10.30", "ascn_issu_cnt": "412", "down_issu_cnt": "467",
    "stnr_issu_cnt": "61", "uplm_issu_cnt": "2", "lslm_issu_cnt": "0",
}  # fmt: skip


@pytest.fixture
def client(kis_client):
    return kis_client(now=lambda: EVENING)


# --- investor flows -------------------------------------------------------------------------------------------------


def test_flows_are_asked_without_days_and_read_in_shares_and_single_won(kis, client):
    kis.newest[FLOWS] = {"output": [flow(FRIDAY), flow(THURSDAY)]}
    batch = client.investor_flows("000660")
    (request,) = kis.quotes
    assert request.query == {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": "000660"}
    assert request.path.endswith("/inquire-investor")
    assert [one.trade_date for one in batch.records] == [THURSDAY, FRIDAY]
    newest = batch.records[-1]
    assert (newest.retail_net_shares, newest.retail_bought_shares, newest.retail_sold_shares) == (
        -287_624,
        467_525,
        755_149,
    )
    assert newest.retail_net_krw == -37_176_000_000
    assert (newest.foreign_bought_krw, newest.institution_sold_krw) == (205_691_000_000, 66_656_000_000)
    assert newest.known_at == datetime(2026, 9, 11, 16, 0, tzinfo=krx.KST)
    # Other corporations are missing: 6,181 shares of the sample.
    assert newest.retail_net_shares + newest.foreign_net_shares + newest.institution_net_shares == 6_181
    assert batch.rejects == []


@pytest.mark.parametrize(
    ("now", "newest"),
    [
        ("2026-09-11 15:59", THURSDAY),
        ("2026-09-11 16:00", FRIDAY),
        ("2026-11-19 16:59", date(2026, 11, 18)),  # the exam day closes an hour later
        ("2026-11-19 17:00", date(2026, 11, 19)),
    ],
)
def test_a_session_counts_half_an_hour_after_its_close(kis, kis_client, now, newest):
    at = datetime.fromisoformat(now).replace(tzinfo=krx.KST)
    days = [at.date(), krx.previous_session(at.date()).day]
    kis.newest[FLOWS] = {"output": [flow(day) for day in days]}
    batch = kis_client(now=lambda: at).investor_flows("000660")
    assert batch.records[-1].trade_date == newest
    assert batch.rejects == []


def test_empty_cells_of_today_are_no_zero_and_no_mistake(kis, client):
    kis.newest[FLOWS] = {"output": [flow(FRIDAY, **BLANK), flow(THURSDAY)]}
    batch = client.investor_flows("000660")
    assert [one.trade_date for one in batch.records] == [THURSDAY]
    assert batch.rejects == []


def test_empty_cells_of_a_past_session_are_refused(kis, client):
    kis.newest[FLOWS] = {"output": [flow(FRIDAY), flow(THURSDAY, **BLANK)]}
    batch = client.investor_flows("000660")
    assert [one.trade_date for one in batch.records] == [FRIDAY]
    assert [(r.field, r.reason) for r in batch.rejects] == [("prsn_ntby_qty", "is missing or empty")]


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"frgn_ntby_qty": ["159345"]}, "frgn_ntby_qty", "JSON list"),
        ({"orgn_seln_tr_pbmn": 66656.5}, "orgn_seln_tr_pbmn", "JSON float"),
        ({"prsn_shnu_tr_pbmn": None}, "prsn_shnu_tr_pbmn", "missing or empty"),
        ({"prsn_shnu_tr_pbmn": "육만"}, "prsn_shnu_tr_pbmn", "not a whole number"),
        ({"frgn_shnu_vol": "-1591171"}, "frgn_shnu_vol", "outside 0"),
        ({"frgn_seln_vol": "1431827"}, "frgn_ntby_qty", "bought minus what was sold"),
        ({"orgn_ntby_qty": "-134460"}, "orgn_ntby_qty", "bought minus what was sold"),
        ({"prsn_ntby_tr_pbmn": "-9223372036854775807"}, "prsn_ntby_tr_pbmn", "outside what a column holds"),
        ({"stck_bsop_date": "20260912"}, "stck_bsop_date", "no day from"),
        ({"stck_bsop_date": "20260906"}, "stck_bsop_date", "a day on which the market was closed"),
        ({"stck_bsop_date": ""}, "stck_bsop_date", "missing or empty"),
    ],
)
def test_a_bad_field_names_itself_and_the_other_sessions_land(kis, client, changes, field, reason):
    kis.newest[FLOWS] = {"output": [flow(FRIDAY), flow(THURSDAY, **changes)]}
    batch = client.investor_flows("000660")
    assert [one.trade_date for one in batch.records] == [FRIDAY]
    (reject,) = batch.rejects
    assert reject.field == field
    assert reason in reject.reason


def test_a_missing_field_is_refused_and_an_unknown_one_breaks_nothing(kis, client):
    without = {name: text for name, text in flow(THURSDAY).items() if name != "frgn_shnu_vol"}
    kis.newest[FLOWS] = {"output": [flow(FRIDAY, etc_corp_ntby_vol="1"), without]}
    batch = client.investor_flows("000660")
    assert [one.trade_date for one in batch.records] == [FRIDAY]
    assert [reject.field for reject in batch.rejects] == ["frgn_shnu_vol"]


def test_padded_texts_and_empty_rows_are_read_as_what_they_are(kis, client):
    padded = {name: f" {text}  " for name, text in flow(FRIDAY).items()}
    kis.newest[FLOWS] = {"output": [padded, {}, dict.fromkeys(padded, "")]}
    batch = client.investor_flows("000660")
    assert batch.records[0].foreign_net_shares == 159_345
    assert batch.rejects == []


def test_an_unknown_code_is_empty_and_another_shape_a_changed_contract(kis, client):
    kis.newest[FLOWS] = {"output": []}
    with pytest.raises(Empty, match="no investor flows of 000000"):
        client.investor_flows("000000")
    kis.newest[FLOWS] = {"output": {"stck_bsop_date": "20260911"}}
    with pytest.raises(ContractChanged, match="output is dict"):
        client.investor_flows("000660")


def test_of_two_different_rows_about_one_session_neither_is_sure(kis, client):
    kis.newest[FLOWS] = {"output": [flow(FRIDAY), flow(FRIDAY, prsn_ntby_tr_pbmn="-1"), flow(FRIDAY)]}
    batch = client.investor_flows("000660")
    assert batch.records == []
    assert [reject.reason for reject in batch.rejects] == ["has two conflicting rows: both are rejected"] * 2


TEXTS = st.one_of(st.text(max_size=12), st.integers(), st.floats(), st.none(), st.lists(st.text(), max_size=1))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(flow(FRIDAY))), TEXTS)
def test_whatever_a_field_holds_is_a_record_or_an_explained_reject(field, value):
    row = flow(THURSDAY, **{field: value})
    records, rejects = parse_rows([row], lambda row: flows.investor_flow(row, "000660", EVENING))
    assert len(records) + len(rejects) == 1
    assert all(reject.reason and reject.field for reject in rejects)
    for record in records:
        for name in flows.INVESTORS:
            bought, sold = getattr(record, f"{name}_bought_shares"), getattr(record, f"{name}_sold_shares")
            assert bought - sold == getattr(record, f"{name}_net_shares")
            assert abs(getattr(record, f"{name}_net_krw")) < 2**63


# --- after hours ----------------------------------------------------------------------------------------------------


def test_after_hours_volume_is_that_of_the_after_hours(kis, client):
    kis.newest[OVERTIME] = {"output1": {}, "output2": [overtime(FRIDAY), overtime(THURSDAY)]}
    batch = client.overtime_bars("005380")
    (request,) = kis.quotes
    assert request.query == {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": "005380"}
    newest = batch.records[-1]
    assert (newest.close, newest.volume, newest.turnover_krw, newest.regular_close) == (2930, 1200, 3_510_000, 2905)
    assert newest.known_at == datetime(2026, 9, 11, 18, 0, tzinfo=krx.KST)
    assert batch.rejects == []


def test_a_stock_that_nobody_traded_after_hours_has_no_price(kis, client):
    quiet = overtime(FRIDAY, ovtm_untp_vol="0", ovtm_untp_prpr="0", ovtm_untp_tr_pbmn="")
    kis.newest[OVERTIME] = {"output1": {}, "output2": [quiet]}
    (bar,) = client.overtime_bars("005380").records
    assert (bar.close, bar.volume, bar.turnover_krw) == (None, 0, 0)


def test_before_six_the_session_is_not_over(kis, kis_client):
    kis.newest[OVERTIME] = {"output1": {}, "output2": [overtime(FRIDAY), overtime(THURSDAY)]}
    batch = kis_client(now=lambda: EVENING.replace(hour=17, minute=59)).overtime_bars("005380")
    assert [bar.trade_date for bar in batch.records] == [THURSDAY]


def test_an_exam_days_after_hours_end_at_six_too(kis, kis_client):
    exam, at = date(2025, 11, 13), datetime(2025, 11, 13, 18, 0, tzinfo=krx.KST)
    kis.newest[OVERTIME] = {"output1": {}, "output2": [overtime(exam)]}
    (bar,) = kis_client(now=lambda: at).overtime_bars("005380").records
    assert bar.known_at == at


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"ovtm_untp_prpr": "3196"}, "ovtm_untp_prpr"),  # 10.02 % above the close
        ({"ovtm_untp_prpr": "2614"}, "ovtm_untp_prpr"),
        ({"ovtm_untp_prpr": "0"}, "ovtm_untp_prpr"),
        ({"ovtm_untp_vol": ""}, "ovtm_untp_vol"),
        ({"ovtm_untp_vol": True}, "ovtm_untp_vol"),
        ({"stck_clpr": "0"}, "stck_clpr"),
        ({"ovtm_untp_tr_pbmn": "-1"}, "ovtm_untp_tr_pbmn"),
    ],
)
def test_a_price_beyond_ten_percent_or_a_bad_field_is_refused(kis, client, changes, field):
    kis.newest[OVERTIME] = {"output1": {}, "output2": [overtime(FRIDAY), overtime(THURSDAY, **changes)]}
    batch = client.overtime_bars("005380")
    assert [bar.trade_date for bar in batch.records] == [FRIDAY]
    assert [reject.field for reject in batch.rejects] == [field]


def test_no_rows_are_right_since_the_session_is_gone_and_empty_before(kis, kis_client):
    kis.newest[OVERTIME] = {"output1": {}, "output2": []}
    batch = kis_client(now=lambda: datetime(2026, 9, 14, 18, 5, tzinfo=krx.KST)).overtime_bars("005380")
    assert (batch.records, batch.rejects, batch.requests) == ([], [], 1)
    with pytest.raises(Empty, match="no after-hours price of 005380"):
        kis_client(now=lambda: EVENING).overtime_bars("005380")


def test_rows_of_days_without_the_session_are_zeros_or_refused(kis, kis_client):
    monday = date(2026, 9, 14)
    later = kis_client(now=lambda: datetime(2026, 9, 14, 18, 5, tzinfo=krx.KST))
    kis.newest[OVERTIME] = {"output1": {}, "output2": [overtime(monday, ovtm_untp_vol="0"), overtime(FRIDAY)]}
    batch = later.overtime_bars("005380")
    assert [bar.trade_date for bar in batch.records] == [FRIDAY]
    assert batch.rejects == []
    kis.newest[OVERTIME]["output2"][0] = overtime(monday)
    assert [r.reason for r in later.overtime_bars("005380").rejects] == [
        "there were no single prices after hours since 2026-09-11"
    ]


# --- breadth --------------------------------------------------------------------------------------------------------


def test_breadth_belongs_to_the_day_that_has_its_level_and_change(kis, client):
    older = level(THURSDAY, bstp_nmix_prdy_vrss="-3.10")  # the same level, with another change
    kis.newest[TABLE] = {"output1": HEAD, "output2": [level(FRIDAY), older]}
    batch = client.index_breadth("0001")
    (request,) = kis.quotes
    assert request.query == {
        "FID_COND_MRKT_DIV_CODE": "U", "FID_INPUT_ISCD": "0001", "FID_INPUT_DATE_1": "20260911",
        "FID_PERIOD_DIV_CODE": "D",
    }  # fmt: skip
    (one,) = batch.records
    assert one.trade_date == FRIDAY
    assert (one.advancers, one.decliners, one.unchanged, one.upper_limit, one.lower_limit) == (412, 467, 61, 2, 0)
    assert one.known_at == datetime(2026, 9, 11, 15, 40, tzinfo=krx.KST)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([level(FRIDAY, bstp_nmix_prpr="2807.64")], "none of the 1 days"),
        ([level(FRIDAY), level(THURSDAY)], "more than one of the 2 days"),
    ],
)
def test_breadth_that_no_day_proves_is_refused(kis, client, rows, told):
    kis.newest[TABLE] = {"output1": HEAD, "output2": rows}
    batch = client.index_breadth("0001")
    assert batch.records == []
    assert told in batch.rejects[0].reason


def test_breadth_of_a_running_session_is_left_out(kis, kis_client):
    kis.newest[TABLE] = {"output1": HEAD, "output2": [level(FRIDAY)]}
    batch = kis_client(now=lambda: EVENING.replace(hour=14)).index_breadth("0001")
    assert (batch.records, batch.rejects) == ([], [])


@pytest.mark.parametrize("changes", [{"ascn_issu_cnt": ""}, {"uplm_issu_cnt": "two"}, {"down_issu_cnt": ["1"]}])
def test_a_bad_count_names_itself(kis, client, changes):
    kis.newest[TABLE] = {"output1": {**HEAD, **changes}, "output2": [level(FRIDAY)]}
    batch = client.index_breadth("0001")
    assert batch.records == []
    assert [reject.field for reject in batch.rejects] == list(changes)


def test_an_unknown_index_is_empty_and_a_paper_account_has_no_such_service(kis, client):
    kis.newest[TABLE] = {"output1": {}, "output2": []}
    with pytest.raises(Empty, match="no day of index 9999"):
        client.index_breadth("9999")
    kis.faults.append(Reply(kis_error("EGW00213", "모의투자 TR 이 아닙니다."), 500))
    with pytest.raises(NotForThisAccount):
        client.index_breadth("0001")


def test_an_index_bar_whose_thousands_no_column_holds_is_refused(kis, client):
    row = {**level(FRIDAY), "acml_vol": "9223372036854775807"}
    kis.index["0001"] = [
        row | dict.fromkeys(("bstp_nmix_oprc", "bstp_nmix_hgpr", "bstp_nmix_lwpr", "bstp_nmix_prpr"), "1")
    ]
    batch = client.index_bars("0001", FRIDAY, FRIDAY)
    assert batch.records == []
    assert batch.rejects[0].field == "acml_vol"


def test_an_index_bar_whose_prices_contradict_each_other_is_refused(kis, client):
    prices = {"bstp_nmix_oprc": "1", "bstp_nmix_hgpr": "3", "bstp_nmix_lwpr": "1", "bstp_nmix_prpr": "4"}
    kis.index["0001"] = [{**level(FRIDAY), "acml_vol": "1", **prices}]
    batch = client.index_bars("0001", FRIDAY, FRIDAY)
    assert batch.records == []
    assert batch.rejects[0].reason == "open, high, low and close contradict each other"
