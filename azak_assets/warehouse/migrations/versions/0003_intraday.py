"""Quotes and order books of a running session, their histories and as-of functions.

The table definitions below are Alembic's own rendering, one line a column, kept as it was made.
"""

# ruff: noqa: E501
# fmt: off

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from azak_assets.warehouse.migrations import ddl

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = ("quote_snapshots", "order_books")


def upgrade() -> None:
    """Create both."""
    op.create_table('quote_snapshots',
        sa.Column('snapshot_at', sa.DateTime(timezone=True), nullable=False, comment='Five-minute mark of the session that the round of questions belongs to'),
        sa.Column('stock_code', sa.Text(), nullable=False, comment='Six-character short code'),
        sa.Column('trade_date', sa.Date(), nullable=False, comment='Session, the KST date of snapshot_at'),
        sa.Column('price', sa.BigInteger(), nullable=False, comment='Last price, KRW; that of an earlier session where volume is 0'),
        sa.Column('open', sa.BigInteger(), nullable=True, comment='First price of the day, KRW; NULL before the first trade'),
        sa.Column('high', sa.BigInteger(), nullable=True, comment='Highest price so far, KRW; NULL before the first trade'),
        sa.Column('low', sa.BigInteger(), nullable=True, comment='Lowest price so far, KRW; NULL before the first trade'),
        sa.Column('volume', sa.BigInteger(), nullable=False, comment='Shares traded so far'),
        sa.Column('turnover_krw', sa.BigInteger(), nullable=False, comment='Traded value so far, KRW'),
        sa.Column('vwap', sa.Double(), nullable=True, comment='Volume-weighted average price so far, KRW; NULL before the first trade'),
        sa.Column('reference_price', sa.BigInteger(), nullable=True, comment="Price that the day's change and limits count from, KRW"),
        sa.Column('upper_limit', sa.BigInteger(), nullable=True, comment='Highest price allowed today, KRW'),
        sa.Column('lower_limit', sa.BigInteger(), nullable=True, comment='Lowest price allowed today, KRW'),
        sa.Column('foreign_net_shares', sa.BigInteger(), nullable=True, comment='Shares foreigners bought less sold so far, as estimated'),
        sa.Column('program_net_shares', sa.BigInteger(), nullable=True, comment='Shares program trading bought less sold so far'),
        sa.Column('foreign_held_pct', sa.Double(), nullable=True, comment='Share of the foreign holding limit that is used, percent'),
        sa.Column('status_code', sa.Text(), nullable=True, comment="Broker's state of the issue: 51 administrative, 55 normal, 58 halted …"),
        sa.Column('warning_code', sa.Text(), nullable=True, comment='Market alert: 00 none, 01 caution, 02 warning, 03 risk'),
        sa.Column('is_in_vi', sa.Boolean(), nullable=True, comment='Whether a volatility interruption holds it in an auction'),
        sa.Column('is_halted', sa.Boolean(), nullable=False, comment='Whether the exchange has stopped trading in it'),
        sa.Column('known_at', sa.DateTime(timezone=True), nullable=False, comment='Instant from which this version may be used: the instant of the answer, observed_at for later versions'),
        sa.Column('source', sa.Text(), nullable=False, comment='Upstream or step that gave the row'),
        sa.Column('observed_at', sa.DateTime(timezone=True), nullable=False, comment="The database's clock in the transaction that wrote this version"),
        sa.Column('run_id', sa.Text(), nullable=False, comment='Run that wrote this version'),
        sa.PrimaryKeyConstraint('snapshot_at', 'stock_code', name=op.f('quote_snapshots_pkey')),
        schema='raw',
        comment='Quotes asked for every five minutes of a session, one row a mark and stock; marks nobody asked at have no row',
    )
    op.create_table('order_books',
        sa.Column('snapshot_at', sa.DateTime(timezone=True), nullable=False, comment='Five-minute mark of the session that the round of questions belongs to'),
        sa.Column('stock_code', sa.Text(), nullable=False, comment='Six-character short code'),
        sa.Column('trade_date', sa.Date(), nullable=False, comment='Session, the KST date of snapshot_at'),
        sa.Column('ask_prices', ARRAY(sa.BigInteger()), nullable=False, comment='Prices offered at, KRW, lowest first; no element for an empty level'),
        sa.Column('ask_shares', ARRAY(sa.BigInteger()), nullable=False, comment='Shares offered at the price of the same position'),
        sa.Column('bid_prices', ARRAY(sa.BigInteger()), nullable=False, comment='Prices wanted at, KRW, highest first; no element for an empty level'),
        sa.Column('bid_shares', ARRAY(sa.BigInteger()), nullable=False, comment='Shares wanted at the price of the same position'),
        sa.Column('total_ask_shares', sa.BigInteger(), nullable=False, comment='Shares offered at all prices'),
        sa.Column('total_bid_shares', sa.BigInteger(), nullable=False, comment='Shares wanted at all prices'),
        sa.Column('expected_price', sa.BigInteger(), nullable=True, comment='Price an auction under way would make, KRW; NULL outside one'),
        sa.Column('expected_volume', sa.BigInteger(), nullable=True, comment='Shares an auction under way would trade; NULL outside one'),
        sa.Column('phase_code', sa.Text(), nullable=True, comment="Broker's phase of the market: 20 continuous, 00 auction call, 31 closed"),
        sa.Column('is_in_vi', sa.Boolean(), nullable=True, comment='Whether a volatility interruption holds it in an auction'),
        sa.Column('known_at', sa.DateTime(timezone=True), nullable=False, comment='Instant from which this version may be used: the instant of the answer, observed_at for later versions'),
        sa.Column('source', sa.Text(), nullable=False, comment='Upstream or step that gave the row'),
        sa.Column('observed_at', sa.DateTime(timezone=True), nullable=False, comment="The database's clock in the transaction that wrote this version"),
        sa.Column('run_id', sa.Text(), nullable=False, comment='Run that wrote this version'),
        sa.PrimaryKeyConstraint('snapshot_at', 'stock_code', name=op.f('order_books_pkey')),
        schema='raw',
        comment='Order books asked for every five minutes of a session, ten levels a side, one row a mark and stock',
    )
    for name in TABLES:
        ddl.create_history(f"raw.{name}", key="snapshot_at, stock_code")
        ddl.create_forget_trigger(f"raw.{name}")
        ddl.create_as_of(f"raw.{name}")


def downgrade() -> None:
    """Drop both with what belongs to them."""
    for name in reversed(TABLES):
        op.execute(f"drop function raw.{name}_as_of")
        op.drop_table(f"{name}_history", schema="raw")
        op.drop_table(name, schema="raw")
