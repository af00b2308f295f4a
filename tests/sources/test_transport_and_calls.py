"""What the transport logs and records: failures by name, refusals for all processes, answers without secrets."""

import gzip
import socket
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from local_servers import APP_KEY, APP_SECRET, KisServer, LocalServer, MemoryTokens, Reply, kis_error
from tenacity import wait_none

from azak_assets import krx
from azak_assets.ports import ATTEMPTS, Channel
from azak_assets.runtime import Stores
from azak_assets.sources import transport
from azak_assets.sources.answer import Answer
from azak_assets.sources.failures import Blocked, NotForThisAccount, NotKept, RateLimited, Unauthorized, Unavailable
from azak_assets.sources.kis.client import KisClient
from azak_assets.sources.recording import played_back
from azak_assets.sources.transport import Transport
from azak_assets.warehouse.calls import call_log, recordings
from azak_assets.warehouse.calls.call_log import SourceHealth
from azak_assets.warehouse.calls.playback import PlaybackClock, RunRecordings, Unlimited, Unlogged
from azak_assets.warehouse.calls.recordings import PayloadWriter
from azak_assets.warehouse.postgres import database as databases

SECRET = "a-very-secret-key"
FAST = 1000.0


def read(answer: Answer) -> str:
    answer.raise_for_status()
    answer.raise_if_empty()
    return answer.text


@pytest.fixture
def make(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Transport]]:
    """Transports of one upstream, each with an engine and a call log of its own, as processes have."""
    monkeypatch.setattr(transport, "_backoff", wait_none())
    engines, made, opened = [], [], []

    def build(url: str, folder: Path | None = None, **changes: Any) -> Transport:
        engines.append(databases.create_engine(database))
        recorder = PayloadWriter(folder, run_id="a-run", about={}, keep_days=30) if folder else None
        opened.append(Stores.in_postgres(engines[-1], recorder=recorder))
        channel = opened[-1].channel
        given: dict[str, Any] = {"channel": channel, "per_second": FAST, "secrets": (SECRET,), **changes}
        made.append(Transport("upstream", url, **given))
        return made[-1]

    yield build
    for one in made:
        one.close()
    for stores in opened:
        stores.close()
    for engine in engines:
        engine.dispose()


def row(engine: sa.Engine, upstream: str = "upstream") -> SourceHealth:
    (found,) = (one for one in call_log.sources(engine) if one.upstream == upstream)
    return found


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_an_unplugged_upstream_is_logged_attempt_by_attempt(make, engine: sa.Engine) -> None:
    with pytest.raises(Unavailable) as caught:
        make(closed_port()).ask(read, "/")
    told = row(engine)
    assert (told.cause, told.action, told.streak, told.calls_today) == ("Unavailable", "retry", ATTEMPTS, ATTEMPTS)
    assert told.last_success_at is None
    assert told.failing_since is not None
    assert "refused" in str(told.what)
    assert caught.value.usage == f"{ATTEMPTS} calls today"


@pytest.mark.parametrize(
    ("reply", "cause", "is_closed"),
    [
        (Reply(b"no robots", 403), "Blocked", True),
        (Reply(b"who are you", 401), "Unauthorized", True),
        (Reply(b"slow down", 429), "RateLimited", False),
        (Reply(b"<html>maintenance</html>", 503), "Unavailable", False),
        (Reply(b"gone", 404), "ContractChanged", False),
        (Reply(b""), "Unavailable", False),
    ],
)
def test_every_failure_has_its_name_and_only_a_refusal_closes(
    make, serve, engine: sa.Engine, reply: Reply, cause: str, is_closed: bool
) -> None:
    server = serve(lambda request: reply)
    with pytest.raises(Exception, match="upstream: "):
        make(server.url).ask(read, "/")
    told = row(engine)
    assert (told.cause, told.is_closed) == (cause, is_closed)
    assert told.advice


def test_a_blocked_upstream_is_not_asked_by_anybody_and_says_until_when(make, serve) -> None:
    server = serve(lambda request: Reply(b"no robots", 403))
    with pytest.raises(Blocked):
        make(server.url).ask(read, "/")
    for _ in range(2):
        with pytest.raises(
            Blocked, match=r"not asked before 20..-..-.. ..:.. KST, because it said: HTTP 403: no rob"
        ) as again:
            make(server.url).ask(read, "/other")
        assert again.value.action == "stop"
    assert len(server.requests) == 1


def test_corrected_keys_are_asked_with_at_once(make, serve, engine: sa.Engine) -> None:
    server = serve(lambda request: Reply(b"fine") if request.query["key"] == "right-key" else Reply(b"no", 401))
    with pytest.raises(Unauthorized):
        make(server.url, secrets=("wrong-key",)).ask(read, "/", params={"key": "wrong-key"})
    with pytest.raises(Unauthorized, match="not asked before"):
        make(server.url, secrets=("wrong-key",)).ask(read, "/", params={"key": "wrong-key"})
    assert make(server.url, secrets=("right-key",)).ask(read, "/", params={"key": "right-key"}) == "fine"
    assert len(server.requests) == 2
    assert row(engine).streak == 0


def test_a_used_up_day_is_over_at_midnight_in_korea(make, serve, engine: sa.Engine) -> None:
    def read_quota(answer: Answer) -> str:
        raise RateLimited("upstream", "status 020: used up", action="stop", advice="Run again after midnight KST")

    server = serve(lambda request: Reply(b"020"))
    before = datetime.now(krx.KST)
    with pytest.raises(RateLimited):
        make(server.url, per_day=20_000).ask(read_quota, "/")
    until = row(engine).closed_until
    assert until is not None
    midnight = (until.astimezone(krx.KST) + timedelta(hours=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    assert abs(until - midnight) < timedelta(seconds=5)
    assert timedelta(seconds=-5) < until - before < timedelta(days=1, seconds=5)
    with pytest.raises(RateLimited, match=r"not asked before .* 00:00 KST"):
        make(server.url, per_day=20_000).ask(read_quota, "/")
    assert len(server.requests) == 1
    assert row(engine).calls_a_day == 20_000


def test_a_limit_a_second_is_waited_for_and_closes_nothing(make, serve, engine: sa.Engine) -> None:
    replies = [Reply(b"slow", 429), Reply(b"slow", 429), Reply(b"fine")]
    server = serve(lambda request: replies.pop(0))
    assert make(server.url).ask(read, "/") == "fine"
    told = row(engine)
    assert (told.streak, told.cause, told.calls_today, told.is_closed) == (0, "RateLimited", 3, False)
    assert len(server.requests) == 3


def test_what_only_our_account_lacks_is_no_failure_of_the_upstream(make, serve, engine: sa.Engine) -> None:
    def not_ours(answer: Answer) -> str:
        raise NotForThisAccount("upstream", "live only")

    with pytest.raises(NotForThisAccount):
        make(serve(lambda request: Reply(b"x")).url).ask(not_ours, "/")
    told = row(engine)
    assert (told.streak, told.last_failure_at, told.is_closed) == (0, None, False)


def test_no_secret_reaches_the_call_log(make, serve, engine: sa.Engine) -> None:
    server = serve(lambda request: Reply(f"no, {request.query['q']}, {request.headers['authorization']}".encode(), 403))
    with pytest.raises(Blocked):
        make(server.url).ask(read, "/", params={"q": SECRET}, headers={"authorization": "Bearer tick-tock-tick"})
    with engine.connect() as connection:
        everything = str(
            connection.execute(sa.text("select source_health::text from ops.source_health")).scalars().all()
        )
    assert "HTTP 403: no, ***, Bearer ***" in everything
    assert SECRET not in everything
    assert "tick-tock" not in everything


# --- payloads -------------------------------------------------------------------------------------------------------


def everything_under(folder: Path) -> bytes:
    """Names, index lines and bodies."""
    found = b""
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            found += str(path).encode() + (gzip.decompress(content) if path.suffix == ".gz" else content)
    return found


def test_every_answer_is_kept_the_bad_ones_too(make, serve, tmp_path: Path) -> None:
    replies = [Reply(b"<html>maintenance</html>", 503), Reply(b"fine")]
    server = serve(lambda request: replies.pop(0))
    client = make(server.url, tmp_path, headers={"x-api-secret": SECRET})
    client.ask(read, "/list.json", params={"crtfc_key": SECRET, "page_no": "1"}, headers={"tr_id": "T1"})
    kept = everything_under(tmp_path)
    assert b"maintenance" in kept
    assert b"/list.json?page_no=1" in kept
    assert SECRET.encode() not in kept


def test_a_failure_that_the_client_does_not_foresee_keeps_its_payload(make, serve, tmp_path: Path) -> None:
    def broken(answer: Answer) -> str:
        raise KeyError("field")

    with pytest.raises(KeyError):
        make(serve(lambda request: Reply(b"what came")).url, tmp_path).ask(broken, "/")
    assert b"what came" in everything_under(tmp_path)


def test_an_answer_that_repeats_a_credential_is_not_kept(make, serve, tmp_path: Path) -> None:
    server = serve(lambda request: Reply(request.headers["authorization"].encode() + b" " + SECRET.encode()))
    client = make(server.url, tmp_path)
    client.ask(read, "/", headers={"authorization": "Bearer tick-tock-tick"})
    client.ask(read, f"/{SECRET}", headers={"authorization": "Bearer tick-tock-tick"})
    assert everything_under(tmp_path) == b""


def test_kis_tokens_and_keys_are_never_kept(kis: KisServer, engine: sa.Engine, tmp_path: Path) -> None:
    kis.per_second = 1000
    kis.daily["005930"] = [
        {
            "stck_bsop_date": "20220103", "stck_oprc": "79400", "stck_hgpr": "79800", "stck_lwpr": "78200",
            "stck_clpr": "78600", "acml_vol": "13502112", "acml_tr_pbmn": "1065133000000",
        }
    ]  # fmt: skip
    stores = Stores.in_postgres(engine, recorder=PayloadWriter(tmp_path, run_id="r", about={}, keep_days=30))
    client = KisClient(
        base_url=kis.server.url, master_base_url=kis.server.url, app_key=APP_KEY, app_secret=APP_SECRET,
        tokens=MemoryTokens(), channel=stores.channel, per_second=FAST,
    )  # fmt: skip
    assert len(client.daily_bars("005930", date(2022, 1, 3), date(2022, 1, 3)).records) == 1
    client.close()
    stores.close()
    kept = everything_under(tmp_path)
    assert b"78600" in kept
    assert b"tokenP" not in kept
    for secret in (APP_KEY, APP_SECRET, *kis.tokens):
        assert secret.encode() not in kept


def test_a_replaced_token_is_no_failure_of_the_upstream(kis: KisServer, engine: sa.Engine) -> None:
    kis.per_second = 1000
    kis.faults.append(Reply(kis_error("EGW00123", "기간이 만료된 token 입니다."), 500))
    stores = Stores.in_postgres(engine)
    client = KisClient(
        base_url=kis.server.url, master_base_url=kis.server.url, app_key=APP_KEY, app_secret=APP_SECRET,
        tokens=MemoryTokens(), channel=stores.channel, per_second=FAST,
    )  # fmt: skip
    with pytest.raises(Exception, match="no daily bar"):
        client.daily_bars("005930", date(2022, 1, 3), date(2022, 1, 3))
    client.close()
    stores.close()
    assert row(engine, "kis").last_failure_at is None


def channel_to(run: recordings.KeptRun) -> Channel:
    """The channel of a client that gets the recorded answers of a run."""
    answers = RunRecordings(run, [], PlaybackClock(run.began_at))
    return Channel(Unlimited(), Unlogged(), played_back(answers), attempts=1)


def test_playback_makes_no_request_and_names_what_is_not_recorded(make, serve, tmp_path: Path) -> None:
    server: LocalServer = serve(lambda request: Reply(f"answer to {request.path}".encode()))
    make(server.url, tmp_path).ask(read, "/list", params={"page": "1", "token": SECRET})
    (run,) = recordings.runs(tmp_path, date(2020, 1, 1), date(2100, 1, 1))
    again = Transport("upstream", "http://nowhere.invalid", channel=channel_to(run), per_second=1, secrets=("another",))
    assert again.ask(read, "/list", params={"page": "1", "token": "another"}) == "answer to /list"
    with pytest.raises(NotKept, match=r"no answer to /list\?page=2 is kept"):
        again.ask(read, "/list", params={"page": "2"})
    again.close()
    assert len(server.requests) == 1


def test_a_kept_failure_fails_again_at_once(make, serve, tmp_path: Path) -> None:
    server = serve(lambda request: Reply(b"down", 503))
    with pytest.raises(Unavailable):
        make(server.url, tmp_path).ask(read, "/")
    (run,) = recordings.runs(tmp_path, date(2020, 1, 1), date(2100, 1, 1))
    slept: list[float] = []
    again = Transport(
        "upstream",
        "http://nowhere.invalid",
        channel=channel_to(run),
        per_second=1,
        sleep=slept.append,
    )
    with pytest.raises(Unavailable, match="HTTP 503: down") as caught:
        again.ask(read, "/")
    again.close()
    assert slept == []
    assert caught.value.retry_after == 0.0, "the step need not wait either"


def test_a_compressed_answer_is_read_and_recorded_as_text(make, serve, tmp_path: Path) -> None:
    packed = gzip.compress("삼성전자".encode() * 1000)
    server = serve(lambda request: Reply(packed, headers={"content-encoding": "gzip", "etag": '"1"'}))
    assert make(server.url, tmp_path).ask(read, "/") == "삼성전자" * 1000
    (run,) = recordings.runs(tmp_path, date(2020, 1, 1), date(2100, 1, 1))
    (kept,) = run.answers.values()
    assert (recordings.read_body(kept), kept.headers) == ("삼성전자".encode() * 1000, {"etag": '"1"'})


def test_an_answer_that_broke_off_is_not_recorded(make, serve, tmp_path: Path) -> None:
    server = serve(lambda request: Reply(b"half of it", headers={"content-length": "1000", "connection": "close"}))
    with pytest.raises(Unavailable):
        make(server.url, tmp_path).ask(read, "/")
    assert everything_under(tmp_path) == b""


@pytest.mark.parametrize("follows", [True, False])
def test_a_redirect_is_recorded_where_it_is_the_answer(make, serve, tmp_path: Path, *, follows: bool) -> None:
    moved = Reply(b"moved", 302, {"location": "/there"})
    server = serve(lambda request: Reply(b"arrived") if request.path == "/there" else moved)
    client = make(server.url, tmp_path, follow_redirects=follows)
    assert client.ask(lambda answer: (answer.status, answer.body), "/here") == (
        (200, b"arrived") if follows else (302, b"moved")
    )
    (run,) = recordings.runs(tmp_path, date(2020, 1, 1), date(2100, 1, 1))
    ((_, path, _),) = run.answers
    assert path == "/here"
    again = Transport(
        "upstream", "http://nowhere.invalid", channel=channel_to(run), per_second=1, follow_redirects=follows
    )
    assert again.ask(lambda answer: answer.body, "/here") == (b"arrived" if follows else b"moved")
    again.close()


def test_the_environments_proxy_is_used_except_where_it_is_excluded(
    make, serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(lambda request: Reply(b"from the proxy"))
    server = serve(lambda request: Reply(b"from the upstream"))
    monkeypatch.setenv("http_proxy", proxy.url.removeprefix("http://"))
    monkeypatch.setenv("no_proxy", "")
    assert make("http://upstream.invalid").ask(read, "/") == "from the proxy"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert make(server.url).ask(read, "/") == "from the upstream"
