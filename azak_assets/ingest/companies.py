"""Companies: DART's codes, the broker's product information and financial ratios.

Belongs here: which issues are asked for, and landing what came. Does not belong here: wire formats (`sources.opendart`,
`sources.kis`), how often a company is asked for (`defs`).
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from azak_assets.ingest.failures import CollectError
from azak_assets.ingest.frames import frame_of
from azak_assets.ingest.reasons import Reason
from azak_assets.ingest.report import StepReport
from azak_assets.ingest.round import ask
from azak_assets.sources.failures import Empty
from azak_assets.sources.records import Batch, FinancialRatio, ProductInfo
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from azak_assets.sources.kis.client import KisClient
    from azak_assets.sources.opendart import OpenDartClient

WITH_RATIOS = ["stock", "reit"]
"""Funds and shells publish none; a preferred share's are those of the company's common share."""


@dataclass(frozen=True)
class CompanyTable:
    """A table with rows of many companies, which one service of the broker answers for, an issue at a time."""

    relation: str
    record: type
    service: str
    fetch: Callable[["KisClient", str], Batch[Any]]
    instant: str
    security_kinds: Sequence[str] | None = None
    """Which issues have rows; None: all."""

    @property
    def label(self) -> str:
        """What the table holds, for people."""
        return self.relation.partition(".")[2].replace("_", " ")


PRODUCTS = CompanyTable(
    "raw.product_info", ProductInfo, "KIS CTPF1002R", lambda kis, code: kis.product_info(code), "kospi_listed_on"
)
RATIOS = CompanyTable(
    "raw.financial_ratios",
    FinancialRatio,
    "KIS FHKST66430300",
    lambda kis, code: kis.financial_ratios(code),
    "period_end",
    security_kinds=WITH_RATIOS,
)


def collect_corp_codes(warehouse: Warehouse, dart: "OpenDartClient", *, source: str) -> StepReport:
    """Make `raw.corp_codes` agree with DART's list of companies. Raises `SourceFailure`."""
    batch = dart.corp_codes()
    frame = pd.DataFrame(batch.records)
    result = warehouse.load("raw.corp_codes", frame, Scope(days=None), complete=True, source=source)
    warehouse.quarantine(batch.rejects, source=source)
    report = StepReport()
    report.add_load(result, frame, instant="modified_on")
    report.add_rejects(batch.rejects)
    return report


def collect_companies(
    warehouse: Warehouse, kis: "KisClient", table: CompanyTable, *, source: str, log: logging.Logger
) -> StepReport:
    """Ask for every active issue that has rows in the table, and land what came.

    What an answer no longer holds is kept, since old periods drop out. A company without any record is no failure and
    is counted.

    Returns:
        The report. Where every issue answered that there is nothing, it has a state, and advice in place of answers.

    Raises:
        CollectError: `raw.stocks` has no such issue.
        SourceFailure: no issue was answered for, or the upstream refuses every issue or is down.
    """
    where: dict[str, Any] = {"is_active": True}
    if table.security_kinds is not None:
        where["security_kind"] = list(table.security_kinds)
    codes = [str(code) for code in warehouse.read("raw.stocks", columns=["stock_code"], where=where)["stock_code"]]
    if not codes:
        raise CollectError("raw.stocks has no stock to ask for: materialize raw/stocks first.")
    gathered = ask(table.label, lambda code: table.fetch(kis, code), codes, log=log)
    if gathered.is_empty:
        # Nothing else of a load depends on it, so that is a warning to look at and no failure of the load.
        state = f"KIS answered for {len(codes)} issues that it has nothing"
        advice = f"{state}: look at one of them by hand, or run again later."
        return StepReport.without_rows(Reason.EMPTY, state, advice=advice)
    if not gathered.answered:
        raise next(iter(gathered.failures.values()))
    frame = frame_of([*gathered.whole, *gathered.partial], table.record)
    label = f"{source}{table.service}"
    result = warehouse.load(table.relation, frame, Scope(days=None), complete=False, source=label)
    warehouse.quarantine(gathered.rejects, source=label)
    without = [code for code, failure in gathered.failures.items() if isinstance(failure, Empty)]
    for code in without:
        del gathered.failures[code]
    report = gathered.report()
    report.add_load(result, frame, instant=table.instant)
    report.notes["without any"] = len(without)
    return report
