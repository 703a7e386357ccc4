"""Who is looked for by operators: people by name, and what happened to one person."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade():
    op.create_index("ix_users_name", "users", ["name"], unique=False)
    op.create_index("ix_line_events_user_id", "line_events", ["user_id"], unique=False)


def downgrade():
    op.drop_index("ix_line_events_user_id", "line_events")
    op.drop_index("ix_users_name", "users")
