"""One round of requests: the same question about many keys, and the good answers into their table.

Belongs here: asking, keeping answers and failures apart, loading. Does not belong here: which keys and sessions are
asked for (the feeds' own modules), many requests at once (`sources.collect`), asking again and again (`loop`).

Frames are imported where a round lands: the definitions import this module, and load without pandas.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from azak_assets.ingest.report import StepReport
from azak_assets.sources.collect import collect
from azak_assets.sources.failures import Empty, SourceFailure
from azak_assets.sources.records import Batch, Reject
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    import pandas as pd

FAILED_SHARE = 0.05
"""More than this share of the stocks without an answer is no longer a handful of odd codes."""
NAMED_FAILURES = 3
PROBES = 5
"""So many of the most wanted stocks are asked first about a session that may be past reach."""


class Collected:
    """What a round of requests brought: records by key that answered, rejects, and failures by key that did not."""

    def __init__(self) -> None:
        self.whole: list[Any] = []
        """Records of the keys whose answer was good throughout."""
        self.partial: list[Any] = []
        """The good records of keys with rejects."""
        self.whole_keys: list[str] = []
        self.partial_keys: list[str] = []
        self.rejects: list[Reject] = []
        self.failures: dict[str, SourceFailure] = {}

    def add(self, key: str, answer: Batch[Any]) -> None:
        """Keep one answer."""
        records, keys = (self.partial, self.partial_keys) if answer.rejects else (self.whole, self.whole_keys)
        records.extend(answer.records)
        keys.append(key)
        self.rejects.extend(answer.rejects)

    @property
    def answered(self) -> int:
        """How many keys answered."""
        return len(self.whole_keys) + len(self.partial_keys)

    @property
    def is_empty(self) -> bool:
        """Whether every key that was asked for answered, and that there is nothing."""
        return not self.answered and all(isinstance(failure, Empty) for failure in self.failures.values())

    def report(self) -> StepReport:
        """Answers, rejects and failures, before anything is loaded."""
        report = StepReport(answered=self.answered)
        report.add_rejects(self.rejects)
        report.add_failures(self.failures)
        return report


def ask(what: str, fetch: Callable[[str], Batch[Any]], keys: Iterable[str], *, log: logging.Logger) -> Collected:
    """Ask for every key, log progress, and keep the good answers when some keys fail.

    Raises:
        SourceFailure: the upstream refuses every key (credentials, quota) or is down.
    """
    wanted = list(keys)
    gathered = Collected()

    def progress(done: int, total: int) -> None:
        if done == total or done % max(total // 20, 1) == 0:
            log.info("%s: %d of %d", what, done, total)

    for key, answer in collect(fetch, wanted, on_progress=progress):
        if isinstance(answer, SourceFailure):
            gathered.failures[key] = answer
        else:
            gathered.add(key, answer)
    return gathered


def gather(
    what: str,
    fetch: Callable[[str], Batch[Any]],
    keys: Iterable[str],
    *,
    log: logging.Logger,
    may_be_empty: bool = False,
) -> Collected:
    """`ask`, where no answer at all is a failure; ``may_be_empty``: unless every key answered that there is nothing.

    Raises:
        SourceFailure: no key answered, or the upstream refuses every key or is down.
    """
    gathered = ask(what, fetch, keys, log=log)
    if gathered.failures and not gathered.answered and not (may_be_empty and gathered.is_empty):
        raise next(iter(gathered.failures.values()))
    return gathered


def store(
    warehouse: Warehouse,
    table: str,
    days: Sequence[date],
    gathered: Collected,
    record: type,
    *,
    source: str,
    instant: str = "trade_date",
    retires: bool = True,
) -> "tuple[StepReport, pd.DataFrame]":
    """Load what was gathered about ``days``; returns the report of the round and the rows that were loaded.

    A key that answered without rejects is answered for: its rows that are gone upstream are retired, if the source
    ``retires``. A key with rejects only adds and corrects, since the row that is missing may be the one that was
    refused. ``instant`` is the column of the report's time span.
    """
    import pandas as pd  # noqa: PLC0415 - see the module's docstring

    from azak_assets.ingest.frames import frame_of  # noqa: PLC0415

    report = gathered.report()
    frames = [frame_of(gathered.whole, record), frame_of(gathered.partial, record)]
    whole = Scope(tuple(days), tuple(gathered.whole_keys))
    result = warehouse.load(table, frames[0], whole, complete=retires, source=source)
    report.add_load(result, frames[0], instant=instant)
    if gathered.partial_keys:
        scope = Scope(tuple(days), tuple(gathered.partial_keys))
        result = warehouse.load(table, frames[1], scope, complete=False, source=source)
        report.add_load(result, frames[1], instant=instant)
    warehouse.quarantine(gathered.rejects, source=source)
    return report, pd.concat([frame for frame in frames if len(frame)] or frames[:1], ignore_index=True)
