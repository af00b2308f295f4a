"""Financial ratios and the ledger's product information: signed and blank numbers, padded names, odd codes and days."""

from datetime import date

import pytest
from local_servers import Reply, kis_error

from azak_assets.sources.failures import ContractChanged, Empty, NotForThisAccount

CODE = "005930"


def ratio(month, **changes):
    """The official sample: Samsung, 2023-12."""
    row = {
        "stac_yymm": month, "grs": "-14.33", "bsop_prfi_inrt": "-84.86", "ntin_inrt": "-72.17", "roe_val": "4.14",
        "eps": "2131.00", "sps": "38120.00", "bps": "52002.00", "rsrv_rate": "39114.28", "lblt_rate": "25.36",
    }  # fmt: skip
    return {**row, **changes}


def stock(code=CODE, **changes):
    row = {
        "pdno": f"00000A{code}", "prdt_type_cd": "300", "mket_id_cd": "STK", "scty_grp_id_cd": "ST",
        "setl_mmdd": "1231", "lstg_stqt": "5969782550", "papr": "100.000", "kospi200_item_yn": "Y",
        "scts_mket_lstg_dt": "19750611", "scts_mket_lstg_abol_dt": "", "kosdaq_mket_lstg_dt": "00000000",
        "kosdaq_mket_lstg_abol_dt": " " * 8, "lstg_abol_dt": "", "prdt_name": "삼성전자보통주",
        "prdt_abrv_name": "삼성전자" + " " * 52, "prdt_eng_name": "SamsungElectronics", "std_pdno": "KR7005930003",
        "tr_stop_yn": "N", "admn_item_yn": "N", "std_idst_clsf_cd": "032604",
        "std_idst_clsf_cd_name": "통신 및 방송 장비 제조업", "idx_bztp_lcls_cd_name": "시가총액규모대",
        "idx_bztp_mcls_cd_name": "전기,전자", "idx_bztp_scls_cd_name": "전기,전자", "cptt_trad_tr_psbl_yn": "Y",
        "nxt_tr_stop_yn": "", "thdt_clpr": "239500",
    }  # fmt: skip
    return {**row, **changes}


@pytest.fixture
def client(kis, kis_client):
    kis.ratios[CODE, "0"] = [ratio("202312"), ratio("202212", grs="8.09", eps="-8057.00")]
    kis.ratios[CODE, "1"] = [ratio("202403", bps="53081.00")]
    kis.ledger["CTPF1002R", CODE] = stock()
    return kis_client()


def test_both_kinds_of_periods_come_in_two_calls_with_their_signs(kis, client):
    batch = client.financial_ratios(CODE)
    assert [(one.period, one.period_end) for one in batch.records] == [
        ("annual", date(2023, 12, 31)), ("annual", date(2022, 12, 31)), ("quarterly", date(2024, 3, 31)),
    ]  # fmt: skip
    first, second, _ = batch.records
    assert (first.revenue_growth_pct, first.roe_pct, first.eps_krw, first.bps_krw) == (-14.33, 4.14, 2131.0, 52002.0)
    assert (first.debt_ratio_pct, first.retained_ratio_pct) == (25.36, 39114.28)
    assert (second.revenue_growth_pct, second.eps_krw) == (8.09, -8057.0)
    assert (batch.requests, batch.rejects) == (2, [])
    assert {request.path for request in kis.quotes} == {"/uapi/domestic-stock/v1/finance/financial-ratio"}
    assert [request.query["FID_DIV_CLS_CODE"] for request in kis.quotes] == ["0", "1"]


def test_a_blank_number_is_none_and_never_zero_and_padding_is_no_row(kis, client):
    kis.ratios[CODE, "0"] = [ratio("202312", bsop_prfi_inrt="", ntin_inrt="0.00"), {}, ratio("", eps="")]
    annual = client.financial_ratios(CODE).records[0]
    assert (annual.operating_profit_growth_pct, annual.net_income_growth_pct) == (None, 0.0)
    assert client.financial_ratios(CODE).rejects == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"stac_yymm": "202313"}, "stac_yymm"),
        ({"stac_yymm": "2023"}, "stac_yymm"),
        ({"eps": "2,131"}, "eps"),
        ({"eps": "이천"}, "eps"),
        ({"roe_val": 4.14}, "roe_val"),
        ({"bps": "1e9"}, "bps"),
    ],
)
def test_a_bad_period_is_refused_and_named_and_the_others_land(kis, client, changes, field):
    kis.ratios[CODE, "0"][0] = {**ratio("202312"), **changes}
    batch = client.financial_ratios(CODE)
    assert [one.period_end for one in batch.records] == [date(2022, 12, 31), date(2024, 3, 31)]
    (reject,) = batch.rejects
    assert reject.field == field


def test_a_period_told_twice_counts_once_and_two_that_differ_are_named(kis, client):
    kis.ratios[CODE, "0"] = [ratio("202312"), ratio("202312"), ratio("202312", eps="1.00")]
    batch = client.financial_ratios(CODE)
    assert [one.period for one in batch.records] == ["quarterly"]
    assert [(reject.field, reject.value) for reject in batch.rejects] == [("stac_yymm", "annual 202312")] * 2


def test_a_company_without_any_period_is_empty(client):
    with pytest.raises(Empty, match="no financial ratio of 000001"):
        client.financial_ratios("000001")


def test_the_ledgers_record_is_read_in_one_call(kis, client):
    batch = client.product_info(CODE)
    (one,) = batch.records
    assert (one.stock_code, one.isin, one.name, one.market) == (CODE, "KR7005930003", "삼성전자", "KOSPI")
    assert (one.par_value, one.listed_shares, one.fiscal_year_end) == (100.0, 5_969_782_550, "1231")
    assert (one.kospi_listed_on, one.kosdaq_listed_on, one.kosdaq_delisted_on, one.delisted_on) == (
        date(1975, 6, 11), None, None, None,
    )  # fmt: skip
    assert (one.industry_medium, one.industry, one.product_class) == ("전기,전자", "통신 및 방송 장비 제조업", None)
    assert (one.is_kospi200, one.is_trading_halted, one.is_administrative_issue) == (True, False, False)
    assert (one.is_nxt_tradable, one.is_nxt_halted) == (True, None), "a blank flag says neither"
    assert (batch.requests, batch.rejects) == (1, [])
    assert kis.quotes[0].path == "/uapi/domestic-stock/v1/quotations/search-stock-info"


def test_the_second_service_is_asked_only_where_the_first_names_no_industry(kis, client):
    blank = dict.fromkeys(
        ["std_idst_clsf_cd_name", "idx_bztp_lcls_cd_name", "idx_bztp_mcls_cd_name", "idx_bztp_scls_cd_name"], ""
    )
    kis.ledger["CTPF1002R", "0126Z0"] = stock("0126Z0", **blank)
    kis.ledger["CTPF1604R", "0126Z0"] = {"pdno": "00000A0126Z0", "prdt_clsf_name": "리츠 "}
    batch = client.product_info("0126Z0")
    (one,) = batch.records
    assert (one.stock_code, one.product_class, one.industry) == ("0126Z0", "리츠", None)
    assert batch.requests == 2
    assert [request.headers["tr_id"] for request in kis.quotes] == ["CTPF1002R", "CTPF1604R"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"mket_id_cd": "ZZZ"}, "mket_id_cd"),
        ({"mket_id_cd": ""}, "mket_id_cd"),
        ({"tr_stop_yn": "?"}, "tr_stop_yn"),
        ({"scts_mket_lstg_dt": "19750631"}, "scts_mket_lstg_dt"),
        ({"setl_mmdd": "1331"}, "setl_mmdd"),
        ({"lstg_stqt": "-1"}, "lstg_stqt"),
        ({"prdt_abrv_name": "  "}, "prdt_abrv_name"),
    ],
)
def test_a_field_that_cannot_be_read_refuses_the_issue_by_name(kis, client, changes, field):
    kis.ledger["CTPF1002R", CODE] = stock(**changes)
    batch = client.product_info(CODE)
    assert batch.records == []
    assert [reject.field for reject in batch.rejects] == [field]


def test_an_unknown_code_is_empty_and_another_issue_a_changed_contract(kis, client):
    with pytest.raises(Empty, match="the ledger has no 000001"):
        client.product_info("000001")
    kis.ledger["CTPF1002R", CODE] = stock("000660")
    with pytest.raises(ContractChanged, match="asked for 005930, the answer is about '00000A000660'"):
        client.product_info(CODE)
    kis.ledger["CTPF1002R", CODE] = [stock()]
    with pytest.raises(ContractChanged, match="output is list, not one record"):
        client.product_info(CODE)


def test_an_unknown_field_breaks_nothing(kis, client):
    kis.ledger["CTPF1002R", CODE] = stock(brand_new_field="1")
    kis.ratios[CODE, "0"] = [ratio("202312", brand_new_field="1")]
    assert client.product_info(CODE).rejects == []
    assert client.financial_ratios(CODE).rejects == []


@pytest.mark.parametrize("ask", ["financial_ratios", "product_info"])
def test_a_paper_account_is_told_that_it_has_no_such_service(kis, client, ask):
    kis.faults.append(Reply(kis_error("EGW00213", "모의투자 TR 이 아닙니다."), 500))
    with pytest.raises(NotForThisAccount, match="needs a live account"):
        getattr(client, ask)(CODE)
