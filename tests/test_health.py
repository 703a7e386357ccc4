"""Alive, and able to work."""

import pytest

from jobs.sweeper import sweep
from jobs.worker import make_worker
from tests.conftest import Browser, close, settings
from tests.test_errors import NOBODY
from webapp import create_app
from webapp.extensions import SWEEPER_ALIVE_KEY, bell_queue, line_redis
from webapp.swallowed import swallow

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
NO_SQL = "sqlite:////no/such/directory/x.db"


@pytest.fixture
def away(database_url, valkey, app):
    """Make a client of the same installation with other settings."""
    apps = []

    def make(**other: object) -> Browser:
        changed = create_app(settings(database_url, valkey.url) | other)
        changed.test_client_class = Browser
        apps.append(changed)
        return changed.test_client()

    yield make
    for changed in apps:
        with changed.app_context():
            close(changed)


def test_ready_with_every_store(client):
    answer = client.get("/readyz")
    assert answer.status_code == 200
    body = answer.get_json()
    assert body["status"] == "ready"
    assert body["parts"] == {"redis": "ok", "queue": "ok", "sql": "ok", "workers": 0, "sweeper": False}


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
def test_not_ready_without_a_store_and_which_one(away, settings, part, said):
    answer = away(**settings).get("/readyz")
    assert (answer.status_code, answer.mimetype) == (503, "application/json")
    body = answer.get_json()
    assert body["status"] == "unavailable"
    others = {"redis": "ok", "queue": "ok", "sql": "ok", "workers": 0, "sweeper": False}
    assert body["parts"] == others | {part: said}


@on_sqlite
def test_alive_touches_nothing_else(away):
    client = away(REDIS_URL=NOBODY, QUEUE_REDIS_URL=NOBODY, SQLALCHEMY_DATABASE_URI=NO_SQL)
    answer = client.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in answer.headers


@on_sqlite
def test_health_answers_are_never_kept(client):
    assert client.get("/readyz").headers["Cache-Control"] == "no-store"
    assert bell_queue().count == 0
