"""How a failure of an upstream becomes one of Dagster's: by its cause.

Belongs here: that translation. Does not belong here: naming causes (`sources.failures`).
"""

import dagster as dg

from azak_assets.defs.reporting import nothing
from azak_assets.runtime import Upstreams
from azak_assets.sources.failures import SourceFailure

RETRIES, RETRY_AFTER_S = 2, 30


def as_dagster(failure: SourceFailure, what: str) -> dg.Failure | dg.RetryRequested:
    """A retry where asking again can help (`retry`, `wait`), else a failure that says what to do and ends the step.

    Whose failure it is, its name and what is done about it stand in the failed step's metadata, and after a last retry
    below the error, which is then all the UI has.
    """
    told = {"upstream": failure.upstream, "cause": failure.cause, "policy": f"{failure.action}: {failure.policy}"}
    if failure.usage:
        told["calls"] = failure.usage
    if failure.action in ("retry", "wait"):
        wait = RETRY_AFTER_S if failure.retry_after is None else failure.retry_after
        failure.add_note("; ".join(f"{name}: {value}" for name, value in told.items()))
        return dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=wait)
    return dg.Failure(f"{what}: {failure}", metadata=told, allow_retries=False)


def skip_unless_available(
    context: dg.AssetExecutionContext, upstreams: Upstreams, feed: str, client: str, *, needed: bool = False
) -> dg.MaterializeResult | None:
    """The result of a step that has nobody to ask, which says so; None where there is somebody.

    Raises:
        dagster.Failure: in the live world, where the feed is ``needed`` and its keys are missing: a green partition
            without prices would never be asked for again.
    """
    silence = upstreams.silence(feed, client)
    if silence is None:
        return None
    if needed and silence.startswith("not configured"):
        raise dg.Failure(f"{feed}: {silence}. Set the keys in the environment and start again.", allow_retries=False)
    context.log.warning("%s: %s", feed, silence)
    return dg.MaterializeResult(metadata=nothing(silence))
