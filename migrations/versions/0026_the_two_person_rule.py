"""Proposals: what one person asks for and another one decides; and invitations that wait for one."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")

revision = "0026"
down_revision = "0024"
branch_labels = None
depends_on = None


def name(length):
    exact = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return sa.String(length=length).with_variant(exact, "mysql", "mariadb")


def upgrade():
    op.create_table(
        "proposals",
        sa.Column("id", ID, nullable=False),
        sa.Column("verb", name(40), nullable=False),
        sa.Column("coupon_id", sa.BigInteger(), nullable=True),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "arguments", sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb"), nullable=False
        ),
        sa.Column("seen", name(64), nullable=False),
        sa.Column("reason", sa.String(length=90), nullable=True),
        sa.Column("made_by", sa.BigInteger(), nullable=True),
        sa.Column("made_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("decision", name(10), nullable=True),
        sa.Column("decided_by", sa.BigInteger(), nullable=True),
        sa.Column("decided_at", MOMENT, nullable=True),
        sa.Column("done_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proposals")),
        sqlite_autoincrement=True,
        mysql_charset="utf8mb4",
    )
    op.create_index("ix_proposals_expires_at", "proposals", ["expires_at"], unique=False)
    op.create_index("ix_proposals_coupon_id", "proposals", ["coupon_id"], unique=False)
    op.add_column(
        "invitations", sa.Column("proposed", sa.Boolean(), server_default=sa.false(), nullable=False)
    )


def downgrade():
    """The code before knows no invitation that waits: it must not open one that nobody has confirmed."""
    op.execute("DELETE FROM invitations WHERE proposed")
    op.drop_column("invitations", "proposed")
    op.drop_table("proposals")
