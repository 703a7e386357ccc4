"""How many people may stand in standby: after the coupons are gone a click takes a place there."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade():
    # With a default: code of the version before adds rows without it.
    op.add_column("coupons", sa.Column("standby_limit", sa.BigInteger(), server_default="0", nullable=False))


def downgrade():
    op.drop_column("coupons", "standby_limit")
