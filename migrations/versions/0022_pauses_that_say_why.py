"""What a pause says to people: since when, why, and until when it is promised to last."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
NAME = sa.String(length=20).with_variant(
    mysql.VARCHAR(20, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
)
WORDS = sa.String(length=200)

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade():
    """Nobody knows since when a coupon is paused that was so before."""
    op.add_column("coupons", sa.Column("paused_at", MOMENT, nullable=True))
    op.add_column("coupons", sa.Column("promised_at", MOMENT, nullable=True))
    for name, kind in (("pause_template", NAME), ("pause_ko", WORDS), ("pause_en", WORDS)):
        op.add_column("coupons", sa.Column(name, kind, server_default="", nullable=False))


def downgrade():
    for name in ("pause_en", "pause_ko", "pause_template", "promised_at", "paused_at"):
        op.drop_column("coupons", name)
