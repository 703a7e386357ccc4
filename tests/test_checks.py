"""What a process refuses to start with, and what it only warns of."""

from collections.abc import Iterator

import flask_migrate
import pytest
from sqlalchemy import create_engine, text

from deploy.processes import free_port
from deploy.stores import Valkey
from tests.conftest import SECRET_KEY
from tests.conftest import settings as stores
from webapp import checks, create_app
from webapp.checks import refuse_unsafe_start
from webapp.extensions import db


@pytest.fixture
def safe(database_url, valkey, monkeypatch) -> None:
    """An environment in which everything may start."""
    values = {"SECRET_KEY": SECRET_KEY, "REDIS_URL": valkey.url, "DATABASE_URL": database_url}
    for name, value in values.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def without_file(directory) -> Iterator[Valkey]:
    (directory / "without-file").mkdir()
    with Valkey(directory / "without-file", port=free_port(), options=["--appendonly", "no"]) as store:
        yield store


def refusal(capsys) -> str:
    with pytest.raises(SystemExit) as ended:
        refuse_unsafe_start()
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("firstcome: refusing to start: ")
    return line


def test_a_safe_start_says_nothing(safe, capsys):
    refuse_unsafe_start()
    assert capsys.readouterr() == ("", "")


def test_a_line_without_a_file_has_to_be_allowed(safe, without_file, monkeypatch, capsys):
    monkeypatch.setenv("REDIS_URL", without_file.url)
    assert "keeps no append-only file" in refusal(capsys)
    monkeypatch.setenv("ALLOW_REDIS_WITHOUT_AOF", "true")
    refuse_unsafe_start()


def test_bells_need_no_file(safe, without_file, monkeypatch):
    monkeypatch.setenv("QUEUE_REDIS_URL", without_file.url)
    refuse_unsafe_start()


def test_tables_that_are_not_there(safe, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/empty.db")
    assert "db upgrade" in refusal(capsys)
    refuse_unsafe_start(migrated=False)


@pytest.mark.parametrize(
    ("table", "constraint"),
    [
        ("coupons", "CONSTRAINT ck_coupons_quota"),
        ("coupon_issues", "INDEX uq_coupon_issues_code"),
        ("coupon_issues", "FOREIGN KEY fk_coupon_issues_user_id"),
    ],
)
@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_a_constraint_that_was_dropped(safe, mariadb, valkey, monkeypatch, capsys, table, constraint):
    name = constraint.split()[-1]
    url = mariadb.database(f"without_{name}")
    app = create_app(stores(url, valkey.url))
    with app.app_context():
        flask_migrate.upgrade()
        db.engine.dispose()
    monkeypatch.setenv("DATABASE_URL", url)
    refuse_unsafe_start()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {table} DROP {constraint}"))
    engine.dispose()
    assert f"{table} has lost its constraints {name};" in refusal(capsys)


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_an_isolation_level_that_loses_updates(safe, monkeypatch, capsys):
    options = checks.engine_options
    monkeypatch.setattr(
        checks, "engine_options", lambda config: options(config) | {"isolation_level": "REPEATABLE READ"}
    )
    assert "isolation level REPEATABLE READ" in refusal(capsys)


def test_a_clock_that_is_off_is_warned_of(safe, monkeypatch, capsys):
    now = checks.time.time
    monkeypatch.setattr(checks.time, "time", lambda: now() - 3)
    refuse_unsafe_start()
    first, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith("firstcome: warning: the clock of the Redis of REDIS_URL is +3.0 s off")


def test_sql_that_does_not_answer_is_a_warning(safe, monkeypatch, capsys):
    monkeypatch.setenv("DATABASE_URL", "mysql+pymysql://nobody@127.0.0.1:1/none")
    refuse_unsafe_start()
    assert "DATABASE_URL does not answer" in capsys.readouterr().err
