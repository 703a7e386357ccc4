"""Every text is utf8mb4, and is compared as it is written: as on SQLite, é is not e, and A is not a."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

CHARSET = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
TABLES = ("coupons", "users", "coupon_issues", "line_events", "revocations")


def upgrade():
    if op.get_bind().dialect.name == "sqlite":
        return
    op.execute(f"ALTER DATABASE {CHARSET}")  # for what later migrations make
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} CONVERT TO {CHARSET}")


def downgrade():
    """Leave the texts as they are: what they hold would not fit into less."""
