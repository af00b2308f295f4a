"""Comments of the quotes and order books say snapshot, as their column does."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

TABLES = {
    "raw.quote_snapshots": (
        "Quotes asked for every five minutes of a session, one row a mark and stock; a mark without a request has no "
        "row",
        "Quotes asked for every five minutes of a session, one row a snapshot and stock; one not requested has no row",
    ),
    "raw.order_books": (
        "Order books asked for every five minutes of a session, ten levels a side, one row a mark and stock",
        "Order books asked for every five minutes of a session, ten levels a side, one row a snapshot and stock",
    ),
}
"""Table: comment before, comment from now on."""
SNAPSHOT_AT = (
    "Five-minute mark of the session that the round of questions belongs to",
    "Instant of the five-minute snapshot that the round of requests belongs to",
)


def upgrade() -> None:
    """Write the new comments, on the histories' columns too."""
    _write(1)


def downgrade() -> None:
    """Write the old ones."""
    _write(0)


def _write(which: int) -> None:
    for table, comments in TABLES.items():
        op.execute(f"comment on table {table} is '{comments[which]}'")
        for name in (table, f"{table}_history"):
            op.execute(f"comment on column {name}.snapshot_at is '{SNAPSHOT_AT[which]}'")
