"""Filings without Dagster: what a round adds to the records, and the loop on the clock's five minutes."""

import logging
from datetime import datetime, timedelta

import pytest

from azak_assets.ingest.filings import FilingsWindow, collect_filings, floor_of
from azak_assets.sources.failures import Unavailable
from azak_assets.warehouse.warehouse import Warehouse
from tests.ingest.text_sources import NOW, Upstream

WINDOW = FilingsWindow(lambda now: (now - timedelta(days=1)).date(), NOW.date(), "2026-11-18")
LOG = logging.getLogger("test")


class Clock:
    def __init__(self, now: datetime) -> None:
        self.at, self.slept = now, []  # type: ignore[var-annotated]

    def now(self) -> datetime:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += timedelta(seconds=seconds)


def filing(number: int, report_nm: str) -> dict[str, str]:
    return {
        "corp_code": "00126380", "corp_name": "삼성전자", "stock_code": "005930", "corp_cls": "Y", "rm": "",
        "report_nm": report_nm, "rcept_no": f"20261118{number:06d}", "flr_nm": "삼성전자", "rcept_dt": "20261118",
    }  # fmt: skip


def test_a_half_hour_has_a_round_at_once_and_at_every_fifth_minute(warehouse: Warehouse, upstream: Upstream) -> None:
    clock = Clock(NOW + timedelta(minutes=18, seconds=30))
    upstream.filings = [filing(1, "분기보고서 (2026.09)"), {**filing(3, "사업보고서"), "corp_code": "x"}]

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if len(clock.slept) == 2:
            upstream.filings.append(filing(2, "[기재정정]분기보고서 (2026.09)"))

    report = collect_filings(
        warehouse, upstream.dart(), WINDOW, loops=True, now=clock.now, sleep=sleep, source="OpenDART", log=LOG
    )
    assert clock.slept == [90, 300, 300], "at once, 14:20, 14:25, and 14:30, the half hour's end"
    assert (report.notes["rounds"], report.notes["corrections"], report.notes["listed companies"]) == (4, 1, 2)
    assert (report.rows, report.inserted, report.changed) == (2, 2, 0)
    assert [(one.field, one.value) for one in report.rejects] == [("corp_code", "x")], (
        "refused at every round, counted once"
    )
    rows = warehouse.read("raw.disclosures", columns=["rcept_no", "amends_rcept_no"], order_by=["rcept_no"])
    assert rows["amends_rcept_no"].fillna("").tolist() == ["", "20261118000001"]


def test_without_a_loop_one_round_is_made_and_its_failure_is_the_steps(
    warehouse: Warehouse, upstream: Upstream
) -> None:
    clock = Clock(NOW)
    report = collect_filings(
        warehouse, upstream.dart(), WINDOW, loops=False, now=clock.now, sleep=clock.sleep, source="OpenDART", log=LOG
    )
    assert (report.rows, report.notes["rounds"], clock.slept) == (0, 1, [])
    upstream.attempts = 1
    upstream.refused["/list.json"] = 503
    with pytest.raises(Unavailable):
        collect_filings(
            warehouse, upstream.dart(), WINDOW, loops=False, now=clock.now, sleep=clock.sleep, source="x", log=LOG
        )


def test_the_floor_of_an_instant_counts_from_its_own_midnight() -> None:
    assert floor_of(NOW + timedelta(minutes=29, seconds=59), timedelta(minutes=30)) == NOW
    assert floor_of(NOW + timedelta(minutes=7), timedelta(minutes=5)) == NOW + timedelta(minutes=5)
