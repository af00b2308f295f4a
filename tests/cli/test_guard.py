"""Which requests the guard lets through, over real HTTP before an application that records what reached it."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.cli.ui_servers import guarded

PROXY = "https://azak.example.com"
JSON = {"Content-Type": "application/json"}
PAGE = {"Accept": "text/html,application/xhtml+xml"}
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
OWN_POLICY = "script-src 'nonce-1' 'strict-dynamic'"


@dataclass
class Behind:
    """An application that notes method, path and query string of what reaches it, and answers as Dagster's does."""

    reached: list[tuple[str, str, bytes]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reached.append((scope.get("method", "WS"), scope["path"], scope["query_string"]))
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": "hello"})
            return
        headers = [(b"referrer-policy", b"unsafe-url"), (b"cache-control", b"no-store")]
        if scope["path"] == "/runs":
            headers.append((b"content-security-policy", OWN_POLICY.encode()))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"reached"})


@dataclass
class Door:
    """The guarded application and a client that sends what it is told and nothing more."""

    behind: Behind
    port: int
    client: httpx.Client

    def send(self, method: str, path: str, headers: Any = (), body: bytes | None = None) -> httpx.Response:
        self.behind.reached.clear()
        request = httpx.Request(method, f"http://127.0.0.1:{self.port}{path}", headers=headers, content=body)
        return self.client.send(request)

    def passes(self, method: str, path: str, headers: Any = (), body: bytes | None = None) -> httpx.Response:
        answer = self.send(method, path, headers, body)
        assert (answer.status_code, len(self.behind.reached)) == (200, 1), answer.text
        return answer

    def refuses(self, status: int, method: str, path: str, headers: Any = (), body: bytes | None = None) -> str:
        answer = self.send(method, path, headers, body)
        assert self.behind.reached == [], "it reached the application"
        assert answer.status_code == status, answer.text
        return answer.text


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    behind = Behind()
    with guarded(behind, origins=(PROXY, "http://azak.lan:8080")) as (port,), httpx.Client() as client:
        yield Door(behind, port, client)


@pytest.mark.parametrize("path", ["/", "/runs", "/assets/raw/graphql_notes", "/logs/a/b/err", "/graphql_notes?query=a"])
def test_pages_and_files_are_read(door: Door, path: str) -> None:
    door.passes("GET", path)
    door.passes("HEAD", path)


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"]
)
def test_json_is_posted_as_our_own_commands_do(door: Door, kind: str) -> None:
    door.passes("POST", "/graphql", {"Content-Type": kind}, b"{}")
    door.passes("POST", "/report_asset_materialization/a", {"Content-Type": kind}, b"{}")


@pytest.mark.parametrize("path", ["/graphql", "/graphql/", "/prefix/graphql", "/%67raphql", "/graph%71l"])
@pytest.mark.parametrize("question", ["query=mutation%7Ba%7D", "%71uery=a", "a=b&query=", "variables=%7B%7D&query=a"])
def test_no_query_in_an_address(door: Door, path: str, question: str) -> None:
    for accept in ({}, PAGE, {"Accept": "image/avif,image/webp,*/*"}):
        assert "by POST" in door.refuses(405, "GET", f"{path}?{question}", accept)


def test_the_page_of_the_query_editor_is_shown_and_takes_nothing_from_its_address(door: Door) -> None:
    door.passes("GET", "/graphql?extensions=a", PAGE)
    assert door.behind.reached == [("GET", "/graphql", b"")]
    door.refuses(405, "GET", "/graphql", {"Accept": "application/json"})


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "",
        "text/plain",
        "text/plain;charset=UTF-8",
        "text/plain; application/json",  # needs no preflight, and Dagster would read it as JSON
        "text/plain, application/json",
        "application/jsonp",
        "application/graphql",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=application/json",
    ],
)
@pytest.mark.parametrize("path", ["/graphql", "/graphql?query=mutation%7Ba%7D", "/report_asset_check/a?passed=true"])
def test_a_post_is_json_or_nothing(door: Door, path: str, kind: str | None) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    assert "application/json" in door.refuses(415, "POST", path, headers, b'{"query": "mutation { a }"}')


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_other_methods_are_not_used(door: Door, method: str) -> None:
    answer = door.send(method, "/graphql", {**JSON, "Access-Control-Request-Method": "POST"})
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, POST"
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    assert door.behind.reached == []


@pytest.mark.parametrize(
    "host", ["localhost:{port}", "127.0.0.1:{port}", "LOCALHOST", "[::1]:{port}", "localhost:9", "azak.example.com",
             "azak.example.com:443", "azak.lan:8080"],
)  # fmt: skip
def test_hosts_that_are_ours(door: Door, host: str) -> None:
    door.passes("GET", "/", {"Host": host.format(port=door.port)})


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:{port}", "localhost.evil.example", "evil.example#localhost", "127.0.0.1.evil.example",
        "127.0.0.2", "[::2]", "0.0.0.0", "localhost:", "localhost:1:2", "user@localhost", "azak.example.com.evil",
        "azak.lan", "azak.lan:80", "", "localhost, evil.example",
    ],
)  # fmt: skip
def test_hosts_that_are_not(door: Door, host: str) -> None:
    for method, path, headers in (("GET", "/", {}), ("POST", "/graphql", JSON)):
        assert "AZAK_UI_ORIGINS" in door.refuses(403, method, path, {**headers, "Host": host.format(port=door.port)})


def test_a_page_of_our_own_asks(door: Door) -> None:
    own = {**JSON, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
    for host, origin in (
        (f"localhost:{door.port}", f"http://localhost:{door.port}"),
        (f"127.0.0.1:{door.port}", f"http://127.0.0.1:{door.port}"),
        ("localhost:9", "http://localhost:9"),  # through a tunnel
        ("azak.example.com", PROXY),
        (f"127.0.0.1:{door.port}", PROXY),  # a proxy that does not hand the Host on
    ):
        door.passes("POST", "/graphql", {**own, "Host": host, "Origin": origin})


@pytest.mark.parametrize(
    "origin",
    [
        "null", "http://evil.example", "http://localhost:9", "http://127.0.0.1:{port}", "https://localhost:{port}",
        "http://localhost", "http://azak.example.com", "https://azak.example.com:8443", "https://azak.example.com.evil",
        "https://evil.azak.example.com", "file://", "", "http://localhost:{port}/",
    ],
)  # fmt: skip
def test_a_page_of_another_origin_does_not(door: Door, origin: str) -> None:
    headers = {**JSON, "Host": f"localhost:{door.port}", "Origin": origin.format(port=door.port)}
    assert "another origin" in door.refuses(403, "POST", "/graphql", headers)
    assert "another origin" in door.refuses(403, "GET", "/", headers)


def test_a_host_of_the_proxy_is_no_origin_by_itself(door: Door) -> None:
    door.refuses(403, "POST", "/graphql", {**JSON, "Host": "azak.example.com", "Origin": "http://azak.example.com"})


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_of_other_sites_only_a_link_is_followed(door: Door, site: str) -> None:
    link = {**LINK, "Sec-Fetch-Site": site}
    door.passes("GET", "/runs", link)
    for changed in ({"Sec-Fetch-Dest": "iframe"}, {"Sec-Fetch-Dest": "image"}, {"Sec-Fetch-Mode": "no-cors"}):
        assert "another site" in door.refuses(403, "GET", "/runs", {**link, **changed})
    assert "another site" in door.refuses(403, "POST", "/graphql", {**link, **JSON})
    assert "another site" in door.refuses(403, "GET", "/", {"Sec-Fetch-Site": site})


@pytest.mark.parametrize("name", ["Host", "Origin", "Content-Type", "Sec-Fetch-Site"])
def test_a_header_that_decides_comes_once(door: Door, name: str) -> None:
    good = {
        "Host": f"localhost:{door.port}", "Origin": f"http://localhost:{door.port}", "Content-Type": "application/json",
        "Sec-Fetch-Site": "same-origin",
    }  # fmt: skip
    # httpx sends no second Host.
    for headers, status in (([*good.items()], 200), ([*good.items(), (name, good[name])], 400)):
        door.behind.reached.clear()
        connection = HTTPConnection("127.0.0.1", door.port, timeout=10)
        connection.putrequest("POST", "/graphql", skip_host=True)
        for header in (*headers, ("Content-Length", "0")):
            connection.putheader(*header)
        connection.endheaders()
        assert connection.getresponse().status == status
        connection.close()
        assert len(door.behind.reached) == (status == 200)


@pytest.mark.parametrize(
    ("host", "origin"),
    [("localhost:{port}", "http://localhost:{port}"), ("127.0.0.1:{port}", PROXY), ("azak.example.com", PROXY)],
)
def test_a_websocket_of_our_own_page_opens(door: Door, host: str, origin: str) -> None:
    with opened(door, host, origin) as connection:
        assert connection.recv() == "hello"


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:{port}", None),
        ("localhost:{port}", "null"),
        ("localhost:{port}", "http://localhost:9"),
        ("localhost:{port}", "http://evil.example"),
        ("evil.example:{port}", "http://evil.example:{port}"),
    ],
)
def test_any_other_websocket_does_not(door: Door, host: str, origin: str | None) -> None:
    door.behind.reached.clear()
    with pytest.raises(InvalidStatus) as refused, opened(door, host, origin):
        pass
    assert refused.value.response.status_code == 403
    assert door.behind.reached == []


def opened(door: Door, host: str, origin: str | None) -> Any:
    address = f"ws://{host.format(port=door.port)}/graphql"
    own = None if origin is None else origin.format(port=door.port)
    return connect(address, sock=socket.create_connection(("127.0.0.1", door.port)), origin=own, proxy=None)


def policy(answer: httpx.Response) -> dict[str, str]:
    """The directives of the guard's own policy."""
    *_, ours = answer.headers.get_list("content-security-policy")
    return dict(one.strip().split(" ", 1) for one in ours.split(";"))


def test_every_answer_carries_the_security_headers(door: Door) -> None:
    answers = [
        door.send("GET", "/"),
        door.send("GET", "/runs"),
        door.send("POST", "/graphql", JSON, b"{}"),
        door.send("POST", "/graphql"),
        door.send("GET", "/", {"Host": "evil.example"}),
        door.send("PUT", "/"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 415, 403, 405]
    for answer in answers:
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        assert answer.headers.get_list("x-frame-options") == ["DENY"]
        assert answer.headers.get_list("referrer-policy") == ["same-origin"]
        assert answer.headers.get_list("cross-origin-opener-policy") == ["same-origin"]
        assert answer.headers.get_list("cross-origin-resource-policy") == ["same-origin"]
        assert "server" not in answer.headers
        said = policy(answer)
        assert said["frame-ancestors"] == said["frame-src"] == said["object-src"] == "'none'"
        assert said["img-src"] == "'self' data:"
        assert said["base-uri"] == said["form-action"] == "'self'"
        assert "evil" not in said["connect-src"]
    assert answers[0].headers["cache-control"] == "no-store"


def test_connections_go_to_this_address_alone(door: Door) -> None:
    host = f"localhost:{door.port}"
    assert policy(door.send("GET", "/", {"Host": host}))["connect-src"] == f"'self' ws://{host} wss://{host}"


def test_a_policy_that_the_application_has_stays_and_one_that_has_none_gets_one(door: Door) -> None:
    page = door.send("GET", "/runs")
    assert page.headers.get_list("content-security-policy")[0] == OWN_POLICY
    assert not {"default-src", "script-src", "style-src"} & set(policy(page)), "both would have to allow a script"
    assert policy(door.send("GET", "/"))["default-src"] == "'self'"
    assert "script-src" not in policy(door.send("GET", "/"))
    assert policy(door.send("GET", "/graphql", PAGE))["script-src"] == "'self' 'unsafe-inline'"
