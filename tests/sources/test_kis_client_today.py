"""Today's minutes as they pass: one call where nothing is missing, and what proves a hole where something is."""

from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest

from azak_assets import krx
from azak_assets.sources.kis.minutes import SessionMinutes

DAY = date(2026, 2, 10)
PRICE, VOLUME = 70_000, 100
CODE = "005930"


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"{DAY} {clock}").replace(tzinfo=krx.KST)


class Tape:
    """A stock that trades `VOLUME` shares in every minute but those in `quiet`, as KIS shows it at `now`.

    `hidden` minutes traded and have no row, for the next `hides` calls. `off_book` shares are in the totals alone.
    """

    def __init__(self, kis, now: str) -> None:
        self.now = at(now)
        self.quiet: set[str] = set()
        self.hidden: set[str] = set()
        self.hides = 1_000_000
        self.off_book: dict[str, int] = {}
        self.asked: list[str] = []
        kis._past_minutes = self.answer

    def answer(self, query):
        session = krx.session(DAY)
        hidden = self.hidden if self.hides > 0 else set()
        self.hides -= 1
        self.asked.append(query["FID_INPUT_HOUR_1"])
        rows, volume, turnover = [], 0, 0
        minute = session.open_at
        while minute <= min(self.now, session.close_at):
            name = f"{minute:%H:%M}"
            in_call = session.close_at - timedelta(minutes=10) <= minute < session.close_at
            traded = 0 if in_call or name in self.quiet else VOLUME
            share = min(1.0, (self.now - minute) / timedelta(minutes=1))
            traded = round(traded * share)
            extra = self.off_book.get(name, 0)
            volume, turnover = volume + traded + extra, turnover + (traded + extra) * PRICE
            if traded and name not in hidden:
                rows.append(
                    {
                        "stck_bsop_date": f"{DAY:%Y%m%d}",
                        "stck_cntg_hour": f"{minute:%H%M00}",
                        **dict.fromkeys(("stck_prpr", "stck_oprc", "stck_hgpr", "stck_lwpr"), str(PRICE)),
                        "cntg_vol": str(traded),
                        "acml_tr_pbmn": str(turnover),
                    }
                )
            minute += timedelta(minutes=1)
        upto = [row for row in rows if row["stck_cntg_hour"] <= query["FID_INPUT_HOUR_1"]]
        head = {"acml_vol": str(volume), "acml_tr_pbmn": str(turnover)}
        return {"rt_cd": "0", "msg_cd": "MCA00000", "msg1": "", "output1": head, "output2": upto[-30:][::-1]}


@pytest.fixture
def tape(kis):
    return Tape(kis, "10:00:20")


@pytest.fixture
def client(kis_client, tape):
    return kis_client(now=lambda: tape.now)


def ask(client, tape: Tape, known: SessionMinutes | None = None) -> SessionMinutes:
    tape.asked.clear()
    return client.minute_bars_today(CODE, known)


def test_the_first_asking_walks_to_the_open_and_the_next_takes_one_call(client, tape):
    first = ask(client, tape)
    assert (first.requests, len(first.bars), first.missing, first.off_book) == (3, 60, 0, 0)
    assert list(first.bars) == first.records
    tape.now += timedelta(minutes=1)
    second = ask(client, tape, first)
    assert second.requests == 1
    assert [bar.ts for bar in second.records] == [at("10:00")]
    assert len(second.bars) == 61
    assert {bar.turnover_krw for bar in second.bars} == {PRICE * VOLUME}


def test_an_asking_after_an_hour_walks_back_to_what_is_known(client, tape):
    first = ask(client, tape)
    tape.now += timedelta(minutes=61)
    second = ask(client, tape, first)
    assert second.requests == 3
    assert (len(second.records), len(second.bars), second.missing) == (61, 121, 0)
    assert {bar.turnover_krw for bar in second.bars} == {PRICE * VOLUME}


def test_a_page_that_was_lost_is_noticed_by_the_volumes_and_asked_for_again(client, tape):
    tape.hidden, tape.hides = {"09:40", "09:41", "09:42"}, 1
    batch = ask(client, tape)
    assert (len(batch.bars), batch.missing, batch.off_book) == (60, 0, 0)


def test_a_hole_in_what_is_known_is_filled_by_a_walk_through_the_session(client, tape):
    whole = ask(client, tape)
    holey = SessionMinutes(
        [], [], 0, "", bars=[bar for bar in whole.bars if f"{bar.ts:%H:%M}" not in {"09:10", "09:11"}]
    )
    tape.now += timedelta(minutes=1)
    mended = ask(client, tape, holey)
    assert {f"{bar.ts:%H:%M}" for bar in mended.records} >= {"09:10", "09:11", "10:00"}
    assert (len(mended.bars), mended.missing) == (61, 0)
    tape.now += timedelta(minutes=1)
    assert ask(client, tape, mended).requests == 1


def test_a_hole_that_stays_is_counted_minute_by_minute_and_not_asked_for_for_ever(client, tape):
    tape.hidden = {"09:40", "09:41", "09:42"}
    batch = ask(client, tape)
    assert (len(batch.bars), batch.missing, batch.off_book) == (57, 3, 3 * VOLUME)
    tape.now += timedelta(minutes=1)
    after = ask(client, tape, batch)
    assert (after.requests, after.missing) == (1, 3)


def test_a_hole_before_the_first_row_and_one_after_the_last_are_holes_too(client, tape):
    tape.hidden = {"09:00", "09:01"}
    assert ask(client, tape).missing == 2
    tape.hidden, tape.quiet = {"09:58", "09:59"}, {"10:00"}
    assert ask(client, tape).missing == 2


def test_minutes_without_a_trade_are_no_hole(client, tape):
    tape.quiet = {"09:00", "09:01", "09:30", "09:31", "09:32", "09:59", "10:00"}
    batch = ask(client, tape)
    assert (len(batch.bars), batch.missing, batch.off_book) == (54, 0, 0)


def test_a_block_trade_is_off_the_book_and_no_hole(client, tape):
    tape.off_book = {"09:20": 50_000}
    batch = ask(client, tape)
    assert (len(batch.bars), batch.missing, batch.off_book) == (60, 0, 50_000)
    tape.now += timedelta(minutes=1)
    assert ask(client, tape, batch).requests == 1


def test_beside_a_hole_or_a_block_trade_quiet_minutes_stay_quiet(client, tape):
    tape.quiet, tape.hidden = {"09:30", "09:31"}, {"09:40"}
    assert ask(client, tape).missing == 1
    tape.hidden, tape.off_book = set(), {"09:20": 50_000}
    assert (ask(client, tape).missing, ask(client, tape).off_book) == (0, 50_000)


def test_the_closing_call_is_no_hole_and_the_auction_is_there(client, tape):
    tape.now = at("15:31:05")
    batch = ask(client, tape)
    assert (len(batch.bars), batch.missing, batch.requests) == (381, 0, 13)
    assert batch.bars[-1].ts == at("15:30")


def test_the_running_minute_is_left_out_and_speaks_against_nothing(client, tape):
    for seconds in (0, 5, 30, 59):
        tape.now = at(f"10:00:{seconds:02d}")
        batch = ask(client, tape)
        assert (batch.bars[-1].ts, batch.missing, batch.off_book) == (at("09:59"), 0, 0), seconds
        assert batch.requests == len(tape.asked) <= 3


def test_a_first_row_that_repeats_the_minute_before_is_no_trade(kis, client, tape):
    """The documents: until the first trade of a new minute its row may show the volume of the one before."""
    tape.quiet = {"10:00"}
    honest = tape.answer

    def repeating(query):
        body = honest(query)
        ghost = {**body["output2"][0], "stck_cntg_hour": "100000"}
        is_newest = query["FID_INPUT_HOUR_1"] >= "100000"
        return {**body, "output2": [ghost, *body["output2"][:29]] if is_newest else body["output2"]}

    kis._past_minutes = repeating
    batch = ask(client, tape)
    assert (len(batch.bars), batch.missing, batch.off_book) == (60, 0, 0)


def test_a_minute_that_turns_while_the_question_waits_costs_no_second_walk(client, tape, monkeypatch):
    first = ask(client, tape)
    tape.now = at("10:01:58")
    asked_at = tape.now
    monkeypatch.setattr(client._gateway, "now", lambda: asked_at)
    tape.now = at("10:02:07")
    batch = ask(client, tape, first)
    assert (batch.requests, batch.bars[-1].ts, batch.off_book) == (1, at("10:00"), 0)


def test_a_total_that_cannot_be_read_leaves_the_proof_to_the_running_turnover(kis, client, tape):
    honest = tape.answer
    kis._past_minutes = lambda query: {**honest(query), "output1": {}}
    batch = ask(client, tape)
    assert (len(batch.bars), batch.requests, batch.missing) == (60, 3, 0)


def test_a_minute_that_is_corrected_comes_again(client, tape):
    first = ask(client, tape)
    stale = SessionMinutes([], [], 0, "", bars=[*first.bars[:-1], replace(first.bars[-1], volume=40)])
    tape.now += timedelta(minutes=1)
    second = ask(client, tape, stale)
    assert [(f"{bar.ts:%H:%M}", bar.volume) for bar in second.records] == [("09:59", VOLUME), ("10:00", VOLUME)]


def test_before_the_first_minute_is_over_there_is_nothing_and_nothing_is_missing(client, tape):
    tape.now = at("08:59:50")
    assert ask(client, tape).requests == 0
    tape.now = at("09:00:30")
    batch = ask(client, tape)
    assert (list(batch.bars), batch.missing, batch.off_book) == ([], 0, 0)
