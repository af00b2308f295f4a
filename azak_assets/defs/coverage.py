"""Coverage: the check that a partition which turned green has nearly all of its stocks, and results that carry it.

Belongs here: the verdict on a round of requests, as a check and as part of a materialization. Does not belong here:
asking (`ingest.round`).
"""

from collections.abc import Sequence

import dagster as dg

from azak_assets.defs.markdown import literal, table
from azak_assets.defs.reporting import metadata_of, usage
from azak_assets.ingest.report import Finding, StepReport
from azak_assets.ingest.round import FAILED_SHARE, NAMED_FAILURES
from azak_assets.runtime import Upstreams
from azak_assets.sources.failures import NotForThisAccount

NEARLY_EVERY_STOCK_ANSWERED = "nearly_every_stock_answered"


def coverage_spec(asset: list[str]) -> dg.AssetCheckSpec:
    """The check that a partition which turned green has nearly all of its stocks."""
    return dg.AssetCheckSpec(
        NEARLY_EVERY_STOCK_ANSWERED,
        asset=asset,
        description=f"At most {FAILED_SHARE:.0%} of the stocks that were asked for gave no answer.",
    )


def _coverage(asset: Sequence[str], report: StepReport) -> dg.AssetCheckResult:
    """The verdict on the requests of a step; a passed check says the step's state."""
    missing = {key: report.failures[key] for key in sorted(report.failures.keys() - report.excused)}
    asked = (report.answered or 0) + len(missing)
    passed = len(missing) <= FAILED_SHARE * asked
    first = "; ".join(literal(f"{key}: {failure}") for key, failure in list(missing.items())[:NAMED_FAILURES])
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=NEARLY_EVERY_STOCK_ANSWERED,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"asked": asked, "failed": len(missing), "share": len(missing) / asked if asked else 0.0},
        description=literal(report.state)
        if passed
        else f"{len(missing)} of {asked} failed. {first}. Materialize again once the cause is gone: what landed stays.",
    )


def not_requested_check(asset: Sequence[str], why: str, *, passed: bool = True) -> dg.AssetCheckResult:
    """The verdict where no request was made: a fault only where the operator can change that."""
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=NEARLY_EVERY_STOCK_ANSWERED,
        passed=passed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"asked": 0, "failed": 0, "share": 0.0},
        description=literal(why),
    )


def not_requested(asset: list[str], why: dg.MaterializeResult[None]) -> dg.MaterializeResult[None]:
    """A skipped materialization with its check."""
    state = why.metadata["state"] if why.metadata else ""
    return dg.MaterializeResult(metadata=why.metadata, check_results=[not_requested_check(asset, str(state))])


def needs_live_account(
    context: dg.AssetExecutionContext, asset: list[str], what: str, failure: NotForThisAccount, *, instead: str = ""
) -> dg.MaterializeResult[None]:
    """Green, with a check that warns: a paper account never has ``what``, so that is no failure of the day."""
    context.log.warning("%s: %s", what, failure)
    report = StepReport()
    report.needs_live_account(what, failure, instead=instead)
    return dg.MaterializeResult(metadata=metadata_of(report), check_results=[coverage_of(asset, report)])


def coverage_of(asset: Sequence[str], report: StepReport) -> dg.AssetCheckResult:
    """The verdict on a step, also where it made no request."""
    if report.advice:
        return not_requested_check(asset, report.advice, passed=False)
    if report.answered is None:
        return not_requested_check(asset, report.state)
    return _coverage(asset, report)


def finding_check(asset: Sequence[str], name: str, finding: Finding) -> dg.AssetCheckResult:
    """A step's own verdict as a check that warns."""
    rows = {} if finding.rows is None else {"short": table(finding.rows)}
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=name,
        passed=finding.passed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={**finding.numbers, **rows},
        description=literal(finding.why),
    )


def with_coverage(
    context: dg.AssetExecutionContext, asset: list[str], report: StepReport, upstreams: Upstreams
) -> dg.MaterializeResult[None]:
    """The materialization of a step, with its check, after single partitions got what is true of them alone."""
    for day, of_day in report.days.items():
        of_session = {"reason": of_day.reason.value, "state": of_day.state, "rows": of_day.rows}
        context.add_asset_metadata(of_session, partition_key=day.isoformat())
    return dg.MaterializeResult(
        metadata={**metadata_of(report), **usage(upstreams)}, check_results=[coverage_of(asset, report)]
    )
