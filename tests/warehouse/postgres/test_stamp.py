"""Worlds never mix: the first user decides, everybody else is refused."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import sqlalchemy as sa

from azak_assets.warehouse.postgres import stamp


def url_of(engine: sa.Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def test_the_first_use_stamps_and_the_same_world_may_come_again(engine: sa.Engine) -> None:
    assert stamp.current(url_of(engine)) is None
    stamp.stamp(engine, "seed:1")
    stamp.stamp(engine, "seed:1")
    assert stamp.current(url_of(engine)) == "seed:1"


@pytest.mark.parametrize(
    ("name", "told"),
    [("live", "what the real sources said"), ("seed:1", "SANDBOX, an invented"), ("replay:0a", "SANDBOX, recorded")],
)
def test_who_reads_the_marts_is_told_the_world(engine: sa.Engine, name: str, told: str) -> None:
    """By the comment of the schema: an analyst may not read `ops`."""
    stamp.stamp(engine, name)
    with engine.connect() as connection:
        comment = connection.execute(sa.text("select obj_description('marts'::regnamespace)")).scalar_one()
    assert f"World {name}: {told}" in comment


@pytest.mark.parametrize(
    ("found", "back"), [("live", "AZAK_MODE=live"), ("seed:7", "seed 7"), ("replay:0a1b", "--replay")]
)
def test_another_world_is_refused_with_what_to_do(engine: sa.Engine, found: str, back: str) -> None:
    stamp.stamp(engine, found)
    with pytest.raises(
        stamp.WorldMismatch, match=rf"holds the world `{found}` and you asked for `seed:2`.*{back}"
    ) as raised:
        stamp.stamp(engine, "seed:2")
    assert (raised.value.found, raised.value.asked) == (found, "seed:2")
    assert "AZAK_HOME" in str(raised.value)
    assert stamp.current(url_of(engine)) == found


def test_two_first_users_at_once_agree_on_one_world(engine: sa.Engine) -> None:
    for _ in range(20):
        with engine.begin() as connection:
            connection.execute(sa.text("delete from ops.world"))
        together = Barrier(2)

        def claim(name: str, together: Barrier = together) -> str | None:
            together.wait()
            try:
                stamp.stamp(engine, name)
            except stamp.WorldMismatch:
                return None
            return name

        with ThreadPoolExecutor(2) as pool:
            winners = [name for name in pool.map(claim, ["live", "seed:1"]) if name]
        assert winners == [stamp.current(url_of(engine))]


@pytest.mark.parametrize("name", ["", "sandbox", "seed:", "seed:x", "replay:", "replay:XYZ", "live "])
def test_a_world_that_is_none_of_the_three_forms_is_a_mistake(engine: sa.Engine, name: str) -> None:
    with pytest.raises(ValueError, match="none of"):
        stamp.stamp(engine, name)
    assert stamp.current(url_of(engine)) is None
