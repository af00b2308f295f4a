"""Tokens, limits and errors of KIS: read from the body whatever the HTTP status, never with a secret in a message."""

import logging
import threading
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from local_servers import APP_KEY, APP_SECRET, Reply, kis_error

from azak_assets.ports import ATTEMPTS, Token
from azak_assets.sources.failures import ContractChanged, RateLimited, SourceFailure, Unauthorized, Unavailable

KST = ZoneInfo("Asia/Seoul")
DAY = date(2022, 1, 3)
BAR = {
    "stck_bsop_date": "20220103", "stck_clpr": "100", "stck_oprc": "100", "stck_hgpr": "100", "stck_lwpr": "100",
    "acml_vol": "1", "acml_tr_pbmn": "100",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_bar(kis):
    kis.daily["005930"] = [BAR]


def ask(client):
    return client.daily_bars("005930", DAY, DAY)


def test_one_token_serves_every_call_and_every_client(kis, kis_client):
    ask(kis_client())
    ask(kis_client())
    assert len(kis.tokens) == 1
    issue = next(request for request in kis.server.requests if request.method == "POST")
    assert issue.path == "/oauth2/tokenP"
    assert "authorization" not in issue.headers
    assert issue.headers["content-type"] == "application/json"


@pytest.mark.parametrize("status", [500, 200])
@pytest.mark.parametrize("code", ["EGW00201", "EGW00215"])
def test_too_many_calls_are_waited_out_by_at_least_a_second(kis, kis_client, clock, code, status):
    kis.faults.extend([Reply(kis_error(code, "초당 거래건수를 초과하였습니다."), status)] * 2)
    batch = ask(kis_client())
    assert (len(batch.records), batch.requests) == (1, 1)
    assert len(clock.slept) == 2
    assert all(1 <= seconds <= 10 for seconds in clock.slept)
    assert len(set(clock.slept)) == 2, "without jitter eight threads would come back in the same second"


def test_a_limit_that_stays_is_rate_limited_after_a_bounded_number_of_calls(kis, kis_client):
    kis.faults.extend([Reply(kis_error("EGW00201", "초당"), 500)] * 50)
    with pytest.raises(RateLimited, match="EGW00201") as caught:
        ask(kis_client())
    assert caught.value.action == "wait"
    assert len(kis.quotes) == ATTEMPTS


@pytest.mark.parametrize("status", [500, 200])
@pytest.mark.parametrize("code", ["EGW00123", "EGW00121", "EGW00122"])
def test_a_refused_token_is_replaced_once_and_the_call_repeated(kis, kis_client, clock, code, status):
    kis.faults.append(Reply(kis_error(code, "token"), status))
    assert len(ask(kis_client()).records) == 1
    assert len(kis.tokens) == 2
    assert clock.slept == []


def test_a_token_that_expires_mid_run_is_replaced_once_for_eight_threads(kis, kis_client):
    client = kis_client()
    ask(client)
    kis.expired.add(kis.tokens[0])
    batches = []
    threads = [threading.Thread(target=lambda: batches.append(ask(client))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(batch.records) for batch in batches] == [1] * 8
    assert len(kis.tokens) == 2


def test_a_token_refused_again_stops(kis, kis_client):
    kis.faults.extend([Reply(kis_error("EGW00123", "기간이 만료된 token 입니다."), 500)] * 2)
    with pytest.raises(Unauthorized, match="issued just now") as caught:
        ask(kis_client())
    assert caught.value.action == "stop"
    assert len(kis.tokens) == 2


def test_the_token_throttle_is_waited_out(kis, kis_client, clock):
    said = "접근토큰 발급 잠시 후 다시 시도하세요(1분당 1회)"
    kis.token_faults.append(Reply({"error_code": "EGW00133", "error_description": said}, 403))
    assert len(ask(kis_client()).records) == 1
    (pause,) = clock.slept
    assert 60 <= pause <= 70


@pytest.mark.parametrize("code", ["EGW00103", "EGW00105"])
def test_refused_keys_stop_at_once_and_say_which_settings(kis, kis_client, code):
    kis.token_faults.append(Reply({"error_code": code, "error_description": "유효하지 않은 AppKey입니다."}, 403))
    with pytest.raises(Unauthorized, match=f"{code}.*KIS_APP_KEY") as caught:
        ask(kis_client())
    assert caught.value.action == "stop"
    assert len(kis.server.requests) == 1


def test_a_token_of_other_keys_is_never_sent(kis, kis_client):
    ask(kis_client())
    with pytest.raises(Unauthorized):
        ask(kis_client(app_key="invalid-other-key"))


def test_no_message_holds_a_key_or_a_token_even_when_the_server_echoes_them(kis, kis_client, tokens):
    wrong = "invalid-key-that-the-server-repeats"
    with pytest.raises(Unauthorized) as caught:
        ask(kis_client(app_key=wrong))
    assert wrong not in str(caught.value)
    client = kis_client()
    tokens.put(Token("token-known-to-nobody", datetime.now(KST) + timedelta(hours=1)), client)
    echo = f"ERROR {APP_KEY} {APP_SECRET} token-known-to-nobody"
    kis.faults.append(Reply(kis_error("OPSQ2001", echo)))
    with pytest.raises(ContractChanged, match=r"OPSQ2001.*ERROR \*\*\* \*\*\* \*\*\*") as caught:
        ask(client)
    for secret in (APP_KEY, APP_SECRET, "token-known-to-nobody"):
        assert secret not in str(caught.value)
    for token in ("token-known-to-nobody", "token-1-never-in-a-message"):
        kis.faults.append(Reply(kis_error("EGW00121", f"{APP_KEY} {token}"), 500))
    with pytest.raises(Unauthorized, match="issued just now is refused: EGW00121") as caught:
        ask(client)
    assert "never" not in str(caught.value)
    assert "never" not in repr(Token("token-never-shown", datetime.now(KST)))


def test_a_refusal_that_echoes_the_keys_is_logged_without_them(kis, kis_client, caplog):
    kis.faults.append(Reply(kis_error("EGW00201", f"초당 {APP_KEY} {APP_SECRET} token-1-never-in-a-message"), 500))
    with caplog.at_level(logging.DEBUG):
        assert len(ask(kis_client()).records) == 1
    assert "EGW00201 (HTTP 500): 초당 *** *** ***; attempt 1" in caplog.text
    assert "never-in-a-message" not in caplog.text


@pytest.mark.parametrize("field", ["app_key", "app_secret"])
@pytest.mark.parametrize("written", ["열쇠를여기에", "KEY\nof two lines", "KEY-with-\u200bnothing"])
def test_a_key_that_is_none_stops_with_advice_before_any_call(kis, kis_client, field, written):
    with pytest.raises(Unauthorized, match="kis: a credential holds characters that no key has") as caught:
        ask(kis_client(**{field: written}))
    assert "environment" in str(caught.value)
    assert written not in str(caught.value)
    assert kis.server.requests == []


@pytest.mark.parametrize("code", ["EGW00002", "EGW00202", "EGW00203", "EGW00300", "EGW00301", "EGW00302", "EGW09999"])
def test_trouble_at_the_gateway_is_tried_again(kis, kis_client, code):
    kis.faults.append(Reply(kis_error(code, "gateway"), 500))
    assert len(ask(kis_client()).records) == 1


@pytest.mark.parametrize(
    ("reply", "failure", "message"),
    [
        (Reply(kis_error("OPSQ2001", "ERROR : INPUT FIELD NOT FOUND"), 200), ContractChanged, "OPSQ2001"),
        (Reply(kis_error("OPSQ0002", "없는 서비스 코드 입니다"), 500), ContractChanged, "OPSQ0002"),
        (Reply(kis_error("EGW00213", "모의투자 TR 이 아닙니다."), 500), Unauthorized, "needs a live account"),
        (Reply(kis_error("EGW00206", "권한"), 500), Unauthorized, "EGW00206"),
        (Reply({"rt_cd": "0", "msg_cd": "MCA00000", "output1": {}}), ContractChanged, "output2 is NoneType"),
        (Reply([1, 2]), ContractChanged, "a JSON list came, not an object"),
        (Reply(b"<html><body>Service check</body></html>"), ContractChanged, "a page came instead of JSON: <html>"),
        (Reply(b"<html>moved</html>", 302, {"location": "/elsewhere"}), ContractChanged, "HTTP 302"),
        (Reply(b"Not Found", 404), ContractChanged, "HTTP 404: Not Found"),
    ],
)
def test_what_repeating_cannot_heal_is_raised_at_once(kis, kis_client, reply, failure, message):
    kis.faults.append(reply)
    with pytest.raises(failure, match=message) as caught:
        ask(kis_client())
    assert len(kis.quotes) == 1
    assert "FID_INPUT_ISCD=005930" in str(caught.value) or caught.value.url is None


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(b"", 200), "HTTP 200 with an empty body"),
        (Reply(b'{"rt_cd":"0","output2":[{"stck_bsop_da', 200), "broken JSON"),
        (Reply(b"Bad Gateway", 502), "HTTP 502: Bad Gateway"),
        (Reply(b"", 503), "HTTP 503: an empty body"),
    ],
)
def test_accidents_are_tried_again_and_then_unavailable(kis, kis_client, reply, message):
    kis.faults.append(reply)
    client = kis_client()
    assert len(ask(client).records) == 1
    kis.faults.extend([reply] * ATTEMPTS)
    with pytest.raises(Unavailable, match=message) as caught:
        ask(client)
    assert caught.value.action == "retry"


def test_cp949_bytes_are_read_as_korean(kis, kis_client):
    body = '{"rt_cd":"1","msg_cd":"OPSQ2001","msg1":"잘못된 입력값"}'.encode("cp949")
    kis.faults.append(Reply(body))
    with pytest.raises(ContractChanged, match="잘못된 입력값"):
        ask(kis_client())


@pytest.mark.parametrize(
    "body",
    [
        {"token_type": "Bearer", "expires_in": 86400},
        {"access_token": "", "expires_in": 86400},
        {"access_token": "토큰", "expires_in": 86400},
        {"access_token": "two\nlines", "expires_in": 86400},
        {"access_token": "t", "expires_in": "하루"},
    ],
)
def test_a_token_answer_without_its_parts_is_a_changed_contract(kis, kis_client, body):
    kis.token_faults.append(Reply(body))
    with pytest.raises(ContractChanged, match="token answer"):
        ask(kis_client())


def test_a_token_answer_may_state_its_life_in_seconds_only(kis, kis_client, tokens):
    kis.token_faults.append(Reply({"access_token": "short", "token_type": "Bearer", "expires_in": 3600}))
    kis.tokens.append("short")
    now = datetime.now(KST)
    client = kis_client(now=lambda: now)
    ask(client)
    assert tokens.get_or_issue(client._gateway.token_name, lambda: pytest.fail("kept")).expires_at == now + timedelta(
        hours=1
    )


def test_a_server_that_is_not_there_is_unavailable(kis_client, kis):
    with pytest.raises(Unavailable, match="ConnectError") as caught:
        ask(kis_client(base_url="http://127.0.0.1:9"))
    assert isinstance(caught.value, SourceFailure)
