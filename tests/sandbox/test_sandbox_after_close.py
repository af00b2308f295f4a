"""The broker's services of what comes after the close, on the wire: no range of days, millions, empties, paper keys."""

from datetime import date, timedelta

import pytest

from azak_assets import krx
from azak_assets.sandbox import RecordedWorld

WHO = ("prsn", "frgn", "orgn")


def kst(clock, *parts):
    clock.now = clock.now.replace(year=parts[0], month=parts[1], day=parts[2], hour=parts[3], minute=parts[4])


def investors(broker, code, **more):
    answer = broker.get(
        "inquire-investor", "FHKST01010900", FID_COND_MRKT_DIV_CODE="J", FID_INPUT_ISCD=code, **more
    ).json()
    assert answer["rt_cd"] == "0"
    return answer["output"]


def overtime(broker, code):
    return broker.get(
        "inquire-daily-overtimeprice", "FHPST02320000", FID_COND_MRKT_DIV_CODE="J", FID_INPUT_ISCD=code
    ).json()


def table(broker, code, until="20261120"):
    return broker.get(
        "inquire-index-daily-price", "FHPUP02120000", FID_COND_MRKT_DIV_CODE="U", FID_INPUT_ISCD=code,
        FID_INPUT_DATE_1=until, FID_PERIOD_DIV_CODE="D",
    )  # fmt: skip


def test_investors_come_for_thirty_sessions_whatever_days_are_asked(broker, seeded, clock):
    code = seeded.issues(clock.now)[0].code
    rows = investors(broker, code, FID_INPUT_DATE_1="20260102", FID_INPUT_DATE_2="20260105")
    days = [row["stck_bsop_date"] for row in rows]
    assert days == [f"{s.day:%Y%m%d}" for s in reversed(krx.sessions(date(2026, 10, 12), date(2026, 11, 20)))]
    assert len(days) == 30
    assert all(isinstance(text, str) and "," not in text for row in rows for text in row.values())


def test_what_was_bought_less_what_was_sold_is_the_net_and_values_are_millions(broker, seeded, clock):
    residues, beside = [], []
    for issue in seeded.issues(clock.now)[:20]:
        bars = {row["stck_bsop_date"]: row for row in broker.daily(issue.code, "20261001", "20261120")}
        for row in investors(broker, issue.code):
            volume, turnover = (
                int(bars[row["stck_bsop_date"]]["acml_vol"]),
                int(bars[row["stck_bsop_date"]]["acml_tr_pbmn"]),
            )
            for who in WHO:
                bought, sold = int(row[f"{who}_shnu_vol"]), int(row[f"{who}_seln_vol"])
                assert min(bought, sold) >= 0
                assert bought - sold == int(row[f"{who}_ntby_qty"])
                money = int(row[f"{who}_shnu_tr_pbmn"]) - int(row[f"{who}_seln_tr_pbmn"])
                assert abs(money - int(row[f"{who}_ntby_tr_pbmn"])) <= 1
            value = sum(int(row[f"{who}_shnu_tr_pbmn"]) for who in WHO)
            assert value * 1_000_000 <= 1.05 * turnover + 3_000_000
            if volume:
                residues.append(abs(sum(int(row[f"{who}_ntby_qty"]) for who in WHO)) / volume)
                beside.append((int(row["prdy_vrss"]) / int(row["stck_clpr"]), int(row["frgn_ntby_qty"]) / volume))
    assert 0 < max(residues) <= 0.021, "other corporations are missing, and they are small"
    moved = [(change, foreign) for change, foreign in beside if abs(change) > 0.03]
    assert sum(change * foreign > 0 for change, foreign in moved) > 0.6 * len(moved), "foreigners buy what rises"


def test_todays_cells_are_empty_until_half_an_hour_after_the_close(broker, seeded, clock):
    code = seeded.issues(clock.now)[0].code
    for hour, minute, is_out in ((8, 0, None), (10, 0, False), (15, 45, False), (16, 0, True)):
        kst(clock, 2026, 11, 20, hour, minute)
        newest = investors(broker, code)[0]
        assert newest["stck_bsop_date"] == ("20261119" if is_out is None else "20261120")
        cells = {newest[f"{who}_{cell}"] == "" for who in WHO for cell in ("ntby_qty", "seln_vol", "shnu_tr_pbmn")}
        assert cells == {is_out is False}


def test_a_recent_listing_has_empty_rows_behind_its_own_and_texts_are_padded(broker, seeded, clock):
    (newcomer,) = [i for i in seeded.issues(clock.now) if i.listed_on and i.listed_on > date(2026, 10, 1)]
    answer = broker.get(
        "inquire-investor", "FHKST01010900", FID_COND_MRKT_DIV_CODE="J", FID_INPUT_ISCD=newcomer.code
    ).json()
    listed = krx.count_between(newcomer.listed_on, date(2026, 11, 20)) + 1
    assert [bool(row) for row in answer["output"]] == [True] * listed + [False] * (30 - listed)
    assert answer["msg1"] != answer["msg1"].rstrip()
    assert investors(broker, "000000") == []


def test_after_hours_prices_stay_within_ten_percent_of_the_close_and_inside_the_day(broker, seeded, clock):
    kst(clock, 2026, 9, 11, 18, 0)
    traded = 0
    for issue in seeded.issues(clock.now)[:40]:
        rows = overtime(broker, issue.code)["output2"]
        assert rows[0]["stck_bsop_date"] == "20260911"
        bars = {row["stck_bsop_date"]: row for row in broker.daily(issue.code, "20260701", "20260911")}
        for row in rows:
            bar = bars[row["stck_bsop_date"]]
            assert (row["stck_clpr"], row["acml_vol"]) == (bar["stck_clpr"], bar["acml_vol"])
            volume, close = int(row["ovtm_untp_vol"]), int(row["stck_clpr"])
            assert volume <= 0.1 * int(bar["acml_vol"]) or volume == 0
            if volume == 0:
                assert row["ovtm_untp_prpr"] == row["ovtm_untp_tr_pbmn"] == "0"
                continue
            traded += 1
            day, price = date.fromisoformat(row["stck_bsop_date"]), int(row["ovtm_untp_prpr"])
            assert abs(price - close) * 10 <= close
            limits = krx.price_limits(close - int(row["prdy_vrss"]), day, issue.market)
            assert limits.lower <= price <= limits.upper
    assert traded > 500


def test_the_after_hours_service_answers_empty_since_its_session_is_gone(broker, seeded, clock):
    code = seeded.issues(clock.now)[0].code
    kst(clock, 2026, 9, 11, 17, 59)
    assert overtime(broker, code)["output2"][0]["stck_bsop_date"] == "20260910"
    kst(clock, 2026, 9, 12, 12, 0)
    assert overtime(broker, code)["output2"][0]["stck_bsop_date"] == "20260911"
    kst(clock, 2026, 9, 14, 0, 0)
    broker.issue()
    answer = overtime(broker, code)
    assert (answer["rt_cd"], answer["output2"]) == ("0", [])
    assert set(answer["output1"].values()) == {""}


@pytest.mark.parametrize("code", ["0001", "1001", "2001", "0013"])
def test_breadth_counts_every_member_once(broker, seeded, clock, code):
    answer = table(broker, code).json()
    head, newest = answer["output1"], answer["output2"][0]
    assert len(answer["output2"]) == 100
    assert newest["stck_bsop_date"] == "20261120"
    assert (head["bstp_nmix_prpr"], head["bstp_nmix_prdy_vrss"]) == (
        newest["bstp_nmix_prpr"],
        newest["bstp_nmix_prdy_vrss"],
    )
    (bar,) = broker.index(code, "20261120", "20261120")
    assert (newest["bstp_nmix_prpr"], newest["acml_vol"]) == (bar["bstp_nmix_prpr"], bar["acml_vol"])
    up, down, flat = (int(head[f"{name}_issu_cnt"]) for name in ("ascn", "down", "stnr"))
    issues = [i for i in seeded.issues(clock.now) if i.market == ("KOSDAQ" if code == "1001" else "KOSPI")]
    members = {"2001": 60, "0013": sum(i.sector == "0013" for i in issues)}.get(code, len(issues))
    assert up + down + flat == members
    assert min(up, down) > 0 or code == "0013"
    assert int(head["uplm_issu_cnt"]) <= up


def test_breadth_is_that_of_the_newest_session_whatever_day_is_asked(broker, clock):
    of_friday = table(broker, "0001").json()["output1"]
    asked = table(broker, "0001", "20261102").json()
    assert asked["output1"] == of_friday
    assert asked["output2"][0]["stck_bsop_date"] == "20261102"
    clock.now += timedelta(hours=23)
    assert table(broker, "0001").json()["output1"] == of_friday
    clock.now = clock.now.replace(day=23, hour=11)
    broker.issue()
    running = table(broker, "0001", "20261123").json()
    assert running["output1"] != of_friday
    assert running["output2"][0]["stck_bsop_date"] == "20261123"


@pytest.mark.parametrize(
    ("service", "tr_id"),
    [
        ("inquire-index-daily-price", "FHPUP02120000"),
        ("inquire-time-dailychartprice", "FHKST03010230"),
        ("chk-holiday", "CTCA0903R"),
    ],
)
def test_a_paper_account_is_refused_what_only_live_ones_have(http, make_broker, service, tr_id):
    paper = make_broker(http, app_key="paper-key")
    answer = paper.get(service, tr_id, BASS_DT="20261120")
    assert (answer.status_code, answer.json()["msg_cd"]) == (500, "EGW00213")
    assert investors(paper, "000000") == []


def test_unknown_indices_have_no_rows_and_bad_fields_are_business_errors(broker):
    assert table(broker, "9999").json()["output2"] == []
    assert table(broker, "0006").json()["output2"] == [], "a sector without a company"
    answer = broker.get("inquire-investor", "FHKST01010900", FID_COND_MRKT_DIV_CODE="X", FID_INPUT_ISCD="0")
    assert (answer.status_code, answer.json()["msg_cd"]) == (200, "OPSQ2001")


def test_sectors_have_index_bars(broker):
    rows = broker.index("0013", "20261101", "20261120")
    assert len(rows) == len(krx.sessions(date(2026, 11, 1), date(2026, 11, 20)))
    assert all(float(row["bstp_nmix_lwpr"]) <= float(row["bstp_nmix_prpr"]) for row in rows)


def test_a_recorded_world_does_not_have_them(recorded: RecordedWorld, start, make_broker):
    assert not {"investor_flows", "overtime_bars", "index_breadth"} & set(recorded.feeds)
    broker = make_broker(start(recorded))
    code = recorded.issues(None)[0].code
    assert investors(broker, code) == []
    assert overtime(broker, code)["output2"] == []
    assert table(broker, "0001", "20220128").json()["output1"] == {}
