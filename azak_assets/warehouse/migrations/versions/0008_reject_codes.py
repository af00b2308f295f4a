"""A refused record says why as a code, so that no check reads the sentence."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

COMMENT = "Why it was refused, for programs: unreadable, closed_day or conflict"


def upgrade() -> None:
    """Add the column; rows from before get their code from their reason, this once."""
    column = sa.Column("code", sa.Text(), nullable=False, server_default="unreadable", comment=COMMENT)
    op.add_column("rejected_records", column, schema="ops")
    op.execute(
        "update ops.rejected_records set code = case reason"
        " when 'is a day on which the market was closed' then 'closed_day' else 'conflict' end"
        " where reason in ('is a day on which the market was closed',"
        " 'is told of by two different rows: neither is sure')"
    )
    op.alter_column("rejected_records", "code", server_default=None, schema="ops")


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("rejected_records", "code", schema="ops")
