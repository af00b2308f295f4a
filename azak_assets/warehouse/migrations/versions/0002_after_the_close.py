"""What comes after the close: investor flows, after-hours prices, market breadth; index bars are of sectors too.

The table definitions below are Alembic's own rendering, one line a column, kept as it was made.
"""

# ruff: noqa: E501
# fmt: off

import sqlalchemy as sa
from alembic import op

from azak_assets.warehouse.migrations import ddl

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

VERSIONED = [
    # table, key, day to index
    ("raw.investor_flows", "stock_code, trade_date", "trade_date"),
    ("raw.overtime_bars", "stock_code, trade_date", "trade_date"),
    ("raw.index_breadth", "index_code, trade_date", "trade_date"),
]

INDEX_BARS = ("Daily bars of market indices, one row an index and session", "The broker's four-digit index code: 0001 KOSPI, 1001 KOSDAQ, 2001 KOSPI200")
INDEX_BARS_NOW = ("Daily bars of market and sector indices, one row an index and session", "The broker's four-digit index code: 0001 KOSPI, 1001 KOSDAQ, 2001 KOSPI200, or a sector of raw.stocks")


def upgrade() -> None:
    """Create the tables with their histories and as-of functions."""
    _create_tables()
    for table, key, day in VERSIONED:
        ddl.create_history(table, key=key, day=day)
        ddl.create_forget_trigger(table)
        ddl.create_as_of(table)
    _comment_index_bars(*INDEX_BARS_NOW)


def downgrade() -> None:
    """Drop them."""
    for table, _, _ in VERSIONED:
        op.execute(f"drop function {table}_as_of")
        op.execute(f"drop table {table}, {table}_history")
    _comment_index_bars(*INDEX_BARS)


def _comment_index_bars(table: str, code: str) -> None:
    quoted = code.replace("'", "''")
    op.execute(f"comment on table raw.index_bars is '{table}'")
    for name in ("index_bars", "index_bars_history"):
        op.execute(f"comment on column raw.{name}.index_code is '{quoted}'")


def _create_tables() -> None:
    op.create_table('investor_flows',
        sa.Column('stock_code', sa.Text(), nullable=False, comment='Six-character short code'),
        sa.Column('trade_date', sa.Date(), nullable=False, comment='Session, a KST date'),
        sa.Column('retail_net_shares', sa.BigInteger(), nullable=False, comment='Shares that retail investors bought minus those they sold'),
        sa.Column('retail_bought_shares', sa.BigInteger(), nullable=False, comment='Shares that retail investors bought'),
        sa.Column('retail_sold_shares', sa.BigInteger(), nullable=False, comment='Shares that retail investors sold'),
        sa.Column('retail_net_krw', sa.BigInteger(), nullable=False, comment='Value of what retail investors bought minus what they sold, KRW; published in millions, so the last digits are zeros'),
        sa.Column('retail_bought_krw', sa.BigInteger(), nullable=False, comment='Value of what retail investors bought, KRW; published in millions, so the last digits are zeros'),
        sa.Column('retail_sold_krw', sa.BigInteger(), nullable=False, comment='Value of what retail investors sold, KRW; published in millions, so the last digits are zeros'),
        sa.Column('foreign_net_shares', sa.BigInteger(), nullable=False, comment='Shares that foreigners, registered and others, bought minus those they sold'),
        sa.Column('foreign_bought_shares', sa.BigInteger(), nullable=False, comment='Shares that foreigners, registered and others, bought'),
        sa.Column('foreign_sold_shares', sa.BigInteger(), nullable=False, comment='Shares that foreigners, registered and others, sold'),
        sa.Column('foreign_net_krw', sa.BigInteger(), nullable=False, comment='Value of what foreigners, registered and others, bought minus what they sold, KRW; published in millions, so the last digits are zeros'),
        sa.Column('foreign_bought_krw', sa.BigInteger(), nullable=False, comment='Value of what foreigners, registered and others, bought, KRW; published in millions, so the last digits are zeros'),
        sa.Column('foreign_sold_krw', sa.BigInteger(), nullable=False, comment='Value of what foreigners, registered and others, sold, KRW; published in millions, so the last digits are zeros'),
        sa.Column('institution_net_shares', sa.BigInteger(), nullable=False, comment='Shares that domestic institutions bought minus those they sold'),
        sa.Column('institution_bought_shares', sa.BigInteger(), nullable=False, comment='Shares that domestic institutions bought'),
        sa.Column('institution_sold_shares', sa.BigInteger(), nullable=False, comment='Shares that domestic institutions sold'),
        sa.Column('institution_net_krw', sa.BigInteger(), nullable=False, comment='Value of what domestic institutions bought minus what they sold, KRW; published in millions, so the last digits are zeros'),
        sa.Column('institution_bought_krw', sa.BigInteger(), nullable=False, comment='Value of what domestic institutions bought, KRW; published in millions, so the last digits are zeros'),
        sa.Column('institution_sold_krw', sa.BigInteger(), nullable=False, comment='Value of what domestic institutions sold, KRW; published in millions, so the last digits are zeros'),
        sa.Column('known_at', sa.DateTime(timezone=True), nullable=False, comment="Instant from which this version may be used: the session's close + 30 minutes, observed_at for later versions"),
        sa.Column('source', sa.Text(), nullable=False, comment='Upstream or step that gave the row'),
        sa.Column('observed_at', sa.DateTime(timezone=True), nullable=False, comment="The database's clock in the transaction that wrote this version"),
        sa.Column('run_id', sa.Text(), nullable=False, comment='Run that wrote this version'),
        sa.PrimaryKeyConstraint('stock_code', 'trade_date', name=op.f('investor_flows_pkey')),
        schema='raw',
        comment='Who bought and sold, one row a stock and session; the groups do not add up to zero: other corporations lack',
    )
    op.create_index(op.f('investor_flows_trade_date_idx'), 'investor_flows', ['trade_date'], unique=False, schema='raw')
    op.create_table('overtime_bars',
        sa.Column('stock_code', sa.Text(), nullable=False, comment='Six-character short code'),
        sa.Column('trade_date', sa.Date(), nullable=False, comment='Session that it followed, a KST date'),
        sa.Column('close', sa.BigInteger(), nullable=True, comment='Last single price, KRW; NULL where nothing was traded'),
        sa.Column('volume', sa.BigInteger(), nullable=False, comment='Shares traded after hours alone'),
        sa.Column('turnover_krw', sa.BigInteger(), nullable=False, comment='Value traded after hours alone, KRW'),
        sa.Column('regular_close', sa.BigInteger(), nullable=False, comment='Close of the session, KRW, from which the single prices may differ by 10 %'),
        sa.Column('known_at', sa.DateTime(timezone=True), nullable=False, comment='Instant from which this version may be used: 18:00 KST of the session, also on exam days; observed_at for later versions'),
        sa.Column('source', sa.Text(), nullable=False, comment='Upstream or step that gave the row'),
        sa.Column('observed_at', sa.DateTime(timezone=True), nullable=False, comment="The database's clock in the transaction that wrote this version"),
        sa.Column('run_id', sa.Text(), nullable=False, comment='Run that wrote this version'),
        sa.PrimaryKeyConstraint('stock_code', 'trade_date', name=op.f('overtime_bars_pkey')),
        schema='raw',
        comment='Single-price trading after hours, one row a stock and session; there was none since 2026-09-14',
    )
    op.create_index(op.f('overtime_bars_trade_date_idx'), 'overtime_bars', ['trade_date'], unique=False, schema='raw')
    op.create_table('index_breadth',
        sa.Column('index_code', sa.Text(), nullable=False, comment="The broker's four-digit index code: 0001 KOSPI, 1001 KOSDAQ, 2001 KOSPI200, or a sector of raw.stocks"),
        sa.Column('trade_date', sa.Date(), nullable=False, comment='Session, a KST date'),
        sa.Column('advancers', sa.BigInteger(), nullable=False, comment='Issues that rose; whether those at their upper limit are among them is not documented'),
        sa.Column('decliners', sa.BigInteger(), nullable=False, comment='Issues that fell; whether those at their lower limit are among them is not documented'),
        sa.Column('unchanged', sa.BigInteger(), nullable=False, comment='Issues that stood still'),
        sa.Column('upper_limit', sa.BigInteger(), nullable=False, comment='Issues at their upper limit'),
        sa.Column('lower_limit', sa.BigInteger(), nullable=False, comment='Issues at their lower limit'),
        sa.Column('known_at', sa.DateTime(timezone=True), nullable=False, comment="Instant from which this version may be used: the session's close + 10 minutes, observed_at for later versions"),
        sa.Column('source', sa.Text(), nullable=False, comment='Upstream or step that gave the row'),
        sa.Column('observed_at', sa.DateTime(timezone=True), nullable=False, comment="The database's clock in the transaction that wrote this version"),
        sa.Column('run_id', sa.Text(), nullable=False, comment='Run that wrote this version'),
        sa.PrimaryKeyConstraint('index_code', 'trade_date', name=op.f('index_breadth_pkey')),
        schema='raw',
        comment='Risers and fallers of market and sector indices, one row an index and session',
    )
    op.create_index(op.f('index_breadth_trade_date_idx'), 'index_breadth', ['trade_date'], unique=False, schema='raw')
