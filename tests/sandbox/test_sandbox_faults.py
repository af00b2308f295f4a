"""Faults a test orders, and the limits of an order."""

import io
import json
import zipfile

import httpx
import pytest

from azak_assets.sandbox.faults import KINDS, spoilt

KEYS = {"X-Naver-Client-Id": "an-id", "X-Naver-Client-Secret": "a-secret"}


def _order(http, path, kind, times=1):
    answer = http.post("/sandbox/faults", json={"path": path, "kind": kind, "times": times})
    assert answer.status_code == 200, answer.text


def _index(broker):
    return broker.get(
        "inquire-daily-indexchartprice", "FHKUP03500100", FID_COND_MRKT_DIV_CODE="U", FID_INPUT_ISCD="0001",
        FID_INPUT_DATE_1="20261101", FID_INPUT_DATE_2="20261120", FID_PERIOD_DIV_CODE="D",
    )  # fmt: skip


def test_an_order_is_used_up_and_touches_only_its_path(http, broker):
    broker.issue()
    _order(http, "/kis/uapi", "500", 2)
    assert http.get("/opendart/api/list.json?crtfc_key=k&bgn_de=20261119&end_de=20261119").json()["status"] == "000"
    answers = [_index(broker) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [500, 500, 200]
    assert answers[0].json()["msg_cd"] == "EGW00002"


@pytest.mark.parametrize(
    ("path", "kind", "status", "sign"),
    [
        ("/kis/uapi", "429", 500, "EGW00201"),
        ("/naver", "429", 429, '"010"'),
        ("/naver", "500", 500, '"SE99"'),
        ("/opendart/api/list.json", "429", 200, '"020"'),
        ("/opendart/api/corpCode.xml", "429", 200, "<status>020</status>"),
        ("/opendart", "500", 500, "<html"),
        ("/hankyung", "429", 429, "<html"),
    ],
)
def test_refusals_are_in_the_form_of_the_upstream(http, broker, path, kind, status, sign):
    _order(http, path, kind)
    full = {"/naver": "/naver/v1/search/news.json", "/hankyung": "/hankyung/feed/finance"}.get(path, path)
    answer = _index(broker) if path == "/kis/uapi" else http.get(full, headers=KEYS)
    assert (answer.status_code, sign in answer.text) == (status, True)


def test_empty_and_html_are_a_success_without_records(http, broker):
    broker.issue()
    _order(http, "/kis/uapi", "empty")
    empty = _index(broker)
    assert (empty.status_code, empty.content) == (200, b"")
    _order(http, "/kis/uapi", "html")
    page = _index(broker)
    assert page.status_code == 200
    assert page.text.startswith("<!DOCTYPE html>")


def test_truncated_cp949_and_words_spoil_the_true_answer(http, broker):
    true = _index(broker)
    _order(http, "/kis/uapi", "truncated")
    cut = _index(broker)
    assert cut.content == true.content[: len(true.content) // 2]
    _order(http, "/kis/uapi", "cp949")
    recoded = _index(broker)
    with pytest.raises(UnicodeDecodeError):
        recoded.content.decode()
    assert json.loads(recoded.content.decode("cp949")) == true.json()
    _order(http, "/kis/uapi", "words")
    words = _index(broker).json()
    assert words["rt_cd"] == "0"
    assert words["output2"][0]["stck_bsop_date"] == true.json()["output2"][0]["stck_bsop_date"]
    assert not any(character.isdigit() for character in words["output2"][0]["bstp_nmix_prpr"])


def _corp_codes(http):
    answer = http.get("/opendart/api/corpCode.xml?crtfc_key=k")
    assert answer.status_code == 200
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return archive.read("CORPCODE.xml")


def test_cp949_and_words_reach_into_archives_and_xml(http):
    true = _corp_codes(http)
    _order(http, "/opendart", "cp949")
    assert _corp_codes(http).decode("cp949") == true.decode()
    _order(http, "/opendart", "words")
    words = _corp_codes(http).decode()
    assert words == true.decode(), "codes and dates are names; the file holds no quantity"
    feed = http.get("/mk/rss/50200011/")
    _order(http, "/mk", "cp949")
    assert http.get("/mk/rss/50200011/").content.decode("cp949") == feed.text
    _order(http, "/mk", "words")
    assert http.get("/mk/rss/50200011/").text == feed.text
    master = http.get("/kis-master/kospi_code.mst.zip")
    for kind in ("cp949", "words"):
        _order(http, "/kis-master", kind)
        spoilt = http.get("/kis-master/kospi_code.mst.zip")
        assert spoilt.status_code == 200
        with zipfile.ZipFile(io.BytesIO(spoilt.content)) as one, zipfile.ZipFile(io.BytesIO(master.content)) as other:
            assert one.read("kospi_code.mst") == other.read("kospi_code.mst")


def test_words_in_xml_are_those_of_quantities():
    written = b"<r><status>000</status><sum>12.5</sum><date>20260102</date><name>A1</name><n>-3</n></r>"
    expected = "<r><status>000</status><sum>일이점오</sum><date>20260102</date><name>A1</name><n>-삼</n></r>"
    assert spoilt("words", written).decode() == expected


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"expired_token", "error_in_200", "lost"}])
@pytest.mark.parametrize("path", ["/opendart/api/corpCode.xml?crtfc_key=k", "/hankyung/feed/finance", "/nowhere"])
def test_no_fault_breaks_the_sandbox_itself(http, path, kind):
    _order(http, path.partition("?")[0], kind)
    answer = http.get(path)
    assert answer.status_code in ({int(kind)} if kind in {"500", "401", "403"} else {200, 404, 429})
    assert answer.text != "Internal Server Error"


def test_a_lost_answer_was_carried_out_and_ends_with_the_connection(http):
    _order(http, "/telegram", "lost")
    with pytest.raises(httpx.RemoteProtocolError):
        http.post("/telegram/bot1:a/sendMessage", json={"chat_id": 1, "text": "once"})
    assert [one["text"] for one in http.get("/sandbox/telegram").json()] == ["once"]


def test_an_error_may_come_inside_a_success(http, broker):
    broker.issue()
    _order(http, "/kis/uapi", "error_in_200")
    answer = _index(broker)
    assert (answer.status_code, answer.json()["rt_cd"], answer.json()["msg_cd"]) == (200, "1", "EGW00002")
    _order(http, "/opendart", "error_in_200", 2)
    assert http.get("/opendart/api/list.json?crtfc_key=k").json()["status"] == "900"
    assert "<status>900</status>" in http.get("/opendart/api/corpCode.xml?crtfc_key=k").text
    _order(http, "/openrouter", "error_in_200")
    question = {"model": "deepseek/deepseek-v3.2", "messages": [{"role": "user", "content": "?"}]}
    asked = [
        http.post("/openrouter/api/v1/chat/completions", json=question, headers={"authorization": "Bearer k"})
        for _ in range(2)
    ]
    assert [answer.status_code for answer in asked] == [200, 200]
    assert asked[0].json()["error"]["code"] == 502
    assert asked[0].json()["error"]["metadata"]["provider_name"] == "Sandbox"
    assert "choices" not in asked[0].json()
    assert asked[1].json()["choices"]


def test_an_error_inside_a_success_is_refused_for_who_knows_none(http):
    order = {"path": "/naver", "kind": "error_in_200"}
    refused = http.post("/sandbox/faults", json=order)
    assert refused.status_code == 400
    assert "openrouter" in refused.json()["error"]


def test_an_expired_token_stays_expired_and_may_be_replaced_at_once(http, broker):
    broker.issue()
    old = broker.token
    _order(http, "/kis", "expired_token")
    for _ in range(2):
        answer = _index(broker)
        assert (answer.status_code, answer.json()["msg_cd"]) == (500, "EGW00123")
    assert broker.issue().status_code == 200
    assert broker.token != old
    assert _index(broker).status_code == 200


@pytest.mark.parametrize("body", ["not json", "[]", '{"path": "/kis"}', '{"path": "/kis", "kind": "earthquake"}'])
def test_a_bad_order_is_refused(http, body):
    assert http.post("/sandbox/faults", content=body).status_code == 400
