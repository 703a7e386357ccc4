"""Samples of a line, second by second, for the live board and for the report."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
COUNTS = ("last_number", "came", "issued", "waiting", "in_standby", "refused", "pages")

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "line_samples",
        sa.Column("coupon_id", ID, autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        *(sa.Column(count, sa.BigInteger(), nullable=False) for count in COUNTS),
        sa.PrimaryKeyConstraint("coupon_id", "number", name=op.f("pk_line_samples")),
        mysql_charset="utf8mb4",
    )


def downgrade():
    op.drop_table("line_samples")
