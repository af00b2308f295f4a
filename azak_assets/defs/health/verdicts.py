"""What the health of the upstreams means for the operator: which fails, since when, why and what to do, in sentences.

Belongs here: the sentences. Does not belong here: which upstream counts as failing (`ingest.health`), when verdicts are
wanted (`assets` at a materialization, `sensors` every 30 seconds), nor how health is recorded
(`warehouse.calls.call_log`).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import dagster as dg

from azak_assets import krx
from azak_assets.defs.markdown import literal
from azak_assets.ingest.health import empty_feeds, failing, is_serious
from azak_assets.sources.failures import POLICIES, Action
from azak_assets.warehouse.warehouse import Warehouse

ASSET = dg.AssetKey(["ops", "source_health"])
EVERY_UPSTREAM_ANSWERS = "every_upstream_answers"
EVERY_SOURCE_BRINGS_ROWS = "every_source_brings_rows"
SPECS = [
    dg.AssetCheckSpec(
        EVERY_UPSTREAM_ANSWERS,
        asset=ASSET,
        description=(
            "The newest call to every upstream was answered. Looked at every 30 seconds; the verdict names what fails, "
            "since when, why and what to do."
        ),
    ),
    dg.AssetCheckSpec(
        EVERY_SOURCE_BRINGS_ROWS,
        asset=ASSET,
        description="No source that once brought rows has answered with none for three sessions.",
    ),
]


@dataclass(frozen=True)
class Verdict:
    """What a check says."""

    name: str
    passed: bool
    severity: dg.AssetCheckSeverity
    description: str
    metadata: dict[str, Any]

    def result(self) -> dg.AssetCheckResult:
        """For a materialization."""
        return dg.AssetCheckResult(**self._fields)

    def evaluation(self) -> dg.AssetCheckEvaluation:
        """For a sensor, which belongs to no run."""
        return dg.AssetCheckEvaluation(**self._fields)

    @property
    def _fields(self) -> dict[str, Any]:
        return {
            "asset_key": ASSET,
            "check_name": self.name,
            "passed": self.passed,
            "severity": self.severity,
            "description": self.description,
            "metadata": self.metadata,
        }

    @property
    def compared(self) -> str:
        """What makes a verdict a new one: all that an operator reads but the counts, which move with every call."""
        return f"{self.name} {self.passed} {self.severity.value} {self.description}"


def verdicts(warehouse: Warehouse) -> list[Verdict]:
    """Both checks, from two small tables."""
    return [_answers(warehouse), _brings_rows(warehouse)]


def _answers(warehouse: Warehouse) -> Verdict:
    upstreams = warehouse.source_health()
    those_failing = failing(upstreams)
    sentences = []
    for one in those_failing:
        closed = f" No request is sent before {_at(one.closed_until)}." if one.is_closed else ""
        sentences.append(
            f"{one.upstream} fails since {_at(one.failing_from)} "
            f"({one.cause}; last success {_at(one.last_success_at)}): "
            f"{literal((one.what or '').rstrip('.'))}. {literal(one.advice)}. "
            f"What is done: {one.action}, {POLICIES[cast('Action', one.action)]}.{closed}"
        )
    return Verdict(
        EVERY_UPSTREAM_ANSWERS,
        not those_failing,
        dg.AssetCheckSeverity.ERROR if any(map(is_serious, those_failing)) else dg.AssetCheckSeverity.WARN,
        " ".join(sentences),
        {"upstreams": len(upstreams), "failing": len(those_failing)},
    )


def _brings_rows(warehouse: Warehouse) -> Verdict:
    feeds = warehouse.feed_health()
    empty = empty_feeds(feeds)
    return Verdict(
        EVERY_SOURCE_BRINGS_ROWS,
        not empty,
        dg.AssetCheckSeverity.WARN,
        " ".join(
            f"{literal(one.source)} answers, and has brought no row since {_at(one.last_rows_at)}, on "
            f"{one.empty_sessions} sessions: see that its address, its query and its terms are still what they were."
            for one in empty
        ),
        {"sources": len(feeds), "empty": len(empty)},
    )


def _at(instant: datetime | None) -> str:
    return "never" if instant is None else f"{instant.astimezone(krx.KST):%Y-%m-%d %H:%M} KST"
