"""Product information, financial ratios, and the exchange's own daily bars.

The table definitions below are Alembic's own rendering, one line a column, kept as it was made.
"""

# ruff: noqa: E501
# fmt: off

import sqlalchemy as sa
from alembic import op

from azak_assets.warehouse.migrations import ddl

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

VERSIONED = [
    # table, key, day to index
    ("raw.product_info", "stock_code", None),
    ("raw.financial_ratios", "stock_code, period, period_end", None),
    ("raw.krx_daily_bars", "stock_code, trade_date", "trade_date"),
]


def upgrade() -> None:
    """Create the tables, their histories and as-of functions."""
    _create_tables()
    for table, key, day in VERSIONED:
        ddl.create_history(table, key=key, day=day)
        ddl.create_forget_trigger(table)
        ddl.create_as_of(table)


def downgrade() -> None:
    """Drop them, and what was remembered of their loads."""
    for table, _, _ in reversed(VERSIONED):
        op.execute(f"drop function {table}_as_of")
        op.execute(f"drop table {table}_history, {table}")
        op.execute(f"delete from ops.load_fingerprints where table_name = '{table}'")  # noqa: S608 (names from above)


def _create_tables() -> None:
    op.create_table('product_info',
        sa.Column('stock_code', sa.Text(), nullable=False, comment='Six-character short code'),
        sa.Column('isin', sa.Text(), nullable=True, comment='International securities identification number'),
        sa.Column('name', sa.Text(), nullable=False, comment='Korean short name'),
        sa.Column('name_en', sa.Text(), nullable=True, comment='English name'),
        sa.Column('market', sa.Text(), nullable=False, comment='KOSPI, KOSDAQ or KONEX'),
        sa.Column('security_group', sa.Text(), nullable=False, comment="The ledger's group: ST stock, EF ETF, EN ETN, RT REIT and others"),
        sa.Column('fiscal_year_end', sa.Text(), nullable=True, comment='Month and day (MMDD) on which the fiscal year ends'),
        sa.Column('par_value', sa.Double(), nullable=True, comment="Par value, KRW or a foreign issuer's currency; NULL without one"),
        sa.Column('listed_shares', sa.BigInteger(), nullable=True, comment='Listed shares'),
        sa.Column('kospi_listed_on', sa.Date(), nullable=True, comment='Day of listing on KOSPI, a KST date'),
        sa.Column('kospi_delisted_on', sa.Date(), nullable=True, comment='Day of delisting from KOSPI, a KST date'),
        sa.Column('kosdaq_listed_on', sa.Date(), nullable=True, comment='Day of listing on KOSDAQ, a KST date'),
        sa.Column('kosdaq_delisted_on', sa.Date(), nullable=True, comment='Day of delisting from KOSDAQ, a KST date'),
        sa.Column('delisted_on', sa.Date(), nullable=True, comment='Day of delisting, a KST date; NULL while listed'),
        sa.Column('industry_large', sa.Text(), nullable=True, comment="Large class of the exchange's index industries"),
        sa.Column('industry_medium', sa.Text(), nullable=True, comment="Medium class of the exchange's index industries"),
        sa.Column('industry_small', sa.Text(), nullable=True, comment="Small class of the exchange's index industries"),
        sa.Column('industry_code', sa.Text(), nullable=True, comment='Code of the standard industry'),
        sa.Column('industry', sa.Text(), nullable=True, comment='Name of the standard industry'),
        sa.Column('product_class', sa.Text(), nullable=True, comment='Class of the product where the ledger names no industry, else NULL'),
        sa.Column('is_kospi200', sa.Boolean(), nullable=True, comment='Whether it is a member of KOSPI 200; NULL where not told'),
        sa.Column('is_trading_halted', sa.Boolean(), nullable=True, comment='Whether trading was halted when asked; NULL where not told'),
        sa.Column('is_administrative_issue', sa.Boolean(), nullable=True, comment='Whether the exchange has designated it administrative'),
        sa.Column('is_nxt_tradable', sa.Boolean(), nullable=True, comment='Whether it trades on Nextrade; NULL where not told'),
        sa.Column('is_nxt_halted', sa.Boolean(), nullable=True, comment='Whether Nextrade had halted it when asked; NULL where not told'),
        sa.Column('known_at', sa.DateTime(timezone=True), nullable=False, comment='Instant from which this version may be used: observed_at'),
        sa.Column('source', sa.Text(), nullable=False, comment='Upstream or step that gave the row'),
        sa.Column('observed_at', sa.DateTime(timezone=True), nullable=False, comment="The database's clock in the transaction that wrote this version"),
        sa.Column('run_id', sa.Text(), nullable=False, comment='Run that wrote this version'),
        sa.CheckConstraint("market in ('KOSPI', 'KOSDAQ', 'KONEX')", name=op.f('product_info_market_check')),
        sa.PrimaryKeyConstraint('stock_code', name=op.f('product_info_pkey')),
        schema='raw',
        comment="What the broker's ledger says of each issue, one row an issue; asked once a week"
    )
    op.create_table('financial_ratios',
        sa.Column('stock_code', sa.Text(), nullable=False, comment='Six-character short code of the common share'),
        sa.Column('period', sa.Text(), nullable=False, comment='annual or quarterly; a quarter counts from the start of its fiscal year'),
        sa.Column('period_end', sa.Date(), nullable=False, comment='Last day of the fiscal period'),
        sa.Column('revenue_growth_pct', sa.Double(), nullable=True, comment='Growth of revenue on the year before, percent'),
        sa.Column('operating_profit_growth_pct', sa.Double(), nullable=True, comment='Growth of operating profit, percent; 0 around losses'),
        sa.Column('net_income_growth_pct', sa.Double(), nullable=True, comment='Growth of net income, percent; 0 around losses'),
        sa.Column('roe_pct', sa.Double(), nullable=True, comment='Return on equity, percent'),
        sa.Column('eps_krw', sa.Double(), nullable=True, comment='Earnings per share, KRW'),
        sa.Column('sales_per_share_krw', sa.Double(), nullable=True, comment='Revenue per share, KRW'),
        sa.Column('bps_krw', sa.Double(), nullable=True, comment='Book value per share, KRW'),
        sa.Column('retained_ratio_pct', sa.Double(), nullable=True, comment='Retained earnings and surplus to paid-in capital, percent'),
        sa.Column('debt_ratio_pct', sa.Double(), nullable=True, comment='Liabilities to equity, percent'),
        sa.Column('known_at', sa.DateTime(timezone=True), nullable=False, comment='Instant from which this version may be used: observed_at'),
        sa.Column('source', sa.Text(), nullable=False, comment='Upstream or step that gave the row'),
        sa.Column('observed_at', sa.DateTime(timezone=True), nullable=False, comment="The database's clock in the transaction that wrote this version"),
        sa.Column('run_id', sa.Text(), nullable=False, comment='Run that wrote this version'),
        sa.CheckConstraint("period in ('annual', 'quarterly')", name=op.f('financial_ratios_period_check')),
        sa.PrimaryKeyConstraint('stock_code', 'period', 'period_end', name=op.f('financial_ratios_pkey')),
        schema='raw',
        comment='Financial ratios of companies, one row a stock and fiscal period; usable from when we first saw them',
    )
    op.create_table('krx_daily_bars',
        sa.Column('stock_code', sa.Text(), nullable=False, comment='Six-character short code'),
        sa.Column('trade_date', sa.Date(), nullable=False, comment='Session, a KST date'),
        sa.Column('market', sa.Text(), nullable=False, comment='KOSPI, KOSDAQ or KONEX'),
        sa.Column('name', sa.Text(), nullable=False, comment='Korean name as published for that session'),
        sa.Column('open', sa.BigInteger(), nullable=True, comment='Opening price, KRW; NULL when nothing traded in the order book'),
        sa.Column('high', sa.BigInteger(), nullable=True, comment='Highest price, KRW; NULL when nothing traded in the order book'),
        sa.Column('low', sa.BigInteger(), nullable=True, comment='Lowest price, KRW; NULL when nothing traded in the order book'),
        sa.Column('close', sa.BigInteger(), nullable=False, comment='Closing price, KRW; carried from the last trade when nothing traded'),
        sa.Column('volume', sa.BigInteger(), nullable=False, comment='Traded shares of the whole day'),
        sa.Column('turnover_krw', sa.BigInteger(), nullable=False, comment='Traded value of the whole day, KRW'),
        sa.Column('market_cap_krw', sa.BigInteger(), nullable=True, comment='Market capitalisation, KRW'),
        sa.Column('listed_shares', sa.BigInteger(), nullable=True, comment='Listed shares'),
        sa.Column('known_at', sa.DateTime(timezone=True), nullable=False, comment='Instant from which this version may be used: 08:00 KST on the day of the next session, observed_at for later versions'),
        sa.Column('source', sa.Text(), nullable=False, comment='Upstream or step that gave the row'),
        sa.Column('observed_at', sa.DateTime(timezone=True), nullable=False, comment="The database's clock in the transaction that wrote this version"),
        sa.Column('run_id', sa.Text(), nullable=False, comment='Run that wrote this version'),
        sa.CheckConstraint("market in ('KOSPI', 'KOSDAQ', 'KONEX')", name=op.f('krx_daily_bars_market_check')),
        sa.PrimaryKeyConstraint('stock_code', 'trade_date', name=op.f('krx_daily_bars_pkey')),
        schema='raw',
        comment='Daily bars as the exchange publishes them a day later, one row a stock and session: a witness of raw.daily_bars',
    )
    op.create_index(op.f('krx_daily_bars_trade_date_idx'), 'krx_daily_bars', ['trade_date'], unique=False, schema='raw')
