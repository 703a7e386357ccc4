"""The log of operators. Triggers refuse to change or to delete what is written, also to our own user of SQL."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
REFUSED = {
    "log_entries_no_update": "UPDATE ON log_entries",
    "log_entries_no_delete": "DELETE ON log_entries",
    "log_head_no_delete": "DELETE ON log_head",
}

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "log_entries",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("actor_id", sa.BigInteger(), nullable=True),
        sa.Column("origin", _exact(10), nullable=False),
        sa.Column("address", sa.String(45), nullable=True),
        sa.Column("verb", _exact(40), nullable=False),
        sa.Column("coupon_id", sa.BigInteger(), nullable=True),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("before", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=True),
        sa.Column("reason", sa.String(90), nullable=True),
        sa.Column("hash", _exact(64), nullable=False),
        sa.CheckConstraint("origin IN ('console', 'command', 'job')", name=op.f("ck_log_entries_origin")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_log_entries")),
        mysql_charset="utf8mb4",
    )
    for column in ("coupon_id", "actor_id", "user_id", "verb", "at"):
        op.create_index(f"ix_log_entries_{column}", "log_entries", [column], unique=False)
    op.create_table(
        "log_head",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_log_head_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_log_head")),
        mysql_charset="utf8mb4",
    )
    op.execute("INSERT INTO log_head (id, entries) VALUES (1, 0)")
    refusal = (
        "BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END"
        if op.get_bind().dialect.name == "sqlite"
        else "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'the log is append-only'"
    )
    for name, event in REFUSED.items():
        op.execute(f"CREATE TRIGGER {name} BEFORE {event} FOR EACH ROW {refusal}")


def downgrade():
    for name in REFUSED:
        op.execute(f"DROP TRIGGER {name}")
    op.drop_table("log_head")
    op.drop_table("log_entries")


def _exact(length):
    exact = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return sa.String(length).with_variant(exact, "mysql", "mariadb")
