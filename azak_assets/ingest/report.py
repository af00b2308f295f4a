"""What a step did to one table, collected while the step works.

Belongs here: rows, changes, rejects, failures, notes and the time span of a step. Does not belong here: how the UI
shows them (`defs.reporting`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from azak_assets.sources.records import Reject

if TYPE_CHECKING:
    import pandas as pd

    from azak_assets.warehouse.scope import LoadResult

SAMPLE_ROWS = 10
SAMPLE_COLUMNS = 8


@dataclass
class StepReport:
    """Counts, rejects, failures and notes of one step and table; several loads of the step add up.

    ``state`` says in one sentence why the step has nothing, or not all, to load; it is empty where nothing is missing.
    ``notes`` are further numbers and short texts by their name in the UI, ``lists`` further lists of lines.
    """

    state: str = ""
    rows: int = 0
    inserted: int = 0
    changed: int = 0
    unchanged: int = 0
    retired: int = 0
    earliest: Any = None
    latest: Any = None
    rejects: list[Reject] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    notes: dict[str, int | float | str] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    samples: "list[pd.DataFrame]" = field(default_factory=list)

    def add_load(
        self, result: "LoadResult", frame: "pd.DataFrame", *, instant: str, columns: Sequence[str] | None = None
    ) -> None:
        """Count one load of ``frame``.

        Args:
            result: what the load changed in the table.
            frame: the rows that were loaded.
            instant: the column whose earliest and latest values are the time span.
            columns: the columns of the sample; default: the frame's first eight.
        """
        self.rows += len(frame)
        self.inserted += result.inserted
        self.changed += result.changed
        self.unchanged += result.unchanged
        self.retired += result.retired
        known = frame[instant].dropna()
        if not known.empty:
            self.earliest = known.min() if self.earliest is None else min(self.earliest, known.min())
            self.latest = known.max() if self.latest is None else max(self.latest, known.max())
        if sum(map(len, self.samples)) < SAMPLE_ROWS:
            shown = list(columns) if columns is not None else list(frame.columns[:SAMPLE_COLUMNS])
            self.samples.append(frame[shown].head(SAMPLE_ROWS))

    def add_rejects(self, rejects: Iterable[Reject]) -> None:
        """Count records that were put aside."""
        self.rejects.extend(rejects)

    def add_failures(self, failures: Mapping[str, object]) -> None:
        """Keep the failures by what was asked for."""
        self.failures.update({key: str(failure) for key, failure in failures.items()})
