"""The world a database belongs to: live, a seeded sandbox or a replay; stamped at first use, never mixed.

Belongs here: the stamp and its refusal. Does not belong here: which world a process works in (`runtime` asks the
settings and the sandbox), nor what a world contains.
"""

import re
from typing import TYPE_CHECKING

from azak_assets.warehouse.postgres.database import connect

if TYPE_CHECKING:
    import sqlalchemy as sa

WORLD = re.compile(r"live|seed:\d+|replay:[0-9a-f]+")


class WorldMismatch(Exception):  # noqa: N818 -- named for what happened, as the other refusals of the house
    """The database holds another world than the one asked for; attributes `found` and `asked`."""

    def __init__(self, found: str, asked: str) -> None:
        self.found = found
        self.asked = asked
        super().__init__(
            f"This database holds the world `{found}` and you asked for `{asked}`, and worlds never mix: set AZAK_HOME "
            f"(or AZAK_DATABASE_URL) to another place for `{asked}`, or go back to {_how_to_ask_for(found)}."
        )


def stamp(engine: "sa.Engine", world: str) -> None:
    """Claim a fresh database for a world, or confirm that it belongs to it already; two first users at once are safe.

    Args:
        engine: of a migrated database.
        world: `live`, `seed:N` (the generator's seed) or `replay:HASH` (hex digits that stand for the recorded data).

    Raises:
        WorldMismatch: the database belongs to another world.
        ValueError: `world` is none of the three forms.
    """
    if not WORLD.fullmatch(world):
        msg = f"world {world!r} is none of `live`, `seed:N`, `replay:HASH`"
        raise ValueError(msg)
    # The second of two first users waits at the primary key until the first commits, then sees its row: each statement
    # of a READ COMMITTED transaction has its own snapshot.
    with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
        stamped = connection.exec_driver_sql(
            "insert into ops.world (world, stamped_at) values (%s, clock_timestamp()) on conflict do nothing", (world,)
        )
        if stamped.rowcount:
            # Where a reader of the marts looks, who may not read `ops`.
            connection.exec_driver_sql(f"comment on schema marts is 'dbt: what analysts read. {_meaning(world)}'")
        found: str = connection.exec_driver_sql("select world from ops.world").scalar_one()
    if found != world:
        raise WorldMismatch(found, world)


def current(url: str) -> str | None:
    """The world of a migrated database; None before its first use."""
    with connect(url) as connection:
        row = connection.execute("select world from ops.world").fetchone()
    return None if row is None else str(row[0])


def _meaning(world: str) -> str:
    kind = world.partition(":")[0]
    return (
        f"World {world}: "
        + {
            "live": "what the real sources said",
            "seed": "SANDBOX, an invented market, invented companies and invented news",
            "replay": "SANDBOX, recorded data replayed, answers of invented language models",
        }[kind]
    )


def _how_to_ask_for(world: str) -> str:
    kind, _, name = world.partition(":")
    return {
        "live": "AZAK_MODE=live",
        "seed": f"the sandbox with seed {name}",
        "replay": f"--replay with the folder whose data hash to {name}",
    }[kind]
