"""Quotes and order books over the wire, at every hour of a session, and the running minute."""

from datetime import timedelta

import pytest
from conftest import kst

from azak_assets import krx
from azak_assets.sandbox import RecordedWorld

OPEN = kst(2026, 11, 20, 9, 0)
MORNING = kst(2026, 11, 20, 10, 7, 30)


def quote(broker, code):
    answer = broker.get("inquire-price", "FHKST01010100", FID_COND_MRKT_DIV_CODE="J", FID_INPUT_ISCD=code)
    assert answer.json()["rt_cd"] == "0", answer.text
    return answer.json()["output"]


def book(broker, code):
    answer = broker.get(
        "inquire-asking-price-exp-ccn", "FHKST01010200", FID_COND_MRKT_DIV_CODE="J", FID_INPUT_ISCD=code
    )
    assert answer.json()["rt_cd"] == "0", answer.text
    return answer.json()["output1"], answer.json()["output2"]


def levels(answer, side):
    pairs = [(int(answer[f"{side}{n}"]), int(answer[f"{side}_rsqn{n}"])) for n in range(1, 11)]
    return [pair for pair in pairs if pair != (0, 0)]


@pytest.fixture
def halted(seeded):
    """A session day and a code that does not trade in it."""
    market = seeded._market
    for index in range(market.position[kst(2026, 11, 2).date()], market.position[OPEN.date()] + 1):
        for issuer, volume, close in zip(market.issuers, market.volume[index], market.close[index], strict=True):
            if volume == 0 and close > 0:
                return market.sessions[index], issuer.code
    raise AssertionError("nobody is halted in November")


def test_a_quote_is_texts_without_a_name_or_a_time(broker, seeded, clock):
    clock.now = MORNING
    issue = seeded.issues(clock.now)[0]
    row = quote(broker, issue.code)
    assert set(map(type, row.values())) == {str}
    assert "hts_kor_isnm" not in row
    assert not any(name.endswith("_hour") for name in row)
    assert not {"new_hgpr_lwpr_cls_code", "apprch_rate", "mang_issu_cls_code"} & set(row)
    assert "," in row["fcam_cnnm"]
    assert int(row["frgn_ntby_qty"]) < 0
    assert row["stck_shrn_iscd"] == issue.code


def test_quote_and_daily_bar_of_an_instant_agree(broker, seeded, clock):
    clock.now = MORNING
    for issue in seeded.issues(clock.now)[:10]:
        row = quote(broker, issue.code)
        (bar,) = seeded.daily_bars(issue.code, OPEN.date(), OPEN.date(), clock.now, adjusted=False)
        told = [int(row[name]) for name in ("stck_oprc", "stck_hgpr", "stck_lwpr", "stck_prpr", "acml_vol")]
        assert told == [bar.open, bar.high, bar.low, bar.close, bar.volume]
        assert int(row["stck_llam"]) <= bar.low <= bar.high <= int(row["stck_mxpr"])


def test_a_book_lies_around_the_price_on_the_grid_and_inside_the_limits(broker, seeded, clock):
    clock.now = MORNING
    for issue in seeded.issues(clock.now)[:30]:
        row, (answer, expected) = quote(broker, issue.code), book(broker, issue.code)
        asks, bids = levels(answer, "askp"), levels(answer, "bidp")
        prices = [price for price, _ in bids[::-1] + asks]
        assert prices == sorted(set(prices))
        assert all(price % krx.tick_size(price, OPEN.date(), issue.market) == 0 for price in prices)
        assert not prices or int(row["stck_llam"]) <= prices[0] <= prices[-1] <= int(row["stck_mxpr"])
        if asks and bids:
            assert bids[0][0] <= int(row["stck_prpr"]) <= asks[0][0]
        assert answer["total_askp_rsqn"] == str(sum(shares for _, shares in asks))
        assert int(answer["ntby_aspr_rsqn"]) == int(answer["total_bidp_rsqn"]) - int(answer["total_askp_rsqn"])
        assert (answer["new_mkop_cls_code"], expected["antc_cnpr"]) == ("20", "0")


def test_the_same_instant_has_the_same_book_and_a_later_one_another(broker, seeded, clock):
    clock.now = MORNING
    code = seeded.issues(clock.now)[0].code
    first = book(broker, code)
    assert book(broker, code) == first
    clock.now += timedelta(minutes=1)
    assert book(broker, code) != first


@pytest.mark.parametrize(
    ("at", "phase", "has_book"),
    [
        (kst(2026, 11, 20, 8, 50), "10", False),
        (kst(2026, 11, 20, 9, 10), "20", True),
        (kst(2026, 11, 20, 15, 25), "00", True),
        (kst(2026, 11, 20, 15, 40), "31", False),
        (kst(2026, 11, 21, 11, 0), "10", False),
        (kst(2026, 11, 19, 9, 30), "10", False),  # the exam day opens at ten
        (kst(2026, 11, 19, 16, 0), "20", True),
    ],
)
def test_the_book_follows_the_session(broker, seeded, clock, at, phase, has_book):
    clock.now = at
    code = next(issue.code for issue in seeded.issues(at) if not issue.is_halted)
    answer, expected = book(broker, code)
    assert answer["new_mkop_cls_code"] == phase
    assert bool(levels(answer, "askp") + levels(answer, "bidp")) == has_book
    assert (expected["antc_cnpr"] != "0") == (phase == "00")


def test_a_halted_issue_has_its_state_and_an_empty_book(broker, clock, halted):
    session, code = halted
    clock.now = session.open_at + timedelta(hours=1)
    row, (answer, _) = quote(broker, code), book(broker, code)
    assert (row["iscd_stat_cls_code"], row["temp_stop_yn"], row["acml_vol"]) == ("58", "Y", "0")
    assert int(row["stck_prpr"]) > 0
    assert {answer[f"askp{n}"] for n in range(1, 11)} == {"0"}


def test_an_unknown_code_is_answered_with_empty_texts_and_a_missing_one_refused(broker, clock):
    clock.now = MORNING
    assert set(quote(broker, "990000").values()) == {""}
    answer, expected = book(broker, "990000")
    assert {*answer.values(), *expected.values()} == {""}
    refused = broker.get("inquire-price", "FHKST01010100", FID_COND_MRKT_DIV_CODE="J")
    assert refused.json()["msg_cd"] == "OPSQ2001"


def test_a_recorded_world_has_neither(start, recorded_data, clock, make_broker):
    world = RecordedWorld(recorded_data / "2022-01")
    assert not {"quotes", "order_books"} & set(world.feeds)
    broker = make_broker(start(world, clock=clock))
    assert set(quote(broker, "005930").values()) == {""}


def test_the_running_minute_comes_with_what_it_has_traded_and_the_totals_hold_it(broker, seeded, clock):
    clock.now = kst(2026, 11, 20, 10, 7, 30)
    code = next(issue.code for issue in seeded.issues(clock.now) if not issue.is_halted)
    (whole,) = [bar for bar in seeded.minute_bars(code, OPEN.date(), clock.now + timedelta(minutes=1))
                if bar.at == kst(2026, 11, 20, 10, 7)]  # fmt: skip
    query = {"FID_COND_MRKT_DIV_CODE": "J", "FID_INPUT_ISCD": code, "FID_PW_DATA_INCU_YN": "N", "FID_ETC_CLS_CODE": ""}

    def ask(hour):
        return broker.get("inquire-time-itemchartprice", "FHKST03010200", FID_INPUT_HOUR_1=hour, **query).json()

    answer = ask("100730")
    assert answer["output2"][0]["stck_cntg_hour"] == "100700"
    assert int(answer["output2"][0]["cntg_vol"]) == whole.volume // 2
    (bar,) = seeded.daily_bars(code, OPEN.date(), OPEN.date(), clock.now, adjusted=False)
    assert int(answer["output1"]["acml_vol"]) == bar.volume + whole.volume // 2
    assert len(answer["output2"]) == 30
    # Asked for a future hour it is now, and the running minute carries the hour that was asked for.
    later = ask("153000")
    assert [row["stck_cntg_hour"] for row in later["output2"][:2]] == ["153000", "100600"]
    assert ask("100600")["output2"][0]["stck_cntg_hour"] == "100600"
