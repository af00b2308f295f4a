"""How a step that cannot go on ends in Dagster: retried, failed with what to do, or skipped.

Belongs here: that translation, by the cause. Does not belong here: naming causes (`sources.failures`,
`ingest.failures`).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from azak_assets.defs.reporting import metadata_of
from azak_assets.ingest.failures import CollectError, RoundError
from azak_assets.ingest.reasons import Reason
from azak_assets.ingest.report import StepReport
from azak_assets.runtime import Unavailability, Upstreams
from azak_assets.sources.failures import SourceFailure

RETRIES, RETRY_AFTER_S = 2, 30


def as_dagster(failure: SourceFailure, what: str) -> dg.Failure | dg.RetryRequested:
    """A retry where asking again can help (`retry`, `wait`), else a failure that says what to do and ends the step.

    Whose failure it is, its name and what is done about it stand in the failed step's metadata, and after a last retry
    below the error, which is then all the UI has.
    """
    about = {"upstream": failure.upstream, "cause": failure.cause, "policy": f"{failure.action}: {failure.policy}"}
    if failure.usage:
        about["calls"] = failure.usage
    if failure.action in ("retry", "wait"):
        wait = RETRY_AFTER_S if failure.retry_after is None else failure.retry_after
        failure.add_note("; ".join(f"{name}: {value}" for name, value in about.items()))
        return dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=wait)
    return dg.Failure(f"{what}: {failure}", metadata=about, allow_retries=False)


@contextmanager
def failures_of(what: str) -> Iterator[None]:
    """Turn the failures of collecting ``what`` into Dagster's.

    Raises:
        dagster.Failure or dagster.RetryRequested: in place of `SourceFailure`, `RoundError` and `CollectError`.
    """
    try:
        yield
    except RoundError as error:
        raise as_dagster(error.failure, error.what) from error.failure
    except SourceFailure as failure:
        raise as_dagster(failure, what) from failure
    except CollectError as error:
        raise dg.Failure(str(error), allow_retries=False) from error


def why_unavailable(
    context: dg.AssetExecutionContext, upstreams: Upstreams, feed: str, client: str, *, needed: bool = False
) -> Unavailability | None:
    """Why a feed has no credentials here or is not in this data set, for the operator; None where it can be asked for.

    Raises:
        dagster.Failure: in the live world, where the feed is ``needed`` and its keys are missing: a green partition
            without prices would never be asked for again.
    """
    why = upstreams.why_unavailable(feed, client)
    if why is None:
        return None
    if needed and why.reason is Reason.NOT_CONFIGURED:
        raise dg.Failure(f"{feed}: {why}. Set the keys in the environment and start again.", allow_retries=False)
    context.log.warning("%s: %s", feed, why)
    return why


def skip_unless_available(
    context: dg.AssetExecutionContext, upstreams: Upstreams, feed: str, client: str, *, needed: bool = False
) -> dg.MaterializeResult[None] | None:
    """A skipped materialization if `why_unavailable` has a reason; else None."""
    why = why_unavailable(context, upstreams, feed, client, needed=needed)
    if why is None:
        return None
    return dg.MaterializeResult(metadata=metadata_of(StepReport.without_rows(why.reason, str(why))))
