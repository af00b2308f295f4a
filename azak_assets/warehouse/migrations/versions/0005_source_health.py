"""How each upstream answers us, and when each source last brought rows."""

# ruff: noqa: E501
# fmt: off

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables."""
    op.create_table('source_health',
        sa.Column('upstream', sa.Text(), nullable=False, comment='Upstream, by the name its client calls it'),
        sa.Column('last_success_at', sa.DateTime(timezone=True), nullable=True, comment='When it last answered a call as it should'),
        sa.Column('last_failure_at', sa.DateTime(timezone=True), nullable=True, comment='When a call last failed'),
        sa.Column('cause', sa.Text(), nullable=True, comment='Name of the last failure: Blocked, RateLimited, Unauthorized, Unavailable, …'),
        sa.Column('action', sa.Text(), nullable=True, comment='What is done about the last failure: retry, wait, stop or alert'),
        sa.Column('what', sa.Text(), nullable=True, comment='What the upstream did or said at the last failure, without secrets'),
        sa.Column('advice', sa.Text(), nullable=True, comment='What a person can do about the last failure'),
        sa.Column('streak', sa.Integer(), nullable=False, comment='Failed calls in a row since the last success, of all processes together'),
        sa.Column('failing_since', sa.DateTime(timezone=True), nullable=True, comment='First failure of that row; NULL while it answers'),
        sa.Column('calls_day', sa.Date(), nullable=False, comment='KST date whose calls are counted'),
        sa.Column('calls_today', sa.Integer(), nullable=False, comment='Calls on that day, of all processes together, failed ones included'),
        sa.Column('calls_a_day', sa.Integer(), nullable=True, comment='Calls a day that the upstream allows; NULL where it has no quota a day'),
        sa.Column('closed_until', sa.DateTime(timezone=True), nullable=True, comment='Nobody asks before, because it refused us; in the past or NULL: open'),
        sa.Column('closed_for', sa.Text(), nullable=True, comment='Hash of the address and credentials that were refused; others may ask'),
        sa.Column('closed_cause', sa.Text(), nullable=True, comment='Name of the failure that closed it'),
        sa.Column('closed_what', sa.Text(), nullable=True, comment='What the upstream said then, without secrets'),
        sa.Column('closed_advice', sa.Text(), nullable=True, comment='What a person can do about that'),
        sa.PrimaryKeyConstraint('upstream', name=op.f('source_health_pkey')),
        schema='ops',
        comment='How each upstream answers us, one row an upstream that was ever asked; written with every call',
    )
    op.create_table('feeds',
        sa.Column('source', sa.Text(), nullable=False, comment='Source of the rows, as in their column source'),
        sa.Column('table_name', sa.Text(), nullable=False, comment='schema.table'),
        sa.Column('last_loaded_at', sa.DateTime(timezone=True), nullable=False, comment='When its answer was last loaded, with or without rows'),
        sa.Column('last_rows_at', sa.DateTime(timezone=True), nullable=True, comment='When it last held rows; NULL while it never did'),
        sa.Column('empty_sessions', sa.Integer(), nullable=False, comment='Sessions in a row on which it was loaded and held no row'),
        sa.Column('last_empty_day', sa.Date(), nullable=True, comment='Session on which it last held no row, a KST date; NULL if it never did'),
        sa.PrimaryKeyConstraint('source', 'table_name', name=op.f('feeds_pkey')),
        schema='ops',
        comment='When each source last brought rows into each raw table, one row a source and table; written by the loads',
    )


def downgrade() -> None:
    """Drop both; they fill again by themselves."""
    op.drop_table('feeds', schema='ops')
    op.drop_table('source_health', schema='ops')
