"""Users, coupons, issues, line events."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")

CHARSET = {"charset": "utf8mb4", "collate": "utf8mb4_bin"}
UTF8 = {f"{name}_{key}": value for name in ("mysql", "mariadb") for key, value in CHARSET.items()}

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade():
    op.create_table(
        "coupons",
        sa.Column("id", ID, nullable=False),
        sa.Column("title", sa.String(length=100), nullable=False),
        sa.Column("type", sa.String(length=32), nullable=False),
        sa.Column("total_quantity", sa.BigInteger(), nullable=True),
        sa.Column("issued_quantity", sa.BigInteger(), nullable=False),
        sa.Column("discount_amount", sa.BigInteger(), nullable=False),
        sa.Column("min_available_amount", sa.BigInteger(), nullable=False),
        sa.Column("issue_start_at", MOMENT, nullable=False),
        sa.Column("issue_end_at", MOMENT, nullable=False),
        sa.Column("valid_until", MOMENT, nullable=True),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("rehearsal", sa.Boolean(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("last_number", sa.BigInteger(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.CheckConstraint("status IN ('draft', 'live', 'paused', 'closed')", name=op.f("ck_coupons_status")),
        sa.CheckConstraint("issue_start_at < issue_end_at", name=op.f("ck_coupons_period")),
        sa.CheckConstraint("issued_quantity >= 0", name=op.f("ck_coupons_issued_quantity")),
        sa.CheckConstraint(
            "total_quantity IS NULL OR issued_quantity <= total_quantity", name=op.f("ck_coupons_quota")
        ),
        sa.CheckConstraint(
            "total_quantity IS NULL OR total_quantity >= 0", name=op.f("ck_coupons_total_quantity")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_coupons")),
        sqlite_autoincrement=True,
        **UTF8,
    )
    op.create_index("ix_coupons_issue_end_at", "coupons", ["issue_end_at"], unique=False)

    op.create_table(
        "users",
        sa.Column("id", ID, nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("password_hash", sa.String(length=255), nullable=False),
        sa.Column("role", sa.String(length=10), nullable=False),
        sa.Column("session_epoch", sa.Integer(), nullable=False),
        sa.Column("blocked_at", MOMENT, nullable=True),
        sa.Column("rehearsal", sa.Boolean(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.CheckConstraint("role IN ('user', 'operator')", name=op.f("ck_users_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
        sqlite_autoincrement=True,
        **UTF8,
    )
    op.create_table(
        "coupon_issues",
        sa.Column("id", ID, nullable=False),
        sa.Column("coupon_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("ticket_number", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(length=16), nullable=False),
        sa.Column("issued_at", MOMENT, nullable=False),
        sa.Column("used_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["coupon_id"], ["coupons.id"], name=op.f("fk_coupon_issues_coupon_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_coupon_issues_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_coupon_issues")),
        sa.UniqueConstraint("code", name=op.f("uq_coupon_issues_code")),
        sa.UniqueConstraint("coupon_id", "user_id", name=op.f("uq_coupon_issues_coupon_id_user_id")),
        **UTF8,
    )
    op.create_index(
        "ix_coupon_issues_coupon_id_ticket_number",
        "coupon_issues",
        ["coupon_id", "ticket_number"],
        unique=False,
    )
    op.create_index("ix_coupon_issues_user_id", "coupon_issues", ["user_id"], unique=False)

    op.create_table(
        "line_events",
        sa.Column("id", ID, nullable=False),
        sa.Column("coupon_id", ID, nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("ticket_number", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(length=100), nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.CheckConstraint(
            "kind IN ('rejected', 'already', 'lost', 'epoch')", name=op.f("ck_line_events_kind")
        ),
        sa.ForeignKeyConstraint(["coupon_id"], ["coupons.id"], name=op.f("fk_line_events_coupon_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_line_events")),
        **UTF8,
    )
    op.create_index(
        "ix_line_events_coupon_id_ticket_number", "line_events", ["coupon_id", "ticket_number"], unique=False
    )


def downgrade():
    op.drop_index("ix_line_events_coupon_id_ticket_number", table_name="line_events")

    op.drop_table("line_events")
    op.drop_index("ix_coupon_issues_user_id", table_name="coupon_issues")
    op.drop_index("ix_coupon_issues_coupon_id_ticket_number", table_name="coupon_issues")

    op.drop_table("coupon_issues")
    op.drop_table("users")
    op.drop_index("ix_coupons_issue_end_at", table_name="coupons")

    op.drop_table("coupons")
