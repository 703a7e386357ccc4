"""What a campaign says and shows: other benefits than an amount, texts in two languages, pictures."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
JPEG = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def identifier(length):
    exact = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return sa.String(length).with_variant(exact, "mysql", "mariadb")


def columns():
    """Return the new columns; each has a default, so that code from before can add rows."""
    return (
        sa.Column("title_en", sa.String(length=100), nullable=False, server_default=""),
        sa.Column("benefit", identifier(10), nullable=False, server_default="amount"),
        sa.Column("discount_percent", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("discount_cap", sa.BigInteger(), nullable=True),
        sa.Column("benefit_words", sa.String(length=60), nullable=False, server_default=""),
        sa.Column("benefit_words_en", sa.String(length=60), nullable=False, server_default=""),
        sa.Column("picture", identifier(32), nullable=True),
    )


def upgrade():
    for column in columns():
        op.add_column("coupons", column)
    op.create_table(
        "coupon_texts",
        sa.Column("coupon_id", ID, nullable=False),
        sa.Column("language", identifier(2), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.Column("place", sa.String(length=200), nullable=False),
        sa.Column("contact", sa.String(length=200), nullable=False),
        sa.ForeignKeyConstraint(
            ["coupon_id"], ["coupons.id"], name=op.f("fk_coupon_texts_coupon_id_coupons")
        ),
        sa.PrimaryKeyConstraint("coupon_id", "language", name=op.f("pk_coupon_texts")),
        mysql_charset="utf8mb4",
    )
    op.create_table(
        "pictures",
        sa.Column("name", identifier(32), nullable=False),
        sa.Column("small", JPEG, nullable=False),
        sa.Column("large", JPEG, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_pictures")),
        mysql_charset="utf8mb4",
    )


def downgrade():
    op.drop_table("pictures")
    op.drop_table("coupon_texts")
    for column in reversed(columns()):
        op.drop_column("coupons", column.name)
