"""`azak run`: every asset for a range of sessions, headless, through Dagster and into its history; then what came of
it.

Belongs here: choosing the sessions, showing progress, the summary. Does not belong here: how an asset is made.
"""

import contextlib
import logging
import os
import signal
import threading
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from azak_assets import krx
from azak_assets.cli.environment import PRICE_HISTORY, CannotStart, history_of, prepared
from azak_assets.cli.failures import disk_full_message
from azak_assets.cli.processes import UP_LOCK, Stopped, end_descendants, ignore_signals, is_held, stop_on_signals
from azak_assets.ingest.report import COUNTS
from azak_assets.partition_tags import RANGE_END, RANGE_START, WHY
from azak_assets.universe import FIRST_TRADING_DAY
from azak_assets.warehouse import totals
from azak_assets.warehouse.postgres import database
from azak_assets.warehouse.postgres.messages import Trouble, says

if TYPE_CHECKING:
    import dagster as dg


@dataclass(frozen=True)
class Part:
    """What one Dagster run of the command covers: assets, and the tags that name their partitions."""

    name: str
    assets: list["dg.AssetKey"]
    tags: dict[str, str]


@dataclass
class RunOutcome:
    """What a run did: counts by table from the materializations, failed steps, checks that did not pass, seconds, and
    whether somebody stopped it."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    failed_checks: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    is_interrupted: bool = False

    def note(self, event: "dg.DagsterEvent") -> None:
        """Take what matters from one event of a run."""
        if event.is_step_materialization:
            made = event.step_materialization_data.materialization
            self._note_materialization(".".join(made.asset_key.path), made.metadata)
        elif event.event_type_value == "ASSET_CHECK_EVALUATION":
            check = event.asset_check_evaluation_data
            if not check.passed:
                where = ".".join(check.asset_key.path)
                self.failed_checks.append(
                    f"{check.severity.value} {where}: {check.check_name} {check.description or ''}"
                )
        elif event.is_step_failure:
            self.failures.append(f"{event.step_key}: {_cause(event)}")
        elif event.event_type_value == "PIPELINE_FAILURE":
            reason = event.job_failure_data.failure_reason
            self.is_interrupted |= reason is not None and reason.value == "UNEXPECTED_TERMINATION"
            if not self.failures:
                self.failures.append(str(event.message))

    def _note_materialization(self, name: str, metadata: Mapping[str, "dg.MetadataValue[Any]"]) -> None:
        if name in self.counts:  # a run over several sessions tells one story once a partition
            return
        self.counts[name] = Counter(
            {count: int(cast("int", metadata[count].value)) for count in COUNTS if count in metadata}
        )
        if "state" in metadata:
            self.states[name] = str(metadata["state"].value)


def checked_range(first: date, last: date) -> list[krx.Session]:
    """The sessions from ``first`` to ``last``, both of them sessions that have closed.

    Raises:
        CannotStart: a closed day (the sessions near it are named), a reversed range, or a session still to come.
    """
    if first < FIRST_TRADING_DAY:
        raise CannotStart(f"--from {first} is before {FIRST_TRADING_DAY}, the first trading day that Azak keeps.")
    if first > last:
        raise CannotStart(f"--from {first} is later than --to {last}: swap them.")
    try:
        krx.session(first)
        session = krx.session(last)
    except (krx.NotASession, krx.OutsideCalendar) as error:
        raise CannotStart(str(error)) from error
    newest = krx.newest_final_session(datetime.now(krx.KST))
    if session.day > newest.day:
        raise CannotStart(
            f"The session of {session.day} closes {session.close_at:%Y-%m-%d %H:%M} KST and has no final prices "
            f"before: "
            f"the newest that can be run is {newest.day}."
        )
    return krx.sessions(first, last)


class Interrupted(Exception):  # noqa: N818 - reads as the sentence it opens
    """Somebody stopped the command; the message says what is left and how to go on."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(
            "Stopped: every step that had finished is kept, and the one that was cut short left nothing behind. The "
            "same command goes on from there."
        )
        self.exit_code = exit_code


def run(console: Console, *, first: date, last: date, replay: Path | None, seed: int) -> bool:
    """Materialize every asset for the sessions from ``first`` to ``last``; whether everything succeeded.

    Raises:
        CannotStart: with one sentence on what to do. Interrupted: by Ctrl-C, SIGTERM or a closed terminal; everything
            that was started has ended, but for the PostgreSQL that outlives every command.
    """
    sessions = checked_range(first, last)
    stop_on_signals()
    # Dagster takes Ctrl-C and SIGTERM for itself while it executes; a closed terminal goes the same way.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        return _run(console, sessions, replay=replay, seed=seed)
    except Stopped as stopped:
        raise Interrupted(stopped.exit_code) from stopped
    finally:
        ignore_signals()
        end_descendants()


def _run(console: Console, sessions: list[krx.Session], *, replay: Path | None, seed: int) -> bool:
    first, last = sessions[0].day, sessions[-1].day
    began = time.monotonic()
    with prepared(console, replay=replay, seed=seed) as ready:
        os.environ.update(ready.environment)
        import dagster as dg  # noqa: PLC0415 - three seconds that `azak --help` must not cost

        # Beta parameters are used knowingly (reference: Dagster's own release notes); a user of the command need not
        # hear it.
        warnings.filterwarnings("ignore", category=dg.BetaWarning)
        warnings.filterwarnings("ignore", category=dg.PreviewWarning)
        from azak_assets.cli.dead_runs import NO_RETRY, PROCESS_TAG, end_dead_runs, this_process  # noqa: PLC0415
        from azak_assets.definitions import defs  # noqa: PLC0415

        logging.getLogger("dagster").setLevel(logging.ERROR)
        outcome = RunOutcome()
        with dg.DagsterInstance.get() as instance:
            if dead := end_dead_runs(instance, no_daemon=not is_held(ready.settings.azak_home / UP_LOCK)):
                console.print(f"[green]✓[/] {dead} runs of killed processes ended")
            job = defs.resolve_implicit_global_asset_job_def()
            graph = defs.resolve_asset_graph()
            executable = graph.executable_asset_keys
            reference = [key for key in executable if graph.get(key).partitions_def is None]
            prices = [dg.AssetKey(path) for path in PRICE_HISTORY]
            daily = [key for key in executable if graph.get(key).partitions_def is not None and key not in prices]
            loaded = set.intersection(*(instance.get_materialized_partitions(key) for key in prices))
            behind = [day for day in history_of(first, ready.world) if day.isoformat() not in loaded]
            console.print(
                f"[green]✓[/] {len(sessions)} sessions {first} … {last}, {len(executable)} assets"
                + (f"; prices from {behind[0]} on" if behind else "")
            )
            price_days = {RANGE_START: (behind or [first])[0].isoformat(), RANGE_END: last.isoformat()}
            days = {RANGE_START: first.isoformat(), RANGE_END: last.isoformat()}
            # dbt prints a line a model and test; that belongs into a log, the terminal shows the steps.
            with (ready.settings.azak_home / "logs" / "run.log").open("w") as log, contextlib.redirect_stdout(log):
                # Who watches this command starts it again himself: no daemon of an `azak up` beside it should.
                own = {WHY: "azak run", PROCESS_TAG: this_process(), **NO_RETRY}
                parts = (
                    Part("reference data", reference, own),
                    Part("prices", prices, {**own, **price_days}),
                    Part("sessions", daily, {**own, **days}),
                )
                ok = all(_execute(console, job, instance, part=part, outcome=outcome) for part in parts)
        if outcome.is_interrupted:
            raise Stopped(signal.SIGINT)
        outcome.seconds = time.monotonic() - began
        _summarize(console, ready.databases.azak, outcome)
    return ok


def _execute(
    console: Console, job: "dg.JobDefinition", instance: "dg.DagsterInstance", *, part: Part, outcome: RunOutcome
) -> bool:
    import dagster as dg  # noqa: PLC0415

    run_id = str(uuid.uuid4())
    try:
        with _followed(console, instance, run_id, part.name):
            result = job.execute_in_process(
                instance=instance,
                asset_selection=part.assets,
                tags=part.tags,
                run_id=run_id,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                raise_on_error=False,
            )
    except dg.DagsterExecutionInterruptedError:  # before the first step or after the last
        outcome.is_interrupted = True
        return False
    for event in result.all_events:
        outcome.note(event)
    return bool(result.success)


def _cause(event: "dg.DagsterEvent") -> str:
    """The innermost cause of a failed step: that is the sentence that says what to do."""
    data = event.step_failure_data
    if data.user_failure_data and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    if error is None:
        return str(event.message)
    name, _, said = error.message.strip().partition(": ")
    cause = said if said and name.endswith(error.cls_name or name) else error.message.strip()
    return disk_full_message(cause) if says(Trouble.DISK_FULL, cause) else cause


@contextmanager
def _followed(console: Console, instance: "dg.DagsterInstance", run_id: str, what: str) -> Iterator[None]:
    """Show the run's steps while it executes in this thread, read from the event log by another."""
    from dagster_postgres.utils import DagsterPostgresException  # noqa: PLC0415 - loads Dagster

    done = threading.Event()
    lost: tuple[type[Exception], ...] = (*database.lost_errors(), DagsterPostgresException)

    def follow() -> None:
        cursor: str | None = None
        steps: dict[str, float] = {}
        columns = (TextColumn("  {task.description}", markup=False), BarColumn(pulse_style="cyan"), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(what, total=None)
            last_round = False
            while not last_round:
                last_round = done.wait(0.5)
                try:
                    connection = instance.get_records_for_run(run_id, cursor=cursor)
                except lost:
                    return  # the run meets the same lost database, and tells it
                cursor = connection.cursor
                for record in connection.records:
                    entry = record.event_log_entry
                    event = entry.dagster_event
                    if event is None:
                        bar.update(task, description=f"{entry.step_key or what}: {entry.user_message}")
                    elif event.event_type_value == "STEP_START" and event.step_key:
                        steps[event.step_key] = entry.timestamp
                        bar.update(task, description=event.step_key)
                    elif event.event_type_value in ("STEP_SUCCESS", "STEP_FAILURE") and event.step_key:
                        mark = "[green]✓[/]" if event.event_type_value == "STEP_SUCCESS" else "[red]✗[/]"
                        took = entry.timestamp - steps.get(event.step_key, entry.timestamp)
                        console.print(f"  {mark} {event.step_key}  {took:.1f} s")

    thread = threading.Thread(target=follow, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=30)


def _summarize(console: Console, url: str, outcome: RunOutcome) -> None:
    """The tables with their rows and what this run changed, the headline numbers, and what failed."""
    engine = database.create_engine(url)
    table = Table(title="rows by table", title_justify="left")
    for column in ("table", "rows", *COUNTS):
        table.add_column(column, justify="left" if column == "table" else "right", no_wrap=True)
    changed: Counter[str] = Counter()
    try:
        with engine.connect() as connection:
            for full, rows in totals.rows_by_table(connection):
                counts = outcome.counts.get(full)
                changed.update(counts or {})
                shown = [str(counts[c]) if counts else "" for c in COUNTS]
                table.add_row(full, str(rows), *shown)
                if full in outcome.states:
                    table.add_row(f"  {escape(outcome.states[full])}", "", *[""] * len(COUNTS), style="yellow")
            console.print(table)
            for label, number in totals.headlines(connection):
                console.print(f"  {label:17} {'not made yet' if number is None else number}")
    finally:
        engine.dispose()
    console.print("  this run          " + ", ".join(f"{count} {changed[count]}" for count in COUNTS))
    console.print(f"  seconds           {outcome.seconds:.1f}")
    for check in outcome.failed_checks:
        console.print(f"[yellow]! check failed:[/] {escape(check)}")
    for failure in outcome.failures:
        console.print(f"[red]✗[/] {escape(failure)}", soft_wrap=True)
