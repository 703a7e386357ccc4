"""The issue that was taken back, and the indexes of a wallet and of the list of coupons."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("revocations", sa.Column("issue_id", sa.BigInteger(), nullable=True))
    op.create_index("ix_revocations_user_id", "revocations", ["user_id"], unique=False)
    op.create_index("ix_coupons_issue_start_at", "coupons", ["issue_start_at"], unique=False)


def downgrade():
    op.drop_index("ix_coupons_issue_start_at", table_name="coupons")
    op.drop_index("ix_revocations_user_id", table_name="revocations")
    op.drop_column("revocations", "issue_id")
