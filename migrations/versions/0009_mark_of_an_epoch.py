"""The mark by which SQL knows the beginning of an epoch that it has committed."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("coupons", sa.Column("epoch_mark", sa.BigInteger(), nullable=True))


def downgrade():
    op.drop_column("coupons", "epoch_mark")
