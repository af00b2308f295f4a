"""The broker's calendar: every day of a range once, in as few calls as a service wants that is asked once a day."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from local_servers import Reply, kis_error

from azak_assets.sources.failures import ContractChanged, Empty, Unauthorized

KST = ZoneInfo("Asia/Seoul")
FIRST, LAST = date(2022, 12, 27), date(2023, 2, 24)
CLOSED = {date(2022, 12, 30), date(2023, 1, 23), date(2023, 1, 24)}


def row(day, **changes):
    is_weekend = day.isoweekday() >= 6
    written = {
        "bass_dt": f"{day:%Y%m%d}", "wday_dvsn_cd": f"0{day.isoweekday() % 7 + 1}", "bzdy_yn": "NY"[not is_weekend],
        "tr_day_yn": "Y", "opnd_yn": "NY"[not is_weekend and day not in CLOSED],
        "sttl_day_yn": "NY"[not is_weekend and day not in CLOSED],
    }  # fmt: skip
    return {**written, **changes}


def every_day(first, last):
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


@pytest.fixture
def now():
    return [datetime(2022, 12, 27, 7, 0, tzinfo=KST)]


@pytest.fixture
def client(kis, kis_client, now):
    kis.holidays = [row(day) for day in every_day(date(2022, 1, 1), date(2023, 12, 31))]
    return kis_client(now=lambda: now[0])


def asked(kis):
    return [request.query["BASS_DT"] for request in kis.quotes]


def test_each_day_of_a_range_comes_once_and_says_whether_the_exchange_trades(kis, client):
    batch = client.market_days(FIRST, LAST)
    assert [day.day for day in batch.records] == every_day(FIRST, LAST)
    open_days = {day.day for day in batch.records if day.is_open}
    assert date(2022, 12, 29) in open_days
    assert not open_days & CLOSED, "banks and brokers work on the exchange's year-end closure"
    assert not any(day.isoweekday() >= 6 for day in open_days)
    assert asked(kis) == ["20221227", "20230120", "20230213"]
    assert (batch.requests, batch.rejects) == (3, [])
    request = kis.quotes[0]
    assert request.path == "/uapi/domestic-stock/v1/quotations/chk-holiday"
    assert request.headers["tr_id"] == "CTCA0903R"
    assert request.query == {"BASS_DT": "20221227", "CTX_AREA_NK": "", "CTX_AREA_FK": ""}


def test_a_page_that_repeats_the_last_day_of_the_one_before_changes_nothing(kis, client):
    holidays = kis._holidays
    kis._holidays = lambda query: {
        **holidays(query),
        "output": [row(date.fromisoformat(query["BASS_DT"]) - timedelta(days=1)), *holidays(query)["output"]],
    }
    batch = client.market_days(FIRST, LAST)
    assert [day.day for day in batch.records] == every_day(FIRST, LAST)
    assert (batch.requests, batch.rejects) == (3, [])


def test_the_service_is_asked_once_a_day(kis, client, now):
    first = client.market_days(FIRST, LAST)
    now[0] = now[0].replace(hour=23)
    assert client.market_days(FIRST, LAST) == first
    assert len(kis.quotes) == 3
    now[0] += timedelta(hours=1)
    client.market_days(FIRST, LAST)
    assert len(kis.quotes) == 6
    client.market_days(FIRST, FIRST)
    assert len(kis.quotes) == 7


def test_the_answer_ends_where_the_brokers_calendar_does(kis, client):
    batch = client.market_days(date(2023, 12, 20), date(2024, 3, 1))
    assert [day.day for day in batch.records] == every_day(date(2023, 12, 20), date(2023, 12, 31))
    assert (batch.requests, batch.rejects) == (2, [])
    with pytest.raises(Empty, match="the broker's calendar has no day of 2024-01-01 … 2024-01-31"):
        client.market_days(date(2024, 1, 1), date(2024, 1, 31))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"opnd_yn": ""}, "opnd_yn"),
        ({"opnd_yn": "X"}, "opnd_yn"),
        ({"opnd_yn": None}, "opnd_yn"),
        ({"bass_dt": "20221332"}, "bass_dt"),
        ({"bass_dt": "99991231"}, "bass_dt"),
        ({"bass_dt": "20211230"}, "bass_dt"),
    ],
)
def test_a_bad_day_is_refused_and_named_and_hides_no_later_one(kis, client, changes, field):
    bad = date(2023, 1, 5)
    holidays = kis._holidays
    kis._holidays = lambda query: {
        **holidays(query),
        "output": [
            {**one, **changes} if one["bass_dt"] == f"{bad:%Y%m%d}" else one for one in holidays(query)["output"]
        ],
    }
    batch = client.market_days(FIRST, LAST)
    assert [day.day for day in batch.records] == [day for day in every_day(FIRST, LAST) if day != bad]
    assert [(reject.field, reject.value) for reject in batch.rejects][1:] == [("bass_dt", str(bad))]
    assert batch.rejects[0].field == field


def test_of_two_different_rows_about_a_day_neither_is_sure(kis, client):
    saturday = date(2022, 12, 31)
    kis.holidays.insert(kis.holidays.index(row(saturday)), row(saturday, opnd_yn="Y"))
    batch = client.market_days(FIRST, LAST)
    assert saturday not in [day.day for day in batch.records]
    assert [(one.value, one.reason) for one in batch.rejects] == [
        *[(str(saturday), "has two conflicting rows: both are rejected")] * 2,
        (str(saturday), "KIS sent no usable row for this day"),
    ]


def test_pages_that_hold_nothing_usable_end(kis, client):
    kis._holidays = lambda query: {"rt_cd": "0", "output": [row(FIRST, opnd_yn="?")] * 24}
    batch = client.market_days(FIRST, LAST)
    assert (batch.records, batch.requests, len(batch.rejects)) == ([], 1, 1)


def test_a_paper_account_is_told_that_it_has_no_such_service(kis, client):
    kis.faults.append(Reply(kis_error("EGW00213", "모의투자 TR 이 아닙니다."), 500))
    with pytest.raises(Unauthorized, match="needs a live account"):
        client.market_days(FIRST, LAST)
    assert len(client.market_days(FIRST, LAST).records) == 60, "a failure is no answer to repeat"


def test_a_reply_of_another_shape_is_a_changed_contract(kis, client):
    kis._holidays = lambda query: {"rt_cd": "0", "output": {"bass_dt": "20221227"}}
    with pytest.raises(ContractChanged, match="output is dict, not a list of rows"):
        client.market_days(FIRST, LAST)


def test_a_reversed_range_is_refused(client):
    with pytest.raises(ValueError, match="is after the last"):
        client.market_days(LAST, FIRST)
