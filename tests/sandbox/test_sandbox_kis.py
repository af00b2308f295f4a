"""The broker's gateway: tokens, limits, errors and the shape of every quotation service."""

from collections.abc import Callable
from datetime import date, datetime, timedelta

import httpx
import pytest

from azak_assets import krx, universe
from azak_assets.sandbox import Limits, SeededWorld


def tiers_1_and_2(world, now):
    listed = [
        universe.Issue(i.code, i.market, i.group in {"ST", "KN"} and not i.is_spac, i.market_cap_krw // 10**8 * 10**8)
        for i in world.issues(now)
    ]
    return {code for code, tier in universe.tiers(listed).items() if tier <= 2}


def test_token_is_the_same_for_six_hours_and_new_afterwards(broker, clock):
    first = broker.issue().json()
    assert first["token_type"] == "Bearer"
    assert first["expires_in"] == 86400
    assert first["access_token_token_expired"] == "2026-11-21 18:00:00"
    clock.now += timedelta(hours=5, minutes=59)
    again = broker.issue().json()
    assert again["access_token"] == first["access_token"]
    assert again["access_token_token_expired"] == first["access_token_token_expired"]
    clock.now += timedelta(minutes=1)
    assert broker.issue().json()["access_token"] != first["access_token"]


def test_second_new_token_within_a_minute_is_refused(broker, http, clock):
    broker.issue()
    revoked = http.post("/kis/oauth2/revokeP", json={**broker.keys, "token": broker.token})
    assert revoked.json()["code"] == 200
    refused = broker.issue()
    assert refused.status_code == 403
    assert refused.json()["error_code"] == "EGW00133"
    clock.now += timedelta(minutes=1)
    assert broker.issue().status_code == 200


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"appkey": "invalid-key", "appsecret": "s"}, "EGW00103"),
        ({"appkey": "", "appsecret": "s"}, "EGW00103"),
        ({"appkey": "k", "appsecret": "invalid"}, "EGW00105"),
    ],
)
def test_bad_keys_are_refused_with_the_other_envelope(http, keys, code):
    answer = http.post("/kis/oauth2/tokenP", json={"grant_type": "client_credentials", **keys})
    assert answer.status_code == 403
    assert answer.json()["error_code"] == code
    assert "rt_cd" not in answer.json()


def test_token_of_age_is_expired_and_survives_a_restart_before(start, seeded, clock, make_broker):
    broker = make_broker(start(seeded, clock=clock))
    broker.daily("990000", "20261101", "20261120")
    token = broker.token
    restarted = make_broker(start(seeded, clock=clock))
    restarted.token = token
    assert restarted.daily("990000", "20261101", "20261120") == []
    clock.now += timedelta(hours=24)
    answer = restarted.get("chk-holiday", "CTCA0903R", BASS_DT="20261120")
    assert answer.status_code == 500
    assert answer.json()["msg_cd"] == "EGW00123"


def test_token_of_another_key_or_world_is_refused(start, seeded, clock, make_broker):
    http = start(seeded, clock=clock)
    one, other = make_broker(http), make_broker(http, app_key="another-key")
    one.issue()
    other.token = one.token
    assert other.get("chk-holiday", "CTCA0903R", BASS_DT="20261120").json()["msg_cd"] == "EGW00121"
    foreign = make_broker(start(SeededWorld(2), clock=clock))
    foreign.token = one.token
    assert foreign.get("chk-holiday", "CTCA0903R", BASS_DT="20261120").json()["msg_cd"] == "EGW00121"


@pytest.mark.parametrize(
    ("headers", "service", "status", "code"),
    [
        ({"authorization": "Basic x"}, "chk-holiday", 500, "EGW00205"),
        ({"authorization": "Bearer x.y.z"}, "chk-holiday", 500, "EGW00121"),
        ({"custtype": "X"}, "chk-holiday", 500, "EGW00208"),
        ({"tr_id": "CTCA0903X"}, "chk-holiday", 200, "OPSQ9999"),
        ({}, "no-such-service", 200, "OPSQ0002"),
        ({"appkey": "invalid"}, "chk-holiday", 403, "EGW00103"),
    ],
)
def test_bad_requests_name_their_code(broker, headers, service, status, code):
    answer = broker.get(service, "CTCA0903R", headers, BASS_DT="20261120")
    assert (answer.status_code, answer.json()["rt_cd"], answer.json()["msg_cd"]) == (status, "1", code)


def test_missing_and_malformed_fields_are_business_errors(broker):
    for query in ({"FID_COND_MRKT_DIV_CODE": "J"}, {"FID_COND_MRKT_DIV_CODE": "X", "FID_PERIOD_DIV_CODE": "D"}):
        answer = broker.get("inquire-daily-itemchartprice", "FHKST03010100", **query)
        assert (answer.status_code, answer.json()["msg_cd"]) == (200, "OPSQ2001")
    answer = broker.get("chk-holiday", "CTCA0903R", BASS_DT="2026-11-20")
    assert answer.json()["msg_cd"] == "OPSQ2001"


def test_the_nineteenth_call_inside_any_second_is_refused(start, seeded, clock, make_broker):
    second = [1000.0]
    broker = make_broker(start(seeded, clock=clock, limits=Limits(), tick=lambda: second[0]))

    def ask(times):
        answers = [broker.get("chk-holiday", "CTCA0903R", BASS_DT="20261120") for _ in range(times)]
        refused = {(a.status_code, a.json()["msg_cd"]) for a in answers if a.json()["rt_cd"] != "0"}
        return sum(answer.json()["rt_cd"] == "0" for answer in answers), refused

    assert ask(10) == (10, set())
    second[0] += 0.5
    assert ask(30) == (8, {(500, "EGW00201")})
    second[0] += 0.49
    assert ask(1) == (0, {(500, "EGW00201")})
    # The window slides: after a second the first ten are forgotten, the other eight are not.
    second[0] += 0.01
    assert ask(30) == (10, {(500, "EGW00201")})
    second[0] += 1
    assert ask(18) == (18, set())


def test_three_requests_for_a_token_in_one_second_are_one_token_and_two_refusals(broker, clock):
    first = broker.issue()
    assert first.status_code == 200
    for _ in range(2):
        refused = broker.issue()
        assert (refused.status_code, refused.json()["error_code"]) == (403, "EGW00133")
    clock.now += timedelta(seconds=60)
    again = broker.issue()
    assert again.json()["access_token"] == first.json()["access_token"]
    clock.now += timedelta(seconds=59)
    assert broker.issue().status_code == 403, "the same token counts as an issue"


def test_daily_bars_come_a_hundred_at_a_time_newest_first(broker, seeded, clock):
    code = seeded.issues(clock.now)[0].code
    page = broker.daily(code, "20240101", "20261120")
    days = [row["stck_bsop_date"] for row in page]
    assert len(days) == 100
    assert days == sorted(days, reverse=True)
    assert days[0] == "20261120"
    seen = list(days)
    while len(page) == 100:
        before = datetime.strptime(min(seen), "%Y%m%d").replace(tzinfo=krx.KST) - timedelta(days=1)
        page = broker.daily(code, "20240101", f"{before:%Y%m%d}")
        seen += [row["stck_bsop_date"] for row in page]
    expected = [f"{s.day:%Y%m%d}" for s in krx.sessions(seeded.first_day, clock.now.date())]
    assert sorted(seen) == expected


def test_daily_bar_fields_are_strings_in_whole_won_and_shares(broker, seeded, clock):
    code = seeded.issues(clock.now)[0].code
    row = broker.daily(code, "20261119", "20261119")[0]
    assert set(row) == {
        "stck_bsop_date", "stck_clpr", "stck_oprc", "stck_hgpr", "stck_lwpr", "acml_vol", "acml_tr_pbmn",
        "flng_cls_code", "prtt_rate", "mod_yn", "prdy_vrss_sign", "prdy_vrss", "revl_issu_reas",
    }  # fmt: skip
    assert all(isinstance(value, str) and "," not in value for value in row.values())
    low, high, volume, turnover = (int(row[k]) for k in ("stck_lwpr", "stck_hgpr", "acml_vol", "acml_tr_pbmn"))
    assert low * volume <= turnover <= high * volume


def test_unknown_code_is_an_empty_success(broker):
    assert broker.daily("000000", "20261101", "20261120") == []
    assert broker.index("9999", "20261101", "20261120") == []
    assert broker.minutes("000000", "153000") == []


def test_index_rows_are_fifty_in_thousand_shares_and_million_won(broker, seeded, clock):
    rows = broker.index("0001", "20240101", "20261120")
    assert len(rows) == 50
    bar = seeded.index_bars("0001", clock.now.date(), clock.now.date(), clock.now)[0]
    assert rows[0]["bstp_nmix_prpr"] == f"{bar.close:.2f}"
    assert rows[0]["acml_vol"] == str(round(bar.volume / 1_000))
    assert rows[0]["acml_tr_pbmn"] == str(round(bar.turnover_krw / 1_000_000))


def _walk_back(fetch: Callable[[str], list[dict[str, str]]], hour: str) -> tuple[list[dict[str, str]], int]:
    """All minutes of a day, oldest first, as a client pages: the next hour is a minute before the oldest row."""
    rows: list[dict[str, str]] = []
    calls = 0
    while True:
        page, calls = fetch(hour), calls + 1
        if not page:
            return rows[::-1], calls
        rows += page
        oldest = page[-1]["stck_cntg_hour"]
        minutes = int(oldest[:2]) * 60 + int(oldest[2:4]) - 1
        hour = f"{minutes // 60:02d}{minutes % 60:02d}00"


@pytest.mark.parametrize(("day", "close"), [("20261119", "163000"), ("20261020", "153000")], ids=["exam", "regular"])
def test_past_minutes_add_up_to_the_daily_bar(broker, seeded, clock, day, close):
    for issue in seeded.issues(clock.now)[:3]:
        rows, calls = _walk_back(lambda hour, code=issue.code: broker.minutes(code, hour, day), close)
        assert calls <= 5
        bar = broker.daily(issue.code, day, day)[0]
        assert rows[0]["stck_oprc"] == bar["stck_oprc"]
        assert rows[-1]["stck_prpr"] == bar["stck_clpr"]
        assert rows[-1]["stck_cntg_hour"] == close
        assert max(int(row["stck_hgpr"]) for row in rows) == int(bar["stck_hgpr"])
        assert min(int(row["stck_lwpr"]) for row in rows) == int(bar["stck_lwpr"])
        assert sum(int(row["cntg_vol"]) for row in rows) == int(bar["acml_vol"])
        # Turnover is cumulative over the day.
        assert rows[-1]["acml_tr_pbmn"] == bar["acml_tr_pbmn"]
        # Continuous trading ends ten minutes before the auction.
        until = f"{close[:2]}1900"
        assert not [row for row in rows[:-1] if row["stck_cntg_hour"] > until]


def test_past_minutes_exist_for_the_stocks_that_get_minute_bars_and_one_year(broker, seeded, clock):
    issues = seeded.issues(clock.now)
    have = {issue.code for issue in issues if broker.minutes(issue.code, "153000", "20261020")}
    now, week_ago = tiers_1_and_2(seeded, clock.now), tiers_1_and_2(seeded, clock.now - timedelta(days=7))
    assert len(now) == len(week_ago) == 20
    assert now | week_ago <= have
    assert len(have) <= 25
    assert broker.minutes(next(iter(now)), "153000", "20251031") == []


def test_a_halted_issues_minutes_are_padded_with_the_last_price(broker, seeded, clock):
    followed = tiers_1_and_2(seeded, clock.now)
    halts = [
        (code, bar)
        for code in sorted(followed)
        for bar in seeded.daily_bars(code, date(2025, 11, 21), date(2026, 11, 19), clock.now, adjusted=False)
        if bar.volume == 0
    ]
    assert halts
    for code, bar in halts[:3]:
        close_at = krx.session(bar.day).close_at
        rows, calls = _walk_back(
            lambda hour, code=code, bar=bar: broker.minutes(code, hour, f"{bar.day:%Y%m%d}"), f"{close_at:%H%M%S}"
        )
        assert calls <= 5
        assert len(rows) == 381
        assert (rows[0]["stck_cntg_hour"], rows[-1]["stck_cntg_hour"]) == (
            f"{krx.session(bar.day).open_at:%H%M%S}", f"{close_at:%H%M%S}",
        )  # fmt: skip
        prices = ("stck_prpr", "stck_oprc", "stck_hgpr", "stck_lwpr")
        assert {tuple(row[name] for name in prices) for row in rows} == {(str(bar.close),) * 4}
        assert {(row["cntg_vol"], row["acml_tr_pbmn"]) for row in rows} == {("0", "0")}


def test_unfinished_bar_is_served_while_the_session_runs(start, seeded, clock, make_broker):
    broker = make_broker(start(seeded, clock=clock))
    code = seeded.issues(clock.now)[0].code
    whole = broker.daily(code, "20261120", "20261120")[0]
    clock.now = clock.now.replace(hour=8, minute=59)
    broker.token = ""
    assert broker.daily(code, "20261120", "20261120") == []
    assert broker.index("0001", "20261120", "20261120") == []
    clock.now = clock.now.replace(hour=11, minute=0)
    part = broker.daily(code, "20261120", "20261120")[0]
    assert part["stck_oprc"] == whole["stck_oprc"]
    assert 0 < int(part["acml_vol"]) < int(whole["acml_vol"])
    minutes = broker.minutes(code, "153000")
    assert len(minutes) == 30
    assert minutes[0]["stck_cntg_hour"] == "105900"
    assert minutes[0]["stck_prpr"] == part["stck_clpr"]
    assert minutes[0]["acml_tr_pbmn"] == part["acml_tr_pbmn"]
    assert len(broker.index("0001", "20261120", "20261120")) == 1


def test_holidays_cover_calendar_days_and_say_that_more_follow(broker):
    answer = broker.get("chk-holiday", "CTCA0903R", BASS_DT="20261224", CTX_AREA_NK="", CTX_AREA_FK="")
    body = answer.json()
    assert body["msg_cd"] == "KIOK0500"
    assert answer.headers["tr_cont"] == "M"
    assert len(body["ctx_area_nk"]) == 20
    days = {row["bass_dt"]: row for row in body["output"]}
    assert len(days) == 24
    assert {d: days[d]["opnd_yn"] for d in ("20261224", "20261225", "20261226", "20261231", "20270104")} == {
        "20261224": "Y", "20261225": "N", "20261226": "N", "20261231": "N", "20270104": "Y",
    }  # fmt: skip
    # The year-end closure is the exchange's alone; 2026-12-26 is a Saturday (07).
    assert days["20261231"]["bzdy_yn"] == "Y"
    assert days["20261226"]["wday_dvsn_cd"] == "07"


def test_field_names_are_taken_in_either_case(http, broker):
    broker.issue()
    query = {"fid_cond_mrkt_div_code": "U", "fid_input_iscd": "0001", "fid_period_div_code": "D"}
    query |= {"fid_input_date_1": "20261116", "fid_input_date_2": "20261120"}
    answer: httpx.Response = broker.get("inquire-daily-indexchartprice", "FHKUP03500100", **query)
    assert len(answer.json()["output2"]) == 5
