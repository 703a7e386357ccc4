"""Who may have a coupon: lists of people, member keys, grades, and the files that operators bring."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def exact(length):
    """Return the type of a text that names something, compared by every character."""
    binary = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return sa.String(length).with_variant(binary, "mysql", "mariadb")


def upgrade():
    op.add_column("coupons", sa.Column("audience", exact(10), nullable=False, server_default="everybody"))
    op.add_column("coupons", sa.Column("grades", sa.String(500), nullable=False, server_default=""))
    for column in ("audience_version", "audience_after"):
        op.add_column("coupons", sa.Column(column, sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("users", sa.Column("changed_at", MOMENT, nullable=True))
    op.create_index("ix_users_changed_at", "users", ["changed_at"], unique=False)
    _create_uploads()
    op.create_table(
        "listed_people",
        sa.Column("upload_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("identifier", exact(254), nullable=False),
        sa.PrimaryKeyConstraint("upload_id", "identifier", name=op.f("pk_listed_people")),
        mysql_charset="utf8mb4",
    )
    _create_members()


def downgrade():
    """A coupon that was not for everybody is for everybody to the code before: such a coupon is closed first."""
    op.execute("UPDATE coupons SET status = 'closed' WHERE audience <> 'everybody' AND status <> 'draft'")
    for table in ("staged_members", "members", "listed_people", "upload_faults", "uploads"):
        op.drop_table(table)
    op.drop_index("ix_users_changed_at", "users")
    op.drop_column("users", "changed_at")
    for column in ("audience_after", "audience_version", "grades", "audience"):
        op.drop_column("coupons", column)


def _create_uploads():
    counts = ("good", "duplicates", "bad", "warned", "known")
    op.create_table(
        "uploads",
        sa.Column("id", ID, nullable=False),
        sa.Column("coupon_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", exact(10), nullable=False),
        sa.Column("state", exact(10), nullable=False),
        sa.Column("file_name", sa.String(100), nullable=False),
        sa.Column("why", exact(20), nullable=True),
        sa.Column("line", sa.BigInteger(), nullable=True),
        sa.Column("percent", sa.Integer(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in counts),
        sa.Column("uploaded_by", sa.BigInteger(), nullable=True),
        sa.Column("counted_by", sa.BigInteger(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("heard_at", MOMENT, nullable=False),
        sa.Column("counted_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_uploads")),
        mysql_charset="utf8mb4",
    )
    op.create_index("ix_uploads_coupon_id_state", "uploads", ["coupon_id", "state"], unique=False)
    op.create_table(
        "upload_faults",
        sa.Column("id", ID, nullable=False),
        sa.Column("upload_id", sa.BigInteger(), nullable=False),
        sa.Column("line", sa.BigInteger(), nullable=False),
        sa.Column("kind", exact(20), nullable=False),
        sa.Column("text", sa.String(100), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upload_faults")),
        mysql_charset="utf8mb4",
    )
    op.create_index("ix_upload_faults_upload_id_line", "upload_faults", ["upload_id", "line"], unique=False)


def _create_members():
    op.create_table(
        "members",
        sa.Column("email", exact(254), nullable=False),
        sa.Column("member_key", exact(64), nullable=True),
        sa.Column("grade", exact(32), nullable=True),
        sa.PrimaryKeyConstraint("email", name=op.f("pk_members")),
        sa.UniqueConstraint("member_key", name=op.f("uq_members_member_key")),
        mysql_charset="utf8mb4",
    )
    op.create_index("ix_members_grade", "members", ["grade"], unique=False)
    op.create_table(
        "staged_members",
        sa.Column("upload_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("email", exact(254), nullable=False),
        sa.Column("line", sa.BigInteger(), nullable=False),
        sa.Column("member_key", exact(64), nullable=True),
        sa.Column("grade", exact(32), nullable=True),
        sa.PrimaryKeyConstraint("upload_id", "email", name=op.f("pk_staged_members")),
        mysql_charset="utf8mb4",
    )
