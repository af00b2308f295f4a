"""The one way out to an upstream: a paced, bounded, retried, logged HTTP call whose answer the client reads itself.

Put here what every upstream shares: timeouts, retries by cause, rate limit, circuit, call log. What a body means (error
codes, envelopes) belongs to the client, which passes `read`; it is called whatever the HTTP status says, because KIS
announces "too many calls" as HTTP 500 and DART every error as HTTP 200. Recording answers belongs to `recording`.
"""

import hashlib
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

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
from azak_assets.ports import Channel, Closed
from azak_assets.sources.answer import Answer
from azak_assets.sources.failures import (
    BY_CAUSE,
    Blocked,
    ContractChanged,
    RateLimited,
    SourceFailure,
    Unauthorized,
    Unavailable,
    Unconfirmed,
    without_secrets,
)
from azak_assets.sources.recording import CALL, Call

log = logging.getLogger(__name__)

T = TypeVar("T")

USER_AGENT = "Azak/0.1 (data platform for Korean equities; reads public feeds at most every five minutes)"

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 60.0
"""One answer, first byte to last: `READ_TIMEOUT_S` alone would let a server drip bytes for ever."""
ANSWER_BYTES = 64 * 2**20
"""The largest answer we know is DART's list of companies, about 4 MB."""
PATIENCE_S = 90.0
"""No retry starts later than this after the first attempt."""

_backoff = wait_exponential(multiplier=0.5, max=8) + wait_random(0, 1)


class _SecretsOut(logging.Filter):
    """httpx logs every URL at INFO, and DART's key travels in the URL."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(without_secrets(str(arg)) if isinstance(arg, httpx.URL) else arg for arg in record.args)
        return True


logging.getLogger("httpx").addFilter(_SecretsOut())


@cache
def _certificates() -> ssl.SSLContext:
    """One for all clients of a process: to read the authorities' certificates costs each of them 30 ms of CPU."""
    return httpx.create_ssl_context()


def direct(address: str, *, keeps_alive: bool) -> httpx.BaseTransport:
    """Connections to the upstream itself, through the environment's proxy where it names one for `address`."""
    parts = urlsplit(address)
    proxies = {} if proxy_bypass(parts.netloc) else getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy is not None and "://" not in proxy:
        proxy = f"http://{proxy}"
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=20 if keeps_alive else 0)
    return httpx.HTTPTransport(verify=_certificates(), limits=limits, proxy=proxy)


class Transport:
    """HTTP to one upstream, safe to share between threads.

    Every attempt waits for a slot of `channel.limiter` under `name`, and `channel.log` gets its outcome. `Unavailable`
    and `RateLimited` are tried again (unless their action is stop), at most `channel.attempts` times and not after
    `patience_s`; everything else is raised at once. Strings in `secrets` never reach a message or a log, and one that
    no HTTP header can carry is `Unauthorized`.

    An upstream that has refused these credentials, in whatever process, gets no request until it is open again:
    the call raises that refusal again, with the instant. `per_day` is the upstream's quota, for the log.

    `is_repeatable=False` is for an upstream where asking twice does something twice: once a request may have arrived, a
    lost answer is `Unconfirmed`, and each call has a connection of its own, because a kept connection that has died
    looks the same as a lost answer.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        channel: Channel,
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
        self._channel = channel
        self._per_day = per_day
        # A changed key or host is a new client: refusals recorded for the old one no longer apply.
        self._credentials = hashlib.sha256("\n".join((self._base_url, *secrets)).encode()).hexdigest()[:16]
        self._per_second = per_second
        self._secrets = secrets
        self._headers = {"user-agent": USER_AGENT, **(headers or {})}
        self._follows_redirects = follow_redirects
        self._sleep = sleep
        self._http = httpx.Client(
            transport=channel.connect(self._base_url, keeps_alive=is_repeatable),
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            follow_redirects=follow_redirects,
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
        call = Call.of(
            self.name,
            method,
            path,
            params or {},
            headers or {},
            secrets=self._secrets,
            follows_redirects=self._follows_redirects,
        )
        request = self._http.build_request(
            method,
            path if path.startswith("http") else self._base_url + path,
            params=params,
            headers={**self._headers, **(headers or {})},
            json=json_body,
            data=form,
            extensions={CALL: call},
        )
        retrying = Retrying(
            retry=retry_if_exception(_is_worth_retrying),
            wait=_wait,
            stop=stop_after_attempt(self._channel.attempts) | stop_before_delay(patience_s),
            sleep=self._sleep,
            before_sleep=_log_retry,
            reraise=True,
        )
        try:
            result: T = retrying(self._attempt, read, request)
        except SourceFailure as failure:
            if self._channel.attempts == 1:
                failure.retry_after = 0.0
            raise
        return result

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _attempt(self, read: Callable[[Answer], T], request: httpx.Request) -> T:
        closed = self._channel.limiter.acquire(self.name, self._per_second)
        if closed is not None and closed.credentials == self._credentials:
            raise _still_closed(self.name, closed)
        token = request.headers.get("authorization", "").partition(" ")[2]
        try:
            result = read(self._answer(request))
        except SourceFailure as failure:
            # Here, because a caller that retries logs the failure first.
            failure.remove(*self._secrets, token)
            self._log_failure(failure)
            raise
        self._channel.log.succeeded(self.name, per_day=self._per_day)
        return result

    def _log_failure(self, failure: SourceFailure) -> None:
        if not failure.is_of_the_upstream:
            self._channel.log.succeeded(self.name, per_day=self._per_day)
            return
        calls = self._channel.log.failed(
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
    """The refusal that closed the upstream, once more, with the instant at which it is open again."""
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
