"""The queue of bells stays short, and every line with waiting tickets is heard."""

import pytest
from rq.job import Job

from jobs import worker
from jobs.sweeper import sweep
from jobs.worker import make_worker
from tests.builders import make_coupon, make_user
from tests.conftest import on_sqlite
from webapp.line.line import Line
from webapp.sale import claims, epochs
from webapp.sale.bells import ADMISSION_JOB, ring
from webapp.stores import malformed
from webapp.stores.queue import BELL_TTL_S, MOST_BELLS, bell_queue
from webapp.stores.script_redis import line_redis

pytestmark = [pytest.mark.usefixtures("app"), on_sqlite]
STALE = 6000


@pytest.fixture
def ran(monkeypatch) -> list[int]:
    """The coupons whose jobs were run, in order."""
    coupons: list[int] = []
    monkeypatch.setattr(epochs, "GRACE_MS", 0)
    execute = worker.BellWorker.execute_job

    def noting(self: worker.BellWorker, job: Job, queue: object) -> None:
        coupons.append(job.args[0])
        execute(self, job, queue)

    monkeypatch.setattr(worker.BellWorker, "execute_job", noting)
    return coupons


def work() -> None:
    make_worker().work(burst=True, logging_level="ERROR")


def test_stale_bells_of_twenty_lines_are_twenty_jobs(ran):
    """Nobody worked for a long time, and the sweeper rang again and again."""
    coupons = [make_coupon() for _ in range(20)]
    for number in range(MOST_BELLS * 2):
        ring(coupons[number % 20])
    assert bell_queue().count == MOST_BELLS
    fresh = make_coupon()
    user = make_user().id
    claims.claim(fresh, user)
    work()
    assert (sorted(ran), bell_queue().count) == ([*coupons, fresh], 0)
    assert claims.standing(fresh, user).state == "issued"


def test_jobs_of_any_kind_are_bounded_by_the_next_ring():
    queue = bell_queue()
    queue.enqueue_many([job_of(number) for number in range(STALE)])
    assert queue.count == STALE
    fresh = make_coupon()
    claims.claim(fresh, make_user().id)
    assert queue.count == MOST_BELLS
    assert queue.get_job_ids()[-1].startswith(f"{fresh}-")


def job_of(number: int) -> object:
    return bell_queue().prepare_data(ADMISSION_JOB, (10_000 + number,))


def test_the_bells_of_one_line_take_none_of_another_along(ran):
    for coupon in (1, 12, 1, 112, 1, 12):
        ring(coupon)
    bell_queue().enqueue(ADMISSION_JOB, 1)  # no id of ours: it runs by itself
    work()
    assert ran == [1, 12, 112, 1]


def test_a_bell_is_gone_when_nobody_fetched_it_in_time(ran):
    ring(coupon := make_coupon())
    (job,) = bell_queue().jobs
    assert 0 < bell_queue().connection.ttl(job.key) <= BELL_TTL_S
    bell_queue().connection.delete(job.key)  # as Redis does then
    ring(make_coupon())
    before = malformed.counts()
    work()
    assert coupon not in ran
    assert len(ran) == 1
    assert malformed.counts() == before, "what comes too late is not malformed"
    assert bell_queue().connection.llen(bell_queue().intermediate_queue_key) == 0


def test_a_line_whose_job_was_dropped_is_rung_for_again(ran):
    coupon, user = make_coupon(), make_user().id
    claims.claim(coupon, user)
    for number in range(MOST_BELLS):
        ring(10_000 + number)
    assert not any(entry.startswith(f"{coupon}-") for entry in bell_queue().get_job_ids())
    assert sweep() == 0  # the bell is set, as if the job were there
    Line(line_redis(), coupon).quiet_bell()  # as it expires after five seconds
    assert sweep() == 1
    work()
    assert claims.standing(coupon, user).state == "issued"


def test_a_bell_that_rings_while_its_line_is_admitted_is_heard(ran, monkeypatch):
    """Only jobs that were there before an admission begins are taken along."""
    coupon = make_coupon()
    ring(coupon)
    execute = worker.BellWorker.execute_job

    def ringing(self: worker.BellWorker, job: Job, queue: object) -> None:
        if not ran:
            ring(coupon)
        execute(self, job, queue)

    monkeypatch.setattr(worker.BellWorker, "execute_job", ringing)
    work()
    assert ran == [coupon, coupon]
