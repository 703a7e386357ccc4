"""A queue full of what nobody waits for, and stores whose users may do only what they have to."""

import json
import time

import pymysql
import pytest
import redis
from sqlalchemy import make_url

from tests.faults.history import History
from tests.hosts.test_rights import allow
from webapp.sale.bells import ADMISSION_JOB, ring
from webapp.stores.queue import bell_queue

BACK_S, READ_ONLY_S = 10.0, 30.0
STALE, MORE = 6000, 30_000


def moves(history: History, within_s: float) -> float | None:
    """Have a newcomer claim; return the seconds until the row is there, None if it is not in time."""
    began = time.monotonic()
    history.claim()
    wanted = len(history.numbers)
    return (
        time.monotonic() - began
        if history.site.wait(lambda: len(history.rows()) == wanted, within_s=within_s)
        else None
    )


@pytest.mark.parametrize("how", ["rung", "enqueued"])
def test_25_six_thousand_stale_bells(start, open_sale, how):
    """Nobody worked for a long time, with this version or an older one."""
    site = start()
    history = open_sale(site, people=10, quota=10)
    site.workers[0].stop()
    if how == "rung":
        for number in range(1000):
            ring(10_000 + number % 20)
    else:
        enqueue(STALE)
    site.workers[0].start()
    seconds = moves(history, BACK_S)
    assert seconds is not None
    history.check()


def enqueue(count: int) -> None:
    """Put jobs of as many lines into the queue."""
    queue = bell_queue()
    queue.enqueue_many([queue.prepare_data(ADMISSION_JOB, (10_000 + number,)) for number in range(count)])


def test_25_control_a_queue_that_keeps_every_job(start, open_sale):
    site = start(tamper=dict.fromkeys(("web", "worker", "sweeper"), "long queue"))
    history = open_sale(site, people=10, quota=10)
    site.workers[0].stop()
    enqueue(MORE)
    site.workers[0].start()
    assert moves(history, BACK_S) is None


def with_strange_bytes(start, open_sale, **options) -> History:
    """Put entries into the queue, and a job, that nobody can have written."""
    site = start(**options)
    history = open_sale(site, people=10, quota=10)
    queue = bell_queue()
    for entry in (b"\xff\xfe", b"", b"1-", b"no-such-job", b"7-" + b"0" * 32):
        queue.connection.rpush(queue.key, entry)
    queue.connection.hset("rq:job:7-" + "1" * 32, "data", b"\xff")
    queue.connection.rpush(queue.key, "7-" + "1" * 32)
    return history


def test_25_bytes_that_are_no_bells(start, open_sale):
    history = with_strange_bytes(start, open_sale)
    assert moves(history, BACK_S) is not None
    assert history.site.wait(lambda: bell_queue().count == 0, within_s=BACK_S)
    assert history.site.deaths == 0
    history.check()


def test_25_control_a_worker_that_takes_them_as_rq_does(start, open_sale):
    history = with_strange_bytes(start, open_sale, tamper={"worker": "rq alone"})
    assert history.site.wait(lambda: history.site.deaths > 0, within_s=BACK_S)


def may_only_write_rows(site) -> None:
    """Restart our processes with a user of SQL who may SELECT, INSERT, UPDATE and DELETE."""
    url = make_url(site.environ["DATABASE_URL"])
    with pymysql.connect(unix_socket=f"{site.mariadb.directory}/mariadb.sock", user="root") as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE OR REPLACE USER plain@127.0.0.1 IDENTIFIED BY 'plain'")
        cursor.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {url.database}.* TO plain@127.0.0.1")
    plain = url.set(username="plain", password="plain").render_as_string(hide_password=False)
    site.environ["DATABASE_URL"] = plain
    for part in site.parts:
        part.stop()
        part.start()
    assert site.wait(site.is_ready, within_s=30), site.said()


def read_only_for_half_a_minute(start, open_sale, **options) -> History:
    site = start(**options)
    may_only_write_rows(site)
    history = open_sale(site, people=300, quota=200)
    site.mariadb.execute("SET GLOBAL read_only = 1")
    try:
        history.claim()
        assert history.statuses == {200: 300}
        (ready,) = site.ask(["/readyz"])
        assert ready is not None
        assert (ready.status, json.loads(ready.body)["parts"]["sql"]) == (200, "read only")
        site.wait(lambda: False, within_s=READ_ONLY_S)
        assert history.rows() == []
    finally:
        site.mariadb.execute("SET GLOBAL read_only = 0")
    return history


def test_26_sql_is_read_only_for_half_a_minute(start, open_sale):
    history = read_only_for_half_a_minute(start, open_sale)
    assert history.site.wait(lambda: len(history.rows()) == 200, within_s=BACK_S)
    history.check()


def test_26_control_nobody_rings_again(start, open_sale):
    history = read_only_for_half_a_minute(start, open_sale, sweeper=False)
    assert not history.site.wait(lambda: len(history.rows()) == 200, within_s=BACK_S)


def test_26_with_the_rights_of_the_readme_alone(start, open_sale):
    """Every process starts and works, with a user of Redis who may do nothing else."""
    site = start()
    may = allow(site.valkey)
    site.environ["REDIS_URL"] = may
    for part in site.parts:
        part.stop()
        part.start()
    assert site.wait(site.is_ready, within_s=30), site.said()
    history = open_sale(site, people=300, quota=200)
    history.claim()
    history.check()
    with redis.Redis.from_url(site.valkey.url) as server:
        assert [entry for entry in server.acl_log() if entry["object"] != "client|list"] == []
