"""The KIS gateway over HTTP: token, envelope, error codes, and the shapes that all its answers share.

Belongs here: what every service of the broker has in common. Does not belong here: what one service is asked and how
many calls that takes (`services`), what its rows mean (`bars`, `flows`, `master`, …). Source of every rule: the
broker's published service documents and samples (koreainvestment/open-trading-api).
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from azak_assets import krx
from azak_assets.ports import Channel, Token, TokenStore
from azak_assets.sources.answer import Answer, payload_hash
from azak_assets.sources.failures import (
    ContractChanged,
    Empty,
    NotForThisAccount,
    RateLimited,
    SourceFailure,
    Unauthorized,
    Unavailable,
)
from azak_assets.sources.fields import Row, one_each
from azak_assets.sources.records import Batch, DailyBar, IndexBar, InvestorFlow, OvertimeBar, Reject
from azak_assets.sources.transport import Transport

T = TypeVar("T")
D = TypeVar("D", DailyBar, IndexBar, InvestorFlow, OvertimeBar)

QUOTATIONS = "/uapi/domestic-stock/v1/quotations"
FINANCE = "/uapi/domestic-stock/v1/finance"
TOKEN_PATIENCE_S = 150.0
"""One token a minute: long enough to wait out two refusals."""

TOKEN_REFUSED = frozenset({"EGW00121", "EGW00122", "EGW00123"})
PAUSE_S = {"EGW00201": 1.0, "EGW00215": 1.0, "EGW00133": 60.0}
"""Too many calls in a second, and more than one token in a minute."""
NOT_OURS = frozenset({"EGW00103", "EGW00105", "EGW00206", "EGW00207"})
LIVE_ONLY = "EGW00213"
UNKNOWN_CODE = "KIS answers so for unknown codes: check the code"
GATEWAY_TROUBLE = frozenset({"EGW00002", "EGW00202", "EGW00203", "EGW00300", "EGW00301", "EGW00302"})


@dataclass(frozen=True, slots=True)
class Service:
    """One quotation service: its path, its transaction id and the most rows it sends in one answer."""

    path: str
    tr_id: str
    rows: int
    folder: str = QUOTATIONS


class TokenRefused(SourceFailure):
    """The server does not know or no longer accepts the token; the gateway replaces it once.

    A `SourceFailure`, so that the transport takes the token out of what the server said; it never leaves the gateway.
    """

    is_of_the_upstream = False


@dataclass(slots=True)
class Calls:
    """The bodies that one question took, for the count and the hash of its batch."""

    bodies: list[bytes] = field(default_factory=list)

    def batch(self, records: list[T], rejects: list[Reject]) -> Batch[T]:
        """The records and rejects that were read from these bodies."""
        return Batch(records, rejects, len(self.bodies), payload_hash(self.bodies))


class Gateway:
    """One account's calls, safe to share between threads.

    The token is shared with every other process through `tokens`. `now` must return an aware datetime.
    """

    def __init__(
        self,
        base_url: str,
        *,
        app_key: str,
        app_secret: str,
        tokens: TokenStore,
        channel: Channel,
        per_second: float,
        now: Callable[[], datetime],
        sleep: Callable[[float], None],
    ) -> None:
        self.now = now
        self._app_key = app_key
        self._app_secret = app_secret
        self._tokens = tokens
        # A stored token belongs to one key at one host: after a change of either it must not be sent.
        self.token_name = "kis:" + hashlib.sha256(f"{base_url}\n{app_key}".encode()).hexdigest()[:16]
        self.http = Transport(
            "kis", base_url, channel=channel, per_second=per_second, secrets=(app_key, app_secret), sleep=sleep
        )

    def get(self, service: Service, params: Mapping[str, str], calls: Calls) -> dict[str, Any]:
        """The body of a success, counted in `calls`; a refused token is replaced once."""

        def read(answer: Answer) -> dict[str, Any]:
            body = _envelope(answer)
            calls.bodies.append(answer.body)
            return body

        def ask(token: Token) -> dict[str, Any]:
            headers = {
                "content-type": "application/json; charset=utf-8",
                "authorization": f"Bearer {token.access_token}",
                "appkey": self._app_key,
                "appsecret": self._app_secret,
                "tr_id": service.tr_id,
                "custtype": "P",
            }
            return self.http.ask(read, service.folder + service.path, params=params, headers=headers)

        token = self._tokens.get_or_issue(self.token_name, self._issue)
        try:
            return ask(token)
        except TokenRefused:
            token = self._tokens.get_or_issue(self.token_name, self._issue, discard=token.access_token)
        try:
            return ask(token)
        except TokenRefused as refused:
            raise Unauthorized("kis", f"a token issued just now is refused: {refused.what}") from None

    def close(self) -> None:
        """Close the connections."""
        self.http.close()

    def _issue(self) -> Token:
        def read(answer: Answer) -> Token:
            body = _envelope(answer)
            token = body.get("access_token")
            if not isinstance(token, str) or not token or not (token.isascii() and token.isprintable()):
                raise ContractChanged("kis", "the token answer holds no usable access_token", url=answer.url)
            return Token(token, self._expiry(body, answer))

        keys = {"grant_type": "client_credentials", "appkey": self._app_key, "appsecret": self._app_secret}
        return self.http.ask(read, "/oauth2/tokenP", method="POST", json_body=keys, patience_s=TOKEN_PATIENCE_S)

    def _expiry(self, body: Mapping[str, Any], answer: Answer) -> datetime:
        # Within six hours KIS hands out the same token again: the stated end is right where `expires_in` may not be.
        try:
            naive = datetime.strptime(str(body.get("access_token_token_expired")), "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007
            return naive.replace(tzinfo=krx.KST)
        except ValueError:
            pass
        seconds = body.get("expires_in")
        if not isinstance(seconds, int) or seconds <= 0:
            raise ContractChanged("kis", "the token answer does not say when the token ends", url=answer.url)
        return self.now() + timedelta(seconds=seconds)


def _envelope(answer: Answer) -> dict[str, Any]:
    """The body of a success; else the failure its code stands for, whatever the HTTP status says."""
    body = answer.json_object()
    is_success = str(body.get("rt_cd", "0")) == "0" and not body.get("error_code")
    if is_success:
        answer.raise_for_status()
        return body
    code = str(body.get("error_code") or body.get("msg_cd") or "").strip()
    said = str(body.get("error_description") or body.get("msg1") or "").strip()
    raise _failure(code, f"{code or 'a failure without a code'} (HTTP {answer.status}): {said}", answer)


def _failure(code: str, what: str, answer: Answer) -> SourceFailure:
    url = answer.url
    if code in TOKEN_REFUSED:
        return TokenRefused("kis", what)
    if code in PAUSE_S:
        return RateLimited("kis", what, url=url, retry_after=PAUSE_S[code])
    if code in NOT_OURS:
        advice = "Check KIS_APP_KEY and KIS_APP_SECRET, and that they belong to KIS_BASE_URL"
        return Unauthorized("kis", what, url=url, advice=advice)
    if code == LIVE_ONLY:
        advice = "This service needs a live account: the paper host has none"
        return NotForThisAccount("kis", what, url=url, advice=advice)
    if code in GATEWAY_TROUBLE or (answer.status >= 500 and not code.startswith("OPSQ")):
        return Unavailable("kis", what, url=url)
    return ContractChanged("kis", what, url=url)


def rows_of(body: Mapping[str, Any], name: str = "output2") -> list[Row]:
    """The list under `name`, without padding; `ContractChanged` where it is no list."""
    rows = body.get(name)
    if not isinstance(rows, list):
        raise ContractChanged("kis", f"{name} is {type(rows).__name__}, not a list of rows")
    # KIS pads the answers of recently listed stocks with {}, and those about unknown codes with empty texts.
    return [row for row in rows if not isinstance(row, Mapping) or any(value != "" for value in row.values())]


def record_of(body: Mapping[str, Any], stock_code: str) -> Row:
    """The one record of a ledger service; `Empty` where it holds nothing, as for an unknown code."""
    record = body.get("output")
    if not isinstance(record, Mapping):
        raise ContractChanged("kis", f"output is {type(record).__name__}, not one record")
    if not any(isinstance(value, str) and value.strip() for value in record.values()):
        raise Empty("kis", f"the ledger has no {stock_code}", advice="KIS answers so for an unknown code: check it")
    # Twelve characters, padded in front: 00000A005930.
    about = str(record.get("pdno") or "").strip()
    if not about.endswith(stock_code):
        raise ContractChanged("kis", f"asked for {stock_code}, the answer is about {about!r}")
    return record


def object_of(body: Mapping[str, Any], name: str) -> Row:
    """The object under `name`; `ContractChanged` where it is none."""
    answer = body.get(name)
    if not isinstance(answer, Mapping):
        raise ContractChanged("kis", f"{name} is {type(answer).__name__}, not an object")
    return answer


def stock_query(stock_code: str) -> dict[str, str]:
    """The parameters that name a stock on KRX."""
    return {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": stock_code}


def dated(rows: Iterable[Row]) -> list[Row]:
    """The rows without those that carry no day at all, which the contract says to skip."""
    return [row for row in rows if not isinstance(row, Mapping) or "stck_bsop_date" in row]


def check_code(body: Mapping[str, Any], asked: str) -> None:
    """Raise `ContractChanged` for an answer about another stock than the one asked for."""
    about = body.get("output1")
    answered = str(about.get("stck_shrn_iscd") or "").strip() if isinstance(about, Mapping) else ""
    if answered and answered != asked:
        raise ContractChanged("kis", f"asked for {asked}, the answer is about {answered}")


def one_a_day(found: Sequence[D], rejects: list[Reject]) -> list[D]:
    """The records in the order of their days, one a day; two that differ become rejects."""
    records, refused = one_each(found, lambda record: record.trade_date, "stck_bsop_date")
    rejects.extend(refused)
    return sorted(records, key=lambda record: record.trade_date)
