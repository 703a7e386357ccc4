"""Reports: what was counted of a sale, kept, because a million rows take longer than a page may."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")

revision = "0024"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "sale_reports",
        sa.Column("coupon_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("counted_at", MOMENT, nullable=True),
        sa.Column("wanted_at", MOMENT, nullable=True),
        sa.Column("figures", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("coupon_id", name=op.f("pk_sale_reports")),
        mysql_charset="utf8mb4",
    )
    op.create_index("ix_sale_reports_wanted_at", "sale_reports", ["wanted_at"], unique=False)


def downgrade():
    op.drop_table("sale_reports")
