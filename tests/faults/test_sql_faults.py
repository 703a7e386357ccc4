"""An SQL server that dies while it commits, and one that is slow or locked."""

import math
from contextlib import contextmanager
from pathlib import Path

import pymysql
import pytest
from sqlalchemy import make_url

from tests.faults.history import Broken, History
from webapp.sale.bells import ring
from webapp.stores.queue import bell_queue

NOTICEABLE_S = 0.25
"""Below this no visitor feels a difference, and a busy machine makes it by itself."""


def killed_at_commits(start, open_sale, *, times: int) -> None:
    site = start(tamper={"worker": "kill sql at commit"})
    for _ in range(times):
        history = open_sale(site, people=60, quota=50)
        die_once(site, history)
        history.check()
        nothing_more_is_written(site, history)


def die_once(site, history: History) -> None:
    """Let the server die in the commit that comes, and start it again."""
    marker: Path = site.directory / "tampered"
    marker.unlink(missing_ok=True)
    history.claim()
    assert site.wait(lambda: site.mariadb.process.poll() is not None, within_s=10), "the server died"
    site.kills += 1
    site.mariadb.start()


def nothing_more_is_written(site, history: History) -> None:
    """Run the admission again: it adds no row."""
    rows = history.rows()
    ring(history.coupon_id)
    assert site.wait(lambda: bell_queue().count == 0, within_s=5)
    assert history.rows() == rows


def locked_out(start, open_sale, *, seconds: float) -> None:
    site = start()
    history = open_sale(site, people=900, quota=800)
    normal = p99_s(history.claim(range(300), spread_s=3))
    history.check_settled()
    failed = bell_queue().failed_job_registry.count
    with foreign_lock(site, history):
        held = history.claim(range(300, 600), spread_s=seconds)
        assert p99_s(held) <= max(2 * normal, NOTICEABLE_S)
        assert len(history.rows()) == 300
    jobs = bell_queue().failed_job_registry.count - failed + bell_queue().count
    assert jobs <= 2 + seconds / 5, "no storm of jobs"
    history.claim(range(600, 900))
    history.check()


def slow_sql(start, open_sale, *, delay_s: float) -> None:
    """Delay every packet between our processes and SQL, each way; claims do not notice."""
    site = start(proxied=True)
    history = open_sale(site, people=600, quota=500)
    normal = p99_s(history.claim(range(300), spread_s=3))
    site.sql_proxy.delay_s = delay_s
    slow = history.claim(range(300, 600), spread_s=4)
    assert p99_s(slow) <= max(2 * normal, NOTICEABLE_S)
    site.sql_proxy.heal()
    history.check()


def p99_s(drive) -> float:
    """Return the 99th percentile from the click to the ticket, in seconds."""
    took = sorted(answer.answered - answer.sent if answer else math.inf for answer in drive.answers)
    return took[math.ceil(len(took) * 0.99) - 1]


@contextmanager
def foreign_lock(site, history: History):
    """Hold the coupon's row, as somebody with a console might."""
    url = make_url(site.mariadb.database(site.database))
    account = {"user": url.username, "password": url.password, "database": url.database}
    with pymysql.connect(host=url.host, port=url.port, **account) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT id FROM coupons WHERE id = %s FOR UPDATE", [history.coupon_id])
        yield
        connection.rollback()


def test_13_killed_during_a_commit(start, open_sale):
    killed_at_commits(start, open_sale, times=2)


def test_13_killed_during_ten_commits(start, open_sale):
    killed_at_commits(start, open_sale, times=10)


@pytest.mark.quick
def test_13_the_session_is_killed_at_a_commit(start, open_sale):
    site = start(tamper={"worker": "kill connection at commit"})
    history = open_sale(site, people=60, quota=50)
    history.claim()
    assert site.wait((site.directory / "tampered").exists, within_s=10)
    history.check()
    nothing_more_is_written(site, history)


@pytest.mark.quick
def test_13_control_people_are_told_before_the_commit(start, open_sale):
    site = start(tamper={"worker": "kill connection at commit,settle first"})
    history = open_sale(site, people=60, quota=50)
    history.claim()
    assert site.wait((site.directory / "tampered").exists, within_s=10)
    with pytest.raises(Broken, match="I"):
        history.check()


def test_14_a_foreign_lock(start, open_sale):
    locked_out(start, open_sale, seconds=6)


def test_14_a_foreign_lock_for_20_s(start, open_sale):
    locked_out(start, open_sale, seconds=20)


def test_14_control_claims_that_look_into_sql(start, open_sale):
    site = start(tamper={"web": "claims ask sql"})
    history = open_sale(site, people=400, quota=300)
    normal = p99_s(history.claim(range(300), spread_s=3))
    with foreign_lock(site, history):
        held = history.claim(range(300, 400), spread_s=2, within_s=10)
        assert p99_s(held) > max(2 * normal, NOTICEABLE_S)


def test_14_slow_packets(start, open_sale):
    slow_sql(start, open_sale, delay_s=0.2)


def test_14_packets_of_2_s(start, open_sale):
    slow_sql(start, open_sale, delay_s=1.0)
