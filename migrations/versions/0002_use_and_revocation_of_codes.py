"""Who used a code, and which codes were taken back."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")

CHARSET = {"charset": "utf8mb4", "collate": "utf8mb4_bin"}
UTF8 = {f"{name}_{key}": value for name in ("mysql", "mariadb") for key, value in CHARSET.items()}

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade():
    op.add_column("coupon_issues", sa.Column("used_by", sa.BigInteger(), nullable=True))
    op.create_table(
        "revocations",
        sa.Column("id", ID, nullable=False),
        sa.Column("coupon_id", ID, nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("ticket_number", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("code", sa.String(length=16), nullable=False),
        sa.Column("issued_at", MOMENT, nullable=False),
        sa.Column("revoked_at", MOMENT, nullable=False),
        sa.Column("revoked_by", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.String(length=90), nullable=False),
        sa.ForeignKeyConstraint(["coupon_id"], ["coupons.id"], name=op.f("fk_revocations_coupon_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revocations")),
        sa.UniqueConstraint("code", name=op.f("uq_revocations_code")),
        **UTF8,
    )
    op.create_index("ix_revocations_revoked_at", "revocations", ["revoked_at"], unique=False)


def downgrade():
    op.drop_table("revocations")
    op.drop_column("coupon_issues", "used_by")
