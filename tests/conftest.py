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
from flask import Flask, current_app
from flask.testing import FlaskClient
from jinja2 import BytecodeCache, FileSystemBytecodeCache
from werkzeug.routing import Rule

from deploy.clusters import Cluster, Watched
from deploy.processes import free_port
from deploy.stores import MariaDB, Valkey
from tests.faults.proxy import Proxy
from tests.installation import Installation
from tests.tables import emptied_tables
from webapp import create_app
from webapp.accounts import passwords
from webapp.stores.sql import db
from webapp.web.pages import tickets

SECRET_KEY = "594fb7e7b2c9a088b79ba90ae019dd53566808cb3544e842ec18a17ecbe31189"
DATABASES = ["sqlite", "mariadb"]

LINES = ["one server", "cluster", "watched"]
"""What may hold the lines: the last one is a master that sentinels watch."""
on_each = pytest.mark.parametrize("lines_url", LINES, indirect=True)
"""For what is asked of the lines in Redis; without it one server is enough."""
on_each_and_mariadb = pytest.mark.parametrize(
    ("database_url", "lines_url"),
    [*(("sqlite", lines) for lines in LINES), ("mariadb", "one server")],
    indirect=True,
)

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
    cannot(f"{what} is not installed")


def cannot(reason: str) -> NoReturn:
    """Skip for a reason on somebody's own machine, and fail in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


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
def cluster(directory: Path) -> Iterator[Cluster]:
    """A Redis Cluster of three nodes."""
    (directory / "cluster").mkdir()
    with Cluster(directory / "cluster") as nodes:
        yield nodes


@pytest.fixture(scope="session")
def watched(directory: Path) -> Iterator[Watched]:
    """A Redis with a replica, whom three sentinels watch."""
    (directory / "watched").mkdir()
    with Watched(directory / "watched") as servers:
        yield servers


@pytest.fixture
def lines_url(request: pytest.FixtureRequest, valkey: Valkey) -> str:
    """What holds the lines: one server, unless the test asks for another of LINES."""
    kind = getattr(request, "param", "one server")
    return str((valkey if kind == "one server" else request.getfixturevalue(kind)).url)


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
def app(
    database_url: str, valkey: Valkey, lines_url: str, compiled_templates: BytecodeCache
) -> Iterator[Flask]:
    """The app in a pushed context, on emptied stores."""
    app = create_app(settings(database_url, lines_url, queue_url_for(lines_url, valkey)))
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
def redis_proxy(valkey: Valkey) -> Iterator[Proxy]:
    """What an app that is `changed` to it sees of Redis; a test may refuse it, and let it come back."""
    proxy = Proxy(valkey.port)
    proxy.start()
    yield proxy
    proxy.stop()


@pytest.fixture
def sql_proxy(mariadb: MariaDB) -> Iterator[Proxy]:
    proxy = Proxy(mariadb.port)
    proxy.start()
    yield proxy
    proxy.stop()


@pytest.fixture
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords in a millisecond; what the real METHOD costs is tested in test_accounts.py."""
    monkeypatch.setattr(passwords, "METHOD", "scrypt:1024:8:1")


class Browser(FlaskClient):
    """A client whose requests do not see the test's own app context: what one leaves in `g` stays its own."""

    def open(self, *args: Any, **kwargs: Any) -> Any:
        return contextvars.Context().run(partial(super().open, *args, **kwargs))


def queue_url_for(lines_url: str, valkey: Valkey) -> str:
    """RQ's queue stands where the lines do, but for a Cluster."""
    return valkey.url if "cluster" in lines_url else lines_url


def settings(database_url: str, redis_url: str, queue_url: str = "") -> dict[str, Any]:
    return {
        "TESTING": True,
        "SECRET_KEY": SECRET_KEY,
        "SQLALCHEMY_DATABASE_URI": database_url,
        "REDIS_URL": redis_url,
        "QUEUE_REDIS_URL": queue_url or redis_url,
        # Here the machine may be slow.
        "GATE_WAIT_S": 30,
    }


def empty() -> None:
    tickets._kept_statuses.clear()
    forget_redis()
    with db.engine.begin() as connection:
        for table in emptied_tables():
            connection.execute(table.delete())


def forget_redis() -> None:
    """Empty every server of the lines and of the queue."""
    for name in ("line", "bells"):
        for server in current_app.extensions[name].each():
            server.flushall()


def close(app: Flask) -> None:
    app.extensions["turnout"].stop()
    app.extensions["ended_sessions"].stop()
    db.session.remove()
    db.engine.dispose()
    for name in ("line", "bells"):
        disconnect(app.extensions[name])


def disconnect(connections: Any) -> None:
    for each in connections.nodes.values() if hasattr(connections, "nodes") else [connections]:
        each.connection_pool.disconnect()


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
