"""Telegram: sent at most once, cut where it hurts nobody, and a token that is in every address and in no message."""

import json
import logging
import socket
import threading
from contextlib import contextmanager
from html import unescape
from html.parser import HTMLParser

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_servers import EvenLimiter, Reply, channel_of

from azak_assets.ports import ATTEMPTS
from azak_assets.sandbox import SeededWorld, create_app, start_in_thread
from azak_assets.sources import transport
from azak_assets.sources.failures import (
    Blocked,
    ContractChanged,
    NotForThisAccount,
    RateLimited,
    Unauthorized,
    Unavailable,
    Unconfirmed,
    without_secrets,
)
from azak_assets.sources.telegram import LONGEST, TelegramClient, escaped, parts, units

TOKEN = "123456789:AAE-never_in_a_message_Zz"


def sent(message_id=7):
    return Reply({"ok": True, "result": {"message_id": message_id, "date": 1, "chat": {"id": 42}, "text": "x"}})


def refused(code, description, **parameters):
    body = {"ok": False, "error_code": code, "description": description}
    return Reply({**body, **({"parameters": parameters} if parameters else {})}, code)


class Bot:
    def __init__(self):
        self.replies = []

    def answer(self, request):
        return self.replies.pop(0) if self.replies else sent()


@pytest.fixture
def bot():
    return Bot()


@pytest.fixture
def server(bot, serve):
    return serve(bot.answer)


@pytest.fixture
def client(server, clock):
    client = TelegramClient(server.url, token=TOKEN, channel=channel_of(Rates()), sleep=clock.sleep)
    yield client
    client.close()


class Rates:
    """A limiter that writes down what it was asked for."""

    def __init__(self):
        self.asked = []

    def acquire(self, name, per_second):
        self.asked.append((name, per_second))


def test_a_message_is_sent_as_telegram_wants_it(client, server):
    assert client.send("42", "<b>삼성전자</b> &lt;상승&gt;", is_silent=True) == 7
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", f"/bot{TOKEN}/sendMessage")
    assert json.loads(request.body) == {
        "chat_id": 42, "text": "<b>삼성전자</b> &lt;상승&gt;", "parse_mode": "HTML", "disable_notification": True,
        "link_preview_options": {"is_disabled": True},
    }  # fmt: skip
    client.send("@a_channel", "x")
    assert json.loads(server.requests[1].body)["chat_id"] == "@a_channel"


@pytest.mark.parametrize(
    ("chat_id", "per_second"),
    [("42", 1.0), ("-100123", pytest.approx(1 / 3, rel=0.1)), ("@all", pytest.approx(1 / 3, rel=0.1))],
)
def test_each_chat_has_its_own_pace_and_a_group_a_slower_one(client, chat_id, per_second):
    client.send(chat_id, "x")
    assert client._channel.limiter.asked[0] == (f"telegram {chat_id}", per_second)
    assert client._channel.limiter.asked[0][1] <= (20 / 60 if chat_id != "42" else 1)
    assert client._channel.limiter.asked[1] == ("telegram", 25)


@pytest.mark.parametrize(
    ("reply", "failure", "told"),
    [
        (refused(400, "Bad Request: can't parse entities: Unsupported start tag"), ContractChanged, "was not sent"),
        (refused(400, "Bad Request: chat not found"), ContractChanged, "TELEGRAM_CHAT_ID"),
        (refused(400, "Bad Request: group chat was upgraded", migrate_to_chat_id=-1005), ContractChanged, "-1005"),
        (refused(401, "Unauthorized"), Unauthorized, "TELEGRAM_BOT_TOKEN"),
        (refused(404, "Not Found"), Unauthorized, "TELEGRAM_BOT_TOKEN"),
        (refused(403, "Forbidden: bot was blocked by the user"), NotForThisAccount, "may not write there"),
        (Reply(b"<html>no</html>", 403), Blocked, "HTTP 403"),
        (Reply(b"", 302), ContractChanged, "HTTP 302"),
    ],
)
def test_a_refusal_is_named_and_not_repeated(client, server, bot, reply, failure, told):
    bot.replies = [reply]
    with pytest.raises(failure, match=told) as caught:
        client.send("42", "x")
    assert len(server.requests) == 1
    assert TOKEN not in str(caught.value)


def test_too_many_is_waited_out_as_long_as_telegram_says(client, server, bot, clock):
    bot.replies = [refused(429, "Too Many Requests: retry after 17", retry_after=17)]
    assert client.send("42", "x") == 7
    assert len(server.requests) == 2
    assert 17 <= clock.slept[0] < 20


def test_too_many_for_longer_than_anybody_waits_is_told_with_the_time(client, bot):
    bot.replies = [refused(429, "Too Many Requests: retry after 3000", retry_after=3000)]
    with pytest.raises(RateLimited) as caught:
        client.send("42", "x")
    assert caught.value.retry_after == 3000


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"Bad Gateway", 502),
        Reply({"ok": False, "error_code": 500, "description": "Internal"}, 500),
        Reply(b"", 408),
        Reply(b"", 200),
        Reply(b'{"ok": true, "resu', 200),
        Reply(b"<html>a portal</html>", 200),
        Reply({"ok": True, "result": None}),
        Reply({"ok": True, "result": {"message_id": "7"}}),
        Reply([], 200),
        Reply(sent().content, headers={"content-length": "4000"}),
    ],
)
def test_an_answer_that_leaves_it_open_is_unconfirmed_and_never_sent_again(
    client, server, bot, reply, clock, monkeypatch
):
    monkeypatch.setattr(client._http._http, "timeout", httpx.Timeout(0.3))
    bot.replies = [reply]
    with pytest.raises(Unconfirmed, match="Look at the receiving end") as caught:
        client.send("42", "x")
    assert (len(server.requests), clock.slept) == (1, [])
    assert caught.value.action == "alert"
    assert TOKEN not in str(caught.value)


@contextmanager
def deaf(*, reads: bool):
    """A server that takes connections and never answers, or ends them once it has read."""
    taken = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                taken.append(connection)
                if reads:
                    connection.recv(65536)
                    connection.close()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", taken
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    for connection in taken:
        connection.close()


@pytest.mark.parametrize("reads", [True, False])
def test_a_lost_answer_is_unconfirmed_and_never_sent_again(reads, monkeypatch):
    monkeypatch.setattr(transport, "READ_TIMEOUT_S", 0.2)
    with deaf(reads=reads) as (url, taken):
        client = TelegramClient(url, token=TOKEN, channel=channel_of(Rates()), sleep=lambda _: None)
        with pytest.raises(Unconfirmed) as caught:
            client.send("42", "x")
        client.close()
        assert len(taken) == 1
    assert TOKEN not in str(caught.value)


def test_without_a_connection_nothing_was_sent_and_it_is_tried_again(clock):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    client = TelegramClient(f"http://127.0.0.1:{port}", token=TOKEN, channel=channel_of(Rates()), sleep=clock.sleep)
    with pytest.raises(Unavailable, match="ConnectError"):
        client.send("42", "x")
    assert len(clock.slept) == ATTEMPTS - 1
    client.close()


def test_each_message_has_its_own_connection(client, server):
    """One that was kept open and had died would make a message unconfirmed that was never sent."""
    client.send("42", "x")
    client.send("42", "y")
    assert client._http._http._transport._pool.connections == []


def test_the_token_reaches_no_log(client, bot, caplog):
    caplog.set_level(logging.DEBUG)
    bot.replies = [refused(429, f"Too Many Requests for {TOKEN}", retry_after=1)]
    client.send("42", "x")
    assert "sendMessage" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("token", ["", "123 456", "123/456:abc", "토큰토큰토큰", "123:abc?x=1", "a\nb"])
def test_a_token_that_is_none_is_told_before_anything_is_sent(server, token):
    client = TelegramClient(server.url, token=token, channel=channel_of(Rates()))
    with pytest.raises(Unauthorized, match="characters that no") as caught:
        client.send("42", "x")
    assert server.requests == []
    assert not token or token not in str(caught.value)
    client.close()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"https://api.telegram.org/bot{TOKEN}/sendMessage", "https://api.telegram.org/bot***/sendMessage"),
        ("http://127.0.0.1:1/telegram/botsandbox/getMe?a=1", "http://127.0.0.1:1/telegram/bot***/getMe?a=1"),
        ("https://press.test/bottom/line", "https://press.test/bottom/line"),
        ("https://press.test/news/bot1/2", "https://press.test/news/bot1/2"),
    ],
)
def test_a_token_in_a_path_is_taken_out(url, shown):
    assert without_secrets(url) == shown


@pytest.mark.parametrize("text", ["", " \n", "가" * (LONGEST + 1), "😀" * (LONGEST // 2 + 1)])
def test_what_is_no_message_is_refused_here(client, server, text):
    with pytest.raises(ValueError, match="use parts"):
        client.send("42", text)
    assert server.requests == []


def test_an_emoji_counts_two():
    assert (units("가a"), units("😀")) == (2, 2)


@pytest.mark.parametrize("text", ["a < b & c > d", "&lt;", "<b>"])
def test_escaped_text_is_shown_as_it_was(text):
    assert unescape(escaped(text)) == text
    assert "<" not in escaped(text)


class Visible(HTMLParser):
    """The text a reader sees; every tag must close the one that was opened last."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.text, self.opened = "", []

    def handle_starttag(self, tag, attributes):
        self.opened.append(tag)

    def handle_endtag(self, tag):
        assert self.opened.pop() == tag

    def handle_data(self, data):
        self.text += data


def visible(html):
    reader = Visible()
    reader.feed(html)
    reader.close()
    assert reader.opened == []
    return reader.text


def test_a_short_text_is_one_message_as_it_is():
    assert parts("<b>가</b> &amp; 나") == ["<b>가</b> &amp; 나"]
    assert parts("") == parts(" \n ") == parts("<b> </b>") == []


def test_a_long_text_is_cut_behind_a_line():
    lines = [f"{n}행 " + "가" * 60 + "\n" for n in range(200)]
    messages = parts("".join(lines))
    assert len(messages) == 4
    assert "".join(messages) == "".join(lines)
    assert all(message.endswith("\n") for message in messages)


def test_a_cut_closes_what_is_open_and_opens_it_again():
    html = '<b>굵게 <a href="https://press.test/?a=1&amp;b=2">' + "링크 말 " * 2000 + "</a></b> 끝"
    messages = parts(html)
    assert len(messages) > 1
    assert all(message.startswith('<b><a href="https://press.test/?a=1&amp;b=2">') for message in messages[1:])
    assert all(message.endswith("</a></b>") for message in messages[:-1])


HTML = st.lists(
    st.sampled_from(["<b>", "</b>", "<i>", "</i>", '<a href="https://x.test/?a=1">', "</a>"])
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30).map(escaped)
    | st.sampled_from(["&amp;", "\n", " ", "😀" * 700, "가" * 3000, "&lt;" * 900, "word " * 500, "line\n" * 400]),
    max_size=25,
)


def balanced(pieces):
    """The pieces with every tag that does not fit left out, and what stays open closed."""
    opened, kept = [], []
    for piece in pieces:
        if piece.startswith("</"):
            if not opened or opened[-1] != piece[2:-1]:
                continue
            opened.pop()
        elif piece.startswith("<"):
            opened.append(piece[1:].split()[0].rstrip(">"))
        kept.append(piece)
    return "".join([*kept, *(f"</{name}>" for name in reversed(opened))])


@settings(max_examples=100, deadline=None)
@given(pieces=HTML)
def test_every_part_is_a_message_and_together_they_say_everything(pieces):
    html = balanced(pieces)
    messages = parts(html)
    for message in messages:
        assert units(message) <= LONGEST
        assert visible(message).strip()
    assert "".join("".join(map(visible, messages)).split()) == "".join(visible(html).split())


# --- against the sandbox, which reads the contract for itself -------------------------------------------------------


@pytest.fixture(scope="module")
def sandbox():
    with start_in_thread(create_app(SeededWorld(1))) as url:
        yield url


def test_what_was_sent_to_the_sandbox_can_be_read_there(sandbox):
    client = TelegramClient(f"{sandbox}/telegram", token="sandbox", channel=channel_of(EvenLimiter()))
    messages = parts("<b>" + "요약 &amp; 예측 😀\n" * 700 + "</b>")
    ids = [client.send("4242", message) for message in messages]
    got = [one for one in httpx.get(f"{sandbox}/sandbox/telegram").json() if one["chat"]["id"] == "4242"]
    assert [one["message_id"] for one in got] == ids
    assert "".join(one["text"] for one in got).count("요약 & 예측 😀") == 700
    for chat_id, failure in (("403", NotForThisAccount), ("404", ContractChanged)):
        with pytest.raises(failure):
            client.send(chat_id, "x")
    with pytest.raises(ContractChanged, match="can't parse entities"):
        client.send("77", "<h1>x</h1>")
    client.close()


def test_an_answer_lost_on_the_way_was_a_message_nonetheless(sandbox):
    client = TelegramClient(f"{sandbox}/telegram", token="sandbox", channel=channel_of(EvenLimiter()))
    httpx.post(f"{sandbox}/sandbox/faults", json={"path": "/telegram", "kind": "lost", "times": 1}).raise_for_status()
    with pytest.raises(Unconfirmed):
        client.send("99", "once")
    got = [one for one in httpx.get(f"{sandbox}/sandbox/telegram").json() if one["chat"]["id"] == "99"]
    assert [one["text"] for one in got] == ["once"]
    client.close()
