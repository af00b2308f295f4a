"""How a report of collecting becomes a materialization: its check, its metadata, and the failures of a step."""

import dagster as dg
import pandas as pd
import pytest

from azak_assets.defs.coverage import coverage_of, finding_check
from azak_assets.defs.failures import failures_of
from azak_assets.defs.reporting import metadata_of
from azak_assets.ingest.failures import CollectError, RoundError
from azak_assets.ingest.reasons import Reason
from azak_assets.ingest.report import Finding, Plot, StepReport
from azak_assets.sources.failures import SourceFailure, Unauthorized, Unavailable
from azak_assets.sources.records import Reject

ASSET = ["raw", "daily_bars"]


def report(answered: int, failed: int, **more: object) -> StepReport:
    found = StepReport(answered=answered, **more)  # type: ignore[arg-type]
    found.add_failures({f"{n:06d}": "no bars" for n in range(failed)})
    return found


@pytest.mark.parametrize(("answered", "failed", "passes"), [(95, 5, True), (94, 6, False), (0, 0, True), (0, 1, False)])
def test_more_than_a_twentieth_without_an_answer_is_a_warning_that_names_the_first(
    answered: int, failed: int, passes: bool
) -> None:
    check = coverage_of(ASSET, report(answered, failed))
    assert (check.passed, check.severity) == (passes, dg.AssetCheckSeverity.WARN)
    assert check.metadata["asked"].value == answered + failed
    assert passes or "000000: no bars" in str(check.description)


def test_an_excused_stock_does_not_count() -> None:
    check = coverage_of(
        ASSET, report(10, 2, excused={"000000", "000001"}, state="it has none any more", reasons=[Reason.PAST_REACH])
    )
    assert (check.passed, check.metadata["asked"].value, check.description) == (True, 10, "it has none any more")


def test_without_a_request_the_check_passes_unless_the_operator_can_change_that() -> None:
    check = coverage_of(ASSET, StepReport.without_rows(Reason.NOT_RECORDED, "not recorded in this world"))
    assert (check.passed, check.metadata["asked"].value, check.description) == (True, 0, "not recorded in this world")
    paper = StepReport.without_rows(Reason.PAPER_ACCOUNT, "a paper account", advice="Use the keys of a live account")
    paper.answered = 3
    check = coverage_of(ASSET, paper)
    assert (check.passed, check.description) == (False, "Use the keys of a live account")


def test_text_from_an_upstream_is_shown_as_text() -> None:
    found = StepReport(answered=0)
    found.add_failures({"![x](/graphql)": "<img src=x>"})
    check = coverage_of(ASSET, found)
    assert "`![x](/graphql): <img src=x>`" in str(check.description)
    assert "`![x](/graphql): <img src=x>`" in metadata_of(found)["failures"].md_str


def test_a_finding_is_a_check_with_its_evidence() -> None:
    rows = pd.DataFrame({"stock_code": ["990010"], "missing": [3]})
    check = finding_check(ASSET, "no_minute_is_missing", Finding(False, "3 minutes", {"missing": 3}, rows))
    assert (check.passed, check.check_name, check.description) == (False, "no_minute_is_missing", "3 minutes")
    assert check.metadata["missing"].value == 3
    assert "990010" in str(check.metadata["short"].value)


def test_a_report_is_metadata_under_the_names_of_every_table() -> None:
    found = report(2, 1, rows=2)
    found.add_state(Reason.NOT_OUT_YET, "one is missing")
    found.add_state(Reason.PAST_REACH, "two are too old")
    found.add_rejects([Reject("{}", "stck_clpr", "만원", "is not a whole number")])
    found.notes |= {"rounds": 2, "missing by stock": {"990010": 3}}
    found.lists["not approved"] = ["KONEX: apply for it"]
    found.plots["closes"] = Plot("close", {"990010": pd.Series([1.0, 2.0])})
    metadata = metadata_of(found)
    assert (metadata["rows"], metadata["answered"], metadata["failed"], metadata["rejected"]) == (2, 2, 1, 1)
    assert (metadata["state"], metadata["reason"]) == ("one is missing; two are too old", "not_out_yet, past_reach")
    assert (metadata["rounds"], metadata["earliest"]) == (2, "none")
    assert metadata["missing by stock"].value == {"990010": 3}
    assert "apply for it" in metadata["not approved"].md_str
    assert metadata["closes"].md_str.startswith("![close](data:image/png")
    assert metadata_of(report(2, 0))["failed"] == 0
    assert "failed" not in metadata_of(StepReport.without_rows(Reason.NO_SOURCE, "nothing was asked"))


DOWN, REFUSED = Unavailable("kis", "a server error"), Unauthorized("kis", "a wrong key")


@pytest.mark.parametrize("error", [DOWN, RoundError("minute bars 2026-11-20", DOWN)])
def test_a_failure_that_may_pass_is_tried_again(error: Exception) -> None:
    with pytest.raises(dg.RetryRequested), failures_of("bars"):
        raise error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (REFUSED, "bars: kis: a wrong key"),
        (RoundError("minute bars 2026-11-20", REFUSED), "minute bars 2026-11-20: kis: a wrong key"),
        (CollectError("raw.stocks is empty: materialize it first."), "raw.stocks is empty: materialize it first."),
    ],
)
def test_any_other_failure_ends_the_step_and_says_what_to_do(error: Exception, said: str) -> None:
    with pytest.raises(dg.Failure) as ended, failures_of("bars"):
        raise error
    assert str(ended.value.description).startswith(said)
    assert not ended.value.allow_retries
    cause = ended.value.metadata.get("cause")
    assert cause is None or cause.value == "Unauthorized"


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError), failures_of("bars"):
        raise ZeroDivisionError


def test_the_failure_of_a_round_keeps_the_upstream_s_failure_as_its_cause() -> None:
    with pytest.raises(dg.Failure) as ended, failures_of("bars"):
        raise RoundError("a round", REFUSED)
    assert isinstance(ended.value.__cause__, SourceFailure)
