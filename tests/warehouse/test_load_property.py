"""Any sequence of loads agrees with a model that keeps every version in a dict."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import pandas as pd
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from azak_assets import krx
from azak_assets.warehouse.load import LoadResult, Scope
from azak_assets.warehouse.warehouse import Warehouse

DAYS = (date(2026, 11, 12), date(2026, 11, 13), date(2026, 11, 16))
CODES = ("0001", "1001", "2001")
Key = tuple[str, date]

closes = st.sampled_from([1.0, 2.0, 3.0])
scopes = st.tuples(
    st.sets(st.sampled_from(DAYS), min_size=1), st.one_of(st.none(), st.sets(st.sampled_from(CODES), min_size=1))
)


@st.composite
def loads(draw: st.DrawFn) -> tuple[dict[Key, float], Scope, bool]:
    days, keys = draw(scopes)
    inside = [(code, day) for day in sorted(days) for code in CODES if keys is None or code in keys]
    rows = draw(st.dictionaries(st.sampled_from(inside), closes))
    return rows, Scope(tuple(sorted(days)), None if keys is None else tuple(sorted(keys))), draw(st.booleans())


def nominal(day: date) -> datetime:
    return krx.session(day).close_at + timedelta(minutes=10)


@dataclass
class Version:
    close: float
    known_at: datetime
    observed_at: datetime
    superseded_at: datetime | None = None


@dataclass
class Model:
    """Every version of every key, the newest last."""

    versions: dict[Key, list[Version]] = field(default_factory=dict)

    def current(self, key: Key) -> Version | None:
        newest = self.versions.get(key, [None])[-1]
        return newest if newest is not None and newest.superseded_at is None else None

    def load(self, rows: dict[Key, float], scope: Scope, complete: bool, at: datetime) -> tuple[int, int, int, int]:
        inserted = changed = unchanged = retired = 0
        for key, close in rows.items():
            old = self.current(key)
            if old is not None and old.close == close:
                unchanged += 1
                continue
            if old is not None:
                old.superseded_at = at
                changed += 1
            else:
                inserted += 1
            past = self.versions.setdefault(key, [])
            past.append(Version(close, at if past else nominal(key[1]), at))
        for key in list(self.versions):
            old = self.current(key)
            in_scope = key[1] in (scope.days or ()) and (scope.keys is None or key[0] in scope.keys)
            if complete and in_scope and key not in rows and old is not None:
                old.superseded_at = at
                retired += 1
        return inserted, changed, unchanged, retired

    def as_of(self, at: datetime, clock: str) -> dict[Key, float]:
        """The newest version known (or observed) by `at`, unless it had ended by then."""
        found = {}
        for key, past in self.versions.items():
            begun = [one for one in past if (one.observed_at if clock == "observed" else one.known_at) <= at]
            if begun and (begun[-1].superseded_at is None or begun[-1].superseded_at > at):
                found[key] = begun[-1].close
        return found


def frame(rows: dict[Key, float]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "index_code": [code for code, _ in rows],
            "trade_date": [day for _, day in rows],
            "open": 1.0,
            "high": 3.0,
            "low": 1.0,
            "close": list(rows.values()),
            "volume": None,
            "turnover_krw": 1,
            "known_at": [nominal(day) for _, day in rows],
        }
    )


def as_dict(found: pd.DataFrame) -> dict[Key, float]:
    return {(row.index_code, row.trade_date): row.close for row in found.itertuples()}  # type: ignore[misc]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(loads(), min_size=1, max_size=6))
def test_loads_agree_with_a_model_of_versions(
    engine: sa.Engine, steps: list[tuple[dict[Key, float], Scope, bool]]
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("truncate raw.index_bars, raw.index_bars_history"))
    warehouse, model = Warehouse(engine, "run"), Model()
    instants: list[datetime] = [nominal(day) for day in DAYS]
    for rows, scope, complete in steps:
        result: LoadResult = warehouse.load("raw.index_bars", frame(rows), scope, complete=complete, source="test")
        expected = model.load(rows, scope, complete, result.observed_at)
        assert (result.inserted, result.changed, result.unchanged, result.retired) == expected
        instants += [result.observed_at, result.observed_at - timedelta(microseconds=1)]
        stored = as_dict(warehouse.read("raw.index_bars"))
        assert stored == {key: one.close for key in model.versions if (one := model.current(key)) is not None}
    for at in instants:
        for clock in ("observed", "known"):
            past = warehouse.as_of("raw.index_bars", at, clock)  # type: ignore[arg-type]
            assert not past.duplicated(["index_code", "trade_date"]).any()
            assert as_dict(past) == model.as_of(at, clock)
