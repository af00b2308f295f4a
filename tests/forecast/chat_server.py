"""A chat completion server on localhost that answers what a test tells it to, and remembers what it was asked."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def answer(**changes: Any) -> dict[str, Any]:
    """A valid answer, as the schema wants it."""
    horizon = {"p_up": 0.5, "p_flat": 0.3, "p_down": 0.2, "band_low": -0.05, "band_high": 0.08}
    return {
        "sentiment_direction": "positive",
        "sentiment_score": 0.4,
        "impact_level": "medium",
        "relevance": 0.9,
        "urgency_level": "notable",
        "reasoning": "수주 잔고가 늘어 실적에 보탬이 됩니다.",
        "horizon_1": horizon,
        "horizon_5": horizon,
        "horizon_20": horizon,
        "direction": "up",
        "target_price": 75_000,
        "support_price": 68_000,
        "confidence": 0.6,
    } | changes


@dataclass
class Reply:
    """One HTTP answer; a `body` that is no text is sent as JSON."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0


def completion(
    content: Any = None, *, finish: str = "stop", usage: dict[str, Any] | None = None, **message: Any
) -> Reply:
    """A chat completion whose content is an answer (as JSON) or any other text."""
    text = content if isinstance(content, str | None) else json.dumps(content, ensure_ascii=False)
    return Reply(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [
                {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
            ],
            "usage": usage or {"prompt_tokens": 2000, "completion_tokens": 400, "total_tokens": 2400},
        }
    )


def failure(status: int, code: str | None, message: str = "no", **headers: str) -> Reply:
    return Reply({"error": {"message": message, "type": "t", "param": None, "code": code}}, status, headers)


Script = list[Reply] | Callable[[dict[str, Any]], Reply]


class ChatServer:
    """Replies in turn from `script` (the last one for good), or asks `script` what to say to a request."""

    def __init__(self) -> None:
        self.script: Script = [completion(answer())]
        self.requests: list[dict[str, Any]] = []
        self.base_url = ""
        self._lock = threading.Lock()

    def next(self, request: dict[str, Any]) -> Reply:
        with self._lock:
            self.requests.append(request)
            if callable(self.script):
                return self.script(request)
            return self.script.pop(0) if len(self.script) > 1 else self.script[0]


@contextmanager
def serving() -> Iterator[ChatServer]:
    chat = ChatServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            reply = chat.next(body)
            time.sleep(reply.delay)
            content = reply.body if isinstance(reply.body, str) else json.dumps(reply.body, ensure_ascii=False)
            data = content.encode()
            try:
                self.send_response(reply.status)
                for name, value in ({"content-type": "application/json"} | reply.headers).items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client of a timeout test has gone

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    chat.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield chat
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
