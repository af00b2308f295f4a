"""Running dbt as a run does: a database by environment, a window by environment.

Belongs here: the call and its environment. Does not belong here: rows; each test writes its own.
"""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from dbt.cli.main import dbtRunner
from dbt_common.behavior_flags import BehaviorFlagRendered
from dbt_common.events.base_types import EventMsg

PROJECT = Path(__file__).resolve().parents[2] / "azak_dbt"


BEFORE = "tag:before_forecasts"
AFTER = "tag:after_forecasts"
SLICES = (BEFORE, AFTER)
"""What each of the two Dagster ops selects, in the order in which a cold database meets them."""


@dataclass(frozen=True)
class Done:
    """What a dbt command gave: `result` as dbt names it, what it said, and the status of each node it ran, by name."""

    success: bool
    result: Any
    said: str
    events: tuple[str, ...]
    statuses: dict[str, str]


RunDbt = Callable[..., Done]


@pytest.fixture(scope="session")
def run_dbt(tmp_path_factory: pytest.TempPathFactory) -> RunDbt:
    """`run_dbt("build", "--select", …, url=…, window=(first, last))`; fails the test on an error unless `check=False`.

    In this process, because importing dbt costs more than running it; one target folder, so that the project is parsed
    as seldom as in a run.
    """
    target = str(tmp_path_factory.mktemp("dbt_target"))

    def run(
        *arguments: str, url: str | None = None, window: tuple[date | str, date | str] | None = None, check: bool = True
    ) -> Done:
        environment = {
            "DBT_PROJECT_DIR": str(PROJECT),
            "DBT_PROFILES_DIR": str(PROJECT),
            "DBT_TARGET_PATH": target,
            "DBT_LOG_PATH": target,
        }
        if url:
            address = sa.make_url(url)
            environment |= {
                "AZAK_DBT_HOST": str(address.query.get("host") or address.host),
                "AZAK_DBT_PORT": str(address.query.get("port") or address.port or 5432),
                "AZAK_DBT_USER": address.username or "",
                "AZAK_DBT_PASSWORD": str(address.password or ""),
                "AZAK_DBT_DATABASE": address.database or "",
            }
        if window:
            environment |= {"AZAK_WINDOW_START": str(window[0]), "AZAK_WINDOW_END": str(window[1])}
        messages: list[EventMsg] = []
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # dbt's own; ours are errors elsewhere
            for name in [name for name in os.environ if name.startswith(("AZAK_DBT_", "AZAK_WINDOW_", "DBT_"))]:
                patch.delenv(name)
            for name, value in environment.items():
                patch.setenv(name, value)
            # Dbt looks for the callers of each flag and writes its manifest twice: half of the price of a small build.
            patch.setattr(BehaviorFlagRendered, "_default_source", lambda _: "dbt")
            done = dbtRunner(callbacks=[messages.append]).invoke(["--quiet", "--no-write-json", *arguments])
        said = "\n".join([*(message.info.msg for message in messages), str(done.exception or "")])
        assert done.success or not check, said
        results = done.result.results if hasattr(done.result, "results") else []
        return Done(
            success=done.success,
            result=done.result,
            said=said,
            events=tuple(message.info.name for message in messages),
            statuses={one.node.name: str(one.status) for one in results},
        )

    return run


@pytest.fixture(scope="session")
def manifest(run_dbt: RunDbt) -> dict[str, Any]:
    """The parsed project; needs no database."""
    parsed: dict[str, Any] = run_dbt("parse").result.to_dict()
    return parsed
