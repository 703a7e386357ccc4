"""The worker runs the admission and nothing else; the sweeper mends what got lost."""

import json
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import redis
from rq import Webhook
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from sqlalchemy import func, select, update

from jobs import sweeper, worker
from jobs.sweeper import sweep
from jobs.worker import AllowedJob, make_worker
from tests.builders import failing, make_coupon, make_user, make_users
from tests.conftest import on_sqlite
from webapp.line.line import Line
from webapp.models import CLOSED, DRAFT, PAUSED, Coupon, CouponIssue, utcnow
from webapp.sale import admission, bells, claims, epochs
from webapp.sale.bells import ADMISSION_JOB
from webapp.sale.coupons import change_coupon
from webapp.sale.outcomes import Refused
from webapp.stores.queue import QUEUE_NAME, SWEEPER_ALIVE_KEY, bell_queue
from webapp.stores.script_redis import connect_redis, line_redis
from webapp.stores.sql import db
from webapp.stores.swallowed import counts

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture(autouse=True)
def no_grace(monkeypatch) -> None:
    """Wait for nobody's receipt in a new epoch; how long it waits is tested elsewhere."""
    monkeypatch.setattr(epochs, "GRACE_MS", 0)


def work() -> None:
    """Let a real worker do all the jobs that there are, as `python -m jobs.worker` would."""
    make_worker().work(burst=True, logging_level="ERROR")


def issued(coupon_id: int) -> int:
    db.session.rollback()
    return db.session.scalar(select(func.count()).where(CouponIssue.coupon_id == coupon_id))


def waiting(coupon_id: int) -> int:
    return line_redis().zcard(Line(line_redis(), coupon_id).line_key)


def claim_all(coupon_id: int, count: int) -> list[int]:
    users = make_users(count)
    for user in users:
        claims.claim(coupon_id, user)
    return users


def failed() -> list[str]:
    return bell_queue().failed_job_registry.get_job_ids()


def mark(path: str, *_: object) -> None:
    """What a stranger would have the worker do."""
    with Path(path).open("a") as file:
        file.write("x")


def mark_after(job: Job, *_: object) -> None:
    mark(job.meta["path"])


@pytest.fixture
def marked(tmp_path):
    return tmp_path / "mark"


def enqueue_with_callbacks(path: object, argument: object) -> Job:
    job = bell_queue().enqueue(ADMISSION_JOB, argument, meta={"path": str(path)})
    names = {f"{kind}_callback_name": AFTER for kind in ("success", "failure", "stopped")}
    bell_queue().connection.hset(job.key, mapping=names)
    return job


def abandon(job: Job) -> None:
    """Leave the job as a worker leaves it that died in the middle of it."""
    queue = bell_queue()
    queue.remove(job)
    job.set_status(JobStatus.STARTED)
    long_ago = 1.0
    queue.connection.zadd(queue.started_job_registry.key, {f"{job.id}:of-a-dead-worker": long_ago})


@pytest.fixture
def listener():
    """A web server that notes what is sent to it."""
    heard: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.path)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", heard
        server.shutdown()
        thread.join()


def ring_with_webhook(url: str) -> None:
    hooks = [Webhook(f"{url}/{status.value}", status) for status in (JobStatus.FINISHED, JobStatus.FAILED)]
    bell_queue().enqueue(ADMISSION_JOB, 1, webhooks=hooks)


class Stop(threading.Event):
    """Lets the sweeper go round so many times, without waiting."""

    def __init__(self, rounds: int) -> None:
        super().__init__()
        self.rounds = rounds

    def wait(self, timeout: float | None = None) -> bool:
        self.rounds -= 1
        return self.rounds < 0


# The worker


def test_a_worker_runs_the_admission_that_a_claim_rang_for():
    coupon = make_coupon(quota=3)
    users = claim_all(coupon, 5)
    assert (bell_queue().count, issued(coupon)) == (1, 0)
    work()
    assert (bell_queue().count, issued(coupon), failed()) == (0, 3, [])
    assert [claims.standing(coupon, user).state for user in users] == ["issued"] * 3 + ["sold_out"] * 2


@on_sqlite
def test_a_job_carries_one_number_and_no_more():
    coupon = make_coupon()
    claim_all(coupon, 1)
    (job,) = bell_queue().jobs
    assert json.loads(job.data) == [ADMISSION_JOB, None, [coupon], {}]
    assert str(coupon) not in job.description


@on_sqlite
def test_an_unknown_coupon_is_no_failure():
    bells.ring(4711)
    work()
    assert failed() == []


MARK, AFTER = "tests.jobs.test_worker.mark", "tests.jobs.test_worker.mark_after"


@on_sqlite
def test_only_the_admission_is_run(marked):
    names = ["os.system", "subprocess.check_call", "builtins.eval", MARK, "x", "jobs.admission", "rq.job.Job"]
    for name in names:
        bell_queue().enqueue(name, f"touch {marked}" if name == "os.system" else str(marked))
    work()
    assert not marked.exists()
    assert len(failed()) == len(names)


@on_sqlite
def test_the_control_an_ordinary_worker_runs_anything(marked, monkeypatch):
    monkeypatch.setattr(worker, "AllowedJob", Job)
    bell_queue().enqueue(MARK, str(marked))
    bell_queue().enqueue("os.system", f"touch {marked}2")
    work()
    assert marked.exists()
    assert Path(f"{marked}2").exists()


@on_sqlite
def test_the_admission_takes_integers_only():
    make_coupon()
    refused = [
        (["1"], {}),
        ([1.0], {}),
        ([True], {}),
        ([None], {}),
        ([[1]], {}),
        ([{"a": 1}], {}),
        ([1, "x"], {}),
    ]
    refused += [([], {"coupon_id": 1}), ([1], {"x": 1})]
    for arguments, keywords in refused:
        bell_queue().enqueue_call(ADMISSION_JOB, args=arguments, kwargs=keywords)
    work()
    assert len(failed()) == len(refused)


@on_sqlite
def test_jobs_that_cannot_be_read_do_not_stop_the_worker():
    coupon = make_coupon()
    unreadable = [
        b"",
        b"{}",
        b"null",
        b"[1]",
        b"\x80\x04cos\nsystem\n.",
        b"x\x9c",
        b'["os.system", "x", [], {}]',
    ]
    for data in unreadable:
        strange = bell_queue().enqueue(ADMISSION_JOB, coupon)
        bell_queue().connection.hset(strange.key, "data", data)
    claim_all(coupon, 1)
    work()
    assert issued(coupon) == 1


@on_sqlite
def test_numbers_that_are_no_coupon_do_no_harm():
    for number in (-1, 0, 4711, 2**63, 10**40):
        bells.ring(number)
    coupon = make_coupon()
    claim_all(coupon, 1)
    work()
    assert issued(coupon) == 1


@on_sqlite
def test_callbacks_are_not_called(marked):
    enqueue_with_callbacks(marked, 1)
    enqueue_with_callbacks(marked, "not a number")
    work()
    assert not marked.exists()


@on_sqlite
def test_the_control_an_ordinary_worker_calls_them(marked, monkeypatch):
    monkeypatch.setattr(worker, "AllowedJob", Job)
    enqueue_with_callbacks(marked, 1)
    work()
    assert marked.read_text() == "x"


@on_sqlite
def test_callbacks_of_a_job_whose_worker_died_are_not_called_either(marked):
    abandon(enqueue_with_callbacks(marked, 1))
    make_worker().clean_registries()
    assert len(failed()) == 1, "it was found"
    assert not marked.exists()


@on_sqlite
def test_the_control_an_ordinary_worker_calls_those_too(marked, monkeypatch):
    monkeypatch.setattr(worker, "AllowedJob", Job)
    abandon(enqueue_with_callbacks(marked, 1))
    make_worker().clean_registries()
    assert marked.read_text() == "x"


@on_sqlite
def test_webhooks_are_not_sent(listener):
    url, heard = listener
    ring_with_webhook(url)
    work()
    assert heard == []


@on_sqlite
def test_the_control_an_ordinary_worker_sends_them(listener, monkeypatch):
    monkeypatch.setattr(worker, "AllowedJob", Job)
    url, heard = listener
    ring_with_webhook(url)
    work()
    assert heard == ["/finished"]


@on_sqlite
def test_the_worker_reads_json_of_one_queue_alone():
    made = make_worker()
    assert made.queue_names() == [QUEUE_NAME]
    assert made.serializer is JSONSerializer
    assert made.job_class is AllowedJob
    assert {queue.job_class for queue in made.queues} == {AllowedJob}


@on_sqlite
def test_two_jobs_for_one_line_issue_once():
    coupon = make_coupon(quota=3)
    claim_all(coupon, 5)
    for _ in range(5):
        bells.ring(coupon)
    work()
    assert (issued(coupon), failed()) == (3, [])


# The sweeper


def test_a_lost_bell_is_rung_again():
    coupon = make_coupon()
    claim_all(coupon, 3)
    bell_queue().empty()
    line_redis().delete(Line(line_redis(), coupon).bell_key)
    assert sweep() == 1
    work()
    assert issued(coupon) == 3
    assert sweep() == 0


def test_the_control_without_the_sweeper_nobody_comes():
    coupon = make_coupon()
    claim_all(coupon, 3)
    bell_queue().empty()
    work()
    assert (issued(coupon), waiting(coupon)) == (0, 3)


def test_a_bell_that_still_sounds_is_not_rung_twice():
    coupon = make_coupon()
    claim_all(coupon, 3)
    assert sweep() == 0
    assert bell_queue().count == 1


def test_a_line_in_which_nobody_waits_is_left_alone():
    make_coupon()
    assert sweep() == 0
    assert bell_queue().count == 0


def test_a_lost_gate_is_made_again_in_a_new_epoch():
    coupon = make_coupon(quota=3)
    users = claim_all(coupon, 2)
    work()
    line_redis().flushall()
    sweep()
    assert Line(line_redis(), coupon).gate().epoch == 2
    assert [claims.standing(coupon, user).state for user in users] == ["issued", "issued"]
    assert claims.claim(coupon, make_user().id).number == epochs.EPOCH_STEP + 1


def test_a_gate_alone_that_was_lost_keeps_the_line():
    coupon = make_coupon(quota=3)
    users = claim_all(coupon, 2)
    bell_queue().empty()
    line = Line(line_redis(), coupon)
    line_redis().delete(line.gate_key, line.bell_key)
    assert sweep() == 1
    work()
    assert [claims.standing(coupon, user).number for user in users] == [1, 2]
    assert issued(coupon) == 2


@pytest.mark.parametrize(
    ("change", "field", "written"),
    [
        ({"status": PAUSED}, "status", "paused"),
        ({"status": CLOSED}, "status", "closed"),
        ({"total_quantity": 7}, "quota", "7"),
        ({"total_quantity": None}, "quota", ""),
    ],
    ids=["pause", "close", "quota", "no quota"],
)
def test_a_change_that_did_not_reach_redis_is_written(monkeypatch, change, field, written):
    coupon = make_coupon()
    gate_key = Line(line_redis(), coupon).gate_key
    before = line_redis().hget(gate_key, field)
    with monkeypatch.context() as patch:
        patch.setattr("webapp.sale.coupons.publish", failing(redis.ConnectionError()))
        with pytest.raises(redis.ConnectionError):
            change_coupon(coupon, **change)
    assert line_redis().hget(gate_key, field) == before
    sweep()
    assert line_redis().hget(gate_key, field) == written


def test_a_raised_quota_that_did_not_reach_redis_serves_standby(monkeypatch):
    coupon = make_coupon(quota=1)
    users = claim_all(coupon, 3)
    work()
    with monkeypatch.context() as patch:
        patch.setattr("webapp.sale.coupons.publish", lambda _id: None)
        change_coupon(coupon, total_quantity=2)
    assert sweep() == 1
    work()
    assert [claims.standing(coupon, user).state for user in users] == ["issued", "issued", "sold_out"]


def test_a_crash_between_commit_and_settling_is_mended(monkeypatch):
    coupon = make_coupon(quota=3)
    users = claim_all(coupon, 2)
    bell_queue().empty()
    with monkeypatch.context() as patch:
        patch.setattr(Line, "settle", failing(redis.ConnectionError()))
        with pytest.raises(redis.ConnectionError):
            admission.admit(coupon)
    assert [claims.standing(coupon, user).state for user in users] == ["waiting", "waiting"]
    assert sweep() == 1
    work()
    assert [claims.standing(coupon, user).state for user in users] == ["issued", "issued"]
    assert issued(coupon) == 2


def test_paused_lines_are_not_rung_for_and_resumed_ones_are():
    coupon = make_coupon(status=PAUSED)
    claim_all(coupon, 2)
    assert sweep() == 0
    change_coupon(coupon, status="live")
    work()
    assert issued(coupon) == 2


def test_who_waits_when_the_period_ends_is_still_served():
    coupon = make_coupon()
    claim_all(coupon, 2)
    bell_queue().empty()
    line_redis().delete(Line(line_redis(), coupon).bell_key)
    db.session.execute(update(Coupon).values(issue_end_at=utcnow() - timedelta(seconds=1)))
    db.session.commit()
    assert sweep() == 1
    work()
    assert issued(coupon) == 2


@on_sqlite
def test_drafts_and_old_coupons_are_not_swept():
    make_coupon(status=DRAFT)
    make_coupon(opens_in=-9 * 24 * 3600, closes_in=-8 * 24 * 3600)
    line_redis().flushall()
    sweep()
    assert line_redis().keys() == [SWEEPER_ALIVE_KEY]


@on_sqlite
def test_one_broken_line_does_not_stop_the_others(monkeypatch):
    broken, coupon = make_coupon(), make_coupon()
    claim_all(coupon, 1)
    line_redis().delete(Line(line_redis(), coupon).bell_key)
    publish = sweeper.publish_coupon

    def refuse(row):
        if row.id == broken:
            raise Refused("busy")
        return publish(row)

    monkeypatch.setattr(sweeper, "publish_coupon", refuse)
    assert sweep() == 1


@on_sqlite
def test_an_outage_is_waited_out_and_said_once(app, monkeypatch, caplog):
    coupon = make_coupon()
    claim_all(coupon, 1)
    line_redis().delete(Line(line_redis(), coupon).bell_key)
    with monkeypatch.context() as patch:
        patch.setitem(app.extensions, "line", connect_redis("redis://127.0.0.1:1/0"))
        sweeper.run(Stop(3), sweep)
    (said,) = [record.message for record in caplog.records if record.name == "webapp.stores.swallowed"]
    assert said.startswith("not swept (ConnectionError, no. ")
    assert counts["not swept"] >= 3
    bell_queue().empty()
    sweeper.run(Stop(1), sweep)
    assert bell_queue().count == 1
    assert line_redis().exists(SWEEPER_ALIVE_KEY)


@on_sqlite
def test_the_jobs_have_a_name_that_exists():
    module, _, function = ADMISSION_JOB.rpartition(".")
    assert callable(getattr(__import__(module, fromlist=[function]), function))
    assert {ADMISSION_JOB} == worker.ALLOWED_JOBS
