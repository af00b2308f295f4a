"""The shared transport: every wait is bounded, hints are honoured within the bound, and secrets stay inside."""

import io
import json
import logging
import time
import zipfile
from urllib.parse import quote, quote_plus

import pytest
from local_servers import Reply, channel_of

from azak_assets.ports import ATTEMPTS
from azak_assets.sources import answer, transport
from azak_assets.sources.answer import decode, payload_hash
from azak_assets.sources.failures import (
    Blocked,
    ContractChanged,
    NotConfigured,
    RateLimited,
    Unauthorized,
    Unavailable,
    without_secrets,
)
from azak_assets.sources.transport import Transport
from azak_assets.warehouse.calls.playback import Unlimited


@pytest.fixture
def make(channel, clock):
    made = []

    def build(url, **changes):
        made.append(
            Transport("upstream", url, **{"channel": channel, "per_second": 1000, "sleep": clock.sleep, **changes})
        )
        return made[-1]

    yield build
    for one in made:
        one.close()


def read(answer):
    answer.raise_for_status()
    return answer.text


def test_the_path_is_appended_to_the_whole_prefix(serve, make):
    server = serve(lambda request: Reply(request.path.encode()))
    assert make(server.url + "/kis/").ask(read, "/oauth2/tokenP") == "/kis/oauth2/tokenP"
    assert make(server.url).ask(read, "/list.json") == "/list.json"


def test_every_attempt_takes_a_slot_of_the_limiter(serve, make, limiter):
    server = serve(lambda request: Reply(b"no", 503))
    with pytest.raises(Unavailable):
        make(server.url).ask(read, "/")
    assert limiter.calls == {"upstream": ATTEMPTS} == {"upstream": len(server.requests)}


def test_retries_back_off_and_add_up_to_less_than_a_minute(serve, make, clock):
    server = serve(lambda request: Reply(b"no", 503))
    with pytest.raises(Unavailable):
        make(server.url).ask(read, "/")
    assert len(clock.slept) == ATTEMPTS - 1
    assert clock.slept[-1] > clock.slept[0]
    assert sum(clock.slept) < 60


@pytest.mark.parametrize("status", [429, 503])
def test_a_hint_how_long_to_wait_is_honoured(serve, make, clock, status):
    replies = [Reply(b"slow down", status, {"retry-after": "7"}), Reply(b"fine")]
    server = serve(lambda request: replies.pop(0))
    assert make(server.url).ask(read, "/") == "fine"
    assert 7 <= clock.slept[0] <= 9


def test_a_hint_beyond_our_patience_is_not_waited_for(serve, make, clock):
    server = serve(lambda request: Reply(b"tomorrow", 429, {"retry-after": "3600"}))
    with pytest.raises(RateLimited) as caught:
        make(server.url).ask(read, "/")
    assert caught.value.retry_after == 3600
    assert clock.slept == []


def test_an_answer_that_drips_is_cut_off(serve, make, monkeypatch):
    monkeypatch.setattr(transport, "ANSWER_TIMEOUT_S", 0.3)
    server = serve(lambda request: Reply(b"x" * 100, drip=0.05))
    with pytest.raises(Unavailable, match="the answer took longer than"):
        make(server.url, channel=channel_of(Unlimited(), attempts=1)).ask(read, "/")


def test_a_server_that_says_nothing_is_cut_off(serve, make, monkeypatch):
    monkeypatch.setattr(transport, "READ_TIMEOUT_S", 0.2)
    server = serve(lambda request: time.sleep(1) or Reply(b"late"))
    with pytest.raises(Unavailable, match="ReadTimeout"):
        make(server.url, channel=channel_of(Unlimited(), attempts=1)).ask(read, "/")


def test_an_answer_without_end_is_cut_off(serve, make, monkeypatch):
    monkeypatch.setattr(transport, "ANSWER_BYTES", 1000)
    server = serve(lambda request: Reply(b"x" * 100_000))
    with pytest.raises(ContractChanged, match="more than 1000 bytes"):
        make(server.url).ask(read, "/")


@pytest.mark.parametrize("body", [b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000])
def test_json_too_deep_to_be_read_is_broken_json(serve, make, body):
    server = serve(lambda request: Reply(body))
    with pytest.raises(Unavailable, match="broken JSON"):
        make(server.url, channel=channel_of(Unlimited(), attempts=1)).ask(lambda answer: answer.json_object(), "/")


def test_an_answer_that_breaks_off_is_tried_again(serve, make):
    replies = [Reply(b"half", headers={"content-length": "400", "connection": "close"}), Reply(b"whole")]
    server = serve(lambda request: replies.pop(0))
    assert make(server.url).ask(read, "/") == "whole"


@pytest.mark.parametrize(
    ("status", "failure", "action"),
    [
        (401, Unauthorized, "stop"),
        (403, Blocked, "alert"),
        (404, ContractChanged, "alert"),
        (408, Unavailable, "retry"),
        (429, RateLimited, "wait"),
        (500, Unavailable, "retry"),
    ],
)
def test_a_status_that_says_enough_has_its_failure(serve, make, status, failure, action):
    server = serve(lambda request: Reply(b"why", status))
    with pytest.raises(failure, match=f"upstream: HTTP {status}: why") as caught:
        make(server.url).ask(read, "/path")
    assert caught.value.action == action
    assert caught.value.upstream == "upstream"
    assert caught.value.url == server.url + "/path"


def test_a_base_url_without_a_scheme_says_so(make):
    with pytest.raises(ContractChanged, match="missing an 'http://' or 'https://'"):
        make("kis.example").ask(read, "/")


def test_secrets_echoed_in_a_page_are_removed(serve, make):
    server = serve(lambda request: Reply(f"no {request.query['q']}, {request.headers['x-key']}".encode(), 404))
    secrets = ("hush-hush", "quiet/+==")
    with pytest.raises(ContractChanged) as caught:
        make(server.url, secrets=secrets).ask(read, "/", params={"q": "hush-hush"}, headers={"x-key": "quiet/+=="})
    assert "hush" not in str(caught.value) + str(caught.value.url)
    assert "quiet" not in str(caught.value)
    assert "HTTP 404: no ***, ***" in str(caught.value)


@pytest.mark.parametrize("secret", ["app secret/+==", 'quoted "and\\ slashed', "it's-one"])
def test_a_secret_is_removed_in_every_way_it_may_be_written(serve, make, secret):
    ways = [secret, repr(secret), repr(secret.encode()), json.dumps(secret), quote(secret, safe=""), quote_plus(secret)]
    server = serve(lambda request: Reply(" | ".join(ways).encode(), 404))
    with pytest.raises(ContractChanged) as caught:
        make(server.url, secrets=(secret,)).ask(read, "/", params={"q": secret})
    said = caught.value.what.replace("***", "")
    assert not any(part in said for part in ("app", "secret", "quoted", "slashed", "one"))
    assert secret not in (caught.value.url or "")
    assert quote_plus(secret) not in (caught.value.url or "")


def test_no_attempt_logs_a_secret_or_a_token(serve, make, caplog):
    echo = "key hush-hush, token tick-tock-tick"
    replies = [Reply(echo.encode(), 503), Reply(echo.encode(), 429), Reply(b"fine")]
    server = serve(lambda request: replies.pop(0))
    with caplog.at_level(logging.DEBUG):
        asked = make(server.url, secrets=("hush-hush",)).ask(
            read, "/", params={"q": "hush-hush"}, headers={"authorization": "Bearer tick-tock-tick"}
        )
    assert asked == "fine"
    retries = [record.getMessage() for record in caplog.records if record.name == transport.__name__]
    assert len(retries) == 2
    assert all("key ***, token ***" in retry for retry in retries)
    ours = "\n".join(retries)
    assert "hush-hush" not in ours
    assert "tick-tock-tick" not in caplog.text


def test_a_text_too_short_for_a_secret_mangles_nothing(make):
    with pytest.raises(ContractChanged) as caught:
        make("https.example", secrets=("h", "key")).ask(read, "/key")
    assert str(caught.value).startswith("upstream: UnsupportedProtocol: Request URL is missing an 'http://'")
    assert "/key" in str(caught.value)


@pytest.mark.parametrize("secret", ["비밀번호입니다", "two-lines\nof-a-key", "key-with-\ufeffmark", "tab\tinside"])
def test_a_secret_that_no_header_can_carry_is_unauthorized_and_not_shown(serve, make, limiter, secret):
    server = serve(lambda request: Reply(b"fine"))
    client = make(server.url, secrets=(secret,), headers={"x-key": secret})
    with pytest.raises(Unauthorized, match=r"a credential holds characters that no key has.*environment") as caught:
        client.ask(read, "/")
    assert secret not in str(caught.value)
    assert (caught.value.action, server.requests, limiter.calls) == ("stop", [], {})


def test_a_request_that_cannot_be_sent_is_not_sent_six_times(make, clock, serve, limiter):
    server = serve(lambda request: Reply(b"fine"))
    with pytest.raises(ContractChanged, match="LocalProtocolError"):
        make(server.url, headers={"x-name": "two\nlines"}).ask(read, "/")
    assert (clock.slept, server.requests, limiter.calls) == ([], [], {"upstream": 1})


def zipped(content, method=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        file.writestr("CORPCODE.xml", content)
    return buffer.getvalue()


def encrypted():
    body = bytearray(zipped(b"x" * 100))
    body[6] |= 1  # the flag of the file's own header and that of the directory
    body[body.index(b"PK\x01\x02") + 8] |= 1
    return bytes(body)


def of_method_99():
    body = bytearray(zipped(b"x" * 100))
    for at in (8, body.index(b"PK\x01\x02") + 10):
        body[at : at + 2] = (99).to_bytes(2, "little")
    return bytes(body)


@pytest.mark.parametrize(
    ("body", "failure", "message"),
    [
        (encrypted(), ContractChanged, "cannot be opened: .*encrypted"),
        (of_method_99(), ContractChanged, "cannot be opened: .*compression"),
        (zipped(b"0" * 100_001), ContractChanged, "inflates to more than 100000 bytes"),
        (zipped(b"0" * 5000)[:60], Unavailable, "a damaged zip archive of 60 bytes"),
        (zipped(b"x" * 500, zipfile.ZIP_LZMA)[:60] + zipped(b"x" * 500, zipfile.ZIP_LZMA)[64:], Unavailable, "damaged"),
    ],
    ids=["encrypted", "unknown method", "a bomb", "cut", "broken LZMA"],
)
def test_an_archive_that_cannot_be_read_has_its_failure(serve, make, monkeypatch, body, failure, message):
    monkeypatch.setattr(answer, "INFLATED_BYTES", 100_000)
    server = serve(lambda request: Reply(body))
    with pytest.raises(failure, match=message):
        make(server.url).ask(lambda answer: answer.unzipped(), "/")


def test_an_archive_up_to_the_bound_is_read(serve, make, monkeypatch):
    monkeypatch.setattr(answer, "INFLATED_BYTES", 100_000)
    server = serve(lambda request: Reply(zipped(b"0" * 100_000)))
    assert len(make(server.url).ask(lambda answer: answer.unzipped(), "/")) == 100_000


def test_urls_lose_their_credentials_and_keep_the_rest():
    url = "https://user:pass@host.test:1/api/list.json?crtfc_key=abc&CRTFC_KEY=abc&page_no=1&query=삼성"
    assert "abc" not in without_secrets(url)
    assert "pass" not in without_secrets(url)
    assert without_secrets(url).startswith("https://host.test:1/api/list.json?crtfc_key=***")
    assert without_secrets("https://host.test/a?page_no=1") == "https://host.test/a?page_no=1"


def test_a_failure_says_who_what_where_and_what_to_do():
    failure = NotConfigured("naver", "NAVER_CLIENT_ID is not set")
    assert str(failure) == (
        "naver: NAVER_CLIENT_ID is not set. Set its credentials in the environment, or use the sandbox"
    )
    assert failure.action == "stop"


def test_bodies_are_decoded_as_utf8_then_cp949():
    assert decode("﻿가나".encode()) == "가나"
    assert decode("가나".encode("cp949")) == "가나"
    assert decode("가나".encode()[:5]) == "가\ufffd"


def test_the_payload_hash_depends_on_order_and_on_where_answers_end():
    assert payload_hash([b"a", b"b"]) == payload_hash([b"a", b"b"])
    assert len({payload_hash(bodies) for bodies in ([b"a", b"b"], [b"b", b"a"], [b"ab"], [b"ab", b""], [])}) == 5
