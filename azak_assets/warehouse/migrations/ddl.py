"""DDL that migrations repeat: the history of a table, its as-of function, the trigger that forgets fingerprints.

Each helper reads the columns from the database it runs on, so that a migration which adds a column can call it again
and stays true to its own time, whatever `tables` says later.

Does not belong here: which tables there are (`tables`).
"""

import sqlalchemy as sa
from alembic import op

FORGET_LOADS = """
create function ops.forget_loads() returns trigger language plpgsql as $$
begin
    delete from ops.load_fingerprints where table_name = tg_table_schema || '.' || tg_table_name;
    return null;
end $$
"""


def _columns(table: str) -> list[str]:
    found = op.get_bind().execute(
        sa.text(
            "select attname from pg_attribute where attrelid = cast(:table as regclass) and attnum > 0"
            " and not attisdropped order by attnum"
        ),
        {"table": table},
    )
    names: list[str] = list(found.scalars())
    return [f'"{name}"' for name in names]


def create_history(table: str, *, key: str, day: str | None = None) -> None:
    """Create `<table>_history`: the same columns with their comments, `superseded_at`, and the key with `observed_at`.

    `day` names the column to index where the key does not begin with it.
    """
    base = table.rpartition(".")[2]
    op.execute(f"create table {table}_history (like {table} including comments)")
    op.execute(f"alter table {table}_history add column superseded_at timestamptz not null")
    op.execute(
        f"comment on column {table}_history.superseded_at is"
        " 'observed_at of the load that replaced or retired this version'"
    )
    op.execute(
        f"comment on table {table}_history is"
        f" 'Replaced and retired versions of {table}, one row a version; current rows are not here'"
    )
    op.execute(f"alter table {table}_history add constraint {base}_history_pkey primary key ({key}, observed_at)")
    if day:
        op.execute(f"create index {base}_history_{day}_idx on {table}_history ({day})")


def create_forget_trigger(table: str) -> None:
    """Forget every fingerprint of a table when anyone but the writer (who says so in `azak.loading`) writes to it."""
    op.execute(
        f"create trigger forget_loads after insert or update or delete or truncate on {table} for each statement"
        " when (current_setting('azak.loading', true) is distinct from 'on') execute function ops.forget_loads()"
    )


def create_as_of(table: str) -> None:
    """Create `<table>_as_of(t, clock)`: the rows of `table` as they stood at `t`.

    Versions of one key never overlap on either clock: every version but the first has known_at = observed_at = the
    superseded_at of the version before it. So both clocks are one test for the interval that holds `t`, without sorting
    or grouping; the planner inlines the function and pushes a caller's conditions into both branches.
    """
    columns = ", ".join(_columns(table))
    # Two comparisons, not a case: once inlined with a literal clock one folds away and the other can use an index.
    test = "((clock = 'observed' and observed_at <= t) or (clock = 'known' and known_at <= t))"
    current = f"select {columns} from {table} where {test}"  # noqa: S608 (names come from migration and catalogue)
    past = f"select {columns} from {table}_history where superseded_at > t and {test}"  # noqa: S608
    op.execute(
        f"create function {table}_as_of(t timestamptz, clock ops.clock) returns setof {table} language sql stable"
        f" as $$ {current} union all {past} $$"
    )
    op.execute(
        f"comment on function {table}_as_of is 'Rows of {table} as they stood at t: clock observed (what this database"
        " held) or known (what could be known, for replays)'"
    )
