"""Reconciliation: the cross-check of the broker's daily bars against those that the exchange publishes.

Belongs here: `raw.krx_daily_bars` and the check that compares it with `raw.daily_bars`. It corrects nothing: a bar that
differs stays as the broker sent it until the broker corrects it, and a person reads the difference. Does not belong
here: asking the exchange and how far bars may lie apart (`ingest.exchange`), the join (`warehouse.reconciliation`).
"""

import dagster as dg

from azak_assets.defs.availability import available
from azak_assets.defs.failures import failures_of, skip_unless_available
from azak_assets.defs.markdown import table
from azak_assets.defs.reporting import metadata_of, usage
from azak_assets.defs.tables import table_asset
from azak_assets.defs.windows import window_of
from azak_assets.runtime import Upstreams
from azak_assets.warehouse.warehouse import Warehouse

SHOWN = 50


@table_asset("raw.krx_daily_bars", owner="market-data", pool="krx", tags=available("next_day"))
def krx_daily_bars(
    context: dg.AssetExecutionContext,
    warehouse: dg.ResourceParam[Warehouse],
    upstreams: dg.ResourceParam[Upstreams],
) -> dg.MaterializeResult[None]:
    """Daily bars as the exchange publishes them on the next day: compared with the broker's, and used by nothing else.

    Grain: one row a stock and session. Source: KRX Open API `stk_bydd_trd`, `ksq_bydd_trd`, `knx_bydd_trd`, three calls
    a session; shares only, no ETF. A session is asked for from 08:00 of the next day; before, `state` says so. Without
    KRX_OPENAPI_KEY nothing is missing but the comparison.
    """
    from azak_assets.ingest import exchange  # noqa: PLC0415 - pandas, which only a run needs

    if skipped := skip_unless_available(context, upstreams, "krx_daily_bars", "krx_openapi"):
        return skipped
    window = window_of(context)
    source = f"{upstreams.source}KRX Open API"
    with failures_of(f"exchange {window.label}"):
        report = exchange.exchange_bars(
            warehouse, upstreams.krx_openapi, window.days, upstreams.now(), source=source, log=context.log
        )
    return dg.MaterializeResult(metadata={**metadata_of(report), **usage(upstreams)})


@dg.asset_check(
    asset=["raw", "krx_daily_bars"],
    additional_deps=[["raw", "daily_bars"]],
    description=(
        "Every bar that the exchange publishes is ours too, with the same prices, and volume and turnover within a "
        "fifth."
    ),
)
def bars_agree_with_exchange(warehouse: dg.ResourceParam[Warehouse]) -> dg.AssetCheckResult:
    """The broker's bars against the exchange's; a wrong price is an error, a volume a warning."""
    from azak_assets.ingest.exchange import compare_with_broker  # noqa: PLC0415 - pandas, which only a run needs

    found = compare_with_broker(warehouse, rows=SHOWN)
    wrong = found.differing
    return dg.AssetCheckResult(
        passed=not wrong,
        severity=dg.AssetCheckSeverity.WARN if wrong and found.is_of_volumes_alone else dg.AssetCheckSeverity.ERROR,
        metadata={
            "bars compared": found.bars,
            "sessions": found.sessions,
            **{f"different: {kind}": count for kind, count in found.counts.items()},
            "differences": table(found.rows, rows=SHOWN),
        },
        description=""
        if not wrong
        else (
            f"{wrong} bars differ; nothing was replaced. Materialize raw/daily_bars for these sessions again: what the "
            "broker has corrected then agrees. What still differs is the broker's or the exchange's to explain."
        ),
    )
