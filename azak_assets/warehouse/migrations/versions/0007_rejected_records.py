"""The records that were refused stand under the name that says so."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Rename the table and its key."""
    op.rename_table("quarantine", "rejected_records", schema="ops")
    op.execute("alter table ops.rejected_records rename constraint quarantine_pkey to rejected_records_pkey")


def downgrade() -> None:
    """Rename them back."""
    op.execute("alter table ops.rejected_records rename constraint rejected_records_pkey to quarantine_pkey")
    op.rename_table("rejected_records", "quarantine", schema="ops")
