"""When a coupon was archived."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("coupons", sa.Column("archived_at", MOMENT, nullable=True))


def downgrade():
    op.drop_column("coupons", "archived_at")
