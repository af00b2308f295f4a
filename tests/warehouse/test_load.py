"""`load_partition`, `append` and `quarantine` against a real PostgreSQL: versions, scopes, rules, fingerprints."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from azak_assets import krx
from azak_assets.warehouse.encode import FrameError, encode
from azak_assets.warehouse.load import LoadResult, Scope
from azak_assets.warehouse.warehouse import Warehouse

FRIDAY, MONDAY = date(2026, 11, 13), date(2026, 11, 16)
BARS = "raw.daily_bars"


@pytest.fixture
def warehouse(engine: sa.Engine) -> Warehouse:
    return Warehouse(engine, "run-1")


def bars(closes: dict[str, int | None], day: date = FRIDAY) -> pd.DataFrame:
    """Daily bars by code; a close of None makes a halted bar with the carried close 70."""
    close = [70 if price is None else price for price in closes.values()]
    traded = pd.Series(list(closes.values()), dtype="Int64")
    return pd.DataFrame(
        {
            "stock_code": list(closes),
            "trade_date": [day] * len(closes),
            "open": traded,
            "high": traded,
            "low": traded,
            "close": close,
            "volume": traded.fillna(0),
            "turnover_krw": 1_000,
            "is_halted": traded.isna(),
            "base_price": None,
            "base_ratio": None,
            "base_reason": None,
            "known_at": pd.Timestamp(krx.session(day).close_at + timedelta(minutes=10)),
        }
    )


def load(
    warehouse: Warehouse, frame: pd.DataFrame, *days: date, keys: Iterable[str] | None = None, complete: bool = True
) -> LoadResult:
    scope = Scope(days or (FRIDAY,), None if keys is None else tuple(keys))
    return warehouse.load(BARS, frame, scope, complete=complete, source="test")


def counts(result: LoadResult) -> tuple[int, int, int, int]:
    return result.inserted, result.changed, result.unchanged, result.retired


def rows(warehouse: Warehouse, statement: str, **values: Any) -> list[Any]:
    assert isinstance(warehouse.engine, sa.Engine)
    with warehouse.engine.connect() as connection:
        return list(connection.execute(sa.text(statement), values))


def closes(warehouse: Warehouse, day: date = FRIDAY) -> dict[str, int]:
    found = warehouse.read(BARS, columns=["stock_code", "close"], days=(day, day))
    return dict(zip(found["stock_code"], found["close"].tolist(), strict=True))


def test_a_changed_row_moves_its_old_version_to_the_history(warehouse: Warehouse) -> None:
    first = load(warehouse, bars({"005930": 100, "000660": 200}))
    second = load(warehouse, bars({"005930": 101, "000660": 200}))
    assert counts(first) == (2, 0, 0, 0)
    assert counts(second) == (0, 1, 1, 0)
    assert closes(warehouse) == {"005930": 101, "000660": 200}
    assert rows(
        warehouse, "select stock_code, close, observed_at, superseded_at, source, run_id from raw.daily_bars_history"
    ) == [("005930", 100, first.observed_at, second.observed_at, "test", "run-1")]


def test_an_unchanged_row_is_not_touched(warehouse: Warehouse) -> None:
    load(warehouse, bars({"005930": 100, "000660": 200, "0126Z0": None}))
    before = rows(warehouse, "select stock_code, xmin::text, ctid::text, observed_at from raw.daily_bars order by 1")
    shuffled = bars({"0126Z0": None, "000660": 200, "005930": 100})
    again = load(warehouse, shuffled)
    assert counts(again) == (0, 0, 3, 0)
    assert not again.skipped_by_fingerprint
    assert (
        rows(warehouse, "select stock_code, xmin::text, ctid::text, observed_at from raw.daily_bars order by 1")
        == before
    )
    assert rows(warehouse, "select 1 from raw.daily_bars_history") == []


def test_vanished_rows_retire_only_from_a_complete_frame(warehouse: Warehouse) -> None:
    load(warehouse, bars({"005930": 100, "000660": 200}))
    assert counts(load(warehouse, bars({"005930": 100}), complete=False)) == (0, 0, 1, 0)
    assert counts(load(warehouse, bars({"005930": 100}))) == (0, 0, 1, 1)
    assert closes(warehouse) == {"005930": 100}
    assert rows(warehouse, "select stock_code from raw.daily_bars_history") == [("000660",)]


def test_a_complete_empty_frame_retires_all_of_its_scope_and_no_more(warehouse: Warehouse) -> None:
    load(warehouse, bars({"005930": 100, "000660": 200}))
    load(warehouse, bars({"005930": 300}, MONDAY), MONDAY)
    assert counts(load(warehouse, pd.DataFrame(), keys=["000660"])) == (0, 0, 0, 1)
    assert closes(warehouse) == {"005930": 100}
    assert closes(warehouse, MONDAY) == {"005930": 300}


def test_a_stock_whose_request_failed_is_left_alone(warehouse: Warehouse) -> None:
    load(warehouse, bars({"005930": 100, "000660": 200, "0126Z0": 300}))
    answered = bars({"005930": 101})
    assert counts(load(warehouse, answered, keys=["005930", "0126Z0"])) == (0, 1, 0, 1)
    assert closes(warehouse) == {"005930": 101, "000660": 200}


def test_days_of_one_load_between_which_others_lie_touch_only_themselves(warehouse: Warehouse) -> None:
    thursday = date(2026, 11, 12)
    for day in (thursday, FRIDAY, MONDAY):
        load(warehouse, bars({"005930": 100}, day), day)
    both = pd.concat([bars({"005930": 101}, thursday), bars({"005930": 102}, MONDAY)])
    assert counts(load(warehouse, both, thursday, MONDAY)) == (0, 2, 0, 0)
    assert closes(warehouse, FRIDAY) == {"005930": 100}


def test_a_first_version_is_known_at_its_nominal_time_and_later_ones_when_observed(warehouse: Warehouse) -> None:
    nominal = krx.session(FRIDAY).close_at + timedelta(minutes=10)
    load(warehouse, bars({"005930": 100, "000660": 200}))
    second = load(warehouse, bars({"005930": 101, "000660": 200}))
    known = dict(rows(warehouse, "select stock_code, known_at from raw.daily_bars"))
    assert known == {"005930": second.observed_at, "000660": nominal}


def test_a_row_that_comes_back_is_a_later_version(warehouse: Warehouse) -> None:
    load(warehouse, bars({"005930": 100, "000660": 200}))
    load(warehouse, bars({"005930": 100}))
    back = load(warehouse, bars({"005930": 100, "000660": 200}))
    assert counts(back) == (1, 0, 1, 0)
    assert rows(warehouse, "select known_at from raw.daily_bars where stock_code = '000660'") == [(back.observed_at,)]


def test_all_rows_of_a_day_that_come_back_are_later_versions(warehouse: Warehouse) -> None:
    # The day is empty then, which must not pass for a day that was never loaded.
    load(warehouse, bars({"005930": 100}))
    load(warehouse, pd.DataFrame())
    back = load(warehouse, bars({"005930": 100}))
    assert rows(warehouse, "select known_at from raw.daily_bars") == [(back.observed_at,)]


def test_known_at_is_set_once(warehouse: Warehouse) -> None:
    frame = bars({"005930": 100})
    load(warehouse, frame)
    moved = frame.assign(known_at=frame["known_at"] + pd.Timedelta(hours=1))
    assert counts(load(warehouse, moved)) == (0, 0, 1, 0)
    assert rows(warehouse, "select known_at from raw.daily_bars") == [(frame["known_at"].iloc[0].to_pydatetime(),)]


# ---- feeds: the rule `seen`, trading days and sessions ---------------------------------------------------------------


def articles(known: dict[str, datetime], **changed: object) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "article_id": list(known),
            "url": None,
            "title": [f"제목 {name}" for name in known],
            "excerpt": None,
            "press": "어느 신문",
            "published_at": pd.Series(list(known.values())),
            "is_date_only": False,
            "content_hash": "h",
            "known_at": pd.Series(list(known.values())),
        }
    )
    return frame.assign(**changed)


def load_articles(warehouse: Warehouse, frame: pd.DataFrame) -> LoadResult:
    return warehouse.load("raw.news_articles", frame, Scope(None), complete=False, source="test")


def test_an_article_seen_within_a_day_is_known_when_observed_and_an_older_one_when_published(
    warehouse: Warehouse,
) -> None:
    now = datetime.now(UTC)
    old = datetime(2026, 11, 13, 16, 0, tzinfo=krx.KST)
    times = {"fresh": now - timedelta(hours=23), "ahead": now + timedelta(hours=3), "old": old}
    result = load_articles(warehouse, articles(times))
    found = warehouse.read("raw.news_articles").set_index("article_id")
    assert (found.loc[["fresh", "ahead"], "known_at"] == result.observed_at).all()
    assert found.loc["old", "known_at"] == old
    # Friday after the close: Friday's partition, Monday's session.
    assert found.loc["old", "trading_day"] == FRIDAY
    assert found.loc["old", "tradable_session"] == MONDAY
    assert found.loc["fresh", "trading_day"] == krx.trading_day_of(result.observed_at)
    assert found.loc["fresh", "tradable_session"] == krx.tradable_session(result.observed_at).day


def test_a_corrected_article_keeps_its_trading_day_and_becomes_tradable_when_corrected(warehouse: Warehouse) -> None:
    frame = articles({"a": datetime(2026, 11, 13, 16, 0, tzinfo=krx.KST)})
    load_articles(warehouse, frame)
    second = load_articles(warehouse, frame.assign(title="고친 제목"))
    assert counts(second) == (0, 1, 0, 0)
    row = warehouse.read("raw.news_articles").iloc[0]
    assert row["trading_day"] == FRIDAY
    assert row["known_at"] == second.observed_at
    assert row["tradable_session"] == krx.tradable_session(second.observed_at).day


def test_a_filing_keeps_when_it_was_first_seen(warehouse: Warehouse) -> None:
    filing = pd.DataFrame(
        {
            "rcept_no": ["20261113000001"],
            "corp_code": "00126380",
            "corp_name": "어느 회사",
            "stock_code": "005930",
            "corp_cls": "Y",
            "report_nm": "주요사항보고서",
            "filer_name": "어느 회사",
            "rcept_dt": FRIDAY,
            "rm": None,
            "correction_kind": None,
            "amends_rcept_no": None,
            "known_at": datetime(2026, 11, 13, 23, 59, 59, tzinfo=krx.KST),
        }
    )
    first = warehouse.load("raw.disclosures", filing, Scope(None), complete=False, source="test")
    second = warehouse.load("raw.disclosures", filing.assign(rm="유"), Scope(None), complete=False, source="test")
    assert counts(second) == (0, 1, 0, 0)
    row = warehouse.read("raw.disclosures").iloc[0]
    assert (row["first_seen_at"], row["trading_day"]) == (first.observed_at, FRIDAY)


def test_stocks_are_known_when_observed(warehouse: Warehouse) -> None:
    stock = pd.DataFrame(
        {
            "stock_code": ["005930"],
            "isin": None,
            "name": "어느 전자",
            "market": "KOSPI",
            "security_kind": "stock",
            "sector": None,
            "tier": 1,
            "aliases": [["전자", "어느전자"]],
            "is_active": True,
            "listed_on": date(1975, 6, 11),
            "delisted_on": None,
            "listed_shares": 5_969_782_550,
            "market_cap_krw": None,
        }
    )
    result = warehouse.load("raw.stocks", stock, Scope(None), complete=True, source="test")
    row = warehouse.read("raw.stocks").iloc[0]
    assert row["known_at"] == result.observed_at
    assert row["aliases"] == ["전자", "어느전자"]
    assert row["listed_on"] == date(1975, 6, 11)
    gone = warehouse.load("raw.stocks", stock.head(0), Scope(None), complete=True, source="test")
    assert counts(gone) == (0, 0, 0, 1)


def test_a_row_made_from_an_article_stays_in_the_partition_it_was_first_written_to(warehouse: Warehouse) -> None:
    mention = pd.DataFrame(
        {
            "article_id": ["a"],
            "field": "title",
            "span_start": 0,
            "span_end": 2,
            "stock_code": "005930",
            "surface": "삼전",
            "method": "alias",
            "trading_day": FRIDAY,
            "known_at": datetime(2026, 11, 13, 16, 0, tzinfo=krx.KST),
        }
    )

    def load_mentions(frame: pd.DataFrame, day: date) -> LoadResult:
        return warehouse.load("text.mentions", frame, Scope((day,)), complete=True, source="test")

    load_mentions(mention, FRIDAY)
    moved = load_mentions(mention.assign(trading_day=MONDAY), MONDAY)
    assert counts(moved) == (0, 0, 1, 0)
    assert warehouse.read("text.mentions")["trading_day"].tolist() == [FRIDAY]
    # Monday's complete but empty frame has nothing to retire, Friday's has.
    assert counts(load_mentions(pd.DataFrame(), MONDAY)) == (0, 0, 0, 0)
    assert counts(load_mentions(pd.DataFrame(), FRIDAY)) == (0, 0, 0, 1)
    back = load_mentions(mention.drop(columns="trading_day"), MONDAY)
    assert counts(back) == (1, 0, 0, 0)
    assert warehouse.read("text.mentions")["trading_day"].tolist() == [FRIDAY]


def test_a_missing_trading_day_follows_from_known_at(warehouse: Warehouse) -> None:
    vector = pd.DataFrame(
        {
            "article_id": ["a"],
            "embedder": "local-1",
            "vector_id": 2**62,
            "embedding": [np.array([0.6, 0.8], dtype=np.float32)],
            "content_hash": "h",
            "known_at": datetime(2026, 11, 14, 9, 0, tzinfo=krx.KST),  # a Saturday
        }
    )
    warehouse.load("ml.news_embeddings", vector, Scope((MONDAY,)), complete=True, source="test")
    row = warehouse.read("ml.news_embeddings").iloc[0]
    assert row["trading_day"] == MONDAY
    assert row["vector_id"] == 2**62
    assert np.array(row["embedding"], dtype=np.float32).tolist() == vector["embedding"].iloc[0].tolist()


# ---- fingerprints ----------------------------------------------------------------------------------------------------


def test_an_identical_frame_is_skipped(warehouse: Warehouse) -> None:
    load(warehouse, bars({"005930": 100, "000660": None}))
    again = load(warehouse, bars({"005930": 100, "000660": None}))
    assert again.skipped_by_fingerprint
    assert counts(again) == (0, 0, 2, 0)


@pytest.mark.parametrize(
    "between",
    [
        "another frame",
        "other keys",
        "a wider scope",
        "a feed's part",
        "by hand",
        "truncate",
        "by hand in a transaction of loads",
    ],
)
def test_a_frame_is_loaded_again_after_anything_else_wrote_those_days(warehouse: Warehouse, between: str) -> None:
    frame = bars({"005930": 100, "000660": 200})
    load(warehouse, frame)
    match between:
        case "another frame":
            load(warehouse, bars({"005930": 101, "000660": 200}))
        case "other keys":
            load(warehouse, bars({"005930": 101}), keys=["005930"])
        case "a wider scope":
            wide = pd.concat([bars({"005930": 101, "000660": 200}), bars({"005930": 5}, MONDAY)])
            load(warehouse, wide, FRIDAY, MONDAY)
        case "a feed's part":
            load(warehouse, bars({"005930": 101}), complete=False)
        case "by hand" | "truncate":
            statement = "truncate raw.daily_bars" if between == "truncate" else "update raw.daily_bars set close = 101"
            with warehouse.engine.begin() as connection:  # type: ignore[union-attr]
                connection.execute(sa.text(statement))
        case "by hand in a transaction of loads":
            with warehouse.transaction() as together:
                load(together, bars({"005930": 5}, MONDAY), MONDAY)
                together.engine.execute(sa.text("delete from raw.daily_bars"))  # type: ignore[union-attr]
    again = load(warehouse, frame)
    assert not again.skipped_by_fingerprint
    assert again.inserted + again.changed > 0
    assert closes(warehouse) == {"005930": 100, "000660": 200}


def test_other_days_and_loads_that_change_nothing_leave_a_fingerprint_alone(warehouse: Warehouse) -> None:
    frame = bars({"005930": 100, "000660": 200})
    load(warehouse, frame)
    load(warehouse, bars({"005930": 300}, MONDAY), MONDAY)
    load(warehouse, bars({"005930": 100}), keys=["005930"])
    assert load(warehouse, frame).skipped_by_fingerprint


def test_a_rolled_back_load_leaves_no_fingerprint(warehouse: Warehouse) -> None:
    frame = bars({"005930": 100})
    assert isinstance(warehouse.engine, sa.Engine)
    with warehouse.engine.connect() as connection:
        load(Warehouse(connection, "run-1"), frame)
        connection.rollback()
    again = load(warehouse, frame)
    assert (again.inserted, again.skipped_by_fingerprint) == (1, False)


def test_a_table_made_anew_is_loaded_again(warehouse: Warehouse) -> None:
    frame = bars({"005930": 100})
    load(warehouse, frame)
    with warehouse.engine.begin() as connection:  # type: ignore[union-attr]
        connection.execute(sa.text("alter table raw.daily_bars rename to gone"))
        connection.execute(sa.text("create table raw.daily_bars (like raw.gone including all)"))
    assert counts(load(warehouse, frame)) == (1, 0, 0, 0)


def test_completeness_is_part_of_what_was_loaded(warehouse: Warehouse) -> None:
    load(warehouse, bars({"005930": 100, "000660": 200}))
    load(warehouse, bars({"005930": 100}), complete=False)
    assert counts(load(warehouse, bars({"005930": 100}))) == (0, 0, 1, 1)


# ---- transactions ----------------------------------------------------------------------------------------------------


def test_a_callers_transaction_decides(warehouse: Warehouse) -> None:
    with warehouse.transaction() as together:
        load(together, bars({"005930": 100}))
        load(together, bars({"005930": 101, "000660": 5}))
        load(together, bars({"005930": 102}))
        assert closes(together) == {"005930": 102}
        assert closes(warehouse) == {}
    assert closes(warehouse) == {"005930": 102}
    assert len(rows(warehouse, "select 1 from raw.daily_bars_history")) == 3


def test_a_refused_frame_leaves_the_callers_transaction_usable(warehouse: Warehouse) -> None:
    with warehouse.transaction() as together:
        load(together, bars({"005930": 100}))
        with pytest.raises(FrameError):
            load(together, bars({"005930": 100}).assign(trade_date=MONDAY))
        load(together, bars({"000660": 200}), complete=False)
    assert closes(warehouse) == {"005930": 100, "000660": 200}


def test_a_snapshot_older_than_the_last_load_is_refused(warehouse: Warehouse) -> None:
    assert isinstance(warehouse.engine, sa.Engine)
    old = Warehouse(warehouse.engine.execution_options(isolation_level="REPEATABLE READ"), "run-1")
    with pytest.raises(ValueError, match="READ COMMITTED"):
        load(old, bars({"005930": 100}))
    assert closes(warehouse) == {}


# ---- frames that do not fit ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"close": ["x", "y"]}, r"raw\.daily_bars\.close wants whole numbers.*row 0.*'x'"),
        ({"close": [1.0, 1.5]}, r"raw\.daily_bars\.close wants whole numbers.*row 1.*1\.5"),
        ({"close": [2.0**60, 1.0]}, r"raw\.daily_bars\.close wants whole numbers"),
        ({"close": pd.Series([1, 2**70], dtype=object)}, r"raw\.daily_bars\.close"),
        ({"close": [True, False]}, r"raw\.daily_bars\.close wants whole numbers"),
        (
            {"close": pd.Series([1, None], dtype="Int64")},
            r"raw\.daily_bars\.close must not be empty.*stock_code 000660",
        ),
        ({"stock_code": ["005930", None]}, r"raw\.daily_bars\.stock_code must not be empty"),
        ({"stock_code": ["005930", 660]}, r"raw\.daily_bars\.stock_code wants text.*660"),
        ({"stock_code": ["005930", "a\x00b"]}, r"raw\.daily_bars\.stock_code.*NUL"),
        ({"stock_code": ["005930", "\ud800"]}, r"raw\.daily_bars\.stock_code.*surrogate"),
        ({"stock_code": ["005930", "005930"]}, r"repeat a key \(stock_code, trade_date\).*stock_code 005930"),
        ({"trade_date": [FRIDAY, MONDAY]}, r"trade_date: 1 of 2 rows lie outside the scope's days.*2026-11-16"),
        ({"trade_date": ["2026-11-13", "2026-11-13"]}, r"raw\.daily_bars\.trade_date wants dates.*'2026-11-13'"),
        ({"trade_date": datetime(2026, 11, 13, 9, tzinfo=UTC)}, r"raw\.daily_bars\.trade_date wants dates"),
        ({"known_at": datetime(2026, 11, 13)}, r"raw\.daily_bars\.known_at wants datetimes with a time zone"),  # noqa: DTZ001
        ({"is_halted": [0, 1]}, r"raw\.daily_bars\.is_halted wants booleans.*row 0"),
        ({"observed_at": 1}, r"observed_at are set by the writer"),
        ({"adjusted": 1}, r"raw\.daily_bars has no column adjusted; it wants stock_code"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused_by_table_column_and_value(
    warehouse: Warehouse, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(FrameError, match=message):
        load(warehouse, bars({"005930": 100, "000660": 200}).assign(**change))
    assert closes(warehouse) == {}


@pytest.mark.parametrize(("kind", "value"), [(sa.Integer(), 3e9), (sa.SmallInteger(), 70_000.0), (sa.Integer(), 2**31)])
def test_a_number_that_its_column_cannot_hold_is_refused(kind: sa.Integer, value: float) -> None:
    """pandas makes floats of whole numbers beside a missing one; 3e9 would become -2147483648 without a word."""
    with pytest.raises(FrameError, match=r"t\.c wants whole numbers \((integer|smallint)\).*row 1"):
        encode(pd.Series([None, value, 1]), kind, "t.c")


def test_a_missing_column_is_refused(warehouse: Warehouse) -> None:
    with pytest.raises(FrameError, match="lacks open"):
        load(warehouse, bars({"005930": 100}).drop(columns="open"))


def test_a_stock_outside_the_scope_is_refused(warehouse: Warehouse) -> None:
    with pytest.raises(FrameError, match=r"raw\.daily_bars\.stock_code: 1 values lie outside the scope's keys.*000660"):
        load(warehouse, bars({"005930": 100, "000660": 200}), keys=["005930"])


def test_a_minute_of_another_day_is_refused(warehouse: Warehouse) -> None:
    frame = minutes(MONDAY, ["005930"])
    with pytest.raises(FrameError, match=r"trade_date 2026-11-13 is not the KST date of ts 2026-11-16"):
        warehouse.load(
            "raw.minute_bars", frame.assign(trade_date=FRIDAY), Scope((FRIDAY,)), complete=True, source="test"
        )


@pytest.mark.parametrize(
    ("table", "scope", "complete", "message"),
    [
        ("raw.news_articles", Scope(None), True, "never complete"),
        ("raw.daily_bars", Scope(None), True, "must name the days"),
        ("raw.stocks", Scope((FRIDAY,)), True, "not partitioned"),
        ("ml.llm_calls", Scope(None), False, "append-only"),
        ("raw.nothing", Scope(None), False, "no table 'raw.nothing'"),
    ],
)
def test_a_scope_that_does_not_fit_its_table_is_refused(
    warehouse: Warehouse, table: str, scope: Scope, complete: bool, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        warehouse.load(table, pd.DataFrame(), scope, complete=complete, source="test")


def test_pandas_types_all_arrive_as_the_same_values(warehouse: Warehouse) -> None:
    frame = bars({"005930": 100, "000660": None})
    plain = frame.astype({"stock_code": object, "is_halted": object, "close": object, "volume": "int32"})
    plain = plain.assign(
        open=np.array([100.0, np.nan]),
        high=pd.Series([100, None], dtype=object),
        trade_date=pd.to_datetime(frame["trade_date"]),
        known_at=frame["known_at"].dt.tz_convert("Asia/Seoul").astype(object),
        is_halted=frame["is_halted"].astype("boolean"),
    )
    load(warehouse, frame)
    assert counts(load(warehouse, plain)) == (0, 0, 2, 0)


def test_many_rows_of_every_width_arrive_as_they_were(warehouse: Warehouse) -> None:
    # More than two blocks of the encoder, out of order, with short and long codes and NULLs in some blocks only.
    random = np.random.default_rng(7)
    count = 40_000
    price = pd.Series(random.integers(1, 2**40, count), dtype="Int64")
    missing = pd.Series(random.random(count) < 0.1) & (pd.Series(range(count)) > 20_000)
    frame = bars(dict.fromkeys([f"{number:0{1 + number % 9}d}x" for number in random.permutation(count)], 1))
    frame = frame.assign(open=price.mask(missing), high=price, low=None, close=price.astype("int64"), is_halted=missing)
    assert counts(load(warehouse, frame)) == (count, 0, 0, 0)
    stored = warehouse.read(BARS, columns=list(frame.columns)).sort_values("stock_code", ignore_index=True)
    wanted = frame.sort_values("stock_code", ignore_index=True)
    for name in ("stock_code", "open", "high", "close", "is_halted", "trade_date"):
        pd.testing.assert_series_equal(stored[name], wanted[name], check_dtype=False)
    assert stored["low"].isna().all()
    changed = frame.assign(volume=frame["volume"].where(frame.index % 1000 != 0, 5))
    assert counts(load(warehouse, changed)) == (0, 40, count - 40, 0)


# ---- minute bars -----------------------------------------------------------------------------------------------------


def minutes(day: date, codes: list[str], close: int = 100) -> pd.DataFrame:
    """Three minutes of bars, one stock after the other (so not in the order of the key)."""
    ts = [krx.session(day).open_at + timedelta(minutes=minute) for _ in codes for minute in range(3)]
    return pd.DataFrame(
        {
            "ts": ts,
            "stock_code": [code for code in codes for _ in range(3)],
            "trade_date": day,
            "open": close,
            "high": close,
            "low": close,
            "close": close,
            "volume": 1,
            "turnover_krw": None,
            "known_at": [at + timedelta(minutes=1) for at in ts],
        }
    )


def test_minute_bars_are_stored_in_the_order_of_their_key(warehouse: Warehouse) -> None:
    scope = Scope((FRIDAY,))
    warehouse.load("raw.minute_bars", minutes(FRIDAY, ["005930", "000660"]), scope, complete=True, source="test")
    stored = rows(warehouse, "select ts, stock_code from raw.minute_bars order by ctid")
    assert stored == sorted(stored)
    assert len(stored) == 6


def test_a_minute_partition_is_the_kst_day(warehouse: Warehouse) -> None:
    for day in (FRIDAY, MONDAY):
        warehouse.load(
            "raw.minute_bars", minutes(day, ["005930", "000660"]), Scope((day,)), complete=True, source="test"
        )
    less = minutes(MONDAY, ["005930"], close=101)
    result = warehouse.load("raw.minute_bars", less, Scope((MONDAY,)), complete=True, source="test")
    assert counts(result) == (0, 3, 0, 3)
    assert rows(warehouse, "select trade_date, count(*) from raw.minute_bars group by 1 order by 1") == [
        (FRIDAY, 6),
        (MONDAY, 3),
    ]


def test_loads_on_one_connection_reuse_their_temporary_tables(warehouse: Warehouse) -> None:
    load(warehouse, bars({"005930": 100}))
    load(warehouse, bars({"005930": 101}))
    temporary = "select count(*) from pg_class where relpersistence = 't' and relkind = 'r'"
    before = rows(warehouse, temporary)
    for close in range(20):
        load(warehouse, bars({"005930": close}))
    assert rows(warehouse, temporary) == before == [(2,)]


# ---- append-only and quarantine --------------------------------------------------------------------------------------


def sightings(*names: str) -> pd.DataFrame:
    return pd.DataFrame({"article_id": list(names), "query": "증시", "trading_day": FRIDAY})


def test_an_append_only_row_never_changes(warehouse: Warehouse) -> None:
    first = warehouse.append("raw.news_sightings", sightings("a", "b"), source="naver")
    later = Warehouse(warehouse.engine, "run-2").append("raw.news_sightings", sightings("b", "c"), source="naver")
    other = warehouse.append("raw.news_sightings", sightings("b"), source="mk")
    assert [counts(one) for one in (first, later, other)] == [(2, 0, 0, 0), (1, 0, 1, 0), (1, 0, 0, 0)]
    assert rows(
        warehouse, "select run_id, observed_at from raw.news_sightings where article_id = 'b' and source = 'naver'"
    ) == [("run-1", first.observed_at)]
    with pytest.raises(ValueError, match="versioned"):
        warehouse.append(BARS, bars({"005930": 1}), source="test")


def test_a_stored_answer_keeps_its_content(warehouse: Warehouse) -> None:
    call = pd.DataFrame(
        {
            "request_hash": ["r"],
            "attempt": 1,
            "status": "ok",
            "provider": "openai",
            "model": "m",
            "response": [{"choices": [{"text": '답변 "하나"'}], "n": None}],
            "error": None,
            "tokens_in": 3,
            "tokens_out": None,
            "cost_usd": 0.25,
            "latency_ms": 12,
        }
    )
    warehouse.append("ml.llm_calls", call, source="test")
    assert counts(warehouse.append("ml.llm_calls", call.assign(model="other"), source="test")) == (0, 0, 1, 0)
    row = warehouse.read("ml.llm_calls").iloc[0]
    assert row["response"] == call["response"].iloc[0]
    assert row["model"] == "m"
    assert pd.isna(row["tokens_out"])


def test_refused_records_are_kept_once_with_their_reason(warehouse: Warehouse) -> None:
    code = "unreadable"
    reject = {
        "record": {"stck_clpr": "칠만"},
        "field": "close",
        "value": "칠만",
        "reason": "not a number",
        "code": code,
    }
    broken = {"record": "\ud83d and \x00", "field": "title", "value": None, "reason": "half a character", "code": code}
    assert warehouse.quarantine([reject, reject, broken], source="kis") == 2
    assert warehouse.quarantine([reject], source="kis") == 0
    assert warehouse.quarantine([], source="kis") == 0
    kept = rows(
        warehouse, "select record, field, value, reason, code, source, run_id from ops.rejected_records order by field"
    )
    assert kept[0] == ('{"stck_clpr": "칠만"}', "close", "칠만", "not a number", code, "kis", "run-1")
    assert len(kept) == 2
