"""Minute bars, quotes and order books: minutes are walked page by page, back from now or from the close.

Does not belong here: the meaning of a row (`kis.bars`, `kis.quotes`), and the proof that no minute is missing
(`kis.minutes`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from azak_assets import krx
from azak_assets.sources.failures import ContractChanged, Empty
from azak_assets.sources.fields import CONFLICTING, Refused, Row, parse_rows, reject
from azak_assets.sources.kis import bars, minutes, quotes
from azak_assets.sources.kis.gateway import Calls, Gateway, Service, dated, object_of, rows_of, stock_query
from azak_assets.sources.records import MINUTE, Batch, MinuteBar, OrderBook, Quote, Reject, RejectCode

PAST_MINUTES = Service("/inquire-time-dailychartprice", "FHKST03010230", 120)
MINUTES_OF_TODAY = Service("/inquire-time-itemchartprice", "FHKST03010200", 30)
QUOTE = Service("/inquire-price", "FHKST01010100", 1)
BOOK = Service("/inquire-asking-price-exp-ccn", "FHKST01010200", 1)
SURELY_TRADED_AFTER = timedelta(minutes=10)
"""Until so long after the open a stock without a minute is no failure: it may not have traded yet."""


@dataclass(slots=True)
class _Walk:
    """The pages of one walk back through a session's minutes, newest first, and their rows by minute."""

    pages: list[dict[str, Any]] = field(default_factory=list)
    rows: dict[datetime, Row] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    disputed: set[datetime] = field(default_factory=set)
    """Minutes with two conflicting rows: both are rejected."""

    def add(self, starts: Iterable[tuple[datetime, Row]]) -> list[datetime]:
        """Keep the rows of a page by minute; returns the minutes that were not known."""
        fresh = []
        for ts, row in starts:
            known = self.rows.setdefault(ts, row)
            if known is row:
                fresh.append(ts)
            elif known != row:
                self.disputed.add(ts)
                refused = Refused("stck_cntg_hour", f"{ts:%H:%M}", CONFLICTING, RejectCode.CONFLICT)
                self.rejects += [reject(one, refused) for one in (known, row)]
        return fresh

    def parsed(self, stock_code: str, session: krx.Session, now: datetime) -> tuple[list[bars.MinuteRow], list[Reject]]:
        """The traded minutes of the session that are over, and every reject of the walk."""
        rows = [row for ts, row in self.rows.items() if ts not in self.disputed]
        found, refused = parse_rows(rows, lambda row: bars.minute_row(row, stock_code, session, now))
        return found, self.rejects + refused

    def totals(self, session: krx.Session, now: datetime) -> minutes.Totals:
        """What the newest page says of the day beside its rows."""
        head = self.pages[0].get("output1")
        volumes = [
            minutes.total(self.rows[ts], "cntg_vol") or 0
            for ts in sorted(self.rows)
            if ts >= session.open_at and ts + MINUTE > now
        ]
        return minutes.Totals(minutes.total(head, "acml_vol"), minutes.total(head, "acml_tr_pbmn"), volumes)

    def quiet(self) -> list[datetime]:
        """The minutes whose row says that nothing traded."""
        return [ts for ts, row in self.rows.items() if minutes.total(row, "cntg_vol") == 0]


def minute_bars(gateway: Gateway, stock_code: str, day: date) -> Batch[MinuteBar]:
    """As `KisClient.minute_bars`."""
    query = {**stock_query(stock_code), "FID_INPUT_DATE_1": f"{day:%Y%m%d}", "FID_FAKE_TICK_INCU_YN": ""}
    calls, session, now = Calls(), krx.session(day), gateway.now()
    walk = _walk(gateway, PAST_MINUTES, query, calls, session=session, now=now)
    rows, rejects = walk.parsed(stock_code, session, now)
    return calls.batch(bars.with_turnover(rows), rejects)


def minute_bars_today(
    gateway: Gateway, stock_code: str, known: minutes.SessionMinutes | None = None
) -> minutes.SessionMinutes:
    """As `KisClient.minute_bars_today`."""
    now = gateway.now()
    session = krx.session(now.astimezone(krx.KST).date())
    calls, rejects = Calls(), dict[Reject, None]()
    bars_so_far = list(known.bars) if known else []
    off_book, missing = (known.off_book, known.missing) if known else (0, 0)
    fresh: dict[datetime, MinuteBar] = {}
    query = {**stock_query(stock_code), "FID_ETC_CLS_CODE": ""}
    walks = (bars_so_far[-1].ts if bars_so_far else None, None) if now >= session.open_at else ()
    for since in walks:
        walk = _walk(gateway, MINUTES_OF_TODAY, query, calls, session=session, now=now, since=since)
        rows, refused = walk.parsed(stock_code, session, now)
        rejects.update(dict.fromkeys(refused))
        bars_so_far, new = minutes.merged(bars_so_far, bars.with_turnover(rows, None if since else 0))
        fresh.update((bar.ts, bar) for bar in new)
        totals = walk.totals(session, now)
        if since is None:
            off_book = missing = 0
        if minutes.is_complete(bars_so_far, totals, off_book):
            break
        if since is None:
            off_book = minutes.left_over(bars_so_far, totals)
            missing = minutes.missing_minutes(rows, walk.quiet(), session, totals, now)
            if totals.volume is None:
                break
    batch = calls.batch([fresh[ts] for ts in sorted(fresh)], list(rejects))
    return minutes.SessionMinutes(
        batch.records,
        batch.rejects,
        batch.requests,
        batch.payload_sha256,
        bars=bars_so_far,
        missing=missing,
        off_book=off_book,
    )


def quote(gateway: Gateway, stock_code: str) -> Batch[Quote]:
    """As `KisClient.quote`."""
    calls = Calls()
    answer = object_of(gateway.get(QUOTE, stock_query(stock_code), calls), "output")
    at = gateway.now()
    if quotes.is_blank(answer):
        raise Empty("kis", f"no quote of {stock_code}", advice="KIS answers so for an unknown code: check it")
    records, rejects = parse_rows([answer], lambda row: quotes.quote(row, stock_code, at))
    return calls.batch(records, rejects)


def order_book(gateway: Gateway, stock_code: str) -> Batch[OrderBook]:
    """As `KisClient.order_book`."""
    calls = Calls()
    body = gateway.get(BOOK, stock_query(stock_code), calls)
    at = gateway.now()
    answer = {name: object_of(body, name) for name in ("output1", "output2")}
    if quotes.is_blank(answer["output1"]):
        raise Empty("kis", f"no book of {stock_code}", advice="KIS answers so for an unknown code: check it")
    records, rejects = parse_rows(
        [answer], lambda row: quotes.order_book(row["output1"], row["output2"], stock_code, at)
    )
    return calls.batch(records, rejects)


def _walk(
    gateway: Gateway,
    service: Service,
    query: Mapping[str, str],
    calls: Calls,
    *,
    session: krx.Session,
    now: datetime,
    since: datetime | None = None,
) -> _Walk:
    """Ask for the minutes up to ``now`` page by page, back to the open or to a page that meets ``since``."""
    walk, until = _Walk(), since or session.open_at
    # A minute ahead, which is answered as now: while we wait for a slot the minute may turn, and the totals
    # beside the rows would then hold a minute that the hour asked for leaves out.
    upper = min(session.close_at, now.astimezone(krx.KST) + MINUTE)
    while upper >= until:
        asked = {
            "FID_INPUT_HOUR_1": f"{upper:%H%M%S}",
            "FID_PW_DATA_INCU_YN": "N",
        }
        body = gateway.get(service, {**query, **asked}, calls)
        walk.pages.append(body)
        starts, refused = parse_rows(dated(rows_of(body)), lambda row: (bars.minute_start(row), row))
        walk.rejects.extend(refused)
        fresh = walk.add((ts, row) for ts, row in starts if ts.date() == session.day)
        # One row stamped before the open must not end the walk: only the session's own minutes lead it.
        oldest = min((ts for ts in fresh if ts >= session.open_at), default=session.open_at)
        if oldest > upper:
            raise ContractChanged("kis", f"asked for minutes up to {upper:%H:%M}, got none before {oldest:%H:%M}")
        upper = oldest - MINUTE
    # Later KIS pads even a halted stock's minutes.
    if now >= session.open_at + SURELY_TRADED_AFTER and not walk.rows and not walk.rejects:
        raise Empty(
            "kis",
            f"no minute of {query['FID_INPUT_ISCD']} on {session.day}",
            advice="KIS keeps about a year of minutes and answers so for unknown codes: check both",
        )
    return walk
