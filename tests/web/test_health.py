"""Alive, and able to work."""

import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pymysql
import pytest
import redis
from sqlalchemy import text

from deploy.processes import free_port, wait_until
from deploy.stores import Valkey
from jobs.sweeper import sweep
from jobs.worker import make_worker
from tests.builders import make_coupon, make_user, sign_in
from tests.conftest import on_sqlite
from tests.web.test_errors import NOBODY
from webapp.sale.condition import PROBE_KEY, PROBE_MS, REDIS_SAYS, clock_in_words, in_words
from webapp.stores.queue import SWEEPER_ALIVE_KEY, bell_queue
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.stores.swallowed import swallow

NO_SQL = "sqlite:////no/such/directory/x.db"


@pytest.fixture(scope="module")
def limited(directory) -> Iterator[Valkey]:
    """A Redis that a test may put into any state; it keeps no file, so that its saving can be made to fail."""
    (directory / "limited").mkdir()
    options = ["--appendonly", "no", "--save", "3600 1", "--enable-protected-configs", "yes"]
    with Valkey(directory / "limited", port=free_port(), options=options) as store:
        yield store


def full(server: redis.Redis) -> None:
    server.config_set("maxmemory", "1")


def replica(server: redis.Redis) -> None:
    server.execute_command("REPLICAOF", "127.0.0.1", "1")


def cannot_save(server: redis.Redis) -> None:
    server.config_set("dir", (gone := tempfile.mkdtemp()))
    Path(gone).rmdir()
    server.bgsave()
    assert wait_until(lambda: server.info("persistence")["rdb_last_bgsave_status"] == "err", wait_s=20)


def alone(server: redis.Redis) -> None:
    server.config_set("min-replicas-to-write", "1")


def held_up(server: redis.Redis, other: redis.Redis) -> None:
    server.config_set("busy-reply-threshold", "1")
    other.connection_pool.make_connection().send_command("EVAL", "while true do end", 0)
    assert wait_until(lambda: "busy" in str(error_of(server.ping)).lower(), wait_s=20)


def error_of(ask) -> Exception | None:
    try:
        ask()
    except redis.RedisError as error:
        return error
    return None


def in_order(server: redis.Redis, home: Path) -> None:
    error_of(server.script_kill)
    assert wait_until(lambda: "busy" not in str(error_of(server.ping)).lower(), wait_s=20)
    server.execute_command("REPLICAOF", "NO", "ONE")
    for name, value in (("maxmemory", 0), ("min-replicas-to-write", 0), ("dir", str(home))):
        server.config_set(name, value)
    server.save()
    server.flushall()


def as_root(mariadb, statement: str) -> None:
    with pymysql.connect(unix_socket=f"{mariadb.directory}/mariadb.sock", user="root") as connection:
        connection.cursor().execute(statement)


@pytest.fixture
def plain_user(mariadb) -> str:
    """The address of the tables for somebody who may do what the processes do and no more."""
    as_root(mariadb, "CREATE OR REPLACE USER plain@127.0.0.1 IDENTIFIED BY 'plain'")
    as_root(mariadb, "GRANT SELECT, INSERT, UPDATE, DELETE ON firstcome.* TO plain@127.0.0.1")
    return f"mysql+pymysql://plain:plain@127.0.0.1:{mariadb.port}/firstcome"


HEALTHY = {"redis": "ok", "queue": "ok", "sql": "ok", "clock": "ok", "workers": 0, "sweeper": False}


def test_ready_with_every_store(client):
    answer = client.get("/readyz")
    assert answer.status_code == 200
    body = answer.get_json()
    assert body["status"] == "ready"
    assert body["parts"] == HEALTHY


@on_sqlite
def test_swallowed_errors_are_counted(client):
    before = client.get("/readyz").get_json()["swallowed"].get("a test", 0)
    for _ in range(2):
        swallow("a test", ValueError("x"), "it is one")
    assert client.get("/readyz").get_json()["swallowed"]["a test"] == before + 2


@on_sqlite
def test_workers_and_the_sweeper_are_told(client):
    worker = make_worker()
    worker.register_birth()
    sweep()
    try:
        parts = client.get("/readyz").get_json()["parts"]
    finally:
        worker.register_death()
    assert (parts["workers"], parts["sweeper"]) == (1, True)
    line_redis().delete(SWEEPER_ALIVE_KEY)
    parts = client.get("/readyz").get_json()["parts"]
    assert (parts["workers"], parts["sweeper"]) == (0, False)


@on_sqlite
@pytest.mark.parametrize(
    ("settings", "part", "said"),
    [
        ({"REDIS_URL": NOBODY}, "redis", "ConnectionError"),
        ({"QUEUE_REDIS_URL": NOBODY}, "queue", "ConnectionError"),
        ({"SQLALCHEMY_DATABASE_URI": NO_SQL}, "sql", "OperationalError"),
        ({"SQLALCHEMY_DATABASE_URI": "mysql+pymysql://x@127.0.0.1:1/x"}, "sql", "OperationalError"),
    ],
    ids=["redis", "queue", "sqlite", "mysql"],
)
def test_not_ready_without_a_store_and_which_one(changed, settings, part, said):
    answer = changed(**settings).get("/readyz")
    assert (answer.status_code, answer.mimetype) == (503, "application/json")
    body = answer.get_json()
    assert body["status"] == "unavailable"
    clock = "unknown" if part == "redis" else "ok"
    assert body["parts"] == HEALTHY | {"clock": clock, part: said}


@on_sqlite
def test_alive_touches_nothing_else(changed):
    client = changed(REDIS_URL=NOBODY, QUEUE_REDIS_URL=NOBODY, SQLALCHEMY_DATABASE_URI=NO_SQL)
    answer = client.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in answer.headers


@on_sqlite
def test_health_answers_are_never_kept(client):
    assert client.get("/readyz").headers["Cache-Control"] == "no-store"
    assert bell_queue().count == 0


# A store that answers, and does not work


STATES = {full: "full", replica: "read only", cannot_save: "cannot save", alone: "too few replicas"}


@on_sqlite
@pytest.mark.parametrize("store", ["REDIS_URL", "QUEUE_REDIS_URL"])
@pytest.mark.parametrize(("break_it", "said"), STATES.items(), ids=[state.__name__ for state in STATES])
def test_a_redis_that_takes_no_writes_is_not_ready(changed, limited, store, break_it, said):
    client, part = changed(**{store: limited.url}), {"REDIS_URL": "redis", "QUEUE_REDIS_URL": "queue"}[store]
    coupon, token = make_coupon(), sign_in(client, make_user())
    with closing(redis.Redis.from_url(limited.url)) as server:
        try:
            assert client.get("/readyz").status_code == 200
            break_it(server)
            assert server.get("x") is None  # the control: it answers all the time
            answer = client.get("/readyz")
            assert (answer.status_code, answer.get_json()["status"]) == (503, "unavailable")
            assert answer.get_json()["parts"][part] == said
            claim = client.post(f"/coupons/{coupon}/claim", headers={"X-CSRFToken": token})
            assert claim.status_code == (503 if store == "REDIS_URL" else 303)
        finally:
            in_order(server, limited.directory)
        assert client.get("/readyz").status_code == 200


@on_sqlite
def test_a_redis_that_is_held_up_by_a_script_is_not_ready(changed, limited):
    client = changed(REDIS_URL=limited.url)
    with (
        closing(redis.Redis.from_url(limited.url)) as server,
        closing(redis.Redis.from_url(limited.url)) as other,
    ):
        try:
            held_up(server, other)
            assert client.get("/readyz").get_json()["parts"]["redis"] == "held up by a script"
        finally:
            in_order(server, limited.directory)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (redis.BusyLoadingError("Redis is loading the dataset in memory"), "loading its file"),
        (
            redis.ResponseError("ERR Error running script: @user_script: 1: -READONLY You can't write"),
            "read only",
        ),
        (redis.AuthenticationError("invalid username-password pair"), "no permission"),
        (redis.ConnectionError("x"), "ConnectionError"),
        (redis.TimeoutError("x"), "TimeoutError"),
    ],
)
def test_what_redis_says_is_put_in_words(error, said):
    assert in_words(error, REDIS_SAYS) == said


@on_sqlite
@pytest.mark.parametrize(
    ("seen_ms", "said"),
    [
        (None, "ok"),
        (-5000, "ok"),
        (900, "ok"),
        (1900, "put back by 1."),
        (590_500, "put back by 590."),
        ("garbage", "ok"),
    ],
)
def test_a_clock_of_redis_that_was_put_back_is_named_and_nobody_is_sent_away(client, seen_ms, said):
    if seen_ms is not None:
        seconds, micros = line_redis().time()
        now_ms = seconds * 1000 + micros // 1000
        line_redis().set(PROBE_KEY, now_ms + seen_ms if isinstance(seen_ms, int) else seen_ms)
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert said in answer.json["parts"]["clock"]


@pytest.mark.parametrize(
    ("apart_ms", "back_ms", "said"),
    [
        (0, 0, "ok"),
        (-999, 0, "ok"),
        (600_000, 0, "Redis's clock is 600.0 s ahead of that of this host"),
        (-1100, 0, "Redis's clock is 1.1 s behind that of this host"),
        (600_000, 2000, "Redis's clock was put back by 2.0 s"),
    ],
)
def test_a_clock_that_is_apart_from_that_of_the_host_is_named(apart_ms, back_ms, said):
    assert clock_in_words(apart_ms, back_ms) == said


@on_sqlite
def test_the_probe_is_gone_by_itself(client):
    client.get("/readyz")
    assert 0 < line_redis().pttl(PROBE_KEY) <= PROBE_MS
    assert bell_queue().count == 0


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_an_sql_server_that_is_read_only_is_told_and_tickets_are_given(changed, mariadb, plain_user):
    client = changed(SQLALCHEMY_DATABASE_URI=plain_user)
    coupon, token = make_coupon(), sign_in(client, make_user())
    assert client.get("/readyz").get_json()["parts"]["sql"] == "ok"
    mariadb.execute("SET GLOBAL read_only = 1")
    try:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.get_json()["status"]) == (200, "ready")
        assert answer.get_json()["parts"]["sql"] == "read only"
        claim = client.post(f"/coupons/{coupon}/claim", headers={"X-CSRFToken": token})
        assert claim.status_code == 303
    finally:
        mariadb.execute("SET GLOBAL read_only = 0")
    assert client.get("/readyz").get_json()["parts"]["sql"] == "ok"


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("REVOKE UPDATE ON firstcome.* FROM plain@127.0.0.1", "no permission"),
        ("ALTER USER plain@127.0.0.1 IDENTIFIED BY 'another'", "no permission"),
    ],
)
def test_an_sql_server_that_does_not_let_us_is_not_ready(changed, mariadb, plain_user, change, said):
    client = changed(SQLALCHEMY_DATABASE_URI=plain_user)
    as_root(mariadb, change)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.get_json()["parts"]["sql"]) == (503, said)


@pytest.mark.parametrize("database_url", ["mariadb"], indirect=True)
def test_looking_changes_and_locks_nothing(client, app):
    coupon = make_coupon()
    with db.engine.begin() as holder:
        holder.execute(text("UPDATE coupons SET revision = revision + 1 WHERE id = :id"), {"id": coupon})
        assert client.get("/readyz").get_json()["parts"]["sql"] == "ok"
