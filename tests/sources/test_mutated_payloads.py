"""Every answer of every upstream, damaged at random: no crash, nothing wrong lands, every rejection explained.

The answers come from the sandbox, over sockets, once; then each is damaged and given to the same client again, through
the transport's own reading, without a socket: ten thousand damages a question are only affordable so. `make test` does
some hundred each, `make soak` ten thousand.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

import httpx
import httpx._transports.default as _transports
import pytest
from every_client import Clients
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mutations import (
    LINES,
    NO_ROWS,
    Damage,
    Shape,
    Told,
    Whole,
    check_batch,
    check_failure,
    damaged,
    json_list,
    json_objects,
    xml_list,
    zipped,
)

from azak_assets import krx
from azak_assets.sandbox import Limits, SeededWorld, create_app, start_in_thread
from azak_assets.sources.failures import SourceFailure
from azak_assets.sources.records import Batch

DAY = date(2026, 9, 4)
EVENING, EARLY, NOON = (f"2026-09-04 {hour}" for hour in ("20:00", "09:14:20", "11:02"))
UNLIMITED = Limits(*[10**9] * 8)
IN_EVERY_TEST_RUN, IN_SOAK = 50, 10_000
FIRST_ROWS = 12
"""Damages meet the first rows of an answer: which record a row becomes is found out row by row."""


@dataclass(frozen=True)
class Question:
    """What is asked, when, and the shape of the answers; what else is as in `Whole`."""

    ask: Callable[[Clients, str], Any]
    shape: Shape
    now: str = EVENING
    only: str = ""
    """Of the answers those whose address holds this are damaged."""
    more: Mapping[str, Any] = ...  # type: ignore[assignment]


def question(
    ask: Callable[[Clients, str], Any], shape: Shape, now: str = EVENING, *, only: str = "", **more: Any
) -> Question:
    return Question(ask, shape, now, only, more)


def without_day(row: Any) -> bool:
    """KIS pads with rows that carry no day, or nothing at all."""
    return isinstance(row, Mapping) and ("stck_bsop_date" not in row or not any(value != "" for value in row.values()))


def no_traded_minute(row: Any) -> bool:
    """Padding, another day, another hour, the running minute."""
    return isinstance(row, Mapping)


def of_another_time(row: Any) -> bool:
    """News of another time than asked for."""
    return isinstance(row, Mapping)


PRICED = json_list("output2")
QUESTIONS = {
    "kis token": question(lambda c, code: c.kis_signing_in.quote(code), NO_ROWS, NOON, only="/oauth2"),
    "kis daily bars": question(
        lambda c, code: c.kis.daily_bars(code, date(2026, 8, 21), DAY),
        PRICED,
        is_left_out=without_day,
        lenient=frozenset({"base_price", "base_ratio", "base_reason"}),
        derived=frozenset({"base_price", "base_ratio", "base_reason", "is_halted", "known_at"}),
    ),
    "kis index bars": question(
        lambda c, _: c.kis.index_bars("0001", date(2026, 8, 21), DAY),
        PRICED,
        is_left_out=without_day,
        derived=frozenset({"known_at"}),
    ),
    "kis minutes of today": question(
        lambda c, code: c.kis.minute_bars_today(code),
        PRICED,
        EARLY,
        is_left_out=no_traded_minute,
        loose=frozenset({"turnover_krw"}),
        derived=frozenset({"turnover_krw", "known_at"}),
    ),
    "kis past minutes": question(
        lambda c, code: c.kis.minute_bars(code, date(2026, 9, 3)),
        PRICED,
        is_left_out=no_traded_minute,
        loose=frozenset({"turnover_krw"}),
        derived=frozenset({"turnover_krw", "known_at"}),
    ),
    "kis quote": question(
        lambda c, code: c.kis.quote(code),
        json_objects("output"),
        NOON,
        derived=frozenset({"open", "high", "low", "vwap", "is_halted"}),
    ),
    "kis order book": question(
        lambda c, code: c.kis.order_book(code),
        json_objects("output1", "output2"),
        NOON,
        derived=frozenset({"ask_prices", "ask_shares", "bid_prices", "bid_shares", "expected_volume"}),
    ),
    "kis investor flows": question(
        lambda c, code: c.kis.investor_flows(code),
        json_list("output"),
        is_left_out=without_day,
        derived=frozenset({"known_at"}),
    ),
    "kis after-hours bars": question(
        lambda c, code: c.kis.overtime_bars(code),
        json_list("output2"),
        is_left_out=without_day,
        derived=frozenset({"known_at", "close", "turnover_krw"}),
    ),
    "kis breadth": question(
        lambda c, _: c.kis.index_breadth("0001"),
        json_objects("output1"),
        is_proven=True,
        derived=frozenset({"known_at"}),
    ),
    "kis ratios": question(
        lambda c, code: c.kis.financial_ratios(code),
        json_list("output"),
        is_left_out=lambda row: isinstance(row, Mapping) and not str(row.get("stac_yymm") or "").strip(),
        derived=frozenset({"period_end"}),
    ),
    "kis product information": question(
        lambda c, code: c.kis.product_info(code), json_objects("output"), derived=frozenset({"product_class"})
    ),
    "kis holidays": question(
        lambda c, _: c.kis.market_days(DAY, DAY + timedelta(days=20)),
        json_list("output"),
        is_left_out=lambda row: isinstance(row, Mapping),
    ),
    "kis master files": question(
        lambda c, _: c.kis.listed_stocks(), zipped(LINES), is_left_out=lambda row: isinstance(row, bytes)
    ),
    "opendart filings": question(
        lambda c, _: c.opendart.filings(DAY, DAY),
        json_list("list"),
        derived=frozenset({"correction_kind", "known_at"}),
    ),
    "opendart companies": question(lambda c, _: c.opendart.corp_codes(), zipped(xml_list("list"))),
    "naver": question(
        lambda c, _: c.naver.search("증시", since=datetime(2026, 9, 4, tzinfo=krx.KST)),
        json_list("items"),
        is_left_out=of_another_time,
        derived=frozenset({"is_date_only", "url"}),
    ),
    "rss": question(
        lambda c, _: c.rss.articles(), xml_list("item"), is_forgiving=True, derived=frozenset({"is_date_only"})
    ),
    "krx": question(lambda c, _: c.krx.daily_bars("KONEX", date(2026, 9, 2)), json_list("OutBlock_1")),
    "reddit": question(
        lambda c, _: c.reddit.posts("stocks"),
        json_list("data", "children", item="data"),
        is_merged=True,
        is_left_out=lambda row: isinstance(row, Mapping),
    ),
    "article pages": question(lambda c, url: c.pages.read(url), NO_ROWS),
    "telegram": question(lambda c, _: c.telegram.send("4242", "예측 <b>1</b>"), NO_ROWS),
}


class Tape:
    """Answers instead of a socket: what the sandbox said to each request, or a damaged answer in its place."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str, str], tuple[int, Mapping[str, str], bytes]] = {}
        self.damage: tuple[tuple[str, str, str], Damage] | None = None
        self.listens_to: Callable[[httpx.HTTPTransport, httpx.Request], httpx.Response] | None = None

    def handle(self, transport_: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        """What httpx calls for each request."""
        key = (request.method, request.url.raw_path.decode(), request.headers.get("tr_id", ""))
        if self.listens_to is not None:
            answer = self.listens_to(transport_, request)
            kept = (answer.status_code, {"content-type": answer.headers.get("content-type", "")}, answer.read())
            self.answers[key] = kept
        if self.damage is not None and key == self.damage[0]:
            return httpx.Response(self.damage[1].status, content=self.damage[1].body)
        if key not in self.answers:  # what only a damaged answer makes a client ask for
            return httpx.Response(500, content=b"{}")
        status, headers, body = self.answers[key]
        return httpx.Response(status, headers=headers, content=body)


@pytest.fixture(scope="module")
def tape() -> Iterator[Tape]:
    found = Tape()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx.HTTPTransport, "handle_request", lambda one, request: found.handle(one, request))  # noqa: PLW0108 - a bound method is not bound again
        # Nobody speaks TLS here, and reading the certificates of the world takes 25 ms a client.
        patch.setattr(_transports, "create_ssl_context", cache(_transports.create_ssl_context))
        yield found


@dataclass
class Recorded:
    """A question, its clients, the requests it makes, and what its whole answers are."""

    asked: Question
    clients: Clients
    about: str
    requests: list[tuple[str, str, str]]
    whole: Whole

    def ask(self) -> Any:
        tokens = dict(self.clients.tokens._tokens)
        self.clients.forget()
        self.clients.tokens._tokens.update(tokens)
        return self.asked.ask(self.clients, self.about)


@pytest.fixture(scope="module")
def recorded(tape: Tape) -> Callable[[str], Recorded]:
    """Ask a question of the sandbox once, keep the answers, and find out which row becomes which record."""
    world = SeededWorld(1)

    def record(name: str) -> Recorded:
        asked = QUESTIONS[name]
        now = datetime.fromisoformat(asked.now).replace(tzinfo=krx.KST)
        tape.answers.clear()
        tape.damage = None
        tape.listens_to = HONEST
        with start_in_thread(create_app(world, clock=lambda: now, limits=UNLIMITED)) as url:
            clients = Clients(url, asked.now)
            about = _about(name, world, clients, url)
            tape.answers.clear()
            one = Recorded(asked, clients, about, [], Whole(Batch([], [], 0, ""), [], asked.shape, {}))
            batch = one.ask()
            clients.close()
        tape.listens_to = None
        # Others, that never opened a connection.
        one.clients = Clients(url, asked.now, clients.tokens)
        one.requests = [key for key in tape.answers if asked.only in key[1]]
        one.whole = _whole(tape, one, batch)
        return one

    return record


HONEST = httpx.HTTPTransport.handle_request


def _about(name: str, world: SeededWorld, clients: Clients, url: str) -> str:
    """A stock that trades and is followed, or an article that has a page."""
    if name == "article pages":
        (first, *_) = clients.rss.articles().records
        assert first.url is not None
        return first.url
    followed = sorted(world._followed(clients.now))
    traded = (
        [code for code in followed if world.quote(code, clients.now).volume] if hasattr(world, "quote") else followed
    )
    return (traded or followed)[0]


def _whole(tape: Tape, one: Recorded, batch: Any) -> Whole:
    bodies = [tape.answers[key][2] for key in one.requests]
    shape = one.asked.shape
    if not isinstance(batch, Batch):
        return Whole(Batch([], [], 0, ""), bodies, NO_ROWS, {})
    whole = Whole(batch, bodies, shape, {}, **one.asked.more)
    for number, (key, body) in enumerate(zip(one.requests, bodies, strict=True)):
        rows = _rows(shape, body)
        for at in range(min(len(rows), FIRST_ROWS)):
            tape.damage = (key, Damage("without it", shape.put(body, rows[:at] + rows[at + 1 :])))
            try:
                left = one.ask().records
            except SourceFailure:
                left = []
            whole.of_row[number, at] = [record for record in batch.records if record not in left]
    tape.damage = None
    return whole


def _rows(shape: Shape, body: bytes) -> list[Any]:
    try:
        return shape.rows(body)
    except Exception:  # noqa: BLE001 - an answer of another shape, such as a sign-in's
        return []


@pytest.mark.parametrize("name", QUESTIONS)
def test_whatever_an_upstream_sends_nothing_wrong_lands(
    name: str, tape: Tape, recorded: Callable[..., Recorded]
) -> None:
    _damage(name, tape, recorded(name), IN_EVERY_TEST_RUN)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", QUESTIONS)
def test_ten_thousand_damages(name: str, tape: Tape, recorded: Callable[..., Recorded]) -> None:
    told = _damage(name, tape, recorded(name), IN_SOAK)
    print(f"\n{name}: {told}")  # noqa: T201 - what `pytest -s` is for


def _damage(name: str, tape: Tape, one: Recorded, times: int) -> Told:
    told, causes = Told(), Counter[str]()

    @settings(
        max_examples=times, derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.integers(0, 2**64 - 1))
    def run(seed: int) -> None:
        dice = random.Random(seed)
        number = dice.randrange(len(one.requests))
        key, body = one.requests[number], one.whole.bodies[number]
        shape = one.whole.shape if _rows(one.whole.shape, body) else NO_ROWS
        damage = damaged(body, shape, dice, FIRST_ROWS)
        tape.damage = (key, damage)
        try:
            batch = one.ask()
        except SourceFailure as failure:
            check_failure(failure)
            told.failed += 1
            causes[failure.cause] += 1
            return
        finally:
            tape.damage = None
        if isinstance(batch, Batch):
            whole = one.whole if shape is not NO_ROWS else _without_rows(one.whole)
            try:
                check_batch(whole, number, damage, batch)
            except AssertionError as error:
                raise AssertionError(f"{name}, seed {seed}, {damage.what}: {error}") from None
            told.rejected += len(batch.rejects) > len(one.whole.batch.rejects)
            told.landed += bool(batch.records)

    run()
    told.causes = dict(causes)
    assert told.failed > times / 50, told
    if one.whole.of_row:
        assert told.landed > times / 50, told
    return told


def _without_rows(whole: Whole) -> Whole:
    import dataclasses  # noqa: PLC0415

    return dataclasses.replace(whole, shape=NO_ROWS)
