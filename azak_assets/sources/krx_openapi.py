"""The exchange's Open API (openapi.krx.co.kr): a whole market of a session in one call, published on the next day.

Put here its paths, fields and error bodies; when a session is published stands in `krx.publication`. Prices are
reconciled with it and never taken from it: it has nothing of today, no range of days and no investor flows.

How sure each point is, since no copy of the exchange's own documents was at hand. *Alike in more than ten public
clients*: host, paths, the header AUTH_KEY, `basDd`, `OutBlock_1` and the fields read here; one call a market and day.
*Recorded in published answers*: six-character codes in ISU_CD; plain digits (separators are tolerated); open, high and
low "0" with a carried close where nothing traded; an empty list for a closed day; the two bodies of HTTP 401, which
tell a wrong key ("Unauthorized Key") from a service that the key was not approved for ("Unauthorized API Call"); 404
for a path that does not exist. *In two or three of them*: a day is there from 08:00 KST of the next one (one client
found nothing 8.5 hours after the close), of a Friday perhaps only on Monday; 10,000 calls a day and key, by the terms.
*Unknown*: what a used-up key is answered (429 is taken for it), and which trades outside the order book the totals
hold; `defs.market.reconciliation` allows for them.
"""

import time
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

from azak_assets import krx
from azak_assets.ports import Channel
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
from azak_assets.sources.fields import Refused, Row, day, one_each, optional_text, parse_rows, text, whole
from azak_assets.sources.records import Batch, ExchangeBar, Market
from azak_assets.sources.transport import Transport

UPSTREAM = "krx"
CALLS_A_DAY = 10_000
"""By the terms of use."""
SERVICES: Mapping[Market, str] = {"KOSPI": "stk_bydd_trd", "KOSDAQ": "ksq_bydd_trd", "KONEX": "knx_bydd_trd"}

_ABSENT = frozenset({"", "-", "0"})
_NOT_APPROVED = "api call"
"""Of "Unauthorized API Call": a wrong key has the same status and code, and other words."""


class KrxOpenApiClient:
    """One key's access, safe to share between threads. All methods raise `SourceFailure`s.

    `now` must return an aware datetime; it decides whether an empty answer is early or wrong.
    """

    def __init__(
        self,
        base_url: str,
        *,
        key: str,
        channel: Channel,
        per_second: float = 5,
        now: Callable[[], datetime] = lambda: datetime.now(krx.KST),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._now = now
        self._http = Transport(
            UPSTREAM,
            base_url,
            channel=channel,
            per_second=per_second,
            per_day=CALLS_A_DAY,
            headers={"AUTH_KEY": key},
            secrets=(key,),
            sleep=sleep,
        )

    def daily_bars(self, market: Market, session_day: date) -> Batch[ExchangeBar]:
        """Every issue of a market in one session; one call. Empty while the session may not be published yet.

        `Empty` once it must be. `ContractChanged` when rows came and none could be read. `NotForThisAccount` when the
        key was not approved for this market's service: another market may answer. Raises `krx.NotASession`.
        """
        session = krx.session(session_day)
        body, answer = self._http.ask(
            lambda answer: (_result(answer, market), answer),
            f"/sto/{SERVICES[market]}",
            params={"basDd": f"{session.day:%Y%m%d}"},
        )
        rows = body["OutBlock_1"]
        if not rows and self._now() >= krx.surely_published_from(session.day):
            advice = "The exchange answers so for a closed day too: check the calendar, or run again later"
            raise Empty(UPSTREAM, f"no issue of {market} on {session.day}", url=answer.url, advice=advice)
        found, rejects = parse_rows(rows, lambda row: _bar(row, market, session))
        bars, refused = one_each(found, lambda bar: bar.stock_code, "ISU_CD")
        rejects += refused
        if rejects and not bars:
            first = rejects[0]
            what = f"none of {len(rows)} rows can be read; of the first, {first.field} {first.reason}: {first.value!r}"
            raise ContractChanged(UPSTREAM, what, url=answer.url)
        return Batch(bars, rejects, 1, payload_hash([answer.body]))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def _result(answer: Answer, market: Market) -> dict[str, Any]:
    body = answer.json_object()
    code = str(body.get("respCode") or "").strip()
    if code or not answer.is_success:
        raise _failure(code or str(answer.status), answer, str(body.get("respMsg") or answer.excerpt()), market)
    if not isinstance(body.get("OutBlock_1"), list):
        raise ContractChanged(UPSTREAM, "the result holds no list OutBlock_1", url=answer.url)
    return body


def _failure(code: str, answer: Answer, said: str, market: Market) -> SourceFailure:
    what = f"{said} (respCode {code}, HTTP {answer.status})"
    if code == "401" and _NOT_APPROVED in said.lower():
        service = SERVICES[market]
        advice = (
            f"The key is good: apply for the service {service} ({market}) at openapi.krx.co.kr and wait for approval"
        )
        return NotForThisAccount(UPSTREAM, what, url=answer.url, advice=advice, action="alert")
    if code in {"401", "403"}:
        advice = "Check KRX_OPENAPI_KEY: a key of openapi.krx.co.kr is valid for one year"
        return Unauthorized(UPSTREAM, what, url=answer.url, advice=advice)
    if code == "429":
        advice = "The day's 10,000 calls of this key may be used up: run again after midnight KST"
        return RateLimited(UPSTREAM, what, url=answer.url, advice=advice)
    if code.startswith("5"):
        return Unavailable(UPSTREAM, what, url=answer.url)
    return ContractChanged(UPSTREAM, what, url=answer.url)


def _bar(row: Row, market: Market, session: krx.Session) -> ExchangeBar:
    if (of := day(row, "BAS_DD")) != session.day:
        raise Refused("BAS_DD", of, f"is not the day asked for, {session.day}")
    code = text(row, "ISU_CD")
    if not krx.is_stock_code(code):
        raise Refused("ISU_CD", code, "is not a stock code of six characters")
    open_, high, low = (_price(row, field) for field in ("TDD_OPNPRC", "TDD_HGPRC", "TDD_LWPRC"))
    close, volume = _number(row, "TDD_CLSPRC", minimum=1), _number(row, "ACC_TRDVOL")
    if open_ is None or high is None or low is None:
        if {open_, high, low} != {None}:
            raise Refused("TDD_OPNPRC", row.get("TDD_OPNPRC"), "open, high and low are there in part only")
    elif not low <= min(open_, close) <= max(open_, close) <= high:
        raise Refused("TDD_HGPRC", row.get("TDD_HGPRC"), "open, high, low and close contradict each other")
    return ExchangeBar(
        stock_code=code,
        trade_date=session.day,
        market=market,
        name=text(row, "ISU_NM"),
        open=open_,
        high=high,
        low=low,
        close=close,
        volume=volume,
        turnover_krw=_number(row, "ACC_TRDVAL"),
        market_cap_krw=_optional_number(row, "MKTCAP"),
        listed_shares=_optional_number(row, "LIST_SHRS"),
        known_at=krx.surely_published_from(session.day),
    )


def _price(row: Row, field: str) -> int | None:
    """A price of the order book; None where the exchange writes 0, a dash or nothing, because nothing traded there."""
    return None if (optional_text(row, field) or "") in _ABSENT else _number(row, field, minimum=1)


def _optional_number(row: Row, field: str) -> int | None:
    return None if (optional_text(row, field) or "") in _ABSENT else _number(row, field)


def _number(row: Row, field: str, *, minimum: int = 0) -> int:
    value = row.get(field)
    plain = value.replace(",", "") if isinstance(value, str) else value
    return whole({field: plain}, field, minimum=minimum)
