"""The migrations make the tables that the models describe, and keep the rows that were there."""

from collections.abc import Iterator

import flask_migrate
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask
from sqlalchemy import inspect, text

from tests.conftest import DATABASES, close, settings
from webapp import create_app
from webapp.extensions import Base, db

OLD_ROWS = (
    "INSERT INTO users (id, email, name, password_hash, role, session_epoch, rehearsal, created_at) "
    "VALUES (1, 'kim@example.com', 'Kim', '', 'user', 0, 0, '2026-01-01 00:00:00')",
    "INSERT INTO coupons (id, title, type, issued_quantity, discount_amount, min_available_amount, issue_start_at, "
    "issue_end_at, status, rehearsal, epoch, revision, last_number, created_at) VALUES (1, 'Coupon', 'x', 1, 0, 0, "
    "'2026-01-01 00:00:00', '2026-01-02 00:00:00', 'live', 0, 1, 1, 1, '2026-01-01 00:00:00')",
    "INSERT INTO coupon_issues (coupon_id, user_id, ticket_number, epoch, code, issued_at) "
    "VALUES (1, 1, 1, 1, 'ABCDEFGHJKMN', '2026-01-01 00:00:00')",
)


@pytest.fixture(params=DATABASES)
def empty_app(request, tmp_path, valkey) -> Iterator[Flask]:
    if request.param == "mariadb":
        url = request.getfixturevalue("mariadb").database("migrations")
    else:
        url = f"sqlite:///{tmp_path}/migrations.db"
    app = create_app(settings(url, valkey.url))
    with app.app_context():
        yield app
        close(app)


def test_the_migrations_make_what_the_models_describe(empty_app):
    flask_migrate.upgrade()
    with db.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_an_old_database_keeps_its_rows_up_and_down(empty_app):
    flask_migrate.upgrade(revision="0001")
    with db.engine.begin() as connection:
        for statement in OLD_ROWS:
            connection.execute(text(statement))
    flask_migrate.upgrade()
    row = text("SELECT code, used_at, used_by FROM coupon_issues")
    with db.engine.connect() as connection:
        assert connection.execute(row).all() == [("ABCDEFGHJKMN", None, None)]
    flask_migrate.downgrade(revision="0001")
    known = inspect(db.engine)
    assert "revocations" not in known.get_table_names()
    assert "used_by" not in {column["name"] for column in known.get_columns("coupon_issues")}
    with db.engine.connect() as connection:
        assert connection.scalar(text("SELECT code FROM coupon_issues")) == "ABCDEFGHJKMN"
