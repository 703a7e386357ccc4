"""Our processes with something wrong in them, for the fault tests alone: `python -m tests.faults.tampered MODULE`.

TAMPER names what is wrong, comma separated: a guard that is taken out (the negative controls), or `kill:STEP` and
`stop:STEP`, which send the process SIGKILL or SIGSTOP the first time that it reaches a step. Nothing in the product
knows of this; without this module there is no way to switch it on.
"""

import importlib
import os
import random
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import select
from sqlalchemy.engine import Connection

from jobs import admission, sweeper, worker
from webapp import config
from webapp.accounts import passwords, sessions
from webapp.line.line import Line
from webapp.line.types import Claimed, Reply
from webapp.models import Coupon
from webapp.sale import admission as sale_admission
from webapp.sale import bells, epochs, locking, publishing, records
from webapp.stores import cluster, pool, script_redis, sentinels, sql, sqlite
from webapp.stores.sql import db

Wrapped = Callable[..., Any]
TICK_S = 0.005


def before(owner: Any, name: str, act: Callable[..., None]) -> None:
    original: Wrapped = getattr(owner, name)

    def acting(*args: Any, **kwargs: Any) -> Any:
        act(*args)
        return original(*args, **kwargs)

    setattr(owner, name, acting)


def after(owner: Any, name: str, act: Callable[..., None]) -> None:
    original: Wrapped = getattr(owner, name)

    def acting(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        if result is not None:
            act(*args)
        return result

    setattr(owner, name, acting)


STEPS: dict[str, tuple[Callable[..., None], Any, str]] = {
    "claimed": (after, Line, "claims"),
    "taken": (before, worker.SimpleWorker, "execute_job"),
    "begun": (before, admission, "admit"),
    "locked": (before, sale_admission, "_decide"),
    "inserted": (after, sale_admission, "_write"),
    "committed": (before, Line, "settle"),
    "settled": (after, Line, "settle"),
    "next batch": (after, sale_admission, "_admit_batch"),
    "epoch begun": (after, Line, "begin_epoch"),
    "epoch known": (before, Line, "open_epoch"),
}
"""Where a process can be told to die: before or after a function of ours."""


def fail_at(step: str, number: int) -> None:
    """Send this process a signal the first time that it reaches the step, if it has work to do there."""
    place, owner, name = STEPS[step]
    place(owner, name, lambda *_: first_time() and os.kill(os.getpid(), number))


def first_time() -> bool:
    """Whether no process of this site has been here before."""
    try:
        os.close(os.open(os.environ["TAMPER_ONCE"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


# Guards taken out


@contextmanager
def unlocked(coupon_id: int) -> Iterator[locking.CouponLock]:
    """`locked_coupon` without the lock; it dawdles until another overtakes it, so that what it read is old."""
    with db.engine.connect() as connection:
        coupon, until = _coupon(connection, coupon_id), time.monotonic() + random.uniform(0, 0.4)
        while time.monotonic() < until and _coupon(connection, coupon_id) == coupon:
            time.sleep(0.005)
        time.sleep(0.02)
        yield locking.CouponLock(connection, coupon, key=locking._KEY)


def _coupon(connection: Connection, coupon_id: int) -> Any:
    return connection.execute(select(Coupon).where(Coupon.id == coupon_id)).one_or_none()


def no_lock() -> None:
    sale_admission.locked_coupon = epochs.locked_coupon = publishing.locked_coupon = unlocked  # type: ignore[assignment]


def early_head() -> None:
    """Admission reads the head of the line before it has the lock, and goes on when another has read it too."""
    locked, head = locking.locked_coupon, Line.head

    @contextmanager
    def reading_first(coupon_id: int) -> Iterator[locking.CouponLock]:
        store = script_redis.line_redis()
        seen, until = head(Line(store, coupon_id), sale_admission.BATCH), time.monotonic() + 0.5
        readers = store.incr("readers")
        while time.monotonic() < until and int(store.get("readers") or 0) == readers:
            time.sleep(0.005)
        Line.head = lambda *_: seen  # type: ignore[method-assign]
        with locked(coupon_id) as found:
            yield found

    sale_admission.locked_coupon = epochs.locked_coupon = publishing.locked_coupon = reading_first  # type: ignore[assignment]


def small_batches() -> None:
    """A batch is half of a small quota."""
    sale_admission.BATCH = 50


def no_holders() -> None:
    """Admission does not look who has the coupon already."""
    sale_admission.holders_among = lambda *_: {}


def nobody_barred() -> None:
    """Admission does not look who is deleted or blocked."""
    sale_admission.barred_among = lambda *_, **__: {}


def settle_first() -> None:
    """People are told before the row is committed."""
    original = sale_admission._write

    def telling(lock: locking.CouponLock, head: Any, batch: Any) -> dict[str, Any]:
        changed = original(lock, head, batch)
        policy = records.policy_of(lock.coupon, changed)
        Line(script_redis.line_redis(), lock.coupon.id).settle(policy, batch.settled)
        time.sleep(0.3)
        return changed

    sale_admission._write = telling


def kill_sql_at_commit() -> None:
    """SQL's server is killed at some moment of a commit that writes issues."""

    def kill(delay_s: float, pid: int) -> None:
        time.sleep(delay_s)
        os.kill(pid, signal.SIGKILL)

    def doom() -> None:
        pid = int(Path(os.environ["SQL_PID_FILE"]).read_text())
        threading.Thread(target=kill, args=(random.uniform(0, 0.004), pid), daemon=True).start()

    at_commit(doom)


def kill_connection_at_commit() -> None:
    """The session is killed from outside just before a commit that writes issues."""

    def doom() -> None:
        held = [row for row in _processes() if row[4] == "Sleep" and row[7] is None]
        for row in held:
            _sql(f"KILL {row[0]}")

    at_commit(doom)


def at_commit(doom: Callable[[], None]) -> None:
    """Act once, when a transaction that wrote issues is about to commit; the marker can be taken away for another."""
    writing: list[bool] = []
    after(sale_admission, "_write", lambda *_: writing.append(True))

    def act(*_: Any) -> None:
        if writing and first_time():
            doom()
        writing.clear()

    before(Connection, "commit", act)


def _processes() -> list[tuple[Any, ...]]:
    return _sql("SHOW PROCESSLIST")


def _sql(statement: str) -> list[tuple[Any, ...]]:
    """Run a statement on a connection of its own."""
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        result = connection.exec_driver_sql(statement)
        return [tuple(row) for row in result] if result.returns_rows else []


def own_counter() -> None:
    """Each web process counts tickets by itself instead of asking Redis."""
    numbers = iter(range(1, 1_000_000))

    def claims(self: Line, user_ids: Sequence[int]) -> list[Claimed]:
        tickets = {user_id: next(numbers) for user_id in user_ids}
        self.redis.zadd(self.line_key, {str(user_id): number for user_id, number in tickets.items()})
        return [Claimed(Reply.WAITING, 1, tickets[user_id], 0, True, 0, "") for user_id in user_ids]

    Line.claims = claims  # type: ignore[method-assign]


def no_look_for_a_ticket() -> None:
    """The claim does not look whether the user has a ticket."""
    before(Line, "claims", lambda line, users: line.redis.zrem(line.line_key, *map(str, users)))


def no_floor() -> None:
    """A new epoch starts to count where it likes."""
    epochs.EPOCH_STEP = 0
    epochs.highest_number = publishing.highest_number = lambda *_: 0
    begin = Line.begin_epoch

    def from_one(self: Line, policy: Any, **options: Any) -> int:
        return begin(self, policy, **options | {"known": 0})

    Line.begin_epoch = from_one  # type: ignore[method-assign]


def early_epoch() -> None:
    """A new epoch gives numbers before SQL knows of it."""
    begin = Line.begin_epoch

    def opening(self: Line, policy: Any, **options: Any) -> int | None:
        floor = begin(self, policy, **options)
        self.open_epoch(options["mark"])
        return floor

    Line.begin_epoch = opening  # type: ignore[method-assign]


def no_grace() -> None:
    """A new epoch does not wait for receipts."""
    epochs.GRACE_MS = 0


def no_rejections() -> None:
    """Whom SQL has rejected stays in a line that begins anew, and is decided again."""
    sale_admission.rejected_among = lambda *_: {}
    _rewrite("    redis.call('ZREM', line, member)\n    redis.call('ZREM', standby, member)\n", "")


def clock_trusted() -> None:
    """A wait for receipts may end as far away as it says."""
    _rewrite("if now_ms < from then", "if false then")


def standby_stays() -> None:
    """Coupons that come back open the gate, and standby stays where it is."""
    _rewrite("    bring_standby_back(line, standby)", "")


def _rewrite(old: str, new: str) -> None:
    """Have our scripts run with other text."""
    read = Path.read_text

    def reading(self: Path, *args: Any, **options: Any) -> str:
        text = read(self, *args, **options)
        return text.replace(old, new) if self.suffix == ".lua" else text

    Path.read_text = reading  # type: ignore[method-assign,assignment]


def no_ring_at_start() -> None:
    worker.ring_again = lambda: None


def patient_redis() -> None:
    """The client of redis-py with its own idea of how long to wait."""
    connect = script_redis.FairPool.of
    ours = ("socket_timeout", "socket_connect_timeout", "timeout")

    def waiting(url: str, **options: Any) -> Any:
        return connect(
            url, **{name: value for name, value in options.items() if name not in ours}, timeout=20
        )

    script_redis.FairPool.of = waiting  # type: ignore[method-assign, assignment]


def no_look_for_a_replica() -> None:
    """Nobody notices that a server has become a replica."""
    pool.is_demoted = lambda _: False


def long_pauses() -> None:
    """A worker pauses for up to a minute between two tries to reach Redis."""
    worker.BellWorker.max_connection_wait_time = worker.SimpleWorker.max_connection_wait_time


def long_queue() -> None:
    """The queue keeps every job."""
    bells.MOST_BELLS = 1_000_000


def rq_alone() -> None:
    """A worker takes what stands in the queue as RQ does."""
    for name in ("dequeue_any", "_fetch_dequeued_job"):
        delattr(worker.BellQueue, name)


def forgetful_sweeper() -> None:
    """Nobody looks after a line a week after its end."""
    sweeper.to_be_served = lambda *_: []  # type: ignore[assignment]


def patient_sql() -> None:
    """A stopped session keeps its lock for as long as MySQL's own default says."""
    statements = sql.session_settings
    sql.session_settings = lambda *args: [
        statement
        for statement in statements(*args)
        if "wait_timeout" not in statement or "innodb" in statement
    ]


def wait_in_c() -> None:
    """SQLite waits for its lock by itself, in the thread of gevent's loop."""
    sqlite.beside = lambda call, *args: call(*args)
    sqlite.Connection = sqlite3.Connection  # type: ignore[misc]


def note_standstills() -> None:
    """The process notes for how long its loop stood still at most since its file was taken away."""
    threading.Thread(target=_note_standstills, daemon=True).start()


def _note_standstills() -> None:
    file = Path(os.environ["TAMPER_ONCE"]).with_name(f"standstill-{os.getpid()}")
    last = _time_of_ours()
    while True:
        time.sleep(TICK_S)
        now = _time_of_ours()
        if now - last > (float(file.read_text()) if file.exists() else 0):
            file.write_text(str(now - last))
        last = now


def _time_of_ours() -> float:
    """Return the time without that in which the machine had somebody else's work to do, where it says so."""
    statistics = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
    waited_ns = int(statistics.read_text().split()[1]) if statistics.exists() else 0
    return time.monotonic() - waited_ns / 1e9


def slow_machine() -> None:
    """Whoever waits for their turn has more time for it, on a machine that others use too."""
    config.DEFAULTS["SQL_LOCK_WAIT_S"] = config.DEFAULTS["GATE_WAIT_S"] = 30
    sqlite.LINE_WAIT_S = passwords.WAIT_S = 60


def claims_ask_sql() -> None:
    """A claim looks into the coupon's row first, as a system without a gate in Redis would."""

    def look(line: Line, user_ids: Sequence[int]) -> None:
        coupon_id = int(line.gate_key.split(":")[1].rstrip("}"))
        for _ in user_ids:
            with locking.locked_coupon(coupon_id):
                pass

    before(Line, "claims", look)


def nobody_ended() -> None:
    """Nobody looks whether a session has ended."""
    sessions.EndedSessions.has_ended = lambda *_: False  # type: ignore[method-assign]


def nobody_follows() -> None:
    """Nobody is led to the node that has a slot by then."""
    cluster.Cluster._next = lambda *_: None  # type: ignore[method-assign]


def lost_nodes_stay() -> None:
    """Nobody looks for the node that took over from one that does not answer."""
    follow = cluster.Cluster._next

    def staying(self: cluster.Cluster, slot: int, node: Any, error: redis.RedisError, until: float) -> Any:
        return None if isinstance(error, cluster.LOST) else follow(self, slot, node, error, until)

    cluster.Cluster._next = staying  # type: ignore[method-assign]


def master_asked_once() -> None:
    """A process asks the sentinels for the master once."""
    sentinels.Sentinels.locate = cache(sentinels.Sentinels.locate)  # type: ignore[method-assign]


GUARDS: dict[str, Callable[[], None]] = {
    name.replace("_", " "): globals()[name]
    for name in (
        "no_lock",
        "early_head",
        "small_batches",
        "no_holders",
        "nobody_barred",
        "settle_first",
        "kill_sql_at_commit",
        "kill_connection_at_commit",
        "own_counter",
        "no_look_for_a_ticket",
        "no_floor",
        "early_epoch",
        "no_grace",
        "no_rejections",
        "clock_trusted",
        "standby_stays",
        "no_ring_at_start",
        "patient_redis",
        "long_pauses",
        "no_look_for_a_replica",
        "long_queue",
        "rq_alone",
        "forgetful_sweeper",
        "patient_sql",
        "note_standstills",
        "slow_machine",
        "claims_ask_sql",
        "wait_in_c",
        "nobody_ended",
        "nobody_follows",
        "lost_nodes_stay",
        "master_asked_once",
    )
}


def tamper() -> None:
    for word in filter(None, os.environ.get("TAMPER", "").split(",")):
        what, _, step = word.partition(":")
        if step:
            fail_at(step, signal.Signals[f"SIG{what.upper()}"])
        else:
            GUARDS[word]()


if __name__ == "__main__":
    tamper()
    importlib.import_module(sys.argv[1]).main()
