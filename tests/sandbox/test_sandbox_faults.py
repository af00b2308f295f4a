"""Faults a test orders, and the limits of an order."""

import json

import pytest

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
