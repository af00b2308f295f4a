"""One round of requests without Dagster: what is kept of it, what lands, and what the report says."""

import logging
from collections.abc import Callable
from datetime import date
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from azak_assets import krx
from azak_assets.ingest.frames import frame_of
from azak_assets.ingest.reasons import Reason
from azak_assets.ingest.report import SAMPLE_ROWS, Finding, StepReport
from azak_assets.ingest.round import Collected, ask, gather, store
from azak_assets.sources.failures import Empty, SourceFailure, Unauthorized, Unavailable
from azak_assets.sources.records import Batch, DailyBar, OrderBook, Reject
from azak_assets.warehouse.warehouse import Warehouse

LOG = logging.getLogger("a test")
DAYS = (date(2026, 11, 19), date(2026, 11, 20))
SPOILT = Reject("{}", "stck_clpr", "만원", "is not a whole number")


def bar(code: str, day: date, close: int = 100) -> DailyBar:
    return DailyBar(
        stock_code=code, trade_date=day, open=close, high=close, low=close, close=close, volume=1, turnover_krw=close,
        is_halted=False, known_at=krx.final_at(krx.session(day)),
    )  # fmt: skip


def batch(*records: Any, rejects: list[Reject] | None = None) -> Batch[Any]:
    return Batch(list(records), rejects or [], 1, "")


Answer = Batch[Any] | SourceFailure


def fetching(**answers: Answer) -> Callable[[str], Batch[Any]]:
    def fetch(key: str) -> Batch[Any]:
        if isinstance(answer := answers[key], SourceFailure):
            raise answer
        return answer

    return fetch


@pytest.fixture
def warehouse(engine: sa.Engine) -> Warehouse:
    return Warehouse(engine, run_id="a-run")


def gathered(**answers: Answer) -> Collected:
    return ask("bars", fetching(**answers), answers, log=LOG)


def test_good_answers_are_kept_beside_failures_and_progress_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger=LOG.name):
        found = gathered(a=batch(1, 2), b=Empty("kis", "nothing"), c=batch(3, rejects=[SPOILT]))
    assert (sorted(found.whole), found.partial, found.whole_keys, found.partial_keys) == ([1, 2], [3], ["a"], ["c"])
    assert (found.answered, list(found.failures), found.rejects) == (2, ["b"], [SPOILT])
    assert caplog.messages[-1] == "bars: 3 of 3"
    report = found.report()
    assert (report.answered, list(report.failures), report.rejects) == (2, ["b"], [SPOILT])


def test_a_refusal_of_every_key_is_raised() -> None:
    with pytest.raises(Unauthorized):
        gathered(a=Unauthorized("kis", "a wrong key"))


def test_no_answer_at_all_is_a_failure_unless_nothing_may_be_there() -> None:
    empty, down = Empty("kis", "nothing"), Unavailable("kis", "a server error")
    with pytest.raises(Empty):
        gather("bars", fetching(a=empty), ["a"], log=LOG)
    assert gather("bars", fetching(a=empty), ["a"], log=LOG, may_be_empty=True).is_empty
    with pytest.raises(SourceFailure):
        gather("bars", fetching(a=empty, b=down), ["a", "b"], log=LOG, may_be_empty=True)
    assert gather("bars", fetching(a=batch(1), b=down), ["a", "b"], log=LOG).answered == 1


def load(warehouse: Warehouse, **answers: Answer) -> StepReport:
    report, frame = store(warehouse, "raw.daily_bars", DAYS, gathered(**answers), DailyBar, source="a test")
    assert len(frame) == report.rows
    return report


def test_a_round_lands_and_its_report_counts_it(warehouse: Warehouse) -> None:
    whole = [bar("A00001", day) for day in DAYS]
    first = load(warehouse, A00001=batch(*whole), A00002=batch(bar("A00002", DAYS[1]), rejects=[SPOILT]))
    assert (first.rows, first.inserted, first.answered, first.rejects) == (3, 3, 2, [SPOILT])
    assert (first.earliest, first.latest) == DAYS
    again = load(warehouse, A00001=batch(whole[0], bar("A00001", DAYS[1], close=90)), A00002=Empty("kis", "nothing"))
    assert (again.inserted, again.changed, again.unchanged, again.retired) == (0, 1, 1, 0)
    assert list(again.failures) == ["A00002"]
    with warehouse._own_engine.connect() as connection:
        assert connection.scalar(sa.text("select reason from ops.rejected_records")) == SPOILT.reason


def test_a_key_that_answered_without_rejects_is_answered_for_and_no_other(warehouse: Warehouse) -> None:
    codes = ("A00001", "A00002", "A00003")
    load(warehouse, **{code: batch(*(bar(code, day) for day in DAYS)) for code in codes})
    report = load(
        warehouse,
        A00001=batch(bar("A00001", DAYS[1])),
        A00002=batch(bar("A00002", DAYS[1]), rejects=[SPOILT]),
        A00003=Empty("kis", "nothing"),
    )
    assert (report.retired, report.unchanged) == (1, 2)
    left = warehouse.read("raw.daily_bars", where={"trade_date": DAYS[0]})
    assert sorted(left["stock_code"]) == ["A00002", "A00003"]


def test_a_frame_has_the_declared_types_also_without_records() -> None:
    for records in ([bar("A00001", DAYS[0])], []):
        frame = frame_of(records, DailyBar)
        kinds = {name: str(frame[name].dtype) for name in ("stock_code", "open", "close", "is_halted", "base_ratio")}
        assert kinds == {
            "stock_code": "str",
            "open": "float64",
            "close": "int64",
            "is_halted": "bool",
            "base_ratio": "float64",
        }
        assert str(frame["known_at"].dtype.tz) == "Asia/Seoul"  # type: ignore[union-attr]
        assert list(frame["trade_date"]) == [one.trade_date for one in records]
    assert frame_of([], OrderBook)["ask_prices"].dtype == object


def test_parts_of_a_step_add_up() -> None:
    past, today = StepReport.without_rows(Reason.PAST_REACH, "one"), StepReport(answered=3, rows=5)
    past.answered, past.finding = 2, Finding(passed=False)
    past.rows, past.earliest, past.latest = 7, date(2026, 1, 2), date(2026, 1, 5)
    today.earliest, today.latest = date(2026, 1, 7), date(2026, 1, 7)
    for part in (past, today):
        part.samples.append(pd.DataFrame({"n": range(SAMPLE_ROWS)}))
    today.notes["rounds"] = 4
    past.add_failures({"a": "gone"})
    whole = StepReport()
    for part in (past, today, StepReport.without_rows(Reason.PAPER_ACCOUNT, "two", advice="call")):
        whole.add(part)
    assert (whole.rows, whole.answered, whole.state, whole.advice) == (12, 5, "one; two", "call")
    assert whole.reasons == [Reason.PAST_REACH, Reason.PAPER_ACCOUNT]
    assert (whole.earliest, whole.latest) == (date(2026, 1, 2), date(2026, 1, 7))
    assert (whole.notes, whole.failures, len(whole.samples)) == ({"rounds": 4}, {"a": "gone"}, 1)
    assert whole.finding == Finding(passed=False)
    assert past.rows == 7, "a part is left as it is"


def test_a_step_without_requests_differs_from_one_without_answers() -> None:
    whole = StepReport()
    whole.add(StepReport.without_rows(Reason.NOT_CONFIGURED, "not configured"))
    assert whole.answered is None
    whole.add(StepReport(answered=0))
    assert whole.answered == 0
