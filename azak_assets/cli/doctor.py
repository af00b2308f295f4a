"""`azak doctor`: every setting, the mode, which upstream answers, the calendar's witnesses, disk and versions.

Belongs here: looking, never changing. Secrets are shown as set or not set.
"""

import importlib.metadata
import platform
import shutil
from datetime import datetime

import httpx
import sqlalchemy as sa
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from azak_assets import krx
from azak_assets.settings import SANDBOX_PREFIXES, Mode, Settings, described
from azak_assets.warehouse import database, server, world

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
    healthy = _database(console, settings)
    _calendar(console)
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


def _upstreams(console: Console, settings: Settings) -> bool:
    """Whether a TCP and HTTP connection to each base URL stands; any status is an answer."""
    if settings.mode is Mode.SANDBOX:
        if settings.azak_sandbox_url is None:
            console.print("upstreams: the sandbox is started by `azak up` and `azak run`; none runs now")
            return True
        settings = settings.in_sandbox(settings.azak_sandbox_url)
    table = Table("upstream", "address", "answers", title="upstreams", title_justify="left")
    everything = True
    with httpx.Client(timeout=5, follow_redirects=False) as client:
        for field in SANDBOX_PREFIXES:
            url = getattr(settings, field)
            try:
                status = f"[green]yes[/] (HTTP {client.get(url).status_code})"
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                status, everything = f"[red]no[/]: {type(error).__name__}", False
            table.add_row(field.removesuffix("_base_url"), url, status)
    console.print(table)
    return everything


def _database(console: Console, settings: Settings) -> bool:
    if settings.azak_database_url is None:
        info = server.status(settings.azak_home)
        if info is None:
            console.print(f"database: embedded, not running; `azak db migrate` starts it under {settings.azak_home}")
            return True
        url = info.url("azak")
    else:
        url = settings.azak_database_url.get_secret_value()
    try:
        database.wait_until_ready(url, timeout_s=2)
        state = database.status(url)
        engine = database.create_engine(url)
        with engine.connect() as connection:
            version = connection.scalar(sa.text("show server_version"))
            latest = connection.scalar(sa.text("select max(trade_date) from raw.daily_bars")) if state.current else None
        of_world = world.current(engine) if state.current else None
        console.print(
            f"database: PostgreSQL {version}, world {of_world or 'none yet'}, "
            f"revision {state.current or 'none'}, newest daily bars {latest or 'none'}"
        )
        engine.dispose()
    except database.DatabaseError as error:
        console.print(f"database: [red]{error}[/]")
        return False
    return True


def _calendar(console: Console) -> None:
    now = datetime.now(krx.KST)
    session = krx.current_or_next_session(now)
    console.print(
        f"calendar: last closed session {krx.last_closed_session(now).day}, current or next {session.day} "
        f"{session.open_at:%H:%M}–{session.close_at:%H:%M} KST, committed until {krx.LAST_DAY}"
    )


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
