"""One spelling for each e-mail address, identifiers told apart by every character, and sessions that ended."""

from collections import defaultdict

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

from webapp.values.emails import EMAIL_LENGTH, NOWHERE, normalised_email

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
IDENTIFIERS = {
    "users": {"email": 254, "role": 10},
    "coupons": {"type": 32, "status": 10},
    "coupon_issues": {"code": 16},
    "revocations": {"code": 16},
    "line_events": {"kind": 10},
}
USERS = sa.table("users", sa.column("id"), sa.column("email"))

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade():
    if op.get_bind().dialect.name != "sqlite":
        _tell_identifiers_apart()
    _spell_emails_in_one_way()
    op.create_table(
        "ended_sessions",
        sa.Column("id", ID, nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("session_epoch", sa.Integer(), nullable=False),
        sa.Column("ended_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ended_sessions")),
        mysql_charset="utf8mb4",
    )
    op.create_index("ix_ended_sessions_ended_at", "ended_sessions", ["ended_at"], unique=False)
    _end_sessions()


def downgrade():
    """Addresses and collations stay as they are: the code before runs on them."""
    op.drop_table("ended_sessions")


def _tell_identifiers_apart():
    for table, lengths in IDENTIFIERS.items():
        columns = (
            f"MODIFY {name} VARCHAR({length}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL"
            for name, length in lengths.items()
        )
        op.execute(f"ALTER TABLE {table} {', '.join(columns)}")


def _spell_emails_in_one_way():
    """Where two accounts turn out to have one address the older keeps it, and the other waits for `user rename`."""
    connection, owners = op.get_bind(), defaultdict(list)
    for user_id, email in connection.execute(sa.select(USERS.c.id, USERS.c.email)):
        if (spelled := normalised_email(email)) != email and len(spelled) <= EMAIL_LENGTH:
            owners[spelled].append(user_id)
    for email, ids in owners.items():
        ids += connection.scalars(sa.select(USERS.c.id).where(USERS.c.email == email))
        first, *others = sorted(ids)
        for other in others:
            aside = f"duplicate-{other}@{NOWHERE}"
            print(
                f"accounts {first} and {other} have one address; {other} is {aside} now: user rename {aside} NEW"
            )
            _set_email(other, aside)
        _set_email(first, email)


def _set_email(user_id, email):
    op.execute(USERS.update().where(USERS.c.id == user_id).values(email=email))


def _end_sessions():
    """Whoever signed out or is blocked must not come back with a cookie from before."""
    op.execute("UPDATE users SET session_epoch = session_epoch + 1 WHERE blocked_at IS NOT NULL")
    op.execute(
        "INSERT INTO ended_sessions (user_id, session_epoch, ended_at) "
        "SELECT id, session_epoch, CURRENT_TIMESTAMP FROM users WHERE session_epoch > 0"
    )
