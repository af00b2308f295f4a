"""`azak doctor`: every setting, the mode, which upstream answers, what contradicts the calendar, disk and versions.

Belongs here: looking, never changing. Secrets are shown as set or not set. Does not belong here: mending what was
found, and the SQL of what is read (`warehouse`).
"""

import importlib.metadata
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import httpx
from pydantic import SecretStr
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from azak_assets import krx
from azak_assets.ingest.calendar_comparison import CalendarDays, broker_calendar, observed_trading
from azak_assets.ingest.days import each_of
from azak_assets.settings import Mode, Settings, described
from azak_assets.warehouse import asof, totals
from azak_assets.warehouse.calls.rate_limit import BACKFILL_SHARE
from azak_assets.warehouse.postgres import database, server, stamp
from azak_assets.warehouse.postgres.address import DatabaseError
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from azak_assets.warehouse.postgres.database import Engine

FAMILY = (
    "dagster",
    "dagster-webserver",
    "dagster-dbt",
    "dagster-postgres",
    "dbt-core",
    "dbt-postgres",
    "sqlalchemy",
    "pandas",
    "faiss-cpu",
    "openai",
)
FREE_DISK_GIB = 2.0


def examine(console: Console) -> bool:
    """Print the findings; whether Azak can run."""
    settings = Settings()
    _settings(console, settings)
    reachable = _upstreams(console, settings)
    healthy, engine = _database(console, settings)
    _calendar(console, engine)
    _quota(console, settings, engine)
    if engine is not None:
        engine.dispose()
    return _machine(console, settings) and healthy and reachable


def _settings(console: Console, settings: Settings) -> None:
    table = Table("setting", "value", "meaning", title=f"settings (mode: {settings.mode.value})", title_justify="left")
    for name, default, meaning in described():
        value = getattr(settings, name.lower())
        if isinstance(value, SecretStr):
            shown = "set"
        elif value is None:
            shown = "[dim]not set[/]"
        else:
            shown = str(value) + ("" if str(value) != default else " [dim](default)[/]")
        table.add_row(name, shown, meaning)
    console.print(table)


@dataclass(frozen=True)
class Upstream:
    """An upstream: the setting of the address, those of the keys, and whether Azak cannot work without."""

    name: str
    address: str
    keys: tuple[str, ...] = ()
    is_needed: bool = False


UPSTREAMS = (
    Upstream("KIS", "kis_base_url", ("kis_app_key", "kis_app_secret"), is_needed=True),
    Upstream("KIS master files", "kis_master_base_url", is_needed=True),
    Upstream("OpenDART", "opendart_base_url", ("opendart_api_key",)),
    Upstream("KRX Open API", "krx_openapi_base_url", ("krx_openapi_key",)),
    Upstream("Naver", "naver_base_url", ("naver_client_id", "naver_client_secret")),
    Upstream("Hankyung RSS", "hankyung_base_url"),
    Upstream("MK RSS", "mk_base_url"),
    Upstream("Reddit", "reddit_base_url", ("reddit_client_id", "reddit_client_secret")),
    Upstream("OpenAI", "openai_base_url", ("openai_api_key",)),
    Upstream("OpenRouter", "openrouter_base_url", ("openrouter_api_key",)),
    Upstream("Telegram", "telegram_base_url", ("telegram_bot_token", "telegram_chat_id")),
)


def _upstreams(console: Console, settings: Settings) -> bool:
    """Whether everything answers that has keys or that Azak cannot do without; any HTTP status is an answer."""
    if settings.mode is Mode.SANDBOX:
        if settings.azak_sandbox_url is None:
            console.print("upstreams: the sandbox is started by `azak up` and `azak run`; none runs now")
            return True
        settings = settings.in_sandbox(settings.azak_sandbox_url)
    table = Table("upstream", "address", "answers", title="upstreams", title_justify="left")
    everything = True
    with httpx.Client(timeout=5, follow_redirects=False) as client:
        for upstream in UPSTREAMS:
            status, works = _status(client, settings, upstream)
            table.add_row(upstream.name, getattr(settings, upstream.address), status)
            everything = everything and works
    console.print(table)
    return everything


def _status(client: httpx.Client, settings: Settings, upstream: Upstream) -> tuple[str, bool]:
    """How it answers, and whether Azak can work with that."""
    missing = " and ".join(key.upper() for key in upstream.keys if getattr(settings, key) is None)
    if missing:
        if upstream.is_needed:
            return f"[red]no[/]: {missing} not set; the live mode has no prices without", False
        return f"[dim]not configured: {missing} not set[/]", True
    try:
        return f"[green]yes[/] (HTTP {client.get(getattr(settings, upstream.address)).status_code})", True
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # A feed that needs no key is one of several: without it there is less news, and Azak runs.
        counts = upstream.is_needed or bool(upstream.keys)
        return f"[{'red' if counts else 'yellow'}]no[/]: {type(error).__name__}", not counts


def _database(console: Console, settings: Settings) -> "tuple[bool, Engine | None]":
    """Whether the database is as it should be, and an engine where it runs and has our tables."""
    if settings.azak_database_url is None:
        info = server.status(settings.azak_home)
        if info is None:
            console.print(f"database: embedded, not running; `azak db migrate` starts it under {settings.azak_home}")
            return True, None
        url = info.url("azak")
    else:
        url = settings.azak_database_url.get_secret_value()
    try:
        database.wait_until_ready(url, timeout_s=2)
        state = database.status(url)
        engine = database.create_engine(url)
        with engine.connect() as connection:
            latest = totals.newest_day_with_bars(connection) if state.current else None
        version = database.server_version(url)
        of_world = stamp.current(url) if state.current else None
        console.print(
            f"database: PostgreSQL {version}, world {of_world or 'none yet'}, "
            f"revision {state.current or 'none'}, newest daily bars {latest or 'none'}"
        )
    except DatabaseError as error:
        console.print(f"database: [red]{escape(str(error))}[/]")
        return False, None
    if state.current is None:
        engine.dispose()
        return True, None
    return True, engine


COMPARED: dict[str, Callable[[Warehouse], CalendarDays]] = {
    "observed trading": observed_trading,
    "broker": broker_calendar,
}
"""What a database holds that the committed calendar is compared with."""


def _calendar(console: Console, engine: "Engine | None") -> None:
    now = datetime.now(krx.KST)
    session = krx.current_or_next_session(now)
    console.print(
        f"calendar: last closed session {krx.last_closed_session(now).day}, current or next {session.day} "
        f"{session.open_at:%H:%M}–{session.close_at:%H:%M} KST, committed until {krx.LAST_DAY}"
    )
    for name, ask in COMPARED.items():
        if engine is None:
            console.print(f"  {name}: not asked, it needs the database")
            continue
        observed = ask(Warehouse(engine, run_id="azak doctor"))
        disagreements = {
            "open on days that the calendar has closed": observed.surplus,
            "closed on days that the calendar has open": observed.missing,
        }
        found = [f"{what}: {each_of(days)}" for what, days in disagreements.items() if days]
        if found:
            console.print(
                f"  {name} [red]disagrees[/]: {'; '.join(found)}. Load the session again, or correct "
                "azak_assets/krx/data with a source.",
                soft_wrap=True,
            )
        elif observed.open:
            first, last = min(observed.open), max(observed.open)
            console.print(f"  {name} agrees: {len(observed.open)} sessions {first} … {last}")
        else:
            console.print(f"  {name}: no days yet")


MINUTE_CALLS = 1.0
"""KIS calls a stock and minute that its minute bars take while nothing is missing."""
SNAPSHOT_CALLS = 2 / 5
"""And those of its quote and its order book, each once in five minutes."""


def stocks_that_fit(per_second: float, calls: float = MINUTE_CALLS) -> int:
    """How many stocks, of so many calls a minute each, fit into what a running backfill leaves to live work."""
    live = 60 * per_second * (1 - BACKFILL_SHARE)
    return int(round(live / calls, 6))


def _quota(console: Console, settings: Settings, engine: "Engine | None") -> None:
    """How many stocks can be followed by the minute, beside how many there are in tiers 1 and 2."""
    rate = settings.kis_rate
    minutes, with_snapshots = stocks_that_fit(rate), stocks_that_fit(rate, MINUTE_CALLS + SNAPSHOT_CALLS)
    capacity = (
        f"KIS quota: {rate:.3g} calls a second, {1 - BACKFILL_SHARE:.0%} of them live beside a backfill: a minute has "
        f"room for the minute bars of {minutes} stocks, or of {with_snapshots} with quotes and books every five minutes"
    )
    if engine is None:
        console.print(capacity, soft_wrap=True)
        return
    followed = len(asof.read(engine, "raw.stocks", columns=["stock_code"], where={"tier": [1, 2], "is_active": True}))
    capacity += f"; tiers 1 and 2 have {followed}"
    if followed > with_snapshots:
        minute, snapshot = (
            followed * calls / (60 * rate * (1 - BACKFILL_SHARE)) for calls in (MINUTE_CALLS, 5 * SNAPSHOT_CALLS)
        )
        capacity += (
            f" [yellow]— a round of minutes takes {minute:.1f} minutes (no bar is lost below 30), one of quotes and "
            f"books {snapshot:.1f}; what does not fit into five is left out, the lower tier first[/]"
        )
    console.print(capacity, soft_wrap=True)


def _machine(console: Console, settings: Settings) -> bool:
    folder = next(path for path in (settings.azak_home, *settings.azak_home.parents) if path.is_dir())
    free = shutil.disk_usage(folder).free / 2**30
    enough = free >= FREE_DISK_GIB
    console.print(
        f"disk: {free:.1f} GiB free at {folder}" + ("" if enough else f" [red]— free at least {FREE_DISK_GIB} GiB[/]")
    )
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in FAMILY)
    console.print(f"versions: Python {platform.python_version()}, {versions}")
    return enough
