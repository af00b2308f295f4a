"""`azak replay-payloads`: rebuilds the raw tables from recorded answers, without a request to any upstream.

Belongs here: choosing the runs, running their assets over the recordings, the summary. Does not belong here: how an
asset is made, how answers are recorded and found (`warehouse.calls.recordings`, `playback`), which rows a re-run leaves
alone (`warehouse.calls.rerun`).

Each run that was answered on one of the days is repeated: the same assets, partitions and instant, the same clients,
whose HTTP transport reads the files. Dagster's history holds nothing of it: no upstream was asked.
"""

import logging
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from azak_assets import krx
from azak_assets.cli.environment import CannotStart, environment, ready_databases, ready_manifest
from azak_assets.cli.run import RunOutcome
from azak_assets.ingest.report import COUNTS
from azak_assets.partition_tags import PARTITION, RANGE_END, RANGE_START
from azak_assets.renamed import JOBS
from azak_assets.runtime import Stores, Upstreams, World
from azak_assets.settings import Mode, Settings
from azak_assets.warehouse.calls import recordings, rerun
from azak_assets.warehouse.calls.crawl_state import PostgresHosts
from azak_assets.warehouse.calls.playback import PlaybackClock, RunRecordings
from azak_assets.warehouse.calls.recordings import KeptRun
from azak_assets.warehouse.postgres import database, stamp

if TYPE_CHECKING:
    import dagster as dg

    from azak_assets.warehouse.postgres.database import Engine

NOWHERE = "http://nowhere.invalid"
"""The upstreams' address in a re-run: a name that never resolves."""
NAMED = 10


def upstreams_of(
    settings: Settings, of_world: World, engine: "Engine", clock: PlaybackClock, recordings_of_run: RunRecordings
) -> Upstreams:
    """The clients of a run whose answers are recorded, at the time when it ran."""
    stores = Stores.played_back(recordings_of_run, hosts=PostgresHosts(engine))
    return Upstreams(settings.in_sandbox(NOWHERE), of_world, stores, clock)


@dataclass
class Rerun:
    """What a re-run did, over all of its runs."""

    outcome: RunOutcome = field(default_factory=RunOutcome)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    missing: dict[recordings.Key, None] = field(default_factory=dict)
    runs: int = 0


def replay_payloads(console: Console, *, first: date, last: date) -> bool:
    """Repeat the runs answered on the KST days from ``first`` to ``last``; whether every step succeeded.

    Raises:
        CannotStart: nothing is kept of those days. stamp.WorldMismatch: it is of another world than the database.
    """
    if first > last:
        raise CannotStart(f"--from {first} is later than --to {last}: swap them.")
    settings = Settings()
    settings.azak_home.mkdir(parents=True, exist_ok=True)
    databases = ready_databases(settings, console)
    engine = database.create_engine(databases.azak)
    try:
        runs, of_world = kept_runs(settings, engine, first, last)
        variables = environment(settings, databases)
        os.environ.update(variables)
        ready_manifest(variables)
        done = rerun_all(console, settings, engine, of_world, runs)
    finally:
        engine.dispose()
    return not done.outcome.failures


def kept_runs(settings: Settings, engine: "Engine", first: date, last: date) -> tuple[list[KeptRun], str]:
    """The runs to repeat, and their world; a new database is stamped with it.

    Raises:
        CannotStart, stamp.WorldMismatch: as `replay_payloads`.
    """
    of_world = _world(settings, stamp.current(engine.url.render_as_string(hide_password=False)))
    folder = recordings.folder_of(settings.azak_home, of_world)
    runs = recordings.runs(folder, first, last)
    if not runs:
        kept = recordings.days(folder)
        which = f"; kept are {kept[0]} … {kept[-1]}" if kept else ""
        raise CannotStart(f"No answers of {first} … {last} are kept under {folder}{which}.")
    stamp.stamp(engine, of_world)
    return runs, of_world


def _world(settings: Settings, stamped: str | None) -> str:
    """The world of the runs: the database's, or the only one there are payloads of that fits the mode."""
    is_live = settings.mode is Mode.LIVE
    kept = recordings.worlds(settings.azak_home)
    if not kept:
        raise CannotStart(
            f"No answers are kept under {settings.azak_home / 'payloads'}: a run keeps them for AZAK_PAYLOAD_DAYS "
            "days, on the machine it runs on; copy that folder here."
        )
    if stamped is not None and stamped not in kept:
        raise stamp.WorldMismatch(stamped, kept[0])
    fitting = [stamped] if stamped is not None else [name for name in kept if (name == "live") == is_live]
    if len(fitting) != 1:
        raise CannotStart(
            f"Answers of {', '.join(kept)} are kept and the database is new, so which of them is meant is open: set "
            "AZAK_MODE, or leave only one of them under payloads."
        )
    (chosen,) = fitting
    if (chosen == "live") != is_live:
        raise CannotStart(
            f"These answers and this database are of the world {chosen}, and the mode is {settings.mode.value}: worlds "
            f"never mix. Set AZAK_MODE={'live' if chosen == 'live' else 'sandbox'}."
        )
    return chosen


def rerun_all(console: Console, settings: Settings, engine: "Engine", of_world: str, runs: Sequence[KeptRun]) -> Rerun:
    """Repeat runs in their order, show how far it is, and print what came of it."""
    import dagster as dg  # noqa: PLC0415 - three seconds that `azak --help` must not cost

    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    warnings.filterwarnings("ignore", category=dg.PreviewWarning)
    from azak_assets.definitions import GROUPS, defs  # noqa: PLC0415 - it reads the manifest
    from azak_assets.defs.collectors import LOOP_TAG  # noqa: PLC0415 - with Dagster

    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    repository = defs.get_repository_def()
    asking = {
        key: asset
        for folder in GROUPS
        for asset in dg.load_assets_from_package_module(folder)
        if isinstance(asset, dg.AssetsDefinition) and "upstreams" in asset.op.required_resource_keys
        for key in asset.keys
    }
    done = Rerun()
    console.print(f"[green]✓[/] world {of_world}: {len(runs)} runs to repeat, no upstream is asked")
    columns = (TextColumn("  {task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("re-run", total=len(runs))
        for run in runs:
            selected = _selected(repository, run, asking)
            bar.update(task, description=f"{run.began_at.astimezone(krx.KST):%m-%d %H:%M} {run.about.get('job') or ''}")
            if selected:
                clock = PlaybackClock(run.began_at)
                is_collector = LOOP_TAG.items() <= run.about["tags"].items()
                answers = RunRecordings(run, runs, clock, asks_again=is_collector)
                feeds = run.about.get("feeds")
                of_run = World(of_world, None if feeds is None else frozenset(feeds))
                result = dg.materialize(
                    list({id(one): one for one in (asking[key] for key in selected)}.values()),
                    instance=None,
                    resources={
                        "warehouse": rerun.warehouse_for(engine, run, runs),
                        "upstreams": upstreams_of(settings, of_run, engine, clock, answers),
                    },
                    partition_key=run.about["tags"].get(PARTITION),
                    tags=_kept_tags(run.about["tags"]),
                    raise_on_error=False,
                )
                done.runs += 1
                done.missing |= answers.missing
                _note(done, result)
            bar.advance(task)
    _summarize(console, done)
    return done


def _selected(
    repository: "dg.RepositoryDefinition", run: KeptRun, asking: Mapping["dg.AssetKey", "dg.AssetsDefinition"]
) -> list["dg.AssetKey"]:
    """The assets of a run that ask upstreams."""
    import dagster as dg  # noqa: PLC0415

    named = run.about.get("assets")
    if named is not None:
        keys = {dg.AssetKey.from_user_string(name) for name in named}
    else:
        job = run.about.get("job") or ""
        job = JOBS.get(job, job)
        keys = set(repository.get_job(job).asset_layer.executable_asset_keys) if job in repository.job_names else set()
    return sorted(keys & asking.keys())


def _kept_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags that say what to do: partitions, and our own."""
    return {name: value for name, value in tags.items() if name in (RANGE_START, RANGE_END) or name.startswith("azak/")}


def _note(done: Rerun, result: "dg.ExecuteInProcessResult") -> None:
    outcome = RunOutcome()
    for event in result.all_events:
        outcome.note(event)
    for name, counts in outcome.counts.items():
        done.counts.setdefault(name, Counter()).update(counts)
    done.outcome.failures += [failure for failure in outcome.failures if failure not in done.outcome.failures]


def _summarize(console: Console, done: Rerun) -> None:
    """The tables with what the re-run changed in them, the questions without an answer, and what failed."""
    table = Table("table", *COUNTS, title=f"{done.runs} runs re-run", title_justify="left")
    for name, counts in sorted(done.counts.items()):
        table.add_row(name, *(str(counts[count]) for count in COUNTS))
    console.print(table)
    totals: Counter[str] = sum(done.counts.values(), Counter())
    console.print("  this re-run       " + ", ".join(f"{count} {totals[count]}" for count in COUNTS))
    if done.missing:
        console.print(f"[yellow]! {len(done.missing)} questions have no kept answer[/]; nothing of them was touched:")
        for upstream, path, _ in list(done.missing)[:NAMED]:
            console.print(f"  {upstream} {path}", soft_wrap=True, markup=False)
    for failure in done.outcome.failures:
        console.print(f"[red]✗[/] {escape(failure)}", soft_wrap=True)
