"""Every step that asks an upstream, run in the live mode in a process of its own that can be killed at any moment.

As a program (`python -m tests.integration.ingestion`) it loads the definitions once and then, for each line of JSON on
its input, forks a child that materializes one step; the child may kill itself in the middle of a request or of a
statement. Forking, because a new interpreter takes ten times as long to load the definitions as a step takes to run.
"""

import json
import os
import signal
import sys
import threading
import traceback
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from azak_assets import krx
from azak_assets.ports import Token
from tests.harness import StoppedClock, stores_of

REQUEST, STATEMENT = "request", "statement"


@dataclass(frozen=True)
class Task:
    """One run of one step: where, of which partition, at which instant, and the moment of its death, if any."""

    step: str
    now: str
    environment: Mapping[str, str]
    partition: str | None = None
    dies_at: tuple[str, int] | None = None


@dataclass
class Done:
    """What came of it: the status of the process, and of one that was not killed what it did."""

    status: int
    said: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)


def asking_steps() -> dict[str, Any]:
    """The steps that ask an upstream, by name."""
    import dagster as dg  # noqa: PLC0415 - the manifest comes first

    from azak_assets.definitions import GROUPS  # noqa: PLC0415

    return {
        asset.op.name: asset
        for folder in GROUPS
        for asset in dg.load_assets_from_package_module(folder)
        if isinstance(asset, dg.AssetsDefinition) and "upstreams" in asset.op.required_resource_keys
    }


class _Counted:
    """Counts requests and statements of all threads, and ends the process at a given one."""

    def __init__(self, dies_at: tuple[str, int] | None) -> None:
        self.counts = {REQUEST: 0, STATEMENT: 0}
        self._dies_at = dies_at
        self._lock = threading.Lock()

    def wrap(self, kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            with self._lock:
                self.counts[kind] += 1
                if self._dies_at == (kind, self.counts[kind]):
                    os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        return counted


class _TokenFile:
    """The token of all children: the one in PostgreSQL goes by the clock on the wall, the upstreams here by another."""

    def __init__(self) -> None:
        self._file = Path(os.environ["AZAK_HOME"]) / "token.json"
        self._lock = threading.Lock()

    def get_or_issue(self, _name: str, issue: Callable[[], Token], *, discard: str | None = None) -> Token:
        with self._lock:
            kept = json.loads(self._file.read_text()) if self._file.exists() else None
            if kept is None or kept[0] == discard:
                issued = issue()
                kept = [issued.access_token, issued.expires_at.isoformat()]
                self._file.write_text(json.dumps(kept))
            return Token(kept[0], datetime.fromisoformat(kept[1]))


def _materialize(task: Task, report: Path) -> None:
    """In the child: run the step and write down what it did."""
    import dagster as dg  # noqa: PLC0415
    import httpx  # noqa: PLC0415
    import psycopg  # noqa: PLC0415

    from azak_assets import runtime  # noqa: PLC0415
    from azak_assets.warehouse.calls.playback import Unlimited  # noqa: PLC0415

    os.environ.update(task.environment)
    now = datetime.fromisoformat(task.now).replace(tzinfo=krx.KST)
    counted = _Counted(task.dies_at)
    for owner, name, kind in (
        (httpx.HTTPTransport, "handle_request", REQUEST),
        (psycopg.Cursor, "execute", STATEMENT),
        (psycopg.Cursor, "copy", STATEMENT),
        (psycopg.Connection, "commit", STATEMENT),
    ):
        setattr(owner, name, counted.wrap(kind, getattr(owner, name)))
    settings = runtime.current_settings()
    world = runtime.current_world(settings)
    run_id = str(uuid.uuid4())
    recorder = runtime.payload_writer(settings, world, run_id=run_id, about={})
    with (
        runtime.open_warehouse(settings, world, run_id=run_id) as warehouse,
        dg.DagsterInstance.ephemeral() as instance,
    ):
        # The pace of each upstream has its own tests; here a page a second would cost a minute.
        stores = stores_of(warehouse.engine, limiter=Unlimited(), recorder=recorder, tokens=_TokenFile())
        upstreams = runtime.Upstreams(settings, world, stores, StoppedClock(now))
        result = dg.materialize(
            [asking_steps()[task.step]],
            instance=instance,
            partition_key=task.partition,
            resources={"warehouse": warehouse, "upstreams": upstreams},
            raise_on_error=False,
        )
        upstreams.close()
    failures = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    said = " ".join(str(one.user_failure_data.description if one.user_failure_data else one.error) for one in failures)
    made = [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]
    rows = {".".join(one.asset_key.path): int(one.metadata["rows"].value) for one in made}
    report.write_text(json.dumps(asdict(Done(0 if result.success else 1, said, counted.counts, rows))))


def main() -> None:
    """Fork a child for each task that comes in; tell what became of it."""
    import logging  # noqa: PLC0415
    import warnings  # noqa: PLC0415

    warnings.simplefilter("ignore")
    asking_steps()
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    report = Path(sys.argv[1])
    for line in sys.stdin:
        task = json.loads(line)
        dies_at = task.pop("dies_at")
        report.unlink(missing_ok=True)
        child = os.fork()
        if not child:
            try:
                _materialize(Task(**task, dies_at=tuple(dies_at) if dies_at else None), report)
            except BaseException:  # noqa: BLE001 - the parent tells it
                report.write_text(json.dumps(asdict(Done(1, traceback.format_exc()))))
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        done = json.loads(report.read_text()) if report.exists() else asdict(Done(status))
        print(json.dumps(done), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
