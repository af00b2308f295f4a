"""Recorded answers as HTTP transports: one that records what the real transport brings, one that plays back.

Belongs here: which request is recorded under which question, and what is too secret to be recorded. Does not belong
here: files, and which recording answers a question (`warehouse.calls`, through the ports `Recorder` and `Recordings`).
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

import httpx

from azak_assets.ports import Connect, RecordedAnswer, RecordedRequest, Recorder, Recordings
from azak_assets.sources.failures import SECRET_PARAMETERS, SHORTEST_SECRET, NotKept

log = logging.getLogger(__name__)

CALL = "azak.call"
"""The extension of an `httpx.Request` that holds its `Call`."""
QUESTION_HEADERS = frozenset({"tr_id", "tr_cont"})
"""Request headers that ask for something else. All others stay out of recordings: some hold credentials."""
CLOCK_PARAMETERS = frozenset({"FID_INPUT_HOUR_1"})
"""Query parameters that hold the time of the request, to the second: no later request repeats them."""
ANSWER_HEADERS = frozenset({"content-type", "etag", "last-modified", "retry-after", "tr_cont"})
"""Answer headers that a client reads, or that say how to read the body."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a recording needs of a request beyond its URL and headers."""

    upstream: str
    question: RecordedRequest | None
    """None for a request that is not recorded: whatever is no GET signs in or sends."""
    secrets: tuple[str, ...] = field(repr=False)
    follows_redirects: bool

    @classmethod
    def of(
        cls,
        upstream: str,
        method: str,
        path: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        *,
        secrets: tuple[str, ...],
        follows_redirects: bool,
    ) -> "Call":
        """The call of a request to `path`, as the client gave it: below the base address, or a whole address."""
        question = _question(upstream, path, params, headers) if method == "GET" else None
        return cls(upstream, question, secrets, follows_redirects)


def _question(upstream: str, path: str, params: Mapping[str, str], headers: Mapping[str, str]) -> RecordedRequest:
    public = [(name, value) for name, value in sorted(params.items()) if name.lower() not in SECRET_PARAMETERS]
    about = sorted((name.lower(), value) for name, value in headers.items() if name.lower() in QUESTION_HEADERS)
    timeless = [(name, value) for name, value in public if name not in CLOCK_PARAMETERS]
    return RecordedRequest(
        upstream,
        path + (f"?{urlencode(public)}" if public else ""),
        tuple(about),
        f"{path}?{urlencode(timeless)}" if timeless != public else "",
    )


class Recording(httpx.BaseTransport):
    """Sends requests over `real` and records each GET's answer once its body has arrived whole.

    The body is recorded decoded, before the client reads it: an answer that no client understands is recorded too. An
    answer that repeats a credential is not recorded, nor a redirect that the client follows.
    """

    def __init__(self, real: httpx.BaseTransport, recorder: Recorder) -> None:
        self._real = real
        self._recorder = recorder

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The real answer; its body is recorded while the client reads it."""
        response = self._real.handle_request(request)
        call: Call = request.extensions[CALL]
        if call.question is None or (call.follows_redirects and response.has_redirect_location):
            return response
        headers = response.headers.copy()
        for name in ("content-encoding", "content-length", "transfer-encoding"):
            headers.pop(name, None)  # the body goes on decoded
        token = request.headers.get("authorization", "").partition(" ")[2]
        return httpx.Response(
            response.status_code,
            headers=headers,
            stream=_Tee(response, call.question, (*call.secrets, token), self._recorder),
            extensions=response.extensions,
        )

    def close(self) -> None:
        """Close the real transport; the recorder belongs to all clients of the process."""
        self._real.close()


class _Tee(httpx.SyncByteStream):
    """The decoded body of an answer, recorded when its last piece has been read."""

    def __init__(
        self, response: httpx.Response, question: RecordedRequest, secrets: Iterable[str], recorder: Recorder
    ) -> None:
        self._response = response
        self._question = question
        self._secrets = [secret for secret in secrets if len(secret) >= SHORTEST_SECRET]
        self._recorder = recorder

    def __iter__(self) -> Iterator[bytes]:
        body = bytearray()
        for piece in self._response.iter_bytes():
            body += piece
            yield piece
        self._record(bytes(body))

    def close(self) -> None:
        """Close the real answer."""
        self._response.close()

    def _record(self, body: bytes) -> None:
        if any(secret in self._question.path or secret.encode() in body for secret in self._secrets):
            log.warning("%s: an answer that repeats a credential is not kept", self._question.upstream)
            return
        headers = {name: value for name, value in self._response.headers.items() if name in ANSWER_HEADERS}
        self._recorder.keep(self._question, RecordedAnswer(self._response.status_code, headers, body))


class Playback(httpx.BaseTransport):
    """Answers requests from recordings; never opens a connection. `NotKept` where there is no recording."""

    def __init__(self, recordings: Recordings) -> None:
        self._recordings = recordings

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The recorded answer."""
        call: Call = request.extensions[CALL]
        found = self._recordings.find(call.question) if call.question is not None else None
        if found is None:
            asked = call.question.path if call.question is not None else request.url.path
            raise NotKept(call.upstream, f"no answer to {asked} is kept")
        return httpx.Response(found.status, headers=found.headers, content=found.body)


def recorded(connect: Connect, recorder: Recorder) -> Connect:
    """`connect`, with every transport recording."""

    def connect_and_record(address: str, *, keeps_alive: bool) -> httpx.BaseTransport:
        return Recording(connect(address, keeps_alive=keeps_alive), recorder)

    return connect_and_record


def played_back(recordings: Recordings) -> Connect:
    """Transports that answer from recordings, whatever the address."""

    def connect_to_recordings(address: str, *, keeps_alive: bool) -> httpx.BaseTransport:  # noqa: ARG001
        return Playback(recordings)

    return connect_to_recordings
