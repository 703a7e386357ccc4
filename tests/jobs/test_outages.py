"""A worker whose Redis is away: it tries again soon, however long that takes."""

import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from flask import Flask
from rq.worker import base

from deploy import local
from deploy.processes import free_port
from deploy.stores import Valkey
from jobs.sweeper import sweep
from jobs.worker import LONGEST_PAUSE_S, REPLY_S, WAIT_FOR_JOB_S, BellWorker, make_worker
from tests.builders import make_coupon
from tests.conftest import on_sqlite
from webapp.line.line import Line
from webapp.sale.bells import ring
from webapp.stores.queue import SWEEPER_ALIVE_KEY, bell_queue
from webapp.stores.script_redis import connect_redis, line_redis
from webapp.stores.swallowed import counts

pytestmark = [pytest.mark.usefixtures("app"), on_sqlite]
SWEEP_S = 10
MANY = 8
"""So many pauses of RQ's own would take three minutes."""


@pytest.fixture
def own_queue(app: Flask, tmp_path, monkeypatch) -> Iterator[Valkey]:
    """A Valkey of this test alone that carries the bells; a test may kill it."""
    with Valkey(tmp_path, port=free_port()) as store:
        monkeypatch.setitem(app.extensions, "bells", connect_redis(store.url))
        yield store
        app.extensions["bells"].connection_pool.disconnect()


def pauses_of(worker: BellWorker, store: Valkey, monkeypatch) -> list[float]:
    """Kill the Redis of a worker that waits for a job, and return its pauses until it has one again."""
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == MANY:
            store.start()
            ring(make_coupon())

    worker.register_birth()
    # RQ does this once, just before it waits.
    monkeypatch.setattr(worker, "set_state", lambda _state: store.kill())
    monkeypatch.setattr(base, "time", SimpleNamespace(**vars(time) | {"sleep": pause}))
    assert worker.dequeue_job_and_maintain_ttl(worker.dequeue_timeout)
    return pauses


def test_no_pause_between_two_tries_is_longer_than_two_seconds(own_queue, monkeypatch):
    pauses = pauses_of(make_worker(), own_queue, monkeypatch)
    assert len(pauses) == MANY
    assert max(pauses) == LONGEST_PAUSE_S <= 2
    assert local.LONGEST_PAUSE_S <= 2


def test_control_a_worker_of_rq_pauses_for_a_minute(own_queue, monkeypatch):
    worker = make_worker()
    worker.max_connection_wait_time = base.BaseWorker.max_connection_wait_time
    assert max(pauses_of(worker, own_queue, monkeypatch)) == 60


def test_a_worker_soon_gives_up_a_connection_on_which_nothing_comes_back(own_queue):
    """A network that swallows everything breaks no connection."""
    make_worker()
    connection = bell_queue().connection.connection_pool.make_connection()
    assert connection.socket_timeout == WAIT_FOR_JOB_S + REPLY_S <= 5


def test_a_worker_listens_to_nobody_but_its_queue(own_queue):
    """Whoever can write to Redis could end it by a command."""
    worker = make_worker()
    worker.register_birth()
    worker.subscribe()
    assert bell_queue().connection.pubsub_numsub(worker.pubsub_channel_name) == [
        (worker.pubsub_channel_name.encode(), 0)
    ]
    worker.register_death()


def test_a_sweep_publishes_everything_though_the_queue_does_not_answer(app, monkeypatch):
    """Each bell alone waits a second and a half for the silent Redis of the queue."""
    coupons = [make_coupon() for _ in range(20)]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setitem(app.extensions, "bells", connect_redis(address))
        for coupon in coupons:
            line_redis().zadd(Line(line_redis(), coupon).line_key, {"1": 1})
        before, began = counts["bell not enqueued"], time.monotonic()
        assert sweep() == 0
        assert time.monotonic() - began < SWEEP_S
        assert counts["bell not enqueued"] == before + 1
        app.extensions["bells"].connection_pool.disconnect()
    assert all(Line(line_redis(), coupon).is_open() for coupon in coupons)
    assert line_redis().exists(SWEEPER_ALIVE_KEY)
