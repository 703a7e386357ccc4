"""Who is blocked, found without reading every user."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade():
    op.create_index("ix_users_blocked_at", "users", ["blocked_at"], unique=False)


def downgrade():
    op.drop_index("ix_users_blocked_at", table_name="users")
