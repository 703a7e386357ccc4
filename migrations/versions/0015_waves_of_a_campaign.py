"""Waves: several coupons that are one campaign, one for each person over all of them, and what is left of each."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("coupons", sa.Column("campaign_id", sa.BigInteger(), nullable=True))
    for column in ("one_per_campaign", "rolls_over"):
        op.add_column("coupons", sa.Column(column, sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("coupons", sa.Column("rolled_in", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("coupons", sa.Column("rolled_out", sa.BigInteger(), nullable=True))
    op.create_index("ix_coupons_campaign_id", "coupons", ["campaign_id"], unique=False)
    op.add_column("coupon_issues", sa.Column("campaign_id", sa.BigInteger(), nullable=True))
    op.create_index("uq_coupon_issues_campaign", "coupon_issues", ["campaign_id", "user_id"], unique=True)


def downgrade():
    """The code before would give one person a coupon of each wave: waves are closed first."""
    op.execute("UPDATE coupons SET status = 'closed' WHERE campaign_id IS NOT NULL AND status <> 'draft'")
    op.drop_index("uq_coupon_issues_campaign", "coupon_issues")
    op.drop_column("coupon_issues", "campaign_id")
    op.drop_index("ix_coupons_campaign_id", "coupons")
    for column in ("rolled_out", "rolled_in", "rolls_over", "one_per_campaign", "campaign_id"):
        op.drop_column("coupons", column)
