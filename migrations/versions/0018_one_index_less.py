"""One index for what somebody holds and for one a person over all waves, because each costs every admission."""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

ONE_OVER_ALL_WAVES = "uq_coupon_issues_user_id_campaign_id"


def upgrade():
    # Made first: the foreign key of the user needs an index at every moment.
    op.create_index(ONE_OVER_ALL_WAVES, "coupon_issues", ["user_id", "campaign_id"], unique=True)
    op.drop_index("ix_coupon_issues_user_id", "coupon_issues")
    op.drop_index("uq_coupon_issues_campaign", "coupon_issues")


def downgrade():
    op.create_index("uq_coupon_issues_campaign", "coupon_issues", ["campaign_id", "user_id"], unique=True)
    op.create_index("ix_coupon_issues_user_id", "coupon_issues", ["user_id"], unique=False)
    op.drop_index(ONE_OVER_ALL_WAVES, "coupon_issues")
