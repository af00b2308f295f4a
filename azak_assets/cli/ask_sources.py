"""`azak doctor --sources`: one cheap question to each upstream that has keys, and what was learnt.

Belongs here: which question is cheap, and the sentence about its answer. Does not belong here: looking at an address
without asking anything (`doctor`), noting health (every question here notes itself, as all calls do).
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import timedelta

from rich.console import Console
from rich.markup import escape

from azak_assets import krx
from azak_assets.cli.environment import CannotStart
from azak_assets.runtime import Stores, Upstreams, current_settings, current_world, database_url
from azak_assets.settings import Settings
from azak_assets.sources.failures import NotConfigured, SourceFailure
from azak_assets.warehouse.postgres import database, stamp

QUERY = "증시"
RECENT = timedelta(minutes=10)


@dataclass(frozen=True)
class Probe:
    """One cheap request: the upstream, the feed of a sandbox that would answer, and how; returns a sentence."""

    upstream: str
    feed: str
    ask: Callable[[Upstreams], str]


def _kis(upstreams: Upstreams) -> str:
    newest = krx.newest_final_session(upstreams.now()).day
    day = min(newest, upstreams.world.last_day or newest)  # recorded data end before today
    (bar,) = upstreams.kis.index_bars("0001", day, day).records
    return f"the token is good; KOSPI closed at {bar.close:,.2f} on {bar.trade_date}"


def _kis_master(upstreams: Upstreams) -> str:
    return f"the files list {len(upstreams.kis.listed_stocks().records)} issues"


def _opendart(upstreams: Upstreams) -> str:
    today = upstreams.now().date()
    return f"the key is good; {upstreams.opendart.filed_on(today)} filings on {today} so far"


def _naver(upstreams: Upstreams) -> str:
    found = upstreams.naver.search(QUERY, since=upstreams.now() - RECENT).records
    return f"the keys are good; {len(found)} articles about {QUERY} in the last {RECENT.seconds // 60} minutes"


def _krx(upstreams: Upstreams) -> str:
    # A session whose numbers must be out, whatever the hour.
    day = krx.shift(krx.newest_final_session(upstreams.now()).day, -2).day
    bars = upstreams.krx_openapi.daily_bars("KONEX", day).records
    return f"the key is good; {len(bars)} issues of KONEX on {day}"


def _reddit(upstreams: Upstreams) -> str:
    name = upstreams.reddit.subreddits[0]
    batch = upstreams.reddit.posts(name)
    return f"the application is good; {len(batch.records)} posts of r/{name} were noticed in the last 24 hours"


def _rss(source: str) -> Callable[[Upstreams], str]:
    def ask(upstreams: Upstreams) -> str:
        (client,) = (one for one in upstreams.rss if one.source == source)
        records = client.articles().records
        if not records:
            return "the feed has not changed since its items were last stored"
        return f"the feed has {len(records)} items, the newest of {max(records, key=lambda r: r.published_at).title!r}"

    return ask


PROBES = (
    Probe("kis", "index_bars", _kis),
    Probe("kis-master", "master", _kis_master),
    Probe("opendart", "disclosures", _opendart),
    Probe("naver", "news", _naver),
    Probe("hankyung", "rss", _rss("hankyung")),
    Probe("mk", "rss", _rss("mk")),
    Probe("krx", "krx_daily_bars", _krx),
    Probe("reddit", "reddit", _reddit),
)


def ask_sources(console: Console) -> bool:
    """Ask, and print a line for each upstream as it answers; whether all that are configured did.

    Raises:
        CannotStart: the database has no tables yet. stamp.WorldMismatch, NotConfigured, Unavailable: see `runtime`.
    """
    settings = current_settings()
    of_world = current_world(settings)
    url = database_url(settings)
    if database.status(url).pending:
        raise CannotStart(
            "No upstream is asked without the shared rate limit, and the database lacks it: run `azak db migrate`."
        )
    engine = database.create_engine(url)
    try:
        found = stamp.current(url)
        if found not in (None, of_world.name):
            raise stamp.WorldMismatch(str(found), of_world.name)
        upstreams = Upstreams(settings, of_world, Stores.in_postgres(engine))
        try:
            return _ask_all(console, settings, upstreams)
        finally:
            upstreams.close()
    finally:
        engine.dispose()


def _ask_all(console: Console, settings: Settings, upstreams: Upstreams) -> bool:
    console.print(f"asking each upstream one question (mode: {settings.mode.value}) …")
    everything = True
    # At once: an upstream that is down costs half a minute of retries, and four of them still half a minute.
    with ThreadPoolExecutor(len(PROBES), thread_name_prefix="doctor") as executor:
        asked = [executor.submit(_answer, probe, upstreams) for probe in PROBES]
        for answer in as_completed(asked):
            line, is_good = answer.result()
            console.print(line, soft_wrap=True)
            everything = everything and is_good
    for name, (_, today, allowed) in sorted(upstreams.usage().items()):
        console.print(f"  {name}: {today} calls today" + (f" of {allowed} ({today / allowed:.1%})" if allowed else ""))
    return everything


def _answer(probe: Probe, upstreams: Upstreams) -> tuple[str, bool]:
    """The line about one upstream, and whether it is as it should be."""
    name, began = f"{probe.upstream:10}", time.monotonic()
    if not upstreams.world.records(probe.feed):
        return f"[dim]- {name} not recorded in this world[/]", True
    try:
        learnt = probe.ask(upstreams)
    except NotConfigured as missing:
        return f"[dim]- {name} not configured: {escape(missing.what)}[/]", True
    except SourceFailure as failure:
        said = f"{failure.cause}: {failure.what.rstrip('.')}. {failure.advice}. What Azak does: {failure.policy}."
        return f"[red]✗[/] {name} {escape(said)}", False
    return f"[green]✓[/] {name} {escape(learnt)} ({time.monotonic() - began:.1f} s)", True
