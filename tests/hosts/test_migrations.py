"""The migrations make the tables that the models describe, and keep the rows that were there."""

import itertools
from collections.abc import Iterator

import flask_migrate
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask import Flask
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from tests.conftest import DATABASES, close, settings
from webapp import create_app
from webapp.models import Identifier
from webapp.stores.sql import Base, db

_serial = itertools.count(1)

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
        url = request.getfixturevalue("mariadb").database(f"migrations{next(_serial)}")
    else:
        url = f"sqlite:///{tmp_path}/migrations.db"
    app = create_app(settings(url, valkey.url))
    with app.app_context():
        yield app
        close(app)


@pytest.fixture
def old_users(empty_app):
    flask_migrate.upgrade(revision="0003")
    with db.engine.begin() as connection:
        for user_id, email, session_epoch, blocked_at in OLD_USERS:
            if db.engine.name != "sqlite" and user_id == 6:
                continue  # its own collation took the two for one
            values = {"id": user_id, "email": email, "epoch": session_epoch, "blocked": blocked_at}
            connection.execute(text(OLD_USER), values)


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


OLD_USER = (
    "INSERT INTO users (id, email, name, password_hash, role, session_epoch, blocked_at, rehearsal, created_at) "
    "VALUES (:id, :email, 'x', '', 'user', :epoch, :blocked, 0, '2026-01-01 00:00:00')"
)
OLD_USERS = [
    (1, "kim@example.com", 0, None),
    (2, "jose\u0301@example.com", 3, None),
    (3, "ＬＥＥ@example.com", 0, "2026-01-01 00:00:00"),
    (4, "kim@xn--bj0bj06e.kr", 0, None),
    (5, "kim@한글.kr", 2, "2026-01-01 00:00:00"),
    (6, "jo\u200bsé@example.com", 0, None),
]


def test_each_old_address_gets_its_one_spelling_and_no_account_is_lost(old_users, capsys):
    flask_migrate.upgrade(revision="0008")
    with db.engine.connect() as connection:
        emails = dict(connection.execute(text("SELECT id, email FROM users")).all())
    more = {6: "duplicate-6@accounts.invalid"} if db.engine.name == "sqlite" else {}
    assert emails == {
        1: "kim@example.com",
        2: "josé@example.com",
        3: "lee@example.com",
        4: "kim@한글.kr",
        5: "duplicate-5@accounts.invalid",
        **more,
    }
    said = capsys.readouterr().out
    assert "accounts 4 and 5 have one address" in said
    assert "user rename duplicate-5@accounts.invalid NEW" in said
    assert "한글" not in said


def test_whoever_signed_out_or_is_blocked_does_not_come_back(old_users):
    flask_migrate.upgrade(revision="0008")
    with db.engine.connect() as connection:
        ended = connection.execute(
            text("SELECT user_id, session_epoch FROM ended_sessions ORDER BY user_id")
        ).all()
        epochs = dict(connection.execute(text("SELECT id, session_epoch FROM users WHERE id <= 5")).all())
    assert ended == [(2, 3), (3, 1), (5, 3)]
    assert epochs == {1: 0, 2: 3, 3: 1, 4: 0, 5: 3}
    flask_migrate.downgrade(revision="0003")


def roles() -> dict[int, str]:
    with db.engine.connect() as connection:
        return dict(connection.execute(text("SELECT id, role FROM users ORDER BY id")).all())


OPERATORS = (1, 3)
NEWCOMER = OLD_USER.replace("'user'", "'{role}'")


def test_whoever_was_an_operator_keeps_every_right_as_an_owner(old_users):
    with db.engine.begin() as connection:
        for user_id in OPERATORS:
            connection.execute(text("UPDATE users SET role = 'operator' WHERE id = :id"), {"id": user_id})
    flask_migrate.upgrade()
    kept = {user_id: "owner" if user_id in OPERATORS else "user" for user_id in roles()}
    assert roles() == kept
    others = {20: "owner", 21: "operator", 22: "till", 23: "viewer"}
    with db.engine.begin() as connection:
        for user_id, role in others.items():
            values = {"id": user_id, "email": f"{role}@example.com", "epoch": 0, "blocked": None}
            connection.execute(text(NEWCOMER.format(role=role)), values)
    with pytest.raises(DBAPIError), db.engine.begin() as connection:
        connection.execute(text("UPDATE users SET role = 'admin' WHERE id = 1"))
    flask_migrate.downgrade(revision="0019")
    before = {user_id: "operator" if role == "owner" else role for user_id, role in kept.items()}
    assert roles() == before | {20: "operator", 21: "operator", 22: "user", 23: "user"}
    with pytest.raises(DBAPIError), db.engine.begin() as connection:
        connection.execute(text("UPDATE users SET role = 'owner' WHERE id = 1"))
    flask_migrate.upgrade()
    if db.engine.name == "sqlite":
        with db.engine.connect() as connection:
            assert connection.scalar(text("PRAGMA integrity_check")) == "ok"
            assert connection.execute(text("PRAGMA foreign_key_check")).all() == []


def test_identifiers_are_told_apart_by_every_character(empty_app):
    flask_migrate.upgrade()
    if db.engine.name == "sqlite":
        return
    with db.engine.connect() as connection:
        columns = text(
            "SELECT CONCAT(table_name, '.', column_name) FROM information_schema.columns "
            "WHERE table_schema = DATABASE() AND collation_name = 'utf8mb4_bin'"
        )
        exact = set(connection.scalars(columns))
    named = {
        f"{table.name}.{column.name}"
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, Identifier)
    }
    assert {"users.email", "coupon_issues.code", "coupons.status"} <= named
    assert named <= exact


LATIN1 = ("coupons", "users", "coupon_issues", "line_events", "revocations")


@pytest.mark.parametrize("empty_app", ["mariadb"], indirect=True)
def test_an_old_database_of_another_charset_is_converted_and_keeps_its_texts(empty_app):
    flask_migrate.upgrade(revision="0003")
    with db.engine.begin() as connection:
        connection.execute(text("ALTER DATABASE CHARACTER SET latin1"))
        for table in LATIN1:
            connection.execute(text(f"ALTER TABLE {table} CONVERT TO CHARACTER SET latin1"))
        for statement in OLD_ROWS:
            connection.execute(text(statement.replace("'Kim'", "'José'")))
    title = text("UPDATE coupons SET title = '🎟 쿠폰'")
    with pytest.raises(DBAPIError), db.engine.begin() as connection:
        connection.execute(title)  # the control: it holds no such character
    flask_migrate.upgrade()
    with db.engine.begin() as connection:
        connection.execute(title)
        assert connection.scalar(text("SELECT title FROM coupons")) == "🎟 쿠폰"
        assert connection.scalar(text("SELECT name FROM users")) == "José"
        assert connection.scalar(text("SELECT COUNT(*) FROM users WHERE name IN ('Jose', 'josé')")) == 0
        connection.execute(text("CREATE TABLE later (a VARCHAR(9))"))
        connection.execute(text("INSERT INTO later VALUES ('🎟')"))
        connection.execute(text("DROP TABLE later"))
    flask_migrate.downgrade(revision="0003")
    with db.engine.connect() as connection:
        assert connection.scalar(text("SELECT title FROM coupons")) == "🎟 쿠폰"


@pytest.mark.parametrize("empty_app", ["mariadb"], indirect=True)
def test_every_text_that_the_migrations_make_names_its_charset(empty_app):
    """Whatever the database's own is."""
    with db.engine.begin() as connection:
        connection.execute(text("ALTER DATABASE CHARACTER SET latin1"))
    flask_migrate.upgrade(revision="0003")
    with db.engine.connect() as connection:
        found = connection.execute(
            text(
                "SELECT DISTINCT collation_name FROM information_schema.columns WHERE table_schema = DATABASE() "
                "AND collation_name IS NOT NULL AND table_name <> 'alembic_version'"
            )
        )
        assert list(found.scalars()) == ["utf8mb4_bin"]
