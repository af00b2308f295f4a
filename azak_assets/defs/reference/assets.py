"""What rarely changes: the sessions, the listed stocks and DART's company codes. Unpartitioned; each load is complete.

Belongs here: reference data that the daily assets look things up in. Model and prompt versions live with the forecasts.
"""

from datetime import timedelta

import dagster as dg
import pandas as pd

from azak_assets import krx
from azak_assets.defs.failures import as_dagster, skip_unless_available
from azak_assets.defs.reporting import loaded, nothing, usage
from azak_assets.runtime import Upstreams
from azak_assets.sources.failures import NotForThisAccount, SourceFailure
from azak_assets.universe import Issue, tiers, universe_seed
from azak_assets.warehouse.scope import Scope
from azak_assets.warehouse.warehouse import Warehouse

OWNERS = ["team:market-data"]
ASKED_AHEAD = timedelta(days=28)
FEW_DELISTINGS, DELISTED_SHARE = 5, 0.01
"""A day delists a handful; more missing issues than this is a broken file."""


@dg.asset(
    key=["raw", "trading_sessions"],
    kinds={"python", "postgres"},
    owners=OWNERS,
    code_version="1",
    metadata={"dagster/table_name": "raw.trading_sessions"},
)
def trading_sessions(context: dg.AssetExecutionContext, warehouse: dg.ResourceParam[Warehouse]) -> dg.MaterializeResult:
    """Every KRX session 2010–2027 with its opening and closing instant, from the calendar committed with the code.

    Grain: one row a session. Source: `azak_assets/krx/data`, a source per row. Known defect: days after the next
    government notice are projected from the holiday law, and say so in `note`.
    """
    frame = pd.DataFrame(
        {"trade_date": s.day, "open_at": s.open_at, "close_at": s.close_at, "note": s.note}
        for s in krx.sessions(krx.FIRST_DAY, krx.LAST_DAY)
    )
    result = warehouse.load("raw.trading_sessions", frame, Scope(days=None), complete=True, source="azak calendar")
    context.log.info("%d sessions, %d changed", len(frame), result.changed)
    return dg.MaterializeResult(metadata=loaded(result, frame, instant="open_at"))


@dg.asset(
    key=["raw", "broker_calendar"],
    kinds={"python", "postgres"},
    owners=OWNERS,
    code_version="1",
    pool="kis",
    metadata={"dagster/table_name": "raw.broker_calendar"},
)
def broker_calendar(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult:
    """On which of the coming days the broker expects the market to open: the second witness of the calendar.

    Grain: one row a calendar day. Source: KIS CTCA0903R, asked once a day for four weeks ahead; live accounts only. It
    decides nothing: the committed calendar is the authority, and a check says where the two disagree.
    """
    if skipped := skip_unless_available(context, upstreams, "holidays", "kis"):
        return skipped
    today = upstreams.now().date()
    last = today + ASKED_AHEAD
    # The broker wants this service asked at most once a day, and the last day of an answer tells when it was given.
    if len(warehouse.read("raw.broker_calendar", columns=["day"], where={"day": last})):
        return dg.MaterializeResult(metadata=nothing("asked today already"))
    try:
        batch = upstreams.kis.market_days(today, last)
    except NotForThisAccount as failure:
        context.log.warning("broker calendar: %s", failure)
        return dg.MaterializeResult(metadata=nothing("not asked: a paper account has no holiday service"))
    except SourceFailure as failure:
        raise as_dagster(failure, "the broker's calendar") from failure
    frame = pd.DataFrame(batch.records)
    source = f"{upstreams.source}KIS CTCA0903R"
    result = warehouse.load("raw.broker_calendar", frame, Scope(days=None), complete=False, source=source)
    warehouse.quarantine(batch.rejects, source=source)
    metadata = loaded(result, frame, instant="day", rejects=batch.rejects)
    return dg.MaterializeResult(metadata={**metadata, **usage(upstreams)})


@dg.asset(
    key=["raw", "stocks"],
    kinds={"python", "postgres"},
    owners=OWNERS,
    code_version="1",
    pool="kis",
    metadata={"dagster/table_name": "raw.stocks"},
)
def stocks(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult:
    """Every listed issue of KOSPI, KOSDAQ and KONEX, with its tier and the other names the press uses.

    Grain: one row an issue. Source: KIS master files; tier and aliases from `universe.csv`, else by rank of
    market capitalisation. An issue that leaves the master files stays, inactive, with the day it was first missed.
    """
    try:
        batch = upstreams.kis.listed_stocks()
    except SourceFailure as failure:
        raise as_dagster(failure, "listed stocks") from failure
    seed = universe_seed()
    tier_of = tiers(
        [
            Issue(r.stock_code, r.market, r.security_kind in ("stock", "preferred"), r.market_cap_krw)
            for r in batch.records
        ]
    )
    listed = pd.DataFrame(
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
        for r in batch.records
    )
    known = warehouse.read("raw.stocks", columns=list(listed.columns))
    gone = known[~known["stock_code"].isin(listed["stock_code"])].copy()
    newly_gone = gone["is_active"].astype(bool)
    if newly_gone.sum() > max(FEW_DELISTINGS, DELISTED_SHARE * len(known)):
        raise dg.Failure(
            f"The master files lack {int(newly_gone.sum())} of {int(known['is_active'].sum())} active issues, which no "
            "day's delistings explain: the files are incomplete. Nothing was changed; run again later.",
            allow_retries=False,
        )
    if batch.rejects:
        # A refused row may be one of those that are missing: nobody is delisted by a row we could not read.
        newly_gone &= False
    gone.loc[newly_gone, "delisted_on"] = upstreams.now().date()
    gone.loc[newly_gone, "is_active"] = False
    frame = pd.concat([listed, gone], ignore_index=True) if len(gone) else listed
    result = warehouse.load(
        "raw.stocks", frame, Scope(days=None), complete=True, source=f"{upstreams.source}KIS master files"
    )
    warehouse.quarantine(batch.rejects, source=f"{upstreams.source}KIS master files")
    context.log.info("%d listed, %d no longer listed", len(listed), len(gone))
    metadata = loaded(
        result,
        frame.sort_values(["tier", "stock_code"]),
        instant="listed_on",
        rejects=batch.rejects,
        columns=["stock_code", "name", "market", "security_kind", "tier", "aliases", "market_cap_krw"],
    )
    by_tier = frame.groupby("tier").size()
    return dg.MaterializeResult(
        metadata={**metadata, **{f"tier {tier}": int(count) for tier, count in by_tier.items()}, **usage(upstreams)}
    )


@dg.asset(
    key=["raw", "corp_codes"],
    kinds={"python", "postgres"},
    owners=OWNERS,
    code_version="1",
    pool="opendart",
    metadata={"dagster/table_name": "raw.corp_codes"},
)
def corp_codes(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult:
    """DART's company codes with the stock code where the company has one.

    Grain: one row a company. Source: OpenDART `corpCode.xml`. Known defect: a delisted company may keep its stock code.
    """
    if skipped := skip_unless_available(context, upstreams, "corp_codes", "opendart"):
        return skipped
    try:
        batch = upstreams.opendart.corp_codes()
    except SourceFailure as failure:
        raise as_dagster(failure, "company codes") from failure
    frame = pd.DataFrame(batch.records)
    result = warehouse.load(
        "raw.corp_codes", frame, Scope(days=None), complete=True, source=f"{upstreams.source}OpenDART corpCode.xml"
    )
    warehouse.quarantine(batch.rejects, source=f"{upstreams.source}OpenDART corpCode.xml")
    metadata = loaded(result, frame, instant="modified_on", rejects=batch.rejects)
    return dg.MaterializeResult(metadata={**metadata, **usage(upstreams)})
