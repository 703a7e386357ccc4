"""What a process refuses to start with, and what it only warns of."""

import itertools
import secrets
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import flask_migrate
import pytest
from sqlalchemy import Engine, create_engine, text

from deploy.clusters import ask
from deploy.processes import free_port
from deploy.stores import Valkey
from tests.conftest import SECRET_KEY, close, on_sqlite
from tests.conftest import settings as stores
from tests.faults.proxy import Proxy
from webapp import create_app, startup
from webapp.config import SECRET_KEY_BITS
from webapp.startup import read_settings, refuse_unsafe_start
from webapp.stores.sql import db
from webapp.values import strength


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


@pytest.fixture
def own_tables(mariadb, valkey, monkeypatch) -> Iterator[Any]:
    """Return a function that makes a migrated MariaDB database, changes it, and lets the start look at it."""
    made = []

    def make(*changes: str, before: str = "", query: str = "") -> Engine:
        name = f"tables_{next(SERIAL)}"
        url = mariadb.database(name).partition("?")[0]
        if before:
            mariadb.execute(before.format(name=name))
        app = create_app(stores(url, valkey.url))
        with app.app_context():
            flask_migrate.upgrade()
            close(app)
        made.append(engine := create_engine(url))
        with engine.begin() as connection:
            for change in changes:
                connection.execute(text(change.format(name=name)))
        for setting, value in {
            "SECRET_KEY": SECRET_KEY,
            "REDIS_URL": valkey.url,
            "DATABASE_URL": url + query,
        }.items():
            monkeypatch.setenv(setting, value)
        return engine

    yield make
    for engine in made:
        engine.dispose()


def test_a_safe_start_says_nothing(safe, capsys):
    refuse_unsafe_start()
    assert capsys.readouterr() == ("", "")


def test_a_line_without_a_file_has_to_be_allowed(safe, without_file, monkeypatch, capsys):
    monkeypatch.setenv("REDIS_URL", without_file.url)
    assert "keeps no append-only file" in refusal(capsys)
    monkeypatch.setenv("ALLOW_REDIS_WITHOUT_AOF", "true")
    refuse_unsafe_start()


class Sharing(socketserver.ThreadingTCPServer):
    """A proxy that puts the commands of all its clients on a few connections of its own, in turn."""

    daemon_threads, allow_reuse_address = True, True

    def __init__(self, port: int, connections: int) -> None:
        super().__init__(("127.0.0.1", 0), Shared)
        self.backends = itertools.cycle(
            [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
        )
        self.turn = threading.Lock()


class Shared(socketserver.BaseRequestHandler):
    server: Sharing

    def handle(self) -> None:
        while asked := self.request.recv(65536):
            with self.server.turn:
                backend = next(self.server.backends)
                backend.sendall(asked)
                answer = backend.recv(65536)
            self.request.sendall(answer)


@pytest.fixture
def through(monkeypatch, valkey) -> Iterator[Callable[[int], None]]:
    """Have the line's Redis be behind a proxy with so many connections."""
    with ExitStack() as stack:

        def put_between(connections: int) -> None:
            proxy = stack.enter_context(Sharing(valkey.port, connections))
            threading.Thread(target=proxy.serve_forever, daemon=True).start()
            stack.callback(proxy.shutdown)
            stack.callback(lambda: [next(proxy.backends).close() for _ in range(connections)])
            monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{proxy.server_address[1]}/0")

        yield put_between


@pytest.mark.parametrize("connections", [1, 2, 3])
def test_a_proxy_that_shares_connections_is_refused(safe, through, capsys, connections):
    through(connections)
    assert "shares its connections among its clients" in refusal(capsys)


def test_control_a_proxy_with_a_connection_for_each_client_is_not(safe, valkey, monkeypatch, capsys):
    proxy = Proxy(valkey.port)
    proxy.start()
    try:
        monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{proxy.port}/0")
        refuse_unsafe_start()
        assert capsys.readouterr().err == ""
    finally:
        proxy.stop()


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
    options = startup.engine_options
    monkeypatch.setattr(
        startup, "engine_options", lambda config: options(config) | {"isolation_level": "REPEATABLE READ"}
    )
    assert "isolation level REPEATABLE READ" in refusal(capsys)


def test_a_clock_that_is_off_is_warned_of(safe, monkeypatch, capsys):
    now = startup.time.time
    monkeypatch.setattr(startup.time, "time", lambda: now() - 3)
    refuse_unsafe_start()
    first, *_ = capsys.readouterr().err.splitlines()
    assert first.startswith("firstcome: warning: the clock of the Redis of REDIS_URL is +3.0 s off")


def test_sql_that_does_not_answer_is_a_warning(safe, monkeypatch, capsys):
    monkeypatch.setenv("DATABASE_URL", "mysql+pymysql://nobody@127.0.0.1:1/none")
    refuse_unsafe_start()
    assert "DATABASE_URL does not answer" in capsys.readouterr().err


# Settings

BAD = {
    "DATABASE_URL": [
        *(
            "no url",
            "://",
            "mysql",
            "mysql+pymysql",
            "http://localhost/x",
            "oracle://a@b/c",
            "nonsense://a@b/c",
        ),
        *("postgresql://localhost/x", "mysql://a@b/c", "mysql+mysqldb://a@b/c", "mysql+aiomysql://a@b/c"),
        *(
            "mysql+pymysql://a@b:port/c",
            "mysql+pymysql://a@b:/c:d@e",
            "mysql+pymysql://a@b",
            "mysql+pymysql://a@b/",
        ),
        *(
            "sqlite://",
            "sqlite:///:memory:",
            "mysql+pymysql://a@b/c?charset=utf8",
            "mysql+pymysql://a@b/c?charset=latin1",
        ),
        *(
            "mysql+pymysql://a@b/c?charset=nonsense",
            "mysql+pymysql://a@b/c?nonsense=1",
            "mysql+pymysql://a@b/c?port=x",
        ),
    ],
    "REDIS_URL": [
        *(
            "no url",
            "localhost:6379",
            "http://localhost",
            "unix://",
            "redis://localhost:port",
            "redis://localhost:99999",
        ),
        *(
            "redis://localhost/name",
            "redis://localhost/0/1",
            "redis://localhost?db=x",
            "redis://localhost?nonsense=1",
        ),
        *(
            "redis://localhost?socket_timeout=soon",
            "redis://[::1",
            "memcached://localhost",
            "redis:localhost",
        ),
        *(
            "redis+sentinel://localhost",
            "redis+sentinel://localhost/name?nonsense=1",
            "rediss+sentinel://localhost/name?ssl_nonsense=1",
            "redis+sentinel://localhost:1/name",
            "redis+cluster://localhost/1",
            "redis+cluster://localhost?nonsense=1",
            "redis+cluster://localhost:1,localhost:2",
            "redis+nodes://localhost",
        ),
    ],
    "QUEUE_REDIS_URL": [
        *("no url", "https://localhost", "unix://", "redis://localhost/name"),
        *("redis+sentinel://localhost", "redis+cluster://localhost"),
    ],
    "PORT": ["http", "0", "-1", "65536", "1.5", "8000 8001", "0x50", "٣x"],
    "WEB_CONCURRENCY": ["0", "abc", "-1", "1.5", "1e3", "1001", "two", "inf"],
    "TRUSTED_PROXIES": ["many", "-1", "6", "1.5", "true"],
    "HASHES_AT_ONCE": ["0", "65", "x", "1.5"],
    "SQL_ANSWER_S": ["0", "-1", "nan", "inf", "301", "soon"],
    "POLLS_PER_SECOND": ["0", "-1", "x", "1.5"],
    "ALLOW_REDIS_WITHOUT_AOF": ["perhaps", "2"],
    "TWO_PERSON_RULE": ["perhaps", "2", "-1", "two", "on off", "None"],
    "FAST_PATH": ["perhaps", "2", "-1", "of", "on off", "None"],
    "ALLOWED_HOSTS": ["a..b", ".", "http://a", "a/b", "*", "*.a", "a,,b_-", "[::1", "a:99999"],
}


@on_sqlite
@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
def test_a_setting_that_cannot_be_is_refused_in_one_line_that_names_it(
    safe, monkeypatch, capsys, name, value
):
    monkeypatch.setenv(name, value)
    assert name in refusal(capsys)


GOOD = {
    "DATABASE_URL": [
        "mysql+pymysql://a:b%40c@127.0.0.1:1/c",
        "mariadb+pymysql://a@127.0.0.1:1/c?charset=utf8mb4",
    ],
    "REDIS_URL": ["{valkey}", "{valkey}?db=0"],
    "PORT": ["", "80", " 8000 "],
    "WEB_CONCURRENCY": ["", "1", "1000"],
    "TRUSTED_PROXIES": ["", " ", "0", "5"],
    "SQL_ANSWER_S": ["", "0.1", "10"],
    "ALLOW_REDIS_WITHOUT_AOF": ["", "no", "TRUE"],
    "TWO_PERSON_RULE": ["", "on", "off", "TRUE", "0"],
    "FAST_PATH": ["", "on", "off", "TRUE", "0"],
    "ALLOWED_HOSTS": ["", "a.example", "a.example, .b.example", "쿠폰.example", "[::1] 127.0.0.1"],
    "VAR_DIR": [""],
}


@on_sqlite
@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in GOOD.items() for value in values]
)
def test_control_a_setting_that_can_be_is_not_refused(safe, valkey, monkeypatch, name, value):
    monkeypatch.setenv(name, value.format(valkey=valkey.url))
    refuse_unsafe_start()
    read_settings()


# A Cluster and sentinels

QUEUE_CANNOT = (
    "names a Redis Cluster, on which RQ's queue cannot be; set QUEUE_REDIS_URL to one Redis or to a Sentinel"
)


@on_sqlite
def test_lines_on_a_cluster_and_a_queue_elsewhere(safe, cluster, valkey, monkeypatch, capsys):
    monkeypatch.setenv("REDIS_URL", cluster.url)
    monkeypatch.setenv("QUEUE_REDIS_URL", valkey.url)
    refuse_unsafe_start()
    assert capsys.readouterr() == ("", "")


@on_sqlite
def test_lines_and_queue_behind_sentinels(safe, watched, monkeypatch, capsys):
    monkeypatch.setenv("REDIS_URL", watched.url)
    refuse_unsafe_start()
    assert capsys.readouterr() == ("", "")


@on_sqlite
def test_a_queue_on_a_cluster_is_refused_also_when_nobody_named_it(safe, cluster, monkeypatch, capsys):
    monkeypatch.setenv("REDIS_URL", cluster.url)
    assert f"QUEUE_REDIS_URL is not set, and REDIS_URL {QUEUE_CANNOT}" in refusal(capsys)
    monkeypatch.setenv("QUEUE_REDIS_URL", cluster.url)
    assert f"start: QUEUE_REDIS_URL {QUEUE_CANNOT}" in refusal(capsys)


@on_sqlite
def test_a_server_that_is_of_another_kind_than_its_address_says(
    safe, cluster, watched, valkey, monkeypatch, capsys
):
    node, sentinel = cluster.masters[0].url, watched.sentinels[0].port
    for name, url, words in (
        (
            "REDIS_URL",
            node,
            "REDIS_URL names a node of a Redis Cluster as if it were alone; begin it with redis+c",
        ),
        (
            "QUEUE_REDIS_URL",
            node,
            "QUEUE_REDIS_URL names a node of a Redis Cluster as if it were alone; RQ's queue",
        ),
        ("REDIS_URL", f"redis://127.0.0.1:{sentinel}", "REDIS_URL names a Sentinel as if it held data"),
        ("REDIS_URL", watched.url.replace("mymaster", "other"), "no sentinel names the master other"),
        ("REDIS_URL", f"redis+cluster://127.0.0.1:{valkey.port}", "cluster support disabled"),
    ):
        monkeypatch.setenv("REDIS_URL", valkey.url)
        monkeypatch.setenv("QUEUE_REDIS_URL", valkey.url)
        monkeypatch.setenv(name, url)
        assert words in refusal(capsys)


@on_sqlite
def test_every_node_of_a_cluster_is_checked(safe, cluster, valkey, monkeypatch, capsys):
    monkeypatch.setenv("REDIS_URL", cluster.url)
    monkeypatch.setenv("QUEUE_REDIS_URL", valkey.url)
    ask(cluster.masters[2], "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        assert "may evict keys" in refusal(capsys)
    finally:
        ask(cluster.masters[2], "CONFIG", "SET", "maxmemory-policy", "noeviction")


WEAK = [
    *(
        "a" * 64,
        "k" * 32,
        " " * 40,
        "ab" * 16,
        "secret" * 6,
        "s3cr3t" * 6,
        "changeme" * 4,
        "Change-Me!" * 4,
        "test" * 10,
    ),
    *(
        "0123456789abcdef" * 2,
        "0123456789abcdef" * 4,
        "1234567890" * 4,
        "fedcba9876543210" * 2,
        "deadbeef" * 8,
        "0" * 32 + "1" * 32,
    ),
    *(
        "abcdefghijklmnopqrstuvwxyz012345",
        "zyxwvutsrqponmlkjihgfedcba987654",
        "qwertyuiopasdfghjklzxcvbnm123456",
    ),
    *(
        "a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6",
        "password1password2password3password4",
        "p@ssw0rd" * 5,
        "x" * 31 + "y",
    ),
    *(
        "this-is-a-very-secret-key-please-change-it",
        "change-me-to-a-long-random-string!",
        "your-secret-key-your-secret-key-your",
    ),
    *(
        "django-insecure-change-this-key-now!",
        "firstcome-secret-key-for-production",
        "must-be-at-least-32-characters-long!!",
    ),
    *(
        "import secrets; print(secrets.token_hex(32))",
        "SECRET_KEY_SECRET_KEY_SECRET_KEY",
        "00000000-0000-0000-0000-000000000000",
    ),
    *(
        "4864d003e07e7ce2" * 2,
        "4864d003e07e7ce2" * 4,
        "P4BmeG8a" * 5,
        "가나다라마바사아자차카타파하" * 3,
        "the-quick-brown-fox-the-lazy-dog-32",
    ),
]


@on_sqlite
@pytest.mark.parametrize("key", WEAK)
def test_a_key_of_known_words_or_repetitions_is_refused(safe, monkeypatch, capsys, key):
    monkeypatch.setenv("SECRET_KEY", key)
    assert refusal(capsys).startswith("firstcome: refusing to start: SECRET_KEY ")


@pytest.mark.parametrize("make", [secrets.token_hex, secrets.token_urlsafe, lambda size: str(uuid4())])
def test_control_a_random_key_of_the_least_length_is_not(make):
    """By far: the least of ten thousand had 91 bits."""
    assert (
        min(strength.bits(make(16 if make is secrets.token_hex else 24)) for _ in range(200))
        > SECRET_KEY_BITS
    )


# The tables


SERIAL = itertools.count()
LATIN1 = "CONVERT TO CHARACTER SET latin1"
NOT_UTF8 = {
    "the database": ["ALTER DATABASE {name} CHARACTER SET latin1"],
    "a table": [f"ALTER TABLE coupons {LATIN1}"],
    "every table": [
        f"ALTER TABLE {table} {LATIN1}" for table in ("coupons", "users", "coupon_issues", "line_events")
    ],
    "three bytes": ["ALTER TABLE revocations CONVERT TO CHARACTER SET utf8mb3"],
    "a column": ["ALTER TABLE coupons MODIFY title VARCHAR(100) CHARACTER SET latin1 NOT NULL"],
    "a column of three bytes": ["ALTER TABLE users MODIFY name VARCHAR(100) CHARACTER SET utf8mb3 NOT NULL"],
    "a table's default": ["ALTER TABLE line_events CHARACTER SET euckr"],
    "all of it": ["ALTER DATABASE {name} CHARACTER SET ascii", f"ALTER TABLE users {LATIN1}"],
}


@pytest.mark.parametrize("changes", NOT_UTF8.values(), ids=NOT_UTF8)
def test_what_is_not_utf8mb4_is_refused_and_the_line_mends_it(own_tables, capsys, changes):
    engine = own_tables(*changes)
    line = refusal(capsys)
    assert "and not all utf8mb4" in line
    with engine.begin() as connection:
        for statement in line.partition("run in it: ")[2].split("; "):
            connection.execute(text(statement))
    refuse_unsafe_start()


@pytest.mark.parametrize("query", ["", "?charset=utf8mb4"])
def test_control_what_we_make_is_utf8mb4_whatever_the_database_was(own_tables, query):
    engine = own_tables(before="ALTER DATABASE {name} CHARACTER SET latin1", query=query)
    refuse_unsafe_start()
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT @@collation_database")) == "utf8mb4_bin"


def test_control_what_is_not_ours_may_be_as_it_is(own_tables):
    own_tables(
        "CREATE TABLE theirs (a VARCHAR(9)) CHARACTER SET latin1",
        "ALTER TABLE users ADD theirs VARCHAR(9) CHARACTER SET latin1",
    )
    refuse_unsafe_start()


LACKING = [
    "ALTER TABLE users DROP blocked_at",
    "ALTER TABLE coupon_issues DROP used_by",
    "ALTER TABLE coupons DROP rehearsal",
]
LACKING += ["DROP TABLE revocations", "ALTER TABLE line_events RENAME COLUMN reason TO why"]


@pytest.mark.parametrize("change", LACKING)
def test_tables_that_lack_something_are_refused(own_tables, capsys, change):
    own_tables(
        *(["ALTER TABLE users DROP INDEX ix_users_blocked_at"] if "blocked_at" in change else []), change
    )
    assert "are not up to date; run: flask --app wsgi db upgrade" in refusal(capsys)


@on_sqlite
@pytest.mark.parametrize("change", ["ALTER TABLE coupon_issues DROP used_by", "DROP TABLE revocations"])
def test_on_sqlite_too(safe, monkeypatch, tmp_path, valkey, capsys, change):
    monkeypatch.setenv("DATABASE_URL", url := f"sqlite:///{tmp_path}/x.db")
    app = create_app(stores(url, valkey.url))
    with app.app_context():
        flask_migrate.upgrade()
        close(app)
    refuse_unsafe_start()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(change))
    engine.dispose()
    assert "db upgrade" in refusal(capsys)


NEWER = [
    "ADD extra INT",
    "ADD extra INT NOT NULL DEFAULT 0",
    "ADD extra VARCHAR(9) NOT NULL DEFAULT ''",
    "ADD extra INT AS (1) STORED",
]


@pytest.mark.parametrize("change", NEWER)
def test_old_code_starts_on_newer_tables(own_tables, change):
    own_tables(f"ALTER TABLE users {change}", "CREATE TABLE newer (id INT PRIMARY KEY)")
    refuse_unsafe_start()


def test_but_not_where_it_could_add_no_row(own_tables, capsys):
    own_tables("ALTER TABLE users ADD extra INT NOT NULL")
    assert "users.extra is of a newer version" in refusal(capsys)
