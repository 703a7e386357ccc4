"""Bytes in Redis that are none of our writing: wherever they stand, they are set aside, and the rest goes on."""

import json
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import redis
from rq import Worker
from rq.job import Job
from sqlalchemy import func, select

from deploy.processes import wait_until
from jobs import sweeper, worker
from jobs.worker import make_worker
from tests.builders import make_coupon, make_user, sign_in
from tests.conftest import DATABASES, on_sqlite
from tests.visits import visit
from webapp.line.line import Line
from webapp.models import OWNER, CouponIssue
from webapp.sale import admission, claims, epochs, publishing
from webapp.sale.audit import run as audit
from webapp.sale.bells import ADMISSION_JOB
from webapp.sale.outcomes import Refused
from webapp.stores import malformed
from webapp.stores.queue import bell_queue
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

NO_TEXT = b"\xff\xfe\x00"
MOVES_S = 10
"""Within how long a ticket moves, whatever stands in Redis."""

Plant = Callable[[Any, Line, int], Any]
"""Puts something strange into Redis (bytes) for a line, and a user who waits in it."""


def member(name: bytes | str, score: Any = 3) -> Plant:
    return lambda store, line, _user: store.zadd(line.line_key, {name: score})


def score(value: Any) -> Plant:
    return lambda store, line, user: store.zadd(line.line_key, {str(user): value})


def result(value: bytes | str) -> Plant:
    return lambda store, line, user: store.hset(line.results_key, str(user), value)


def gate(field: str, value: bytes | str | None) -> Plant:
    def plant(store: Any, line: Line, _user: int) -> None:
        if value is None:
            store.hdel(line.gate_key, field)
        else:
            store.hset(line.gate_key, field, value)

    return plant


def another_type(name: str) -> Plant:
    def plant(store: Any, line: Line, _user: int) -> None:
        store.delete(getattr(line, name))
        store.set(getattr(line, name), NO_TEXT)

    return plant


IN_THE_LINE: dict[str, Plant] = {
    "a member that is no text": member(NO_TEXT),
    "a member that is no number": member("nobody"),
    "a member that is nothing": member(""),
    "a member with a sign": member("-7"),
    "a member with a point": member("7.0"),
    "a member in full width": member("７"),
    "a member beyond every id": member(str(10**30)),
    "a member of a megabyte": member("x" * 2**20),
    "a member with a line break": member("7\n"),
    "somebody twice": lambda store, line, user: store.zadd(line.line_key, {f"00{user}": 3}),
    "a hundred strange members": lambda store, line, _: store.zadd(
        line.line_key, {bytes([255, each]): each for each in range(100)}
    ),
    "an infinite number": score("inf"),
    "a number without a beginning": score("-inf"),
    "half a number": score(1.5),
    "a number below all": score(-3),
    "a number beyond all": score(1e300),
    "a number that is rounded": score(2**60),
    "standby with a member that is no text": lambda store, line, _: store.zadd(
        line.standby_key, {NO_TEXT: 9}
    ),
    "standby with an infinite number": lambda store, line, _: store.zadd(line.standby_key, {"7": "inf"}),
    "a result that is no text": result(NO_TEXT),
    "a result that is nothing": result(""),
    "a result of another kind": result("won"),
    "a result without a code": result("issued:1"),
    "a result whose number is none": result("issued:x:ABCDEFGHJKMN"),
    "a code that is no text": result(b"issued:1:" + NO_TEXT),
    "a result of nobody": lambda store, line, _: store.hset(line.results_key, NO_TEXT, "issued:1:ABC"),
    "a result of no number": lambda store, line, _: store.hset(line.results_key, "nobody", "issued:1:ABC"),
    "a bell that never ends": lambda store, line, _: store.set(line.bell_key, "1"),
    "a bell of another type": lambda store, line, _: (
        store.delete(line.bell_key),
        store.sadd(line.bell_key, "1"),
    ),
    "arrivals that are no text": lambda store, line, _: store.zadd(line.arrivals_key, {NO_TEXT: 0}),
    "a gate with a field that is no text": lambda store, line, _: store.hset(line.gate_key, NO_TEXT, NO_TEXT),
}
IN_THE_LINE |= {
    f"{name} of another type": another_type(f"{name}_key")
    for name in ("gate", "line", "standby", "results", "arrivals", "malformed")
}
IN_THE_LINE |= {
    f"a gate with {field} {shown}": gate(field, value)
    for field in (
        *("revision", "status", "quota", "issued", "opens_at", "closes_at", "sold_out", "epoch", "serving"),
        *("last", "floor", "run_id", "grace_until", "arrived"),
    )
    for shown, value in {"missing": None, "that is no text": NO_TEXT, "that is no number": "1e3x"}.items()
}

QUEUE, BETWEEN = "rq:queue:admission", "rq:queue:admission:intermediate"


def entry(name: bytes | str) -> Plant:
    return lambda store, _line, _user: store.lpush(QUEUE, name)


def job(**fields: Any) -> Plant:
    """Put a job in front of the others, some of whose fields are strange; None takes one away."""

    def plant(store: Any, line: Line, _user: int) -> None:
        made = Job.create(
            ADMISSION_JOB, [1], connection=store, serializer=bell_queue().serializer, origin="admission"
        )
        made.save()
        for name, value in fields.items():
            if value is None:
                store.hdel(made.key, name)
            else:
                store.hset(made.key, name, value)
        store.lpush(QUEUE, made.id)

    return plant


def key(name: str, kind: str = "string") -> Plant:
    def plant(store: Any, _line: Line, _user: int) -> None:
        store.delete(name)
        store.set(name, NO_TEXT) if kind == "string" else store.hset(name, "a", "b")

    return plant


def job_of_another_type(store: Any, _line: Line, _user: int) -> None:
    store.set("rq:job:strange", NO_TEXT)
    store.lpush(QUEUE, "strange")


IN_THE_QUEUE: dict[str, Plant] = {
    "an entry that is no text": entry(NO_TEXT),
    "an entry that is nothing": entry(""),
    "an entry that is no job": entry("no-such-job"),
    "an entry with colons": entry("a:b:c"),
    "an entry of a megabyte": entry(b"\xff" * 2**20),
    "an entry with a zero": entry("\0"),
    "a hundred strange entries": lambda store, *_: store.lpush(
        QUEUE, *[bytes([255, each]) for each in range(100)]
    ),
    "a job of another type": job_of_another_type,
    "a job without its data": job(data=None),
    "a job with empty data": job(data=""),
    "a job whose data are no text": job(data=NO_TEXT),
    "a job whose data are another call": job(data=json.dumps(["os.system", None, ["true"], {}])),
    "a job whose data are huge": job(data=b"[" * 2**21),
    "a job whose data unpack to too much": job(data=zlib.compress(b"[" * 2**24)),
    "a job with a field whose name is no text": lambda store, line, user: (
        job()(store, line, user),
        store.hset(b"rq:job:" + store.lindex(QUEUE, 0), NO_TEXT, NO_TEXT),
    ),
    "a job with everything strange": job(
        **dict.fromkeys(("created_at", "enqueued_at", "timeout", "status", "ttl", "meta", "origin"), NO_TEXT)
    ),
    "a time limit beyond all": job(timeout=10**30),
    "retries without end": job(retries_left=10**9, retry_intervals="[0]", data="no call"),
    "the queue is of another type": key(QUEUE),
    "the queue between is of another type": key(BETWEEN, "hash"),
    "an entry between that is no text": lambda store, *_: store.lpush(BETWEEN, NO_TEXT),
    "queues that are no text": lambda store, *_: store.sadd("rq:queues", NO_TEXT),
    "queues of another type": key("rq:queues"),
    "workers that are no text": lambda store, *_: (
        store.sadd("rq:workers", NO_TEXT),
        store.sadd("rq:workers:admission", NO_TEXT),
    ),
}
IN_THE_QUEUE |= {
    f"a job whose {field} is no text": job(**{field: NO_TEXT})
    for field in (
        *("created_at", "enqueued_at", "started_at", "last_heartbeat", "origin", "description", "timeout"),
        *("result_ttl", "failure_ttl", "status", "ttl", "dependency_ids", "meta", "worker_name", "group_id"),
        *("success_callback_name", "success_callback_timeout", "retries_left", "repeats_left", "exc_info"),
        *("enqueue_at_front", "allow_dependency_failures", "rate_limit_key", "rate_limit_concurrency"),
    )
}
IN_THE_QUEUE |= {
    f"the jobs that are {name}, with one that is no text": lambda store, *_, name=name: store.zadd(
        f"rq:{name}:admission", {NO_TEXT: 1}
    )
    for name in ("wip", "failed", "finished", "deferred", "scheduled", "canceled")
}
IN_THE_QUEUE |= {
    f"the jobs that are {name}, of another type": key(f"rq:{name}:admission", "hash")
    for name in ("wip", "failed", "finished", "deferred")
}
IN_THE_COUNTS: dict[str, Plant] = {
    "the count of another type": key(malformed.COUNTS_KEY),
    "a count that is no number": lambda store, *_: store.hset(malformed.COUNTS_KEY, "queue", NO_TEXT),
}
GARBAGE = IN_THE_LINE | IN_THE_QUEUE | IN_THE_COUNTS


@pytest.fixture(autouse=True)
def no_grace(request, monkeypatch) -> None:
    """Wait for nobody's receipt in a new epoch, but in the running system."""
    if "installation" not in request.fixturenames:
        monkeypatch.setattr(epochs, "GRACE_MS", 0)


def claimed(coupon: int, user: int) -> None:
    """Have the user claim, as often as it takes: whoever is told that it is busy presses again."""
    for _ in range(3):
        try:
            claims.claim(coupon, user)
        except (Refused, redis.RedisError):
            sweeper.sweep()
        else:
            return
    claims.claim(coupon, user)


def let_go_on(line: Line, rounds: int = 3) -> None:
    """Have sweeper and worker do what they do within ten seconds: a bell is over by then."""
    for _ in range(rounds):
        if line_redis().pttl(line.bell_key) > 0:
            line_redis().delete(line.bell_key)
        sweeper.sweep()
        make_worker().work(burst=True, logging_level="CRITICAL")


def assert_pages_open(client: Any, coupon: int) -> None:
    pages = [f"/coupons/{coupon}{rest}" for rest in ("", "/serving", "/ticket", "/receipt")]
    pages += [
        "/",
        "/admin/",
        f"/admin/coupons/{coupon}",
        "/readyz",
        "/wallet",
        "/admin/rq/",
        "/admin/rq/0/view/jobs",
    ]
    pages += ["/admin/rq/0/data/queues.json", "/admin/rq/0/data/workers.json"]
    pages += [
        f"/admin/rq/0/data/jobs/admission/{kind}/20/asc/1.json" for kind in ("queued", "failed", "started")
    ]
    for page in pages:
        answer = visit(client, page)
        assert answer.status_code < 500 or answer.status_code == 503, (page, answer.status_code)


def stuck(app: Any, name: str) -> bool:
    """Whether the worker ends at this garbage, or somebody who claims beside it is not served by the next sweep."""
    coupon, waiting = make_coupon(), make_user().id
    line, fresh = Line(line_redis(), coupon), make_user().id
    claims.claim(coupon, waiting)
    bell_queue().empty()
    GARBAGE[name](app.extensions["bells"], line, waiting)
    try:
        claimed(coupon, fresh)
        let_go_on(line, rounds=1)
        return claims.standing(coupon, fresh).state != "issued"
    except (Refused, ValueError, redis.ResponseError):
        return True


def moved(coupon: int, user: int) -> bool:
    """Whether the user, who presses as often as it is busy, has the coupon."""
    try:
        return claims.claim(coupon, user).state == "issued"
    except (Refused, redis.RedisError):
        return False


@on_sqlite
@pytest.mark.parametrize("plant", GARBAGE.values(), ids=GARBAGE.keys())
def test_whatever_stands_there_everybody_moves(app, client, plant):
    coupon, other, waiting = make_coupon(quota=50), make_coupon(), make_user().id
    line, store = Line(line_redis(), coupon), app.extensions["bells"]
    ticket = claims.claim(coupon, waiting)
    plant(store, line, waiting)
    sign_in(client, make_user(role=OWNER))
    assert_pages_open(client, coupon)
    fresh, elsewhere = make_user().id, make_user().id
    claimed(other, elsewhere)
    claimed(coupon, fresh)
    let_go_on(line)
    assert claims.standing(other, elsewhere).state == "issued"
    assert claims.standing(coupon, fresh).state == "issued"
    # Whoever lost the place, as their number was none, has the receipt, which their page shows with each poll.
    claims.restore(coupon, waiting, number=ticket.number or 0, epoch=ticket.epoch)
    let_go_on(line)
    assert claims.standing(coupon, waiting).state == "issued"
    assert_pages_open(client, coupon)
    publishing.reconcile(coupon)
    report = audit(coupon)
    assert report.ok, "\n".join(report.lines())


@on_sqlite
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a member that is no text", "member of a line"),
        ("an infinite number", "member of a line"),
        ("a gate with last that is no number", "key of a line"),
        ("line of another type", "key of a line"),
        ("a bell that never ends", "key of a line"),
        ("an entry that is no text", "queue"),
        ("an entry that is no job", "entry of the queue"),
        ("a job of another type", "entry of the queue"),
        ("the queue is of another type", "queue"),
    ],
)
def test_it_is_counted_and_kept_to_be_looked_at(app, client, name, place):
    coupon, waiting = make_coupon(), make_user().id
    line, store = Line(line_redis(), coupon), app.extensions["bells"]
    claims.claim(coupon, waiting)
    GARBAGE[name](store, line, waiting)
    let_go_on(line)
    said = visit(client, "/readyz").get_json()
    assert said["malformed"][place] >= 1
    assert said["swallowed"][f"malformed: {place}"] >= 1
    if "line" in place:
        assert line.aside()
        assert any("set aside" in told for told in audit(coupon).lines())
    elif name == "the queue is of another type":
        assert store.get(f"{QUEUE}:set-aside") == NO_TEXT
    else:
        assert store.llen(f"{QUEUE}:malformed") == 1


@pytest.mark.parametrize("database_url", DATABASES, indirect=True)
def test_whose_result_cannot_be_read_is_told_what_sql_knows(app):
    coupon, holder, nobody = make_coupon(), make_user().id, make_user().id
    claims.claim(coupon, holder)
    admission.admit(coupon)
    before, line = claims.standing(coupon, holder), Line(line_redis(), coupon)
    for user in (holder, nobody):
        app.extensions["bells"].hset(line.results_key, str(user), b"issued:9:" + NO_TEXT)
    assert claims.standing(coupon, holder) == before
    assert claims.standing(coupon, nobody).state == "none"
    assert claims.claim(coupon, holder) == before
    assert audit(coupon).ok


@on_sqlite
@pytest.mark.parametrize("ask", ["claim", "standing", "line_status"])
@pytest.mark.parametrize("name", ["a gate with epoch that is no text", "a gate with last that is no number"])
def test_what_another_process_sets_aside_first_is_no_error(app, monkeypatch, name, ask):
    coupon, waiting, fresh = make_coupon(), make_user().id, make_user().id
    claims.claim(coupon, waiting)
    line = Line(line_redis(), coupon)
    GARBAGE[name](app.extensions["bells"], line, waiting)
    set_aside = Line.set_aside
    monkeypatch.setattr(Line, "set_aside", lambda line: set_aside(line) and 0)
    monkeypatch.setitem(app.config, "GATE_WAIT_S", 30)
    if ask == "line_status":
        assert claims.line_status(coupon).state == "open"
    else:
        assert getattr(claims, ask)(coupon, fresh).state == {"claim": "waiting", "standing": "none"}[ask]


def test_a_holder_with_a_strange_double_gets_one_coupon(app):
    coupon, user = make_coupon(), make_user().id
    line = Line(line_redis(), coupon)
    claims.claim(coupon, user)
    line_redis().zadd(line.line_key, {f"0{user}": 1, f"00{user}": 1})
    let_go_on(line)
    assert db.session.scalar(select(func.count()).select_from(CouponIssue)) == 1
    assert audit(coupon).ok


@on_sqlite
def test_a_score_beyond_all_does_not_become_the_floor_of_an_epoch(app):
    coupon, user = make_coupon(), make_user().id
    line = Line(line_redis(), coupon)
    claims.claim(coupon, user)
    line_redis().zadd(line.line_key, {"9999": "inf"})
    line_redis().delete(line.gate_key)
    assert claims.claim(coupon, make_user().id).number == epochs.EPOCH_STEP + 1


# The controls: each guard taken out


OF_THE_LINE = ["a gate with last that is no number", "line of another type", "a bell that never ends"]
OF_THE_QUEUE = ["an entry that is no text", "a job of another type", "the queue is of another type"]


@on_sqlite
@pytest.mark.parametrize("name", [*OF_THE_LINE, *OF_THE_QUEUE, "a job whose timeout is no text"])
def test_with_the_guards_the_next_sweep_serves(app, name):
    assert not stuck(app, name)


@on_sqlite
@pytest.mark.parametrize("name", OF_THE_LINE)
def test_control_nothing_of_a_line_is_set_aside(app, monkeypatch, name):
    monkeypatch.setattr(admission, "set_aside", lambda _coupon_id: 0)
    monkeypatch.setattr(claims, "set_aside", lambda _coupon_id: 0)
    monkeypatch.setattr(epochs, "set_aside", lambda _coupon_id: 0)
    monkeypatch.setattr(publishing, "set_aside", lambda _coupon_id: 0)
    assert stuck(app, name)


@on_sqlite
@pytest.mark.parametrize("name", OF_THE_QUEUE)
def test_control_an_ordinary_worker_ends(app, monkeypatch, name):
    monkeypatch.setattr(worker, "BellWorker", worker.SimpleWorker)
    monkeypatch.setattr(worker, "BellQueue", worker.Queue)
    monkeypatch.setattr(malformed, "set_queue_aside", lambda _queue: 0)
    assert stuck(app, name)


@on_sqlite
def test_control_a_job_that_is_read_as_rq_reads_it_ends_the_worker(app, monkeypatch):
    monkeypatch.setattr(worker, "AllowedJob", Job)
    monkeypatch.setattr(worker, "BellWorker", worker.SimpleWorker)
    monkeypatch.setattr(worker, "BellQueue", worker.Queue)
    assert stuck(app, "a job whose timeout is no text")


@on_sqlite
def test_control_members_are_read_strictly(app, monkeypatch):
    app.extensions["line"].connection_pool.connection_kwargs["encoding_errors"] = "strict"
    app.extensions["line"].connection_pool.disconnect()
    app.extensions["line"].connection_pool.reset()
    assert stuck(app, "a member that is no text")


# The running system

LIVE = [
    *("a member that is no text", "somebody twice", "an infinite number", "line of another type"),
    *("a gate with last that is no number", "a gate with epoch that is no text", "gate of another type"),
    *("a bell that never ends", "a result that is no text", "standby with an infinite number"),
    *(
        "an entry that is no text",
        "an entry that is no job",
        "a job of another type",
        "a job without its data",
    ),
    *(
        "a job whose timeout is no text",
        "a job whose data unpack to too much",
        "the queue is of another type",
    ),
    *(
        "the queue between is of another type",
        "the jobs that are wip, of another type",
        "workers that are no text",
    ),
]


@pytest.mark.parametrize("installation", ["sqlite"], indirect=True)
def test_a_running_system_goes_on_within_ten_seconds(installation):
    """The worker is the same process at the end, and a fresh ticket moves beside each kind of garbage."""
    with installation.app.app_context():
        store = installation.app.extensions["bells"]
        before = {each.name for each in Worker.all(queue=bell_queue())}
        slowest = 0.0
        for name in LIVE:
            coupon, waiting = make_coupon(), make_user().id
            claims.claim(coupon, waiting)
            GARBAGE[name](store, Line(line_redis(), coupon), waiting)
            began, fresh = time.monotonic(), make_user().id
            wait_until(lambda coupon=coupon, fresh=fresh: moved(coupon, fresh), wait_s=MOVES_S)
            slowest = max(slowest, time.monotonic() - began)
        assert slowest < MOVES_S
        wait_until(lambda: bell_queue().count == 0, wait_s=MOVES_S)
        malformed.set_queue_aside(bell_queue())
        assert {each.name for each in Worker.all(queue=bell_queue())} == before
        db.session.remove()
