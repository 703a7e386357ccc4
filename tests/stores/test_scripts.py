"""The client that runs scripts: it is the other's equal in what it answers, and fair when connections run short."""

import socket
import threading
import time

import pytest
import redis

from tests.conftest import on_sqlite
from webapp.stores.pool import TCPConnection
from webapp.stores.script_redis import SERVER, ScriptRedis, connect_redis, line_redis

pytestmark = [
    pytest.mark.usefixtures("app"),
    on_sqlite,
]
KEYS = ["{coupon:1}:gate", "{coupon:1}:line", "{coupon:1}:bell"]


@pytest.fixture
def client(valkey, monkeypatch):
    monkeypatch.setattr("webapp.stores.script_redis.CONNECTIONS", 2)
    built = connect_redis(valkey.url, decode_responses=True)
    yield built
    built.connection_pool.disconnect()


def ring(client: ScriptRedis) -> int:
    return client.run_script("ring_bell", KEYS, [5000])


def test_a_script_is_loaded_when_the_server_does_not_know_it():
    line_redis().script_flush()
    assert ring(line_redis()) == 0
    assert ring(line_redis()) == 0


def test_an_error_of_a_script_is_raised_and_the_connection_goes_on(client):
    line_redis().set("{coupon:1}:line", "not a sorted set")
    for _ in range(3):
        with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
            ring(client)
    line_redis().delete("{coupon:1}:line")
    assert ring(client) == 0


def test_a_connection_that_was_cut_is_made_anew(client):
    ring(client)
    for info in line_redis().client_list():
        if info["id"] != line_redis().client_id():
            line_redis().client_kill_filter(_id=info["id"])
    assert ring(client) == 0


def test_a_kept_connection_that_falls_silent_is_made_anew(client):
    ring(client)
    connection = client.connection_pool.take()
    connection.send_command("CLIENT", "REPLY", "OFF")
    client.connection_pool.give_back(connection)
    assert ring(client) == 0


def test_a_new_connection_that_is_silent_is_not_tried_twice():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = connect_redis(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(redis.TimeoutError):
            ring(client)
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


def test_many_threads_share_few_connections_and_all_get_their_turn(client):
    client.connection_pool.timeout = 10
    done: list[int] = []
    threads = [threading.Thread(target=lambda: done.append(ring(client))) for _ in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [0] * 100


def test_whoever_waited_first_gets_the_next_connection(client):
    client.connection_pool.timeout = 10
    held = [client.connection_pool.take(), client.connection_pool.take()]
    order: list[int] = []

    def wait(number: int) -> None:
        connection = client.connection_pool.take()
        order.append(number)
        client.connection_pool.give_back(connection)

    threads = [threading.Thread(target=wait, args=(number,)) for number in range(5)]
    for number, thread in enumerate(threads, 1):
        thread.start()
        while len(client.connection_pool._turns) < number:
            time.sleep(0.001)
    client.connection_pool.give_back(held.pop())
    for thread in threads:
        thread.join()
    client.connection_pool.give_back(held.pop())
    assert order == [0, 1, 2, 3, 4]


def test_a_wait_in_vain_is_an_error_and_leaves_no_turn_behind(client):
    client.connection_pool.timeout = 0.01
    held = [client.connection_pool.take(), client.connection_pool.take()]
    with pytest.raises(redis.ConnectionError, match="every connection is in use"):
        ring(client)
    for connection in held:
        client.connection_pool.give_back(connection)
    assert ring(client) == 0


def test_a_connection_is_asked_once_for_the_run_of_its_server(client, monkeypatch):
    asked = []
    sent = TCPConnection.send_packed_command

    def send(self, command, *rest, **options):
        asked.append(command is SERVER)
        return sent(self, command, *rest, **options)

    monkeypatch.setattr(TCPConnection, "send_packed_command", send)
    for _ in range(3):
        ring(client)
    assert asked == [True, False, False, False]
    client.connection_pool.disconnect()
    ring(client)
    assert asked[4:] == [True, False]
