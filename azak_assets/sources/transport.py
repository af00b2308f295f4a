"""The one way out to an upstream: a budgeted, bounded, retried HTTP call whose answer the client reads itself.

Put here what every upstream shares: timeouts, retries by cause, the shared budget, the hash of the payload, the
decoding of a body. What a body means (error codes, envelopes) belongs to the client, which passes `read`; it is called
whatever the HTTP status says, because KIS announces "too many calls" as HTTP 500 and DART every error as HTTP 200.
"""

import hashlib
import io
import json
import logging
import lzma
import re
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_exponential,
    wait_random,
)

from azak_assets import krx
from azak_assets.ports import Budget, Closed, Ledger, Question
from azak_assets.sources.failures import (
    BY_CAUSE,
    SECRET_PARAMETERS,
    SHORTEST_SECRET,
    Blocked,
    ContractChanged,
    NotKept,
    RateLimited,
    SourceFailure,
    Unauthorized,
    Unavailable,
    Unconfirmed,
    without_secrets,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

USER_AGENT = "Azak/0.1 (data platform for Korean equities; reads public feeds at most every five minutes)"

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 60.0
"""One answer, first byte to last: `READ_TIMEOUT_S` alone would let a server drip bytes for ever."""
ANSWER_BYTES = 64 * 2**20
"""The largest answer we know is DART's list of companies, about 4 MB."""
INFLATED_BYTES = 256 * 2**20
"""That list inflates to about 30 MB."""
ATTEMPTS = 6
PATIENCE_S = 90.0
"""No retry starts later than this after the first attempt."""

QUESTION_HEADERS = frozenset({"tr_id", "tr_cont"})
"""Request headers that ask for something else. All others stay out of what is kept: some hold credentials."""
CLOCK_PARAMETERS = frozenset({"FID_INPUT_HOUR_1"})
"""Query parameters that hold the time of asking, to the second: nobody asks the same question twice with them."""
ANSWER_HEADERS = frozenset({"content-type", "etag", "last-modified", "retry-after", "tr_cont"})
"""Answer headers that a client reads, or that tell how to read the body."""

_XML_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")
_backoff = wait_exponential(multiplier=0.5, max=8) + wait_random(0, 1)


class _SecretsOut(logging.Filter):
    """httpx logs every URL at INFO, and DART's key travels in the URL."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(without_secrets(str(arg)) if isinstance(arg, httpx.URL) else arg for arg in record.args)
        return True


logging.getLogger("httpx").addFilter(_SecretsOut())


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer as it came. `url` holds no credentials."""

    upstream: str
    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text: UTF-8, or CP949 where it is not UTF-8 (Korean servers still send it undeclared)."""
        return decode(self.body)

    @property
    def notes(self) -> Mapping[str, int]:
        """What had to be mended to read it, counted: {} for plain UTF-8."""
        _, mended = _decoded(self.body)
        return {mended: 1} if mended else {}

    @property
    def is_success(self) -> bool:
        """Whether the HTTP status is 2xx."""
        return 200 <= self.status < 300

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object, whatever the status; else the failure that fits the status or the body."""
        try:
            parsed = json.loads(self.text)
        except (ValueError, RecursionError) as error:  # lists in lists in lists, thousands deep
            raise self._unreadable(error) from None
        if not isinstance(parsed, dict):
            self.raise_for_status()
            raise ContractChanged(self.upstream, f"a JSON {type(parsed).__name__} came, not an object", url=self.url)
        return parsed

    def unzipped(self) -> bytes:
        """The one file in the body, a zip archive."""
        self.raise_for_status()
        self.raise_if_empty()
        if not self.body.startswith(b"PK"):
            raise ContractChanged(self.upstream, f"no zip archive came: {self.excerpt()}", url=self.url)
        try:
            with zipfile.ZipFile(io.BytesIO(self.body)) as archive, archive.open(archive.namelist()[0]) as file:
                content = file.read(INFLATED_BYTES + 1)
        except RuntimeError as error:  # encrypted, or (NotImplementedError) a compression that Python does not know
            what = f"a zip archive that cannot be opened: {error}"
            raise ContractChanged(self.upstream, what, url=self.url) from None
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, ValueError, IndexError, EOFError) as error:
            what = f"a damaged zip archive of {len(self.body)} bytes: {error}"
            raise Unavailable(self.upstream, what, url=self.url) from None
        if len(content) > INFLATED_BYTES:
            what = f"a zip archive that inflates to more than {INFLATED_BYTES} bytes"
            raise ContractChanged(self.upstream, what, url=self.url)
        return content

    def raise_for_status(self) -> None:
        """Raise the failure a non-2xx status stands for when the body does not say more."""
        if self.is_success:
            return
        what = f"HTTP {self.status}: {self.excerpt()}"
        retry_after = self._retry_after()
        if self.status == 401:
            raise Unauthorized(self.upstream, what, url=self.url)
        if self.status == 403:
            raise Blocked(self.upstream, what, url=self.url)
        if self.status == 429:
            raise RateLimited(self.upstream, what, url=self.url, retry_after=retry_after)
        if self.status >= 500 or self.status == 408:
            raise Unavailable(self.upstream, what, url=self.url, retry_after=retry_after)
        raise ContractChanged(self.upstream, what, url=self.url)

    def raise_if_empty(self) -> None:
        """Raise `Unavailable` for a success without a body, which is a gateway's accident, not an answer."""
        if not self.body.strip():
            raise Unavailable(self.upstream, f"HTTP {self.status} with an empty body", url=self.url)

    def excerpt(self) -> str:
        """The start of the body on one line, for messages."""
        return " ".join(self.text[:500].split())[:160] or "an empty body"

    def _unreadable(self, error: Exception) -> SourceFailure:
        try:
            self.raise_for_status()
            self.raise_if_empty()
        except SourceFailure as failure:
            return failure
        if self.text.lstrip().startswith("<"):
            return ContractChanged(self.upstream, f"a page came instead of JSON: {self.excerpt()}", url=self.url)
        what = f"broken JSON, {len(self.body)} bytes, {error}: {self.excerpt()}"
        return Unavailable(self.upstream, what, url=self.url)

    def _retry_after(self) -> float | None:
        value = self.headers.get("retry-after", "")
        return float(value) if re.fullmatch(r"\d{1,4}", value, re.ASCII) else None


def decode(body: bytes) -> str:
    """Decode a Korean body: UTF-8, else CP949, else UTF-8 with its broken characters marked."""
    return _decoded(body)[0]


def _decoded(body: bytes) -> tuple[str, str | None]:
    for encoding, mended in (("utf-8-sig", None), ("cp949", "answers in CP949")):
        try:
            return body.decode(encoding), mended
        except UnicodeDecodeError:
            continue
    return body.decode("utf-8", errors="replace"), "answers with broken characters"


def undeclared_xml(body: bytes) -> str:
    """An XML body as text, without the declaration of an encoding: Korean servers declare one and send another."""
    text = decode(body)
    declaration = _XML_DECLARATION.match(text)
    return text[declaration.end() :] if declaration else text


def payload_hash(bodies: list[bytes]) -> str:
    """The sha256 over answers in the order they were asked for; each is hashed first, so that no two splits collide."""
    return hashlib.sha256(b"".join(hashlib.sha256(body).digest() for body in bodies)).hexdigest()


class Transport:
    """HTTP to one upstream, safe to share between threads.

    Every attempt takes one call from `budget` under `name`. `Unavailable` and `RateLimited` are tried again (unless
    they say stop), at most `ATTEMPTS` times and not after `patience_s`; everything else is raised at once. Strings in
    `secrets` never reach a message or a log, and one that no HTTP header can carry is `Unauthorized`.

    `is_repeatable=False` is for an upstream where asking twice does something twice: once a request may have arrived, a
    lost answer is `Unconfirmed`, and each call has a connection of its own, because one that was kept open and has died
    looks the same as a lost answer.

    Where `budget` is a `Ledger` too, what became of each attempt is noted there, the answers to GET are kept, and an
    upstream that has refused us is left alone until the ledger's time is over: the call raises that refusal again,
    which says until when. `per_day` is the upstream's quota, for the ledger.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        budget: Budget,
        per_second: float,
        headers: Mapping[str, str] | None = None,
        per_day: int | None = None,
        secrets: tuple[str, ...] = (),
        follow_redirects: bool = False,
        is_repeatable: bool = True,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = name
        self._lost: type[SourceFailure] = Unavailable if is_repeatable else Unconfirmed
        self._unreadable: type[SourceFailure] = ContractChanged if is_repeatable else Unconfirmed
        self._base_url = base_url.rstrip("/")
        self._budget = budget
        self._ledger = budget if isinstance(budget, Ledger) else None
        self._per_day = per_day
        # Who is corrected a key, or a host, is somebody else to the upstream: what it said to the old one is past.
        self._credentials = hashlib.sha256("\n".join((self._base_url, *secrets)).encode()).hexdigest()[:16]
        self._per_second = per_second
        self._secrets = secrets
        self._headers = {"user-agent": USER_AGENT, **(headers or {})}
        self._sleep = sleep
        self._http = httpx.Client(
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            follow_redirects=follow_redirects,
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=20 if is_repeatable else 0),
        )

    def ask(
        self,
        read: Callable[[Answer], T],
        path: str,
        *,
        method: str = "GET",
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        json_body: Mapping[str, Any] | None = None,
        form: Mapping[str, str] | None = None,
        patience_s: float = PATIENCE_S,
    ) -> T:
        """Call `path` and return what `read` makes of the answer, retrying what it or the network call transient.

        `path` is under the base address, or a whole address where the upstream has a second host.
        """
        if not all(secret.isascii() and secret.isprintable() for secret in self._secrets):
            advice = "Copy this upstream's credentials into the environment again: a key is plain ASCII on one line"
            raise Unauthorized(self.name, "a credential holds characters that no key has", advice=advice)
        request = self._http.build_request(
            method,
            path if path.startswith("http") else self._base_url + path,
            params=params,
            headers={**self._headers, **(headers or {})},
            json=json_body,
            data=form,
        )
        retrying = Retrying(
            retry=retry_if_exception(_is_worth_retrying),
            wait=_wait,
            stop=stop_after_attempt(ATTEMPTS) | stop_before_delay(patience_s),
            sleep=self._sleep,
            before_sleep=_log_retry,
            reraise=True,
        )
        question = self._question(method, path, params or {}, headers or {})
        if self._ledger is not None and self._ledger.is_replay:
            return self._read_again(self._ledger, read, request, question)
        result: T = retrying(self._attempt, read, request, question)
        return result

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _attempt(self, read: Callable[[Answer], T], request: httpx.Request, question: Question | None) -> T:
        closed = self._budget.acquire(self.name, self._per_second)
        if closed is not None and closed.credentials == self._credentials:
            raise _still_closed(self.name, closed)
        token = request.headers.get("authorization", "").partition(" ")[2]
        try:
            answer = self._answer(request)
            if self._ledger is not None and question is not None:
                self._keep(self._ledger, question, answer, token)
            result = read(answer)
        except SourceFailure as failure:
            # Here, because whoever asks again logs the failure first.
            failure.remove(*self._secrets, token)
            if self._ledger is not None:
                self._note(self._ledger, failure)
            raise
        if self._ledger is not None:
            self._ledger.succeeded(self.name, per_day=self._per_day)
        return result

    def _note(self, ledger: Ledger, failure: SourceFailure) -> None:
        if not failure.is_of_the_upstream:
            ledger.succeeded(self.name, per_day=self._per_day)
            return
        calls = ledger.failed(
            self.name,
            cause=failure.cause,
            action=failure.action,
            what=failure.what,
            advice=failure.advice,
            credentials=self._credentials,
            close_for=failure.close_for(datetime.now(krx.KST)),
            per_day=self._per_day,
        )
        if calls is not None:
            failure.usage = f"{calls} calls today" + (f" of {self._per_day}" if self._per_day else "")

    def _question(
        self, method: str, path: str, params: Mapping[str, str], headers: Mapping[str, str]
    ) -> Question | None:
        """What is kept of a request; None for one that is not kept: whatever is no GET gets a token or sends."""
        if method != "GET":
            return None
        kept = [(name, value) for name, value in sorted(params.items()) if name.lower() not in SECRET_PARAMETERS]
        about = sorted((n.lower(), v) for n, v in headers.items() if n.lower() in QUESTION_HEADERS)
        query = f"?{urlencode(kept)}" if kept else ""
        timeless = [(name, value) for name, value in kept if name not in CLOCK_PARAMETERS]
        return Question(
            self.name, path + query, tuple(about), f"{path}?{urlencode(timeless)}" if timeless != kept else ""
        )

    def _keep(self, ledger: Ledger, question: Question, answer: Answer, token: str) -> None:
        secrets = [secret for secret in (*self._secrets, token) if len(secret) >= SHORTEST_SECRET]
        if any(secret in question.path or secret.encode() in answer.body for secret in secrets):
            log.warning("%s: an answer that repeats a credential is not kept", self.name)
            return
        headers = {name: value for name, value in answer.headers.items() if name in ANSWER_HEADERS}
        ledger.keep(question, answer.status, headers, answer.body)

    def _read_again(
        self, ledger: Ledger, read: Callable[[Answer], T], request: httpx.Request, question: Question | None
    ) -> T:
        """What `read` makes of the answer that was kept; nobody is asked, and a kept failure fails again at once."""
        stored = ledger.stored(question) if question is not None else None
        if stored is None:
            asked = question.path if question is not None else request.url.path
            raise NotKept(self.name, f"no answer to {asked} is kept")
        url = without_secrets(str(request.url))
        try:
            return read(Answer(self.name, url, stored.status, stored.headers, stored.body))
        except SourceFailure as failure:
            failure.retry_after = 0.0  # whoever waits before asking again waits for nobody
            raise

    def _answer(self, request: httpx.Request) -> Answer:
        url = without_secrets(str(request.url))
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        body = bytearray()
        try:
            response = self._http.send(request, stream=True)
            try:
                for chunk in response.iter_bytes():
                    body += chunk
                    if time.monotonic() > deadline:
                        raise self._lost(self.name, f"the answer took longer than {ANSWER_TIMEOUT_S:.0f} s", url=url)
                    if len(body) > ANSWER_BYTES:
                        raise self._unreadable(self.name, f"an answer of more than {ANSWER_BYTES} bytes", url=url)
            finally:
                response.close()
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.TooManyRedirects) as error:
            # Ours to mend: the same request would fail the same way again.
            raise ContractChanged(self.name, f"{type(error).__name__}: {error}", url=url) from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise Unavailable(self.name, f"{type(error).__name__}: {error}", url=url) from None
        except httpx.HTTPError as error:
            raise self._lost(self.name, f"{type(error).__name__}: {error}", url=url) from None
        return Answer(self.name, url, response.status_code, response.headers, bytes(body))


def _still_closed(upstream: str, closed: Closed) -> SourceFailure:
    """The refusal that an upstream is left alone for, once more, with the instant until which."""
    until = closed.until.astimezone(krx.KST)
    what = f"not asked before {until:%Y-%m-%d %H:%M} KST, because it said: {closed.what}"
    return BY_CAUSE.get(closed.cause, Blocked)(upstream, what, advice=closed.advice, action="stop")


def _is_worth_retrying(error: BaseException) -> bool:
    return isinstance(error, Unavailable | RateLimited) and error.action != "stop"


def _wait(state: RetryCallState) -> float:
    # Jitter on top of what the upstream asked for: eight threads refused in one second must not return in one second.
    failure = state.outcome.exception() if state.outcome else None
    asked = failure.retry_after if isinstance(failure, SourceFailure) else None
    return (asked or 0.0) + _backoff(state)


def _log_retry(state: RetryCallState) -> None:
    failure = state.outcome.exception() if state.outcome else None
    pause = state.next_action.sleep if state.next_action else 0.0
    if isinstance(failure, SourceFailure):
        log.info("%s: %s; attempt %d, again in %.1f s", failure.upstream, failure.what, state.attempt_number, pause)
