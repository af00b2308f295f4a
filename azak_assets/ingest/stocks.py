"""The listed stocks: from the master files to `raw.stocks`, with tiers, aliases and the issues that have gone.

Belongs here: joining the master files with the universe, when a missing issue counts as delisted, whether the tiers fit
their quota, and which stocks of the table a step asks for: those listed in its sessions, or those of some tiers. Does
not belong here: the master files' format (`sources.kis.master`), tiers and aliases themselves (`universe`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import pandas as pd

from azak_assets import krx
from azak_assets.ingest.failures import CollectError
from azak_assets.ingest.report import StepReport
from azak_assets.sources.records import ListedStock
from azak_assets.universe import TIER_1_MOST, TIERS_1_AND_2_MOST, Issue, tiers, universe_seed
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from azak_assets.sources.kis.client import KisClient

FEW_DELISTINGS, DELISTED_SHARE = 5, 0.01
"""A day delists a handful; more missing issues than this is a broken file."""
SHOWN = ["stock_code", "name", "market", "security_kind", "tier", "aliases", "market_cap_krw"]


def collect_stocks(warehouse: Warehouse, kis: "KisClient", today: date, *, source: str) -> StepReport:
    """Read the master files and make `raw.stocks` agree with them.

    Raises:
        CollectError: the files lack more issues than a day delists; nothing was changed.
        SourceFailure: the files cannot be had.
    """
    batch = kis.listed_stocks()
    listed = listed_frame(batch.records)
    gone = gone_frame(
        listed, warehouse.read("raw.stocks", columns=list(listed.columns)), today, may_be_refused=bool(batch.rejects)
    )
    frame = pd.concat([listed, gone], ignore_index=True) if len(gone) else listed
    result = warehouse.load("raw.stocks", frame, Scope(days=None), complete=True, source=source)
    warehouse.quarantine(batch.rejects, source=source)
    report = StepReport()
    report.add_load(result, frame.sort_values(["tier", "stock_code"]), instant="listed_on", columns=SHOWN)
    report.add_rejects(batch.rejects)
    report.notes |= {f"tier {tier}": int(count) for tier, count in frame.groupby("tier").size().items()}
    report.notes["no longer listed"] = len(gone)
    return report


def was_listed(stocks: pd.DataFrame, sessions: Sequence[krx.Session]) -> "pd.Series[bool]":
    """For each stock (`listed_on`, `delisted_on`) whether it was listed in some of the sessions, oldest first."""
    later = stocks["listed_on"].map(lambda day: pd.notna(day) and day > sessions[-1].day).astype(bool)
    gone = stocks["delisted_on"].map(lambda day: pd.notna(day) and day <= sessions[0].day).astype(bool)
    return ~(later | gone)


def listed_in(warehouse: Warehouse, sessions: Sequence[krx.Session], label: str) -> list[str]:
    """The stocks that were listed in some of the sessions, the most wanted first; ``label`` names them for people.

    Raises:
        CollectError: there are none.
    """
    columns = ["stock_code", "tier", "listed_on", "delisted_on"]
    stocks = warehouse.read("raw.stocks", columns=columns, order_by=["tier", "stock_code"])
    codes: list[str] = stocks.loc[was_listed(stocks, sessions), "stock_code"].tolist()
    if not codes:
        raise CollectError(
            f"raw.stocks has no stock that was listed in {label}, so there is nothing to ask for: materialize "
            "raw/stocks first."
        )
    return codes


def stocks_of_tiers(warehouse: Warehouse, wanted: Sequence[int]) -> list[str]:
    """The active stocks of the tiers, the most wanted first.

    Raises:
        CollectError: there are none.
    """
    codes: list[str] = warehouse.read(
        "raw.stocks",
        columns=["stock_code"],
        where={"tier": list(wanted), "is_active": True},
        order_by=["tier", "stock_code"],
    )["stock_code"].tolist()
    if not codes:
        named = " and ".join(map(str, wanted))
        raise CollectError(
            f"raw.stocks has no stock of tiers {named}, so there is nothing to ask for: materialize raw/stocks first."
        )
    return codes


@dataclass(frozen=True)
class TierCounts:
    """The active stocks, those of the upper tiers, and those without a name."""

    active: int
    tier_1: int
    tiers_1_and_2: int
    nameless: int

    @property
    def fit(self) -> bool:
        """Whether the upper tiers leave room: more stocks would overdraw the search and minute-bar budgets."""
        return self.tier_1 <= TIER_1_MOST and self.tiers_1_and_2 <= TIERS_1_AND_2_MOST


def count_tiers(warehouse: Warehouse) -> TierCounts:
    """Count the active stocks of `raw.stocks`."""
    active = warehouse.read("raw.stocks", columns=["tier", "name"], where={"is_active": True})
    return TierCounts(
        active=len(active),
        tier_1=int((active["tier"] == 1).sum()),
        tiers_1_and_2=int((active["tier"] <= 2).sum()),
        nameless=int((active["name"].str.strip() == "").sum()),
    )


def listed_frame(records: Sequence[ListedStock]) -> pd.DataFrame:
    """The rows of the issues that the master files list, each with its tier and its other names."""
    seed = universe_seed()
    tier_of = tiers(
        [Issue(r.stock_code, r.market, r.security_kind in ("stock", "preferred"), r.market_cap_krw) for r in records]
    )
    return pd.DataFrame(
        {
            "stock_code": r.stock_code,
            "isin": r.isin,
            "name": r.name,
            "market": r.market,
            "security_kind": r.security_kind,
            "sector": r.sector,
            "tier": tier_of[r.stock_code],
            "aliases": list(seed[r.stock_code].aliases) if r.stock_code in seed else [],
            "is_active": True,
            "listed_on": r.listed_on,
            "delisted_on": None,
            "listed_shares": r.listed_shares,
            "market_cap_krw": r.market_cap_krw,
        }
        for r in records
    )


def gone_frame(listed: pd.DataFrame, known: pd.DataFrame, today: date, *, may_be_refused: bool) -> pd.DataFrame:
    """The rows of ``known`` issues that ``listed`` lacks, those newly missing as delisted ``today``.

    With ``may_be_refused`` some rows of the files were refused, a missing issue may be one of them, and none is newly
    delisted.

    Raises:
        CollectError: more issues are missing than a day delists.
    """
    gone = known[~known["stock_code"].isin(listed["stock_code"])].copy()
    newly_gone = gone["is_active"].astype(bool)
    if newly_gone.sum() > max(FEW_DELISTINGS, DELISTED_SHARE * len(known)):
        raise CollectError(
            f"The master files lack {int(newly_gone.sum())} of {int(known['is_active'].sum())} active issues, which no "
            "day's delistings explain: the files are incomplete. Nothing was changed; run again later."
        )
    if not may_be_refused:
        gone.loc[newly_gone, "delisted_on"] = today
        gone.loc[newly_gone, "is_active"] = False
    return gone
