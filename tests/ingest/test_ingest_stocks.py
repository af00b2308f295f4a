"""Which issues count as delisted when the master files lack them."""

from datetime import date

import pandas as pd
import pytest

from azak_assets.ingest.calendar import load_sessions
from azak_assets.ingest.failures import CollectError
from azak_assets.ingest.stocks import gone_frame, listed_frame
from azak_assets.sources.records import ListedStock
from azak_assets.warehouse.warehouse import Warehouse

TODAY = date(2026, 11, 18)


def listed(count: int) -> pd.DataFrame:
    return listed_frame([
        ListedStock(f"{n:06d}", f"KR7{n:06d}003", f"가나 {n}", "KOSPI", "stock", None, None, None, 10**9 * (count - n))
        for n in range(count)
    ])  # fmt: skip


def test_an_issue_that_is_missing_is_delisted_today_and_stays() -> None:
    known = listed(200)
    gone = gone_frame(known.iloc[3:], known, TODAY, may_be_refused=False)
    assert gone["stock_code"].tolist() == ["000000", "000001", "000002"]
    assert not gone["is_active"].any()
    assert set(gone["delisted_on"]) == {TODAY}
    known.loc[known["stock_code"] == "000000", ["is_active", "delisted_on"]] = [False, date(2026, 1, 2)]
    again = gone_frame(known.iloc[3:], known, TODAY, may_be_refused=False).set_index("stock_code")
    assert again.loc["000000", "delisted_on"] == date(2026, 1, 2), "the day it was first missed"


def test_a_refused_row_delists_nobody() -> None:
    known = listed(200)
    gone = gone_frame(known.iloc[3:], known, TODAY, may_be_refused=True)
    assert gone["is_active"].all()
    assert gone["delisted_on"].isna().all()


def test_more_missing_issues_than_a_day_delists_are_a_broken_file() -> None:
    known = listed(200)
    with pytest.raises(CollectError, match="lack 6 of 200 active issues"):
        gone_frame(known.iloc[6:], known, TODAY, may_be_refused=False)


def test_the_committed_sessions_are_a_table(warehouse: Warehouse) -> None:
    first = load_sessions(warehouse)
    assert first.inserted == first.rows > 4000
    assert load_sessions(warehouse).unchanged == first.rows
