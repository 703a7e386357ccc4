"""Codes of a shop's own: a pool for each coupon, and how far it has been given out."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

LENGTH = 40
EXACT = f"VARCHAR({LENGTH}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL"
"""Compared by every character: a shop may have both a5 and A5."""
HOLD_CODES = ("coupon_issues", "revocations", "undone_uses")

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade():
    for table in HOLD_CODES:
        _widen(table)
    code = sa.String(LENGTH).with_variant(
        mysql.VARCHAR(LENGTH, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
    )
    op.create_table(
        "pool_codes",
        sa.Column("upload_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("line", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("code", code, nullable=False),
        sa.PrimaryKeyConstraint("upload_id", "line", name=op.f("pk_pool_codes")),
        sa.UniqueConstraint("code", name=op.f("uq_pool_codes_code")),
        mysql_charset="utf8mb4",
    )
    _count_what_is_left()
    for column in ("pool_upload_id", "pool_line"):
        op.add_column("coupons", sa.Column(column, sa.BigInteger(), nullable=False, server_default="0"))


def downgrade():
    """The code before would draw codes of ours: such a coupon is closed first. The columns of codes stay wide."""
    op.execute("UPDATE coupons SET status = 'closed' WHERE pool_left IS NOT NULL AND status <> 'draft'")
    for column in ("pool_line", "pool_upload_id"):
        op.drop_column("coupons", column)
    if op.get_bind().dialect.name != "sqlite":
        op.drop_constraint(op.f("ck_coupons_pool_left"), "coupons", type_="check")
    op.drop_column("coupons", "pool_left")
    op.drop_table("pool_codes")


def _widen(table):
    """On SQLite a length limits nothing, and only the name of the type changes."""
    if op.get_bind().dialect.name != "sqlite":
        op.execute(f"ALTER TABLE {table} MODIFY code {EXACT}")
        return
    with op.batch_alter_table(table) as batch:
        batch.alter_column(
            "code", type_=sa.String(LENGTH), existing_type=sa.String(16), existing_nullable=False
        )


def _count_what_is_left():
    if op.get_bind().dialect.name != "sqlite":
        op.add_column("coupons", sa.Column("pool_left", sa.BigInteger(), nullable=True))
        op.create_check_constraint(op.f("ck_coupons_pool_left"), "coupons", "pool_left >= 0")
        return
    # SQLite adds no constraint to a table, but takes one with a column.
    op.execute(
        "ALTER TABLE coupons ADD COLUMN pool_left BIGINT CONSTRAINT ck_coupons_pool_left CHECK (pool_left >= 0)"
    )
