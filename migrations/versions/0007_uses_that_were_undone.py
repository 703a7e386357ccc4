"""Which click used a code, and which uses were taken back."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("coupon_issues", sa.Column("used_click", sa.String(length=32), nullable=True))
    op.create_table(
        "undone_uses",
        sa.Column("id", ID, nullable=False),
        sa.Column("coupon_id", sa.BigInteger(), nullable=False),
        sa.Column("code", sa.String(length=16), nullable=False),
        sa.Column("used_at", MOMENT, nullable=False),
        sa.Column("used_by", sa.BigInteger(), nullable=True),
        sa.Column("undone_at", MOMENT, nullable=False),
        sa.Column("undone_by", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(length=90), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_undone_uses")),
        mysql_charset="utf8mb4",
    )
    op.create_index("ix_undone_uses_code", "undone_uses", ["code"], unique=False)


def downgrade():
    op.drop_table("undone_uses")
    op.drop_column("coupon_issues", "used_click")
