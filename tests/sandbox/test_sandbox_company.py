"""The broker's services about companies, and the exchange's Open API: their wire formats over the seeded world."""

from datetime import date
from itertools import pairwise

import pytest

from azak_assets import krx
from azak_assets.sandbox.worlds.market import DELISTED_AFTER, SPLIT, SPLIT_ON

KRX = "/krx/svc/apis/sto/"


def ratios(broker, code, division="0"):
    answer = broker.http.get(
        "/kis/uapi/domestic-stock/v1/finance/financial-ratio",
        headers={"authorization": f"Bearer {broker.token}", "tr_id": "FHKST66430300", "custtype": "P", **broker.keys},
        params={"FID_DIV_CLS_CODE": division, "fid_cond_mrkt_div_code": "J", "fid_input_iscd": code},
    )
    assert answer.json()["rt_cd"] == "0", answer.text
    return answer.json()["output"]


def ledger(broker, code, service="search-stock-info", tr_id="CTPF1002R"):
    return broker.get(service, tr_id, PRDT_TYPE_CD="300", PDNO=code)


@pytest.fixture
def named(broker, seeded, clock):
    broker.issue()
    return {issue.code: issue for issue in seeded.issues(clock.now)}


def test_ratios_are_texts_newest_first_and_reported_by_now(broker, named):
    code = next(iter(named))
    annual, quarterly = ratios(broker, code, "0"), ratios(broker, code, "1")
    assert [row["stac_yymm"] for row in annual[:2]] == ["202512", "202412"]
    assert [row["stac_yymm"] for row in quarterly[:5]] == ["202609", "202606", "202603", "202512", "202509"]
    assert set(annual[0]) == {
        "stac_yymm", "grs", "bsop_prfi_inrt", "ntin_inrt", "roe_val", "eps", "sps", "bps", "rsrv_rate", "lblt_rate",
    }  # fmt: skip
    assert all(isinstance(value, str) for row in quarterly for value in row.values())
    assert annual[0] == next(row for row in quarterly if row["stac_yymm"] == "202512"), "the fourth quarter is the year"
    assert len(quarterly) <= 30


def test_a_quarter_appears_when_its_report_is_due(broker, named, clock):
    code = next(iter(named))
    clock.now = clock.now.replace(day=13)
    broker.issue()
    assert ratios(broker, code, "1")[0]["stac_yymm"] == "202606"


def test_growth_and_returns_follow_from_the_numbers_beside_them(broker, named):
    for code in list(named)[:30]:
        rows = ratios(broker, code, "0")
        for newer, older in pairwise(rows):
            growth = 100 * (float(newer["sps"]) / float(older["sps"]) - 1)
            assert float(newer["grs"]) == pytest.approx(growth, abs=0.02)
            assert float(newer["roe_val"]) == pytest.approx(100 * float(newer["eps"]) / float(newer["bps"]), abs=0.5)
            assert float(newer["bps"]) > 0


def test_a_split_restates_what_was_reported_before_it(start, seeded, clock, make_broker):
    (code,) = [issuer.code for issuer in seeded._market.issuers if issuer.split_on]
    clock.now = clock.now.replace(month=11, day=SPLIT_ON.day - 3)
    broker = make_broker(start(seeded, clock=clock))
    broker.issue()
    before = {row["stac_yymm"]: row for row in ratios(broker, code)}
    clock.now = clock.now.replace(day=SPLIT_ON.day)
    broker.issue()
    after = {row["stac_yymm"]: row for row in ratios(broker, code)}
    assert before.keys() == after.keys()
    for month, row in before.items():
        assert float(after[month]["bps"]) == pytest.approx(float(row["bps"]) / SPLIT, abs=0.01)
        assert after[month]["roe_val"] == row["roe_val"]


def test_shells_and_unknown_codes_have_an_empty_list(broker, named):
    shell = next(code for code, issue in named.items() if issue.is_spac)
    assert ratios(broker, shell) == []
    assert ratios(broker, "000001") == []


def test_the_ledgers_record_has_67_keys_and_its_own_padding(broker, named):
    code = next(iter(named))
    answer = ledger(broker, code)
    body = answer.json()
    assert body["msg_cd"] == "KIOK0530"
    assert len(body["msg1"]) == 80
    record = body["output"]
    assert len(record) == 67
    assert record["pdno"] == f"00000A{code}"
    assert record["prdt_abrv_name"].strip() == named[code].name
    assert record["prdt_abrv_name"] != named[code].name
    assert record["lstg_stqt"] == str(named[code].listed_shares)
    assert record["mket_id_cd"] in {"STK", "KSQ", "KNX"}
    assert all(isinstance(value, str) for value in record.values())


def test_an_issue_that_leaves_is_administrative_first_and_then_delisted(start, seeded, clock, make_broker):
    (code,) = [issuer.code for issuer in seeded._market.issuers if issuer.delisted_after]
    clock.now = clock.now.replace(day=DELISTED_AFTER.day - 1)
    broker = make_broker(start(seeded, clock=clock))
    record = ledger(broker, code).json()["output"]
    assert (record["admn_item_yn"], record["lstg_abol_dt"]) == ("Y", "")
    clock.now = clock.now.replace(day=DELISTED_AFTER.day + 2)
    broker.issue()
    record = ledger(broker, code).json()["output"]
    assert record["lstg_abol_dt"] == f"{krx.next_session(DELISTED_AFTER).day:%Y%m%d}"


def test_an_unknown_code_is_a_success_of_blanks(broker, named):
    for service, tr_id in (("search-stock-info", "CTPF1002R"), ("search-info", "CTPF1604R")):
        body = ledger(broker, "000001", service, tr_id).json()
        assert body["rt_cd"] == "0"
        assert set(body["output"].values()) == {""}


def test_the_second_service_names_the_class_of_what_has_no_industry(broker, named):
    trust = next(code for code, issue in named.items() if issue.group == "RT")
    assert ledger(broker, trust).json()["output"]["std_idst_clsf_cd_name"] == ""
    assert ledger(broker, trust, "search-info", "CTPF1604R").json()["output"]["prdt_clsf_name"] == "리츠"


@pytest.mark.parametrize(
    ("service", "tr_id"),
    [("search-stock-info", "CTPF1002R"), ("search-info", "CTPF1604R"), ("chk-holiday", "CTCA0903R")],
)
def test_a_paper_account_is_refused_what_only_live_ones_have(http, make_broker, service, tr_id):
    paper = make_broker(http, "paper-key")
    answer = ledger(paper, "990010", service, tr_id)
    assert (answer.status_code, answer.json()["msg_cd"]) == (500, "EGW00213")
    assert paper.daily("990010", "20261119", "20261119") == []


# --- the exchange -----------------------------------------------------------------------------------------------------


def exchange(http, service="stk_bydd_trd", day="20261119", key="a-key"):
    return http.get(KRX + service, params={"basDd": day}, headers={"AUTH_KEY": key})


def test_the_exchange_tells_the_same_bars_as_the_broker(http, broker, seeded, clock):
    told = {}
    for service, market in (("stk_bydd_trd", "KOSPI"), ("ksq_bydd_trd", "KOSDAQ"), ("knx_bydd_trd", "KONEX")):
        rows = exchange(http, service).json()["OutBlock_1"]
        assert {row["MKT_NM"] for row in rows} == {market}
        told |= {row["ISU_CD"]: row for row in rows}
    assert set(told) == {issue.code for issue in seeded.issues(clock.now)}
    for code in list(told)[::9]:
        (bar,) = broker.daily(code, "20261119", "20261119")
        pairs = {
            "TDD_OPNPRC": "stck_oprc", "TDD_HGPRC": "stck_hgpr", "TDD_LWPRC": "stck_lwpr", "TDD_CLSPRC": "stck_clpr",
            "ACC_TRDVOL": "acml_vol", "ACC_TRDVAL": "acml_tr_pbmn", "CMPPREVDD_PRC": "prdy_vrss",
        }  # fmt: skip
        assert {ours: told[code][ours] for ours in pairs} == {ours: bar[theirs] for ours, theirs in pairs.items()}


def test_a_session_is_told_from_eight_of_the_next_day(http, clock):
    assert exchange(http, day="20261120").json() == {"OutBlock_1": []}
    clock.now = clock.now.replace(day=21, hour=7, minute=59)
    assert exchange(http, day="20261120").json() == {"OutBlock_1": []}
    clock.now = clock.now.replace(hour=8, minute=0)
    assert exchange(http, day="20261120").json()["OutBlock_1"]


def test_an_issue_that_has_left_is_told_for_the_days_it_was_there(http, seeded):
    (gone,) = [issuer for issuer in seeded._market.issuers if issuer.delisted_after]
    service = {"KOSPI": "stk_bydd_trd", "KOSDAQ": "ksq_bydd_trd"}[gone.market]
    last, after = (f"{day:%Y%m%d}" for day in (DELISTED_AFTER, krx.next_session(DELISTED_AFTER).day))
    assert gone.code in {row["ISU_CD"] for row in exchange(http, service, last).json()["OutBlock_1"]}
    assert gone.code not in {row["ISU_CD"] for row in exchange(http, service, after).json()["OutBlock_1"]}


@pytest.mark.parametrize(
    ("request_", "status", "said"),
    [
        ({"key": "invalid-key"}, 401, "Unauthorized Key"),
        ({"key": ""}, 401, "Unauthorized Key"),
        ({"key": "partly-approved", "service": "knx_bydd_trd"}, 401, "Unauthorized API Call"),
        ({"service": "zzzz"}, 404, "API referenced by the path does not exist."),
        ({"day": "2026-11-19"}, 400, "Bad Request"),
    ],
)
def test_refusals_carry_their_code_twice(http, request_, status, said):
    answer = exchange(http, **request_)
    assert answer.status_code == status
    assert answer.json()["respCode"] == str(status)
    assert said in answer.json()["respMsg"]


def test_a_closed_day_is_an_empty_list(http):
    assert exchange(http, day="20261115").json() == {"OutBlock_1": []}


@pytest.mark.parametrize(("kind", "status"), [("500", 500), ("429", 429)])
def test_ordered_faults_are_in_the_form_of_the_exchange(http, kind, status):
    http.post("/sandbox/faults", json={"path": "/krx", "kind": kind, "times": 1}).raise_for_status()
    answer = exchange(http)
    assert (answer.status_code, answer.json()["respCode"]) == (status, kind)
    assert exchange(http).status_code == 200


def test_words_for_numbers_spoil_the_quantities_and_leave_the_names(http):
    http.post("/sandbox/faults", json={"path": "/krx", "kind": "words", "times": 1}).raise_for_status()
    row = exchange(http).json()["OutBlock_1"][0]
    assert row["BAS_DD"] == "20261119"
    assert krx.is_stock_code(row["ISU_CD"])
    assert not row["TDD_CLSPRC"].isascii()


def test_a_recorded_world_is_no_witness_of_itself(start, recorded):
    http = start(recorded)
    assert exchange(http, day="20220103").json() == {"OutBlock_1": []}
    feeds = http.get("/sandbox/world").json()["feeds"]
    assert not {"krx_daily_bars", "product_info", "financial_ratios"} & set(feeds)
    assert date.fromisoformat(http.get("/sandbox/world").json()["first_day"]) == date(2022, 1, 3)
