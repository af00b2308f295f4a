"""Every feed lands a session in the live mode, against a server that speaks the contracts; and killed at any request or
statement and run again it leaves the rows of one that was never killed.

The upstreams are the sandbox under its own clock, over real sockets; the live mode does not know that.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from azak_assets import krx
from azak_assets.sandbox import Limits, SeededWorld, create_app, start_in_thread
from azak_assets.settings import SANDBOX_PREFIXES, Settings
from azak_assets.warehouse.postgres import database as databases
from tests.databases import fresh_database
from tests.homes import OF_THE_RUN, RUN_COLUMNS
from tests.integration.ingestion import REQUEST, STATEMENT, Done, Task, asking_steps

REPOSITORY = Path(__file__).resolve().parents[2]
DAY, DAY_BEFORE = "2026-09-04", "2026-09-03"
EVENING, NOON = f"{DAY} 20:00", f"{DAY} 11:02"
"""The last but one Friday that had after-hours prices; the year's stocks trade until the afternoon."""
STOCKS = 12
UNLIMITED = Limits(*[10**9] * len(dataclasses.fields(Limits)))


@dataclass(frozen=True)
class Feed:
    """One step: the tables it fills, of which partition, and when it is asked."""

    tables: tuple[str, ...]
    partition: str | None = DAY
    now: str = EVENING


FEEDS = {
    "raw__stocks": Feed(("raw.stocks",), None),
    "raw__corp_codes": Feed(("raw.corp_codes",), None),
    "raw__broker_calendar": Feed(("raw.broker_calendar",), None),
    "raw__product_info": Feed(("raw.product_info",), None),
    "raw__financial_ratios": Feed(("raw.financial_ratios",), None),
    "raw__daily_bars": Feed(("raw.daily_bars",)),
    "raw__index_bars": Feed(("raw.index_bars",)),
    "raw__index_breadth": Feed(("raw.index_breadth",)),
    "raw__investor_flows": Feed(("raw.investor_flows",)),
    "raw__overtime_bars": Feed(("raw.overtime_bars",)),
    "collect_intraday": Feed(("raw.quote_snapshots", "raw.order_books", "raw.minute_bars"), now=NOON),
    "raw__krx_daily_bars": Feed(("raw.krx_daily_bars",), DAY_BEFORE),
    "collect_news": Feed(("raw.news_articles", "raw.news_sightings")),
    "raw__article_bodies": Feed(("raw.article_bodies",)),
    "raw__reddit_posts": Feed(("raw.reddit_posts",)),
    "raw__disclosures": Feed(("raw.disclosures",)),
}
KILLED_IN_EVERY_TEST_RUN = {
    "raw__stocks": (STATEMENT, 0.9),
    "raw__daily_bars": (REQUEST, 0.5),
    "collect_intraday": (STATEMENT, 0.9),
    "collect_news": (STATEMENT, 0.9),
    "raw__reddit_posts": (REQUEST, 0.5),
    "raw__disclosures": (STATEMENT, 0.9),
}
"""In the middle of the asking, or while what was answered is written; soak kills every step, at ten moments."""
FIRST = ("raw__stocks", "raw__corp_codes", "collect_news")
"""Loaded before the others ask about what they brought."""
Materialize = Callable[..., Done]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Callable[[str], str]]:
    """`upstream("2026-09-04 20:00")`: the address of the upstreams at that instant."""
    now = [EVENING]

    def clock() -> datetime:
        return datetime.fromisoformat(now[0]).replace(tzinfo=krx.KST)

    with start_in_thread(create_app(SeededWorld(1), clock=clock, limits=UNLIMITED)) as url:

        def at(instant: str) -> str:
            now[0] = instant
            return url

        yield at


@pytest.fixture(scope="module")
def materialize(definitions: dg.Definitions, upstream: Callable[[str], str]) -> Iterator[Materialize]:
    """`materialize("raw__daily_bars", database)`: run a step in a process of its own, in the live mode."""
    with tempfile.TemporaryDirectory(prefix="azak-feeds-") as folder:
        home = Path(folder)
        foreign = ("AZAK_", *(name.upper() for name in Settings.model_fields))
        program = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.ingestion", str(home / "report.json")],
            cwd=REPOSITORY,
            env={name: value for name, value in os.environ.items() if not name.startswith(foreign)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # Dagster's log; what fails comes back in the answer
            text=True,
        )
        assert program.stdin is not None
        assert program.stdout is not None

        def run(step: str, database: str, dies_at: tuple[str, int] | None = None) -> Done:
            feed = FEEDS[step]
            url = upstream(feed.now)
            addresses = {name.upper(): url + prefix for name, prefix in SANDBOX_PREFIXES.items()}
            keys = {
                name.upper(): "a-key-of-a-live-account-00000000000000000"
                for name in Settings.model_fields
                if name.endswith(("_key", "_secret", "_client_id"))
            }
            ours = {
                "AZAK_MODE": "live", "AZAK_HOME": folder, "AZAK_DATABASE_URL": database,
                "AZAK_FETCH_BODIES": "excerpt", "KIS_CALLS_PER_SECOND": "10000",
            }  # fmt: skip
            task = Task(step, feed.now, {**addresses, **keys, **ours}, feed.partition, dies_at)
            program.stdin.write(json.dumps(dataclasses.asdict(task)) + "\n")
            program.stdin.flush()
            return Done(**json.loads(program.stdout.readline()))

        yield run
        program.stdin.close()
        program.stdout.close()
        program.wait(timeout=30)


@pytest.fixture(scope="module")
def prepared(server_url: str, migrated_template: str, materialize: Materialize) -> Iterator[str]:
    """The name of a live database with a dozen stocks and a session's news, to copy from."""
    with fresh_database(server_url, migrated_template) as url:
        for step in FIRST:
            done = materialize(step, url)
            assert done.status == 0, done.said
            if step == "raw__stocks":
                _keep_a_dozen(url)
        name = sa.make_url(url).database
        assert name is not None
        yield name


def _keep_a_dozen(url: str) -> None:
    engine = databases.create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "delete from raw.stocks where stock_code not in (select stock_code from raw.stocks where is_active and"
                " security_kind = 'stock' and tier <= 2 order by tier, stock_code limit :stocks)"
            ),
            {"stocks": STOCKS},
        )
    engine.dispose()


@dataclass
class Feeds:
    """A step and databases for it: one run is undisturbed, others are killed."""

    step: str
    materialize: Materialize
    server_url: str
    template: str

    def undisturbed(self) -> tuple[Done, dict[str, str]]:
        with fresh_database(self.server_url, self.template) as url:
            done = self.materialize(self.step, url)
            assert done.status == 0, done.said
            return done, state(url)

    def killed(self, kind: str, number: int) -> dict[str, str]:
        with fresh_database(self.server_url, self.template) as url:
            assert self.materialize(self.step, url, (kind, number)).status == -9, "it was killed"
            again = self.materialize(self.step, url)
            assert again.status == 0, again.said
            return state(url)


def state(url: str) -> dict[str, str]:
    """A digest of the rows of every raw table, without what belongs to the run, and of the rejects."""
    engine = databases.create_engine(url)
    digests = {}
    with engine.connect() as connection:
        for table in sorted(sa.inspect(engine).get_table_names("raw")):
            left_out = RUN_COLUMNS | OF_THE_RUN.get(f"raw.{table.removesuffix('_history')}", frozenset())
            columns = [one["name"] for one in sa.inspect(engine).get_columns(table, "raw")]
            row = " || '|' || ".join(f"coalesce(t.{name}::text, '')" for name in columns if name not in left_out)
            query = f"select count(*) || ' ' || md5(string_agg(md5({row}), '' order by md5({row}))) from raw.{table} t"
            digests[table] = str(connection.scalar(sa.text(query)))
        digests["rejects"] = str(
            connection.scalar(sa.text("select count(*) || ' ' || min(reject_id) from ops.rejected_records"))
        )
    engine.dispose()
    return digests


@pytest.fixture
def feeds(
    request: pytest.FixtureRequest, server_url: str, migrated_template: str, prepared: str, materialize: Materialize
) -> Feeds:
    template = migrated_template if request.param in FIRST[:2] else prepared
    return Feeds(request.param, materialize, server_url, template)


every_feed = pytest.mark.parametrize("feeds", FEEDS, indirect=True)


def test_no_step_that_asks_is_left_out(definitions: dg.Definitions) -> None:
    steps = asking_steps()
    assert {name: {".".join(key.path) for key in step.keys} for name, step in steps.items()} == {
        name: set(feed.tables) for name, feed in FEEDS.items()
    }


@every_feed
def test_a_session_lands_in_the_live_mode_and_a_killed_run_costs_none_of_it(feeds: Feeds) -> None:
    done, expected = feeds.undisturbed()
    for table in FEEDS[feeds.step].tables:
        assert done.rows[table] > 0, (table, done)
        assert int(expected[table.removeprefix("raw.")].split()[0]) > 0
    if feeds.step in KILLED_IN_EVERY_TEST_RUN:
        kind, share = KILLED_IN_EVERY_TEST_RUN[feeds.step]
        number = max(1, int(done.counts[kind] * share))
        assert feeds.killed(kind, number) == expected, (kind, number)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@every_feed
def test_killed_anywhere_it_costs_nothing(feeds: Feeds) -> None:
    done, expected = feeds.undisturbed()
    for kind in (REQUEST, STATEMENT):
        most = done.counts[kind]
        for number in sorted({1, *(max(1, most * share // 100) for share in (25, 50, 75, 90))}):
            assert feeds.killed(kind, number) == expected, (kind, number, most)
