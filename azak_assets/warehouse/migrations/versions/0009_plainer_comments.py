"""Comments of a few tables and columns in plainer words."""
# ruff: noqa: E501 - a comment is one line, as in `tables`

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TABLES = {
    "raw.broker_calendar": (
        "Whether the market opens, as the broker's holiday service said, one row a calendar day: a witness, no authority",
        "Whether the market opens, by the broker's holiday service, one row a calendar day: the committed calendar decides",
    ),
    "raw.krx_daily_bars": (
        "Daily bars as the exchange publishes them a day later, one row a stock and session: a witness of raw.daily_bars",
        "Daily bars as the exchange publishes them a day later, one row a stock and session: raw.daily_bars is reconciled with them",
    ),
    "raw.quote_snapshots": (
        "Quotes asked for every five minutes of a session, one row a mark and stock; marks nobody asked at have no row",
        "Quotes asked for every five minutes of a session, one row a mark and stock; a mark without a request has no row",
    ),
}
"""Table: comment before, comment from now on."""
WHERE_NULL = ("NULL where not told", "NULL where the broker does not say")
COLUMNS = {
    ("raw.product_info", "is_kospi200"): "Whether it is a member of KOSPI 200; {}",
    ("raw.product_info", "is_trading_halted"): "Whether trading was halted when asked; {}",
    ("raw.product_info", "is_nxt_tradable"): "Whether it trades on Nextrade; {}",
    ("raw.product_info", "is_nxt_halted"): "Whether Nextrade had halted it when asked; {}",
}
CLOSED_UNTIL = (
    "Nobody asks before, because it refused us; in the past or NULL: open",
    "No request is sent before, because the upstream refused us; in the past or NULL: open",
)


def upgrade() -> None:
    """Write the new comments, on the history too."""
    _write(1)


def downgrade() -> None:
    """Write the old ones."""
    _write(0)


def _write(which: int) -> None:
    for table, comments in TABLES.items():
        op.execute(f"comment on table {table} is {_quoted(comments[which])}")
    for (table, column), comment in COLUMNS.items():
        text = _quoted(comment.format(WHERE_NULL[which]))
        for name in (table, f"{table}_history"):
            op.execute(f"comment on column {name}.{column} is {text}")
    op.execute(f"comment on column ops.source_health.closed_until is {_quoted(CLOSED_UNTIL[which])}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
