"""What a step did to one table, collected while the step works.

Belongs here: rows, changes, rejects, failures, notes and the time span of a step. Does not belong here: how the UI
shows them (`defs.reporting`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from azak_assets.ingest.reasons import Reason
from azak_assets.sources.records import Reject

if TYPE_CHECKING:
    import pandas as pd

    from azak_assets.warehouse.scope import LoadResult

SAMPLE_ROWS = 10
SAMPLE_COLUMNS = 8
PLOTTED_STOCKS = 3
COUNTS = ("inserted", "changed", "unchanged", "retired", "rejected")
"""What a step did to its table, under the names that every materialization and `azak run` use."""
REPAIRED = "texts decoded wrongly and repaired"
"""The note that counts them, for every source of texts."""


@dataclass(frozen=True)
class Plot:
    """Lines over a common axis, by name."""

    title: str
    lines: "Mapping[str, pd.Series]"

    @classmethod
    def from_100(cls, title: str, lines: "Mapping[str, pd.Series]") -> "Plot":
        """Lines of different height side by side: each begins at 100."""
        return cls(title, {name: 100 * line / line.iloc[0] for name, line in lines.items()})


@dataclass(frozen=True)
class Finding:
    """A verdict of a step on what it collected; ``why`` is empty where nothing is wrong.

    ``numbers`` and ``rows`` are the evidence.
    """

    passed: bool
    why: str = ""
    numbers: Mapping[str, int] = field(default_factory=dict)
    rows: "pd.DataFrame | None" = None


class DayState(NamedTuple):
    """What is true of one session of a step, where the sessions differ."""

    reason: Reason
    state: str
    rows: int


@dataclass
class StepReport:
    """Counts, rejects, failures and notes of one step and table; several loads of the step add up.

    ``state`` says in a sentence why the step has nothing, or not all, to load, and ``reasons`` in codes; both are empty
    where nothing is missing. Code and tests go by the codes: `add_state` and `without_rows` set both.
    ``advice`` is set where the operator can change that. ``answered`` counts the keys (stocks, indices) that answered;
    None: no request was made. ``failures`` are by key; the ``excused`` ones are as they should be. ``notes`` are
    further numbers and short texts by their name in the UI, as are the further ``lists`` of lines, ``tables`` and
    ``plots``. ``refused`` counts what was put aside without an entry in ``rejects``: a forecast that no model gave.
    ``days`` has the state and the rows of single sessions, where they differ from the step's. ``finding`` is the step's
    own verdict beside coverage, where the table has a check for it.
    """

    state: str = ""
    reasons: list[Reason] = field(default_factory=list)
    advice: str = ""
    rows: int = 0
    inserted: int = 0
    changed: int = 0
    unchanged: int = 0
    retired: int = 0
    earliest: Any = None
    latest: Any = None
    answered: int | None = None
    refused: int = 0
    rejects: list[Reject] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    excused: set[str] = field(default_factory=set)
    notes: dict[str, int | float | str | dict[str, int]] = field(default_factory=dict)
    lists: dict[str, list[str]] = field(default_factory=dict)
    tables: "dict[str, pd.DataFrame]" = field(default_factory=dict)
    plots: dict[str, Plot] = field(default_factory=dict)
    days: dict[date, DayState] = field(default_factory=dict)
    samples: "list[pd.DataFrame]" = field(default_factory=list)
    finding: Finding | None = None

    @classmethod
    def without_rows(cls, reason: Reason, state: str, *, advice: str = "") -> "StepReport":
        """The report of a step that loads nothing, for one reason."""
        return cls(state=state, reasons=[reason], advice=advice)

    def add_appended(
        self, inserted: int, frame: "pd.DataFrame", *, instant: str, columns: Sequence[str] | None = None
    ) -> None:
        """Count an append-only table: ``frame`` has all its rows of the step's window, ``inserted`` of them are new.

        The other arguments are those of `add_load`.
        """
        self.inserted += inserted
        self.unchanged += len(frame) - inserted
        self._add_rows(frame, instant=instant, columns=columns)

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
        self.inserted += result.inserted
        self.changed += result.changed
        self.unchanged += result.unchanged
        self.retired += result.retired
        self._add_rows(frame, instant=instant, columns=columns)

    def _add_rows(self, frame: "pd.DataFrame", *, instant: str, columns: Sequence[str] | None) -> None:
        self.rows += len(frame)
        known = frame[instant].dropna()
        if not known.empty:
            self._widen(known.min(), known.max())
        if self._needs_samples and len(frame):
            shown = list(columns) if columns is not None else list(frame.columns[:SAMPLE_COLUMNS])
            self.samples.append(frame[shown].head(SAMPLE_ROWS))

    def count(self, note: str, number: int) -> None:
        """Add to a note that counts something."""
        so_far = self.notes.get(note, 0)
        self.notes[note] = number + (so_far if isinstance(so_far, int) else 0)

    def add_rejects(self, rejects: Iterable[Reject]) -> None:
        """Count records that were put aside."""
        self.rejects.extend(rejects)

    def add_failures(self, failures: Mapping[str, object]) -> None:
        """Keep the failures by what was asked for."""
        self.failures.update({key: str(failure) for key, failure in failures.items()})

    def add_state(self, reason: Reason, state: str) -> None:
        """Add one more reason why something is missing, as a code and as a sentence."""
        if reason not in self.reasons:
            self.reasons.append(reason)
        self.state = f"{self.state}; {state}" if self.state else state

    def needs_live_account(self, what: str, failure: Exception, *, instead: str = "") -> None:
        """Say that there is no ``what`` because the KIS account is a paper account, and what the operator can do."""
        sentence = f"no {what}: this KIS account is a paper account, and the service needs a live one"
        self.add_state(Reason.PAPER_ACCOUNT, sentence)
        self.advice = f"{failure} Use the keys of a live account{instead}."

    def add(self, other: "StepReport") -> None:
        """Add what another part of the same step did to the same table."""
        for name in ("rows", "inserted", "changed", "unchanged", "retired", "refused"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.earliest is not None:
            self._widen(other.earliest, other.latest)
        if other.answered is not None:
            self.answered = (self.answered or 0) + other.answered
        if other.state:
            self.state = f"{self.state}; {other.state}" if self.state else other.state
        self.reasons += [reason for reason in other.reasons if reason not in self.reasons]
        self.advice = self.advice or other.advice
        self.rejects += other.rejects
        self.failures |= other.failures
        self.excused |= other.excused
        self.notes |= other.notes
        self.lists |= other.lists
        self.tables |= other.tables
        self.plots |= other.plots
        self.days |= other.days
        self.finding = other.finding or self.finding
        if self._needs_samples:
            self.samples += other.samples

    @property
    def rejected(self) -> int:
        """How many records were put aside."""
        return self.refused + len(self.rejects)

    @property
    def _needs_samples(self) -> bool:
        return sum(map(len, self.samples)) < SAMPLE_ROWS

    def _widen(self, earliest: Any, latest: Any) -> None:
        self.earliest = earliest if self.earliest is None else min(self.earliest, earliest)
        self.latest = latest if self.latest is None else max(self.latest, latest)
