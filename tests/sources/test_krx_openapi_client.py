"""The exchange's Open API: a market and session in one call, its quirks, and each refusal with what to do."""

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest
from local_servers import LocalServer, Reply

from azak_assets import krx
from azak_assets.sources.failures import (
    ContractChanged,
    Empty,
    NotForThisAccount,
    RateLimited,
    Unauthorized,
    Unavailable,
)
from azak_assets.sources.krx_openapi import KrxOpenApiClient

KST = ZoneInfo("Asia/Seoul")
DAY = date(2026, 11, 19)
KEY = "KEY-0123456789-never-in-a-message"


def row(code="005930", **changes):
    told = {
        "BAS_DD": "20261119", "ISU_CD": code, "ISU_NM": "삼성전자", "MKT_NM": "KOSPI", "SECT_TP_NM": "",
        "TDD_CLSPRC": "285500", "CMPPREVDD_PRC": "9000", "FLUC_RT": "3.25", "TDD_OPNPRC": "277000",
        "TDD_HGPRC": "286000", "TDD_LWPRC": "276500", "ACC_TRDVOL": "20911554", "ACC_TRDVAL": "5926486634990",
        "MKTCAP": "1669112537184000", "LIST_SHRS": "5846278608",
    }  # fmt: skip
    return {**told, **changes}


@pytest.fixture
def answers():
    """What the server says next, else `rows`."""
    return []


@pytest.fixture
def rows():
    return [row()]


@pytest.fixture
def server(serve, answers, rows) -> LocalServer:
    return serve(lambda request: answers.pop(0) if answers else Reply({"OutBlock_1": rows}))


@pytest.fixture
def now():
    return [datetime(2026, 11, 20, 9, 0, tzinfo=KST)]


@pytest.fixture
def client(server, channel, clock, now):
    client = KrxOpenApiClient(
        server.url + "/svc/apis", key=KEY, channel=channel, per_second=1000, now=lambda: now[0], sleep=clock.sleep
    )
    yield client
    client.close()


@pytest.mark.parametrize(
    ("market", "service"), [("KOSPI", "stk_bydd_trd"), ("KOSDAQ", "ksq_bydd_trd"), ("KONEX", "knx_bydd_trd")]
)
def test_a_market_of_a_session_is_one_call_with_the_key_in_its_header(server, client, market, service):
    batch = client.daily_bars(market, DAY)
    (request,) = server.requests
    assert (request.method, request.path) == ("GET", f"/svc/apis/sto/{service}")
    assert request.query == {"basDd": "20261119"}
    assert request.headers["auth_key"] == KEY
    (bar,) = batch.records
    assert (bar.stock_code, bar.market, bar.trade_date, bar.name) == ("005930", market, DAY, "삼성전자")
    assert (bar.open, bar.high, bar.low, bar.close) == (277_000, 286_000, 276_500, 285_500)
    assert (bar.volume, bar.turnover_krw, bar.listed_shares) == (20_911_554, 5_926_486_634_990, 5_846_278_608)
    assert bar.known_at == datetime(2026, 11, 20, 8, 0, tzinfo=KST)
    assert (batch.requests, batch.rejects) == (1, [])


def test_separators_are_read_and_letters_in_codes_kept(rows, client):
    rows[:] = [row("0126Z0", TDD_CLSPRC="285,500", ACC_TRDVOL="20,911,554")]
    (bar,) = client.daily_bars("KOSPI", DAY).records
    assert (bar.stock_code, bar.close, bar.volume) == ("0126Z0", 285_500, 20_911_554)


@pytest.mark.parametrize("nothing", ["0", "", "-", "0 "])
def test_an_issue_that_did_not_trade_has_its_carried_close_alone(rows, client, nothing):
    without = dict.fromkeys(["TDD_OPNPRC", "TDD_HGPRC", "TDD_LWPRC"], nothing)
    rows[:] = [row("900100", **without, ACC_TRDVOL="0", ACC_TRDVAL="0", TDD_CLSPRC="717")]
    (bar,) = client.daily_bars("KOSDAQ", DAY).records
    assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (None, None, None, 717, 0)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"BAS_DD": "20261118"}, "BAS_DD"),
        ({"ISU_CD": "KR7005930003"}, "ISU_CD"),
        ({"ISU_CD": 5930}, "ISU_CD"),
        ({"TDD_CLSPRC": "0"}, "TDD_CLSPRC"),
        ({"TDD_CLSPRC": ""}, "TDD_CLSPRC"),
        ({"TDD_HGPRC": "276000"}, "TDD_HGPRC"),
        ({"TDD_OPNPRC": "0"}, "TDD_OPNPRC"),
        ({"ACC_TRDVOL": "-5"}, "ACC_TRDVOL"),
        ({"ACC_TRDVAL": "오조"}, "ACC_TRDVAL"),
        ({"ISU_NM": None}, "ISU_NM"),
    ],
)
def test_a_bad_row_is_refused_and_named_and_the_others_land(rows, client, changes, field):
    rows[:] = [row(**changes), row("000660")]
    batch = client.daily_bars("KOSPI", DAY)
    assert [bar.stock_code for bar in batch.records] == ["000660"]
    assert [reject.field for reject in batch.rejects] == [field]


def test_of_two_different_rows_about_an_issue_neither_is_sure(rows, client):
    rows[:] = [row(), row(), row(TDD_CLSPRC="285000"), row(ISU_CD="000660")]
    batch = client.daily_bars("KOSPI", DAY)
    assert [bar.stock_code for bar in batch.records] == ["000660"]
    assert [(reject.field, reject.value) for reject in batch.rejects] == [("ISU_CD", "005930")] * 2


def test_rows_of_which_none_can_be_read_are_a_changed_contract(rows, client):
    rows[:] = [row(ISU_CD="KR7005930003"), row(ISU_CD="KR7000660001")]
    with pytest.raises(ContractChanged, match="none of 2 rows can be read; of the first, ISU_CD"):
        client.daily_bars("KOSPI", DAY)


def test_an_empty_answer_is_early_before_the_next_session_and_a_failure_after(rows, client, now):
    rows.clear()
    now[0] = datetime(2026, 11, 20, 7, 59, tzinfo=KST)
    assert client.daily_bars("KOSPI", DAY).records == []
    now[0] = datetime(2026, 11, 20, 8, 0, tzinfo=KST)
    with pytest.raises(Empty, match=r"no issue of KOSPI on 2026-11-19.*check the calendar"):
        client.daily_bars("KOSPI", DAY)


def test_a_closed_day_is_not_asked_for(server, client):
    with pytest.raises(krx.NotASession):
        client.daily_bars("KOSPI", date(2026, 11, 21))
    assert server.requests == []


def test_a_wrong_key_says_what_to_do_and_never_the_key(server, answers, client):
    answers.append(Reply({"respMsg": f"Unauthorized Key {KEY}", "respCode": "401"}, 401))
    with pytest.raises(Unauthorized) as refused:
        client.daily_bars("KOSPI", DAY)
    assert refused.value.action == "stop"
    assert "KRX_OPENAPI_KEY" in str(refused.value)
    assert KEY not in str(refused.value)
    assert not isinstance(refused.value, NotForThisAccount)
    assert len(server.requests) == 1, "asking again cannot help"


def test_a_service_that_the_key_was_not_approved_for_names_it(server, answers, client):
    answers.append(Reply({"respMsg": "Unauthorized API Call", "respCode": "401"}, 401))
    with pytest.raises(NotForThisAccount, match=r"apply for the service knx_bydd_trd \(KONEX\)") as refused:
        client.daily_bars("KONEX", DAY)
    assert refused.value.action == "alert", "the other markets may answer"


@pytest.mark.parametrize(
    ("reply", "kind", "calls"),
    [
        (Reply({"respMsg": "API referenced by the path does not exist.", "respCode": "404"}, 404), ContractChanged, 1),
        (Reply({"OutBlock_2": []}), ContractChanged, 1),
        (Reply({"OutBlock_1": {}}), ContractChanged, 1),
        (Reply(b"<html>login</html>"), ContractChanged, 1),
        (Reply({"respMsg": "Too Many Requests", "respCode": "429"}, 429), RateLimited, 6),
        (Reply({"respMsg": "x", "respCode": "500"}, 500), Unavailable, 6),
        (Reply({"respMsg": "x", "respCode": "500"}, 200), Unavailable, 6),
        (Reply(b""), Unavailable, 6),
    ],
)
def test_every_other_refusal_has_a_name(server, answers, client, reply, kind, calls):
    answers.extend([reply] * 6)
    with pytest.raises(kind):
        client.daily_bars("KOSPI", DAY)
    assert len(server.requests) == calls


def test_a_passing_trouble_is_asked_again(answers, client):
    answers.extend([Reply(b"", 503), Reply(b'{"OutBlock_1": [')])
    assert len(client.daily_bars("KOSPI", DAY).records) == 1
