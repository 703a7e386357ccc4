"""Four roles in place of one, and the links by which colleagues are invited.

Who was an operator could do everything, and becomes an owner.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
BEFORE = "role IN ('user', 'operator')"
NOW = "role IN ('user', 'owner', 'operator', 'till', 'viewer')"

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def name(length):
    exact = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return sa.String(length=length).with_variant(exact, "mysql", "mariadb")


def upgrade():
    _check_roles(BEFORE, NOW, "UPDATE users SET role = 'owner' WHERE role = 'operator'")
    op.create_index("ix_users_role", "users", ["role"], unique=False)
    op.create_table(
        "invitations",
        sa.Column("id", ID, nullable=False),
        sa.Column("key_hash", name(64), nullable=False),
        sa.Column("role", name(10), nullable=False),
        sa.Column("label", sa.String(length=100), nullable=False),
        sa.Column("made_by", sa.BigInteger(), nullable=True),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("taken_by", sa.BigInteger(), nullable=True),
        sa.Column("taken_at", MOMENT, nullable=True),
        sa.Column("withdrawn_by", sa.BigInteger(), nullable=True),
        sa.Column("withdrawn_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_invitations_key_hash")),
        sqlite_autoincrement=True,
        mysql_charset="utf8mb4",
    )


def downgrade():
    """The code before knows one role, which may do everything: a till or a viewer must not get it."""
    op.drop_table("invitations")
    op.drop_index("ix_users_role", "users")
    op.execute("UPDATE users SET role = 'user' WHERE role IN ('till', 'viewer')")
    op.execute("UPDATE users SET role = 'operator' WHERE role = 'owner'")
    _check_roles(NOW, BEFORE)


def _check_roles(before, now, *between):
    """Have the table take other roles, and run statements that need them."""
    if op.get_bind().dialect.name == "sqlite":
        _write_into_schema(before, now)
    else:
        op.drop_constraint(op.f("ck_users_role"), "users", type_="check")
        op.create_check_constraint(op.f("ck_users_role"), "users", now)
    for statement in between:
        op.execute(statement)


def _write_into_schema(before, now):
    """SQLite changes no constraint, and other tables point at this one, so it cannot be made anew.

    Its manual says how a CHECK is changed without touching a row (lang_altertable.html, section 7).
    """
    connection = op.get_bind()
    version = connection.scalar(sa.text("PRAGMA schema_version"))
    op.execute("PRAGMA writable_schema = ON")
    connection.execute(
        sa.text(
            "UPDATE sqlite_master SET sql = replace(sql, :before, :now) WHERE type = 'table' AND name = 'users'"
        ),
        {"before": before, "now": now},
    )
    op.execute(f"PRAGMA schema_version = {version + 1}")
    op.execute("PRAGMA writable_schema = RESET")
