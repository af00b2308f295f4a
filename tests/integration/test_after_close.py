"""Flows, after-hours prices and breadth through a run, against the sandbox: what lands, and what a partition says when
the service cannot give it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from tenacity import wait_none

from azak_assets import krx
from azak_assets.defs.markdown import literal
from azak_assets.defs.market import assets as market
from azak_assets.defs.market import breadth, flows, overtime
from azak_assets.defs.reference import assets as reference
from azak_assets.ingest import rolling
from azak_assets.ingest.round import PROBES
from azak_assets.runtime import Upstreams, World
from azak_assets.sandbox import Limits, SeededWorld, create_app, start_in_thread
from azak_assets.sandbox.wire import kis_after_close
from azak_assets.sandbox.worlds import seeded
from azak_assets.settings import Settings
from azak_assets.sources import transport
from azak_assets.warehouse.warehouse import Warehouse
from tests.harness import Made, TokensOfOneProcess, Unbounded, at, materialize, stores_of, tags_of_range

STOCKS = 12
UNLIMITED = Limits(kis_a_second=10**9)


class Clock:
    """The one clock of the sandbox, the client and the assets."""

    def __init__(self) -> None:
        self.now = at("2026-11-20 18:30")
        self.keys = 0

    def new_key(self) -> str:
        """A key that has no token yet: the broker gives a second one of a minute to nobody."""
        self.keys += 1
        return f"key-{self.keys}"

    def __call__(self) -> datetime:
        return self.now


def days_of(first: str, last: str) -> list[str]:
    return [str(one.day) for one in krx.sessions(date.fromisoformat(first), date.fromisoformat(last))]


@pytest.fixture(scope="module")
def world() -> SeededWorld:
    return SeededWorld(1)


CLOCK = Clock()


@pytest.fixture(scope="module")
def sandbox(world: SeededWorld) -> Iterator[str]:
    with start_in_thread(create_app(world, clock=CLOCK, limits=UNLIMITED)) as url:
        yield url


@pytest.fixture
def clock() -> Clock:
    """Friday, 2026-11-20, in the evening."""
    clock = CLOCK
    clock.now = at("2026-11-20 18:30")
    return clock


class Ticking:
    """The sandbox's clock as the clients read it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now

    def sleep(self, seconds: float) -> None:
        pass


class Run:
    """Materializations of one asset at a time, over the first twelve stocks of the sandbox."""

    def __init__(self, url: str, engine: sa.Engine, clock: Clock) -> None:
        self._engine = engine
        self.clock = clock
        self._url = url
        self.limiter, self.tokens = Unbounded(), TokensOfOneProcess()
        self.warehouse = Warehouse(engine, run_id="a-run")
        self._stores = stores_of(engine, limiter=self.limiter, tokens=self.tokens)
        self._world = World("seed:1", frozenset(SeededWorld.feeds))
        self.account(clock.new_key())

    def account(self, key: str) -> None:
        """Ask KIS with this key from now on."""
        settings = Settings().in_sandbox(self._url).model_copy(update={"kis_app_key": SecretStr(key)})
        self.close()
        self.upstreams = Upstreams(settings, self._world, self._stores, Ticking(self.clock))

    def close(self) -> None:
        if "upstreams" in self.__dict__:
            self.upstreams.close()

    def __call__(self, asset: dg.AssetsDefinition, first: str = "", last: str = "") -> "Outcome":
        """Materialize it for one session or an inclusive range of them."""
        before = self._asked()
        resources = {"warehouse": self.warehouse, "upstreams": self.upstreams}
        made = materialize(asset, resources, tags=tags_of_range(first, last) if first else None)
        return Outcome(made.result, self._asked() - before)

    def _asked(self) -> int:
        """Requests for data so far; asking for a token passes the limiter too."""
        return self.limiter.calls["kis"] - self.tokens.issued

    def query(self, statement: str) -> list[tuple]:
        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(statement))]


@dataclass(frozen=True)
class Outcome(Made):
    """What came of a run, and the requests that it made."""

    requests: int

    def reasons(self) -> dict[str, str]:
        """The code of each partition that has not everything, "" where it has."""
        return {day: metadata.get("reason", "") for day, metadata in self.by_partition.items()}


@pytest.fixture
def run(sandbox: str, engine: sa.Engine, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.setattr(transport, "_backoff", wait_none())
    run = Run(sandbox, engine, clock)
    assert run(reference.stocks).success
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "delete from raw.stocks where stock_code not in"
                f" (select stock_code from raw.stocks order by tier, stock_code limit {STOCKS})"
            )
        )
    yield run
    run.close()


@pytest.fixture
def codes(run: Run) -> list[str]:
    return [code for (code,) in run.query("select stock_code from raw.stocks order by tier, stock_code")]


# --- investor flows -------------------------------------------------------------------------------------------------


def test_a_session_of_flows_lands_with_its_nominal_time_and_again_changes_nothing(run: Run) -> None:
    done = run(flows.investor_flows, "2026-11-20")
    assert done.success, done.said
    assert done.requests == STOCKS
    assert done.check.passed
    told = done.by_partition["2026-11-20"]
    assert (told["inserted"], told["rejected"], told["failed"], told["answered"]) == (STOCKS, 0, 0, STOCKS)
    assert "data:image/png" in told["net"]
    assert "state" not in told
    known = run.query("select distinct known_at, source from raw.investor_flows")
    assert known == [(at("2026-11-20 16:00"), "sandbox seed:1: KIS FHKST01010900")]
    rows = run.query(
        "select retail_net_shares + foreign_net_shares + institution_net_shares, retail_net_krw % 1000000,"
        " retail_bought_shares - retail_sold_shares - retail_net_shares from raw.investor_flows"
    )
    assert any(residue for residue, _, _ in rows)
    assert {(million, net) for _, million, net in rows} == {(0, 0)}
    again = run(flows.investor_flows, "2026-11-20")
    assert (again.by_partition["2026-11-20"]["unchanged"], again.by_partition["2026-11-20"]["changed"]) == (STOCKS, 0)


def test_one_answer_a_stock_serves_every_session_inside_its_reach_and_older_ones_say_so(run: Run) -> None:
    done = run(flows.investor_flows, "2026-09-21", "2026-11-20")
    assert done.success, done.said
    assert done.requests == STOCKS
    inside, reasons = days_of("2026-10-12", "2026-11-20"), done.reasons()
    assert len(inside) == 30
    assert {day for day, reason in reasons.items() if reason == "landed"} == set(inside)
    assert {reasons[day] for day in set(reasons) - set(inside)} == {"past_reach"}
    assert "2026-10-12" in done.by_partition["2026-09-21"]["state"]
    assert done.by_partition["2026-10-12"]["rows"] == STOCKS
    assert run.query("select count(*), min(trade_date) from raw.investor_flows") == [(30 * STOCKS, date(2026, 10, 12))]
    assert done.check.passed


def test_a_range_wholly_past_reach_costs_a_few_requests_and_keeps_what_was_loaded_in_time(
    run: Run, clock: Clock
) -> None:
    clock.now = at("2026-09-18 16:30")
    assert run(flows.investor_flows, "2026-09-18").success
    clock.now = at("2026-11-20 18:30")
    run.tokens.forget()  # the token's day is over: asking once more with it would count
    done = run(flows.investor_flows, "2026-09-17", "2026-09-18")
    assert done.success, done.said
    assert done.requests == PROBES
    assert done.reasons() == dict.fromkeys(["2026-09-17", "2026-09-18"], "past_reach")
    assert all("2026-10-12" in told["state"] for told in done.by_partition.values())
    assert {told["rows"] for told in done.by_partition.values()} == {0}
    assert done.check.passed
    # The same over the edge: the old rows are outside what the answers speak about.
    assert run(flows.investor_flows, "2026-09-18", "2026-10-12").success
    assert run.query("select trade_date, count(*) from raw.investor_flows group by 1 order by 1") == [
        (date(2026, 9, 18), STOCKS),
        (date(2026, 10, 12), STOCKS),
    ]
    assert run.query("select count(*) from raw.investor_flows_history") == [(0,)]


def test_an_old_session_of_which_nothing_is_known_is_past_reach_and_a_young_one_a_failure(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeded.SeededWorld, "investor_flows", lambda self, *asked: [])
    old = run(flows.investor_flows, "2026-03-20")
    assert old.success, old.said
    assert old.reasons() == {"2026-03-20": "past_reach"}
    assert old.requests == PROBES
    young = run(flows.investor_flows, "2026-11-20")
    assert not young.success
    assert "no investor flows of" in young.said


def test_a_stock_that_answers_for_fewer_sessions_only_adds(
    run: Run, codes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(flows.investor_flows, "2026-11-19", "2026-11-20").success
    kept = seeded.SeededWorld.investor_flows

    def short(self: SeededWorld, code: str, *asked: Any) -> Any:
        found = kept(self, code, *asked)
        return [one for one in found if one.day >= date(2026, 11, 20)] if code == codes[0] else found

    monkeypatch.setattr(seeded.SeededWorld, "investor_flows", short)
    done = run(flows.investor_flows, "2026-11-19", "2026-11-20")
    assert done.success, done.said
    assert (done.by_partition["2026-11-20"]["retired"], done.by_partition["2026-11-20"]["unchanged"]) == (
        0,
        2 * STOCKS - 1,
    )
    assert run.query("select count(*) from raw.investor_flows") == [(2 * STOCKS,)]


@pytest.mark.parametrize(
    ("now", "from_when"), [("2026-11-20 15:45", "2026-11-20 16:00"), ("2026-11-19 16:45", "2026-11-19 17:00")]
)
def test_flows_that_are_not_out_are_green_and_say_from_when_on(
    run: Run, clock: Clock, now: str, from_when: str
) -> None:
    clock.now = at(now)
    today = now[:10]
    done = run(flows.investor_flows, today)
    assert done.success
    assert done.requests == 0
    assert done.reasons() == {today: "not_out_yet"}
    assert f"{from_when} KST" in done.by_partition[today]["state"]
    # In a range the sessions before it land.
    before = str(krx.previous_session(date.fromisoformat(today)).day)
    done = run(flows.investor_flows, before, today)
    assert done.reasons() == {before: "", today: "not_out_yet"}
    assert (done.by_partition[before]["rows"], done.by_partition[today]["rows"]) == (STOCKS, 0)


def test_a_session_that_has_not_closed_is_refused(run: Run, clock: Clock) -> None:
    clock.now = at("2026-11-20 15:39")
    for asset in (flows.investor_flows, overtime.overtime_bars, breadth.index_breadth):
        done = run(asset, "2026-11-20")
        assert not done.success
        assert "no final bars yet" in done.said


def test_cells_that_stay_empty_fail_the_session_after_the_others_landed(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A green partition without rows would never be asked for again."""
    monkeypatch.setattr(seeded, "FLOWS_AFTER", seeded.FLOWS_AFTER * 10)
    done = run(flows.investor_flows, "2026-11-19", "2026-11-20")
    assert not done.success
    assert "no stock has any for 2026-11-20" in done.said
    assert run.query("select trade_date, count(*) from raw.investor_flows group by 1") == [(date(2026, 11, 19), STOCKS)]
    assert run.query("select count(*) from ops.rejected_records") == [(0,)]


def test_some_stocks_without_the_newest_session_are_a_warning_that_names_them(
    run: Run, codes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = seeded.SeededWorld.investor_flows

    def behind(self: SeededWorld, code: str, *asked: Any) -> Any:
        return kept(self, code, *asked)[:-1] if code in codes[:2] else kept(self, code, *asked)

    monkeypatch.setattr(seeded.SeededWorld, "investor_flows", behind)
    done = run(flows.investor_flows, "2026-11-20")
    assert done.success
    assert not done.check.passed
    assert f"no usable row of {codes[0]} for 2026-11-20" in done.check.description


def test_a_field_of_another_type_is_quarantined_by_name_and_the_rest_lands(
    run: Run, codes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written, spoilt = kis_after_close._flow_row, []

    def retyped(flow: Any) -> Any:
        row = written(flow)
        if flow.day == date(2026, 11, 20) and not spoilt:
            spoilt.append(flow)
            row["frgn_ntby_qty"] = [row["frgn_ntby_qty"]]
        return row

    monkeypatch.setattr(kis_after_close, "_flow_row", retyped)
    done = run(flows.investor_flows, "2026-11-19", "2026-11-20")
    assert done.success, done.said
    assert done.by_partition["2026-11-20"]["rejected"] == 1
    assert run.query("select count(*) from raw.investor_flows") == [(2 * STOCKS - 1,)]
    ((field, reason, source),) = run.query("select field, reason, source from ops.rejected_records")
    assert (field, reason) == ("frgn_ntby_qty", "is a JSON list, not a whole number")
    assert source == "sandbox seed:1: KIS FHKST01010900"


def test_when_every_row_is_refused_the_step_fails_and_names_the_first(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = kis_after_close._flow_row
    monkeypatch.setattr(kis_after_close, "_flow_row", lambda flow: {**written(flow), "orgn_shnu_vol": "많음"})
    done = run(flows.investor_flows, "2026-11-20")
    assert not done.success
    assert "every row was refused, the first for orgn_shnu_vol='많음'" in done.said
    assert run.query("select count(*) from raw.investor_flows") == [(0,)]
    assert run.query("select count(*) > 0 from ops.rejected_records") == [(True,)]


def test_a_stock_listed_later_or_gone_before_is_not_asked_for(run: Run, codes: list[str]) -> None:
    with run.warehouse._own_engine.begin() as connection:
        for column, code in (("listed_on", codes[0]), ("delisted_on", codes[1])):
            statement = f"update raw.stocks set {column} = '2026-11-20' where stock_code = :code"
            connection.execute(sa.text(statement), {"code": code})
    assert run(flows.investor_flows, "2026-11-19").requests == STOCKS - 1
    assert run(flows.investor_flows, "2026-11-20").requests == STOCKS - 1


def test_a_world_that_does_not_record_them_is_asked_nothing(run: Run) -> None:
    run.upstreams.world = World("replay:abc", frozenset({"daily_bars"}))
    for asset in (flows.investor_flows, overtime.overtime_bars, breadth.index_breadth):
        done = run(asset, "2026-11-20")
        assert (done.success, done.requests) == (True, 0)
        assert done.reasons() == {"2026-11-20": "not_recorded"}
        assert done.check.passed


# --- after hours ----------------------------------------------------------------------------------------------------


def test_the_last_single_price_session_lands_and_its_volume_is_its_own(run: Run, clock: Clock) -> None:
    clock.now = at("2026-09-11 18:00")
    done = run(overtime.overtime_bars, "2026-09-10", "2026-09-11")
    assert done.success, done.said
    assert done.requests == STOCKS
    assert done.check.passed
    assert done.reasons() == {"2026-09-10": "", "2026-09-11": ""}
    assert run.query("select distinct known_at from raw.overtime_bars order by 1") == [
        (at("2026-09-10 18:00"),),
        (at("2026-09-11 18:00"),),
    ]
    assert run(market.daily_bars, "2026-09-10", "2026-09-11").success
    beside = run.query(
        "select after.volume < day.volume, after.regular_close = day.close, coalesce(after.close, day.close)"
        " between day.close * 0.9 and day.close * 1.1 from raw.overtime_bars as after"
        " join raw.daily_bars as day using (stock_code, trade_date) where not day.is_halted"
    )
    assert len(beside) >= 2 * STOCKS - 2
    assert set(beside) == {(True, True, True)}


def test_before_six_the_after_hours_are_not_out(run: Run, clock: Clock) -> None:
    clock.now = at("2026-09-11 17:50")
    done = run(overtime.overtime_bars, "2026-09-11")
    assert (done.success, done.requests) == (True, 0)
    assert done.reasons() == {"2026-09-11": "not_out_yet"}
    assert "2026-09-11 18:00 KST" in done.by_partition["2026-09-11"]["state"]


def test_since_the_session_is_gone_an_empty_answer_is_success_and_says_so(run: Run) -> None:
    done = run(overtime.overtime_bars, "2026-11-20")
    assert done.success, done.said
    assert done.requests == PROBES, "a few tell it for all"
    assert done.reasons() == {"2026-11-20": "discontinued"}
    told = done.by_partition["2026-11-20"]["state"]
    assert "since 2026-09-14" in told
    assert (done.check.passed, done.check.description) == (True, literal(told))
    assert run.query("select count(*) from raw.overtime_bars") == [(0,)]


def test_what_was_loaded_in_time_stays_when_the_service_has_none_any_more(run: Run, clock: Clock) -> None:
    clock.now = at("2026-09-11 18:00")
    assert run(overtime.overtime_bars, "2026-09-11").success
    clock.now = at("2026-09-15 18:10")
    done = run(overtime.overtime_bars, "2026-09-11", "2026-09-15")
    assert done.success, done.said
    days = ["2026-09-11", "2026-09-14", "2026-09-15"]
    assert done.reasons() == dict.fromkeys(days, "discontinued, past_reach")
    assert run.query("select count(*) from raw.overtime_bars") == [(STOCKS,)]
    assert run.query("select count(*) from raw.overtime_bars_history") == [(0,)]


def test_rows_that_no_single_price_session_explains_are_put_aside(
    run: Run, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should the service tell of the market that came after: nothing of it lands as something else."""
    monkeypatch.setattr(kis_after_close, "OVERTIME_ENDED", date(2099, 1, 1))
    written = kis_after_close._overtime_row
    monkeypatch.setattr(kis_after_close, "_overtime_row", lambda bar: {**written(bar), "stck_bsop_date": "20260914"})
    clock.now = at("2026-09-14 18:10")
    done = run(overtime.overtime_bars, "2026-09-14")
    assert done.success, done.said
    assert done.reasons() == {"2026-09-14": "discontinued"}
    assert done.by_partition["2026-09-14"]["rejected"] > 0
    assert run.query("select count(*) from raw.overtime_bars") == [(0,)]


# --- breadth --------------------------------------------------------------------------------------------------------


def test_breadth_of_every_index_and_sector_lands_on_its_evening(run: Run) -> None:
    done = run(breadth.index_breadth, "2026-11-20")
    assert done.success, done.said
    sectors = {sector for (sector,) in run.query("select distinct sector from raw.stocks where sector is not null")}
    rows = run.query(
        "select index_code, trade_date, known_at, advancers + decliners + unchanged from raw.index_breadth"
    )
    assert {code for code, *_ in rows} == {"0001", "1001", "2001"} | sectors
    assert {(day, known) for _, day, known, _ in rows} == {(date(2026, 11, 20), at("2026-11-20 15:40"))}
    assert all(members > 0 for *_, members in rows)
    assert done.check.passed
    again = run(breadth.index_breadth, "2026-11-20")
    assert again.by_partition["2026-11-20"]["unchanged"] == len(rows)


def test_an_older_session_has_no_breadth_and_its_partition_says_so(run: Run) -> None:
    done = run(breadth.index_breadth, "2026-11-18", "2026-11-20")
    assert done.reasons() == {"2026-11-18": "past_reach", "2026-11-19": "past_reach", "2026-11-20": "landed"}
    assert run.query("select distinct trade_date from raw.index_breadth") == [(date(2026, 11, 20),)]
    old = run(breadth.index_breadth, "2026-11-18")
    assert (old.success, old.requests, old.reasons()) == (True, 0, {"2026-11-18": "past_reach"})


def test_a_running_session_hides_the_breadth_of_the_one_before_without_a_failure(run: Run, clock: Clock) -> None:
    assert run(breadth.index_breadth, "2026-11-20").success
    before = run.query("select count(*) from raw.index_breadth")
    clock.now = at("2026-11-23 11:00")
    done = run(breadth.index_breadth, "2026-11-20")
    assert done.success, done.said
    assert done.reasons() == {"2026-11-20": "being_replaced"}
    assert run.query("select count(*) from raw.index_breadth") == before
    assert run.query("select count(*) from raw.index_breadth_history") == [(0,)]


def test_breadth_that_no_day_proves_fails_on_its_own_evening(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    head = kis_after_close._index_head
    monkeypatch.setattr(kis_after_close, "_index_head", lambda *what: {**head(*what), "bstp_nmix_prdy_vrss": "0.01"})
    done = run(breadth.index_breadth, "2026-11-20")
    assert not done.success
    assert "KIS tells none of 2026-11-20" in done.said
    assert run.query("select count(*) > 0 from ops.rejected_records") == [(True,)]
    assert run.query("select count(*) from raw.index_breadth") == [(0,)]


def test_a_paper_account_has_no_breadth_and_is_green_with_a_warning(run: Run) -> None:
    run.account("paper" + run.clock.new_key())
    done = run(breadth.index_breadth, "2026-11-20")
    assert done.success, done.said
    assert done.reasons() == {"2026-11-20": "paper_account"}
    assert not done.check.passed
    assert done.check.severity is dg.AssetCheckSeverity.WARN
    assert "EGW00213" in done.check.description
    assert run(flows.investor_flows, "2026-11-20").success, "the others are there on paper too"


def test_bars_of_the_sectors_land_beside_those_of_the_market(run: Run) -> None:
    done = run(market.index_bars, "2026-11-19", "2026-11-20")
    assert done.success, done.said
    sectors = {sector for (sector,) in run.query("select distinct sector from raw.stocks where sector is not null")}
    assert sectors
    landed = dict(run.query("select index_code, count(*) from raw.index_bars group by 1"))
    assert landed == dict.fromkeys({"0001", "1001", "2001"} | sectors, 2)


def test_young_sessions_are_asked_for_without_a_probe() -> None:
    now = at("2026-11-20 18:30")
    assert rolling.is_surely_given(krx.shift(date(2026, 11, 20), -rolling.SURELY_GIVEN).day, now)
    assert not rolling.is_surely_given(krx.shift(date(2026, 11, 20), -rolling.SURELY_GIVEN - 1).day, now)
