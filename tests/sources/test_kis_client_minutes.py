"""Minute bars: four calls for a past day, the closing auction kept, everything that is no traded minute dropped."""

import csv
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from azak_assets import krx
from azak_assets.sources.failures import Empty
from azak_assets.sources.fields import Refused
from azak_assets.sources.kis.bars import minute_start

KST = ZoneInfo("Asia/Seoul")
DAY = date(2026, 2, 10)
NEXT_NOON = datetime(2026, 2, 11, 12, 0, tzinfo=KST)
PRICE, VOLUME = 70_000, 100


def minute(at, so_far, volume=VOLUME, price=PRICE, **changes):
    row = {
        "stck_bsop_date": f"{at:%Y%m%d}", "stck_cntg_hour": f"{at:%H%M%S}", "stck_prpr": str(price),
        "stck_oprc": str(price), "stck_hgpr": str(price + 100), "stck_lwpr": str(price - 100),
        "cntg_vol": str(volume), "acml_tr_pbmn": str(so_far),
    }  # fmt: skip
    return {**row, **changes}


def session_minutes(day, *, price=PRICE):
    """A whole session as KIS has it: every minute, those of the closing auction padded, then the auction itself."""
    session = krx.session(day)
    rows, so_far, at = [], 0, session.open_at
    while at <= session.close_at:
        in_auction = session.close_at - timedelta(minutes=10) <= at < session.close_at
        so_far += 0 if in_auction else price * VOLUME
        rows.append(minute(at, so_far, 0 if in_auction else VOLUME, price))
        at += timedelta(minutes=1)
    return rows


@pytest.fixture
def client(kis_client):
    return kis_client(now=lambda: NEXT_NOON)


def test_a_past_session_takes_four_calls_and_keeps_the_closing_auction(kis, client):
    kis.minutes["005930"] = session_minutes(DAY)
    batch = client.minute_bars("005930", DAY)
    assert batch.requests == 4
    assert [request.query["FID_INPUT_HOUR_1"] for request in kis.quotes] == ["153000", "133000", "113000", "093000"]
    assert {request.query["FID_INPUT_DATE_1"] for request in kis.quotes} == {"20260210"}
    times = [bar.ts for bar in batch.records]
    assert times[0] == datetime(2026, 2, 10, 9, 0, tzinfo=KST)
    assert times[-2:] == [datetime(2026, 2, 10, 15, 19, tzinfo=KST), datetime(2026, 2, 10, 15, 30, tzinfo=KST)]
    assert len(times) == len(set(times)) == 381
    assert times == sorted(times)
    assert all(bar.known_at == bar.ts + timedelta(minutes=1) and bar.trade_date == DAY for bar in batch.records)
    assert batch.rejects == []


def test_running_turnover_becomes_turnover_a_minute(kis, client):
    kis.minutes["005930"] = session_minutes(DAY)
    batch = client.minute_bars("005930", DAY)
    assert {bar.turnover_krw for bar in batch.records} == {PRICE * VOLUME}


def test_an_exam_day_runs_from_ten_to_half_past_four(kis, kis_client):
    exam = date(2024, 11, 14)
    kis.minutes["005930"] = session_minutes(exam)
    batch = kis_client(now=lambda: NEXT_NOON).minute_bars("005930", exam)
    assert kis.quotes[0].query["FID_INPUT_HOUR_1"] == "163000"
    assert batch.records[0].ts == datetime(2024, 11, 14, 10, 0, tzinfo=KST)
    assert batch.records[-1].ts == datetime(2024, 11, 14, 16, 30, tzinfo=KST)
    assert len(batch.records) == 381


def test_the_previous_day_and_minutes_outside_the_session_are_dropped(kis, client):
    evening = datetime(2026, 2, 10, 16, 0, tzinfo=KST)
    early = datetime(2026, 2, 10, 8, 59, tzinfo=KST)
    rows = session_minutes(DAY)
    kis.minutes["005930"] = [*session_minutes(date(2026, 2, 9)), minute(early, 0), *rows, minute(evening, 10**12)]
    kis._past_minutes = lambda query, answer=kis._past_minutes: {
        **answer(query), "output2": [minute(evening, 10**12), *answer(query)["output2"]]
    }  # fmt: skip
    batch = client.minute_bars("005930", DAY)
    assert len(batch.records) == 381
    assert {bar.trade_date for bar in batch.records} == {DAY}
    assert batch.rejects == []


def test_a_thinly_traded_stock_has_bars_only_where_it_traded(kis, client):
    at = [datetime(2026, 2, 10, 9, 13, tzinfo=KST), datetime(2026, 2, 10, 14, 2, tzinfo=KST)]
    kis.minutes["005930"] = [minute(at[0], 7_000_000), minute(at[1], 14_000_000)]
    batch = client.minute_bars("005930", DAY)
    assert [(bar.ts, bar.turnover_krw) for bar in batch.records] == [(at[0], 7_000_000), (at[1], 7_000_000)]
    assert batch.requests == 2


@pytest.mark.parametrize("so_far", ["", "1", "99999999999", "많음"])
def test_a_running_total_that_proves_nothing_gives_no_turnover(kis, client, so_far):
    rows = session_minutes(DAY)
    rows[100]["acml_tr_pbmn"] = so_far
    kis.minutes["005930"] = rows
    batch = client.minute_bars("005930", DAY)
    assert len(batch.records) == 381
    unknown = [index for index, bar in enumerate(batch.records) if bar.turnover_krw is None]
    assert unknown == [100, 101]


def test_a_total_with_a_little_more_than_the_bars_trades_is_still_turnover(kis, client):
    rows = session_minutes(DAY)
    for extra, row in enumerate(rows):
        row["acml_tr_pbmn"] = str(int(row["acml_tr_pbmn"]) + 20_000 * extra)
    kis.minutes["005930"] = rows
    assert None not in {bar.turnover_krw for bar in client.minute_bars("005930", DAY).records[:380]}


def test_a_bad_minute_is_refused_and_the_next_ones_turnover_is_unknown(kis, client):
    rows = session_minutes(DAY)
    rows[10]["stck_hgpr"] = "높음"
    rows[20]["stck_cntg_hour"] = "9시"
    rows[30]["stck_lwpr"] = "99999999"
    kis.minutes["005930"] = rows
    kis._past_minutes = lambda query: {"rt_cd": "0", "output1": {}, "output2": rows[::-1]}
    batch = client.minute_bars("005930", DAY)
    assert len(batch.records) == 378
    assert [(r.field, r.value) for r in batch.rejects] == [
        ("stck_cntg_hour", "9시"),
        ("stck_hgpr", "70100"),
        ("stck_hgpr", "높음"),
    ]
    by_time = {bar.ts.strftime("%H%M"): bar for bar in batch.records}
    assert by_time["0911"].turnover_krw is None
    assert by_time["0912"].turnover_krw == PRICE * VOLUME


@pytest.mark.parametrize("hour", ["000000", "080000"])
def test_one_minute_stamped_before_the_open_hides_no_older_one(kis, client, hour):
    rows = session_minutes(DAY)
    kis.minutes["005930"] = rows
    kis._past_minutes = lambda query, answer=kis._past_minutes: {
        **answer(query),
        "output2": [
            {**row, "stck_cntg_hour": hour} if row["stck_cntg_hour"] == "140000" else row
            for row in answer(query)["output2"]
        ],
    }
    batch = client.minute_bars("005930", DAY)
    assert batch.requests == 4
    assert len(batch.records) == 380


@pytest.mark.parametrize("hour", ["90100", "０９０１００", "0901", "09:01:00"])
def test_a_time_that_is_no_six_digits_is_none(hour):
    at = datetime(2026, 2, 10, 9, 1, tzinfo=KST)
    with pytest.raises(Refused, match="is not a time written HHMMSS"):
        minute_start(minute(at, 0, stck_cntg_hour=hour))
    assert minute_start(minute(at, 0)) == at


def test_of_two_different_rows_about_a_minute_neither_is_sure(kis, client):
    rows = session_minutes(DAY)
    rows.insert(5, {**rows[5], "stck_prpr": str(PRICE + 100)})
    rows.insert(9, dict(rows[9]))
    kis.minutes["005930"] = rows
    batch = client.minute_bars("005930", DAY)
    disputed = datetime(2026, 2, 10, 9, 5, tzinfo=KST)
    assert disputed not in [bar.ts for bar in batch.records]
    assert len(batch.records) == 380
    assert [(one.value, one.reason) for one in batch.rejects] == [
        ("09:05", "has two conflicting rows: both are rejected")
    ] * 2


def test_rows_that_name_no_day_are_no_minutes_and_no_rejects(kis, client):
    kis.minutes["005930"] = session_minutes(DAY)
    kis._past_minutes = lambda query, answer=kis._past_minutes: {
        **answer(query), "output2": [*answer(query)["output2"], {}, {"stck_cntg_hour": "090000", "cntg_vol": "1"}]
    }  # fmt: skip
    batch = client.minute_bars("005930", DAY)
    assert (len(batch.records), batch.rejects) == (381, [])


def test_a_stock_halted_all_day_has_rows_but_no_bars_and_is_no_failure(kis, client):
    kis.minutes["005930"] = [{**row, "cntg_vol": "0"} for row in session_minutes(DAY)]
    batch = client.minute_bars("005930", DAY)
    assert (batch.records, batch.rejects) == ([], [])


def test_a_day_the_server_no_longer_has_is_empty(client):
    with pytest.raises(Empty, match="no minute of 005930 on 2026-02-10"):
        client.minute_bars("005930", DAY)


def test_a_closed_day_is_refused_with_its_neighbours(client):
    with pytest.raises(krx.NotASession):
        client.minute_bars("005930", date(2026, 2, 17))


def test_today_takes_thirty_rows_a_call_and_fourteen_calls_after_the_close(kis, kis_client):
    kis.minutes["005930"] = session_minutes(DAY)
    now = datetime(2026, 2, 10, 15, 31, tzinfo=KST)
    batch = kis_client(now=lambda: now).minute_bars_today("005930")
    assert kis.quotes[0].headers["tr_id"] == "FHKST03010200"
    assert "FID_INPUT_DATE_1" not in kis.quotes[0].query
    assert (len(batch.records), batch.requests) == (381, 14)


def test_today_leaves_out_the_running_minute_and_padded_future_ones(kis, kis_client):
    now = datetime(2026, 2, 10, 13, 48, 20, tzinfo=KST)
    rows = session_minutes(DAY)
    for row in rows:
        if row["stck_cntg_hour"] > "134800":
            row["cntg_vol"] = "0"
    rows[-1]["cntg_vol"] = "65109"  # the false 15:30 bar that a real answer of 13:48 held
    kis.minutes["005930"] = rows
    kis._past_minutes = lambda query: {"rt_cd": "0", "output1": {}, "output2": rows[::-1]}
    batch = kis_client(now=lambda: now).minute_bars_today("005930")
    assert batch.records[-1].ts == datetime(2026, 2, 10, 13, 47, tzinfo=KST)
    assert len(batch.records) == 288


def test_before_the_open_nothing_is_asked(kis, kis_client):
    now = datetime(2026, 2, 10, 8, 55, tzinfo=KST)
    batch = kis_client(now=lambda: now).minute_bars_today("005930")
    assert (batch.records, kis.quotes) == ([], [])


def test_recorded_minutes_of_a_running_session_lose_their_padding(recorded_data, kis, kis_client):
    with (recorded_data / "minute_kis_005930_2026-01-15_kst.csv").open() as file:
        recorded = list(csv.DictReader(file))
    rows = [
        {
            "stck_bsop_date": row["datetime"][:10].replace("-", ""),
            "stck_cntg_hour": row["datetime"][11:].replace(":", ""),
            "stck_oprc": row["open"], "stck_hgpr": row["high"], "stck_lwpr": row["low"], "stck_prpr": row["close"],
            "cntg_vol": row["volume"], "acml_tr_pbmn": "",
        }
        for row in recorded
    ]  # fmt: skip
    kis._past_minutes = lambda query: {"rt_cd": "0", "output1": {}, "output2": rows[::-1]}
    now = datetime(2026, 1, 15, 13, 49, 5, tzinfo=KST)
    batch = kis_client(now=lambda: now).minute_bars_today("005930")
    true = [row for row in recorded if row["volume"] != "0" and row["datetime"] <= "2026-01-15 13:48:00"]
    assert len(batch.records) == len(true) < len(recorded)
    assert sum(bar.volume for bar in batch.records) == sum(int(row["volume"]) for row in true)
    assert {bar.turnover_krw for bar in batch.records} == {None}
    assert batch.rejects == []
