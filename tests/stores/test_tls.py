"""Connections over TLS share what takes long to read, and are open before the first click."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from deploy.clusters import tls_options
from deploy.processes import free_port
from deploy.stores import Valkey
from deploy.web_worker import prepare
from tests.conftest import on_sqlite
from tests.redises import program
from tests.tls import address, certificate
from webapp import create_app
from webapp.stores import OPENED
from webapp.stores.pool import TLSConnection
from webapp.stores.script_redis import CONNECTIONS, connect_redis


@pytest.fixture(scope="module")
def tls(tmp_path_factory) -> Iterator[tuple[int, Path]]:
    """The port of a Redis that speaks TLS, and its certificate."""
    directory, port = tmp_path_factory.mktemp("tls"), free_port()
    cert, key = certificate(directory)
    options = tls_options(port, cert, key)
    with Valkey(directory, port=free_port(), options=options, program=program("redis 7")):
        yield port, cert


@pytest.fixture
def contexts(monkeypatch) -> list[ssl.SSLContext]:
    """The contexts that are made, each of which reads all authorities of the machine."""
    made: list[ssl.SSLContext] = []
    make = ssl.create_default_context

    def making() -> ssl.SSLContext:
        made.append(make())
        return made[-1]

    monkeypatch.setattr(redis.connection.ssl, "create_default_context", making)
    monkeypatch.setattr(TLSConnection, "read", {})
    return made


def test_all_connections_of_a_process_share_one_context(tls, contexts):
    clients = [connect_redis(address(*tls)) for _ in range(2)]
    for client in clients:
        client.connection_pool.open(CONNECTIONS)
        assert client.ping()
    assert len(contexts) == 1
    for client in clients:
        client.connection_pool.disconnect()


def test_control_redis_py_makes_a_context_for_each(tls, contexts):
    pool = redis.ConnectionPool.from_url(address(*tls))
    held = [pool.get_connection() for _ in range(3)]
    assert len(contexts) == len(held)
    pool.disconnect()


def test_each_address_has_a_context_of_its_own(tls, contexts, tmp_path):
    """A server whose certificate another address trusts is still refused."""
    trusting = connect_redis(address(*tls))
    assert trusting.ping()
    other, _key = certificate(tmp_path)
    with pytest.raises(redis.ConnectionError, match="certificate verify failed"):
        connect_redis(address(tls[0], other)).ping()
    trusting.connection_pool.disconnect()


@on_sqlite
def test_a_web_process_connects_before_it_serves(app, valkey, database_url):
    fresh = create_app({"REDIS_URL": valkey.url, "QUEUE_REDIS_URL": valkey.url, "SECRET_KEY": "x" * 32})
    assert app.extensions["line"].ping()
    before = len(app.extensions["line"].client_list())
    prepare(fresh)
    assert len(app.extensions["line"].client_list()) == before + sum(OPENED.values())
    for name in OPENED:
        fresh.extensions[name].connection_pool.disconnect()


def test_a_redis_that_is_away_keeps_no_web_process_from_starting():
    app = create_app(
        {"REDIS_URL": "redis://127.0.0.1:1", "QUEUE_REDIS_URL": "redis://127.0.0.1:1", "SECRET_KEY": "x"}
    )
    prepare(app)
