"""Real stores, started once a session, and the app on them. Nothing here is a fake."""

import contextvars
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import flask_migrate
import pytest
from flask import Flask
from flask.testing import FlaskClient
from jinja2 import BytecodeCache, FileSystemBytecodeCache
from werkzeug.routing import Rule

from deploy.processes import free_port
from deploy.stores import MariaDB, Valkey
from tests.installation import Installation
from webapp import create_app
from webapp.accounts import passwords
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.web.pages import tickets

SECRET_KEY = "594fb7e7b2c9a088b79ba90ae019dd53566808cb3544e842ec18a17ecbe31189"
DATABASES = ["sqlite", "mariadb"]

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what no database has a say in: once is enough."""

for name in (
    "VAR_DIR",
    "DATABASE_URL",
    "REDIS_URL",
    "QUEUE_REDIS_URL",
    "SECRET_KEY",
    "TRUSTED_PROXIES",
    "PORT",
):
    os.environ.pop(name, None)


def missing(what: str) -> NoReturn:
    """Skip on somebody's own machine; in CI everything has to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is not installed")
    pytest.skip(f"{what} is not installed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what drives a browser last: Playwright leaves an event loop running, beside which no other can run."""
    items.sort(key=lambda item: "playwright" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    """A directory with a short path, as the sockets of the stores need it."""
    path = Path(tempfile.mkdtemp(prefix="fc-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def valkey(directory: Path) -> Iterator[Valkey]:
    (directory / "valkey").mkdir()
    with Valkey(directory / "valkey", port=free_port()) as store:
        yield store


@pytest.fixture(scope="session")
def mariadb(directory: Path) -> Iterator[MariaDB]:
    if not MariaDB.installed():
        missing("MariaDB (Debian: mariadb-server)")
    (directory / "mariadb").mkdir()
    with MariaDB(directory / "mariadb") as store:
        yield store


@pytest.fixture(scope="session", params=DATABASES)
def database_url(request: pytest.FixtureRequest, directory: Path, valkey: Valkey) -> str:
    """An empty, migrated database; every test that uses it runs on each of DATABASES.

    `@on_sqlite` asks for that one alone.
    """
    if request.param == "mariadb":
        url = request.getfixturevalue("mariadb").database("firstcome")
    else:
        url = f"sqlite:///{directory}/firstcome.db"
    app = create_app(settings(url, valkey.url))
    with app.app_context():
        flask_migrate.upgrade()
        close(app)
    return url


@pytest.fixture(scope="session", autouse=True)
def compiled_rules() -> Iterator[None]:
    """Have the apps of all tests share what is compiled of their addresses: it took three quarters of making one."""
    compiled: dict[tuple[object, ...], Any] = {}
    compile_anew = Rule._compile_builder

    def compile_once(rule: Rule, append_unknown: bool = True) -> Any:
        known = (rule.rule, *rule._trace, *(rule.defaults or {}).items(), append_unknown)
        if known not in compiled:
            compiled[known] = compile_anew(rule, append_unknown)
        return compiled[known]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rule, "_compile_builder", compile_once)
        yield


@pytest.fixture(scope="session")
def compiled_templates(directory: Path) -> BytecodeCache:
    """What the apps of all tests share, or each would compile every template again."""
    (directory / "templates").mkdir()
    return FileSystemBytecodeCache(str(directory / "templates"))


@pytest.fixture
def app(database_url: str, valkey: Valkey, compiled_templates: BytecodeCache) -> Iterator[Flask]:
    """The app in a pushed context, on emptied stores."""
    app = create_app(settings(database_url, valkey.url))
    app.jinja_env.bytecode_cache = compiled_templates
    app.test_client_class = Browser
    with app.app_context():
        empty()
        yield app
        close(app)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def changed(database_url: str, valkey: Valkey, app: Flask) -> Iterator[Callable[..., FlaskClient]]:
    """Make clients of the same installation with other settings."""
    apps: list[Flask] = []

    def make(**others: object) -> FlaskClient:
        apps.append(create_app(settings(database_url, valkey.url) | others))
        apps[-1].test_client_class = Browser
        return apps[-1].test_client()

    yield make
    for each in apps:
        with each.app_context():
            close(each)


@pytest.fixture
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords in a millisecond; what the real METHOD costs is tested in test_accounts.py."""
    monkeypatch.setattr(passwords, "METHOD", "scrypt:1024:8:1")


class Browser(FlaskClient):
    """A client whose requests do not see the test's own app context: what one leaves in `g` stays its own."""

    def open(self, *args: Any, **kwargs: Any) -> Any:
        return contextvars.Context().run(partial(super().open, *args, **kwargs))


def settings(database_url: str, redis_url: str) -> dict[str, Any]:
    return {
        "TESTING": True,
        "SECRET_KEY": SECRET_KEY,
        "SQLALCHEMY_DATABASE_URI": database_url,
        "REDIS_URL": redis_url,
        "QUEUE_REDIS_URL": redis_url,
        # Here the machine may be slow.
        "GATE_WAIT_S": 30,
    }


def empty() -> None:
    tickets._kept_statuses.clear()
    line_redis().flushall()
    with db.engine.begin() as connection:
        for table in reversed(db.metadata.sorted_tables):
            connection.execute(table.delete())


def close(app: Flask) -> None:
    app.extensions["ended_sessions"].stop()
    db.session.remove()
    db.engine.dispose()
    for name in ("line", "bells"):
        app.extensions[name].connection_pool.disconnect()


@pytest.fixture(scope="session", params=DATABASES)
def installation(request: pytest.FixtureRequest) -> Iterator[Installation]:
    """A real running system, as `make run` starts it, on each of DATABASES. It lives as long as the test session."""
    database = None
    if request.param == "mariadb":
        database = request.getfixturevalue("mariadb").database("installation")
    with Installation(database_url=database, count_requests=True) as running:
        yield running


@pytest.fixture(scope="session")
def chromium_path() -> str:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return path or missing("Chromium (Debian: chromium)")


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any], chromium_path: str) -> dict[str, Any]:
    """Have pytest-playwright drive the system's Chromium; as root it has no sandbox to run in."""
    quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
    quiet += ["--disable-component-update", "--disable-sync"]
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    return {**browser_type_launch_args, "executable_path": chromium_path, "args": quiet + as_root}
