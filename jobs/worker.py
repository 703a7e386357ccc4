"""The RQ worker: runs the admission job, with the app's context and a warm SQL connection."""

import gc
import logging
import zlib
from typing import Any

import redis
from rq import Queue, SimpleWorker
from rq.exceptions import DeserializationError, NoSuchJobError
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from sqlalchemy.exc import SQLAlchemyError

from jobs.sweeper import publish_all, ring_for, swept_coupons
from webapp import create_app
from webapp.line.line import Line
from webapp.log.writing import this_process_is
from webapp.models import utcnow
from webapp.models.log import JOB
from webapp.sale.bells import ADMISSION_JOB
from webapp.startup import refuse_unsafe_start
from webapp.stores.malformed import ERRORS, going_on, is_malformed, set_entry_aside
from webapp.stores.queue import BELL_ID, FAILED_JOB_TTL_S, JOB_TIMEOUT_S, QUEUE_NAME, bell_queue
from webapp.stores.script_redis import line_redis
from webapp.stores.swallowed import swallow

ALLOWED_JOBS = frozenset({ADMISSION_JOB})
WORKER_TTL_S = 30
MAINTENANCE_INTERVAL_S = 30
LONGEST_PAUSE_S = 2.0
"""The longest pause between two tries to reach Redis; RQ's own pauses double up to a minute."""
WAIT_FOR_JOB_S, REPLY_S = 3, 2
"""How long a worker waits for a job before it asks again, and how much longer before it takes the connection for lost:
a network that swallows everything breaks no connection."""
LOCK_WAIT_S = 5
MOST_DATA = 1000
"""The most bytes of a call, packed or not."""
AS_RUNG = {
    b"origin": QUEUE_NAME.encode(),
    b"timeout": JOB_TIMEOUT_S,
    b"result_ttl": 0,
    b"failure_ttl": FAILED_JOB_TTL_S,
}
STATUSES = {status.value.encode() for status in JobStatus}


class AllowedJob(Job):
    """A job that runs only our own functions, with integers, and ignores callbacks and webhooks.

    Otherwise an attacker who can write to Redis could have any importable function called, with any serializer. The job
    reads its call and status from Redis, and nothing else; the rest is as `webapp.sale.bells.ring` sets it.
    """

    def refresh(self) -> None:
        if int(self.connection.hstrlen(self.key, "data")) > MOST_DATA:
            raise DeserializationError("a call of ours is short")
        data, status = self.connection.hmget(self.key, "data", "status")
        if data is None:
            raise NoSuchJobError(f"no such job: {self.id}")
        self.restore({b"data": data, b"status": status})

    def restore(self, raw_data: Any) -> None:
        status = raw_data.get(b"status")
        known = {b"status": status} if status in STATUSES else {}
        super().restore({b"data": _unpacked(raw_data[b"data"])} | known | AS_RUNG)

    @property
    def func(self) -> Any:
        if self.func_name not in ALLOWED_JOBS or self.instance is not None or self.kwargs:
            raise DeserializationError("this job is not on the list of allowed jobs")
        if not all(type(argument) is int for argument in self.args):
            raise DeserializationError("a job takes integers only")
        return super().func

    @property
    def success_callback(self) -> None:
        return None

    @property
    def failure_callback(self) -> None:
        return None

    @property
    def stopped_callback(self) -> None:
        return None

    def send_webhooks(self, *_args: object, **_options: object) -> None:
        return None


class BellQueue(Queue):
    """A queue that sets malformed entries aside, so that they do not end the worker.

    One admission is enough for all jobs of a line that are in the queue when it begins.
    """

    @classmethod
    def dequeue_any(cls, queues: Any, *args: Any, **options: Any) -> Any:
        while True:
            with going_on(queues[0]):
                return super().dequeue_any(queues, *args, **options)

    @classmethod
    def _fetch_dequeued_job(cls, *args: Any, **options: Any) -> Any:
        connection, queue_key, job_id = args
        try:
            found = super()._fetch_dequeued_job(*args, **options)
        except ERRORS as error:
            if not is_malformed(error):
                raise
            found = None
        if found is not None:
            _take_others(connection, queue_key, job_id)
        elif BELL_ID.fullmatch(job_id):
            connection.lrem(f"{queue_key}:intermediate", 0, job_id)  # nobody fetched it in time
        else:
            set_entry_aside(connection, queue_key, job_id)
        return found


def _line_of(job_id: str) -> str | None:
    found = BELL_ID.fullmatch(job_id)
    return found[1] if found else None


def _take_others(connection: Any, queue_key: str, job_id: str) -> None:
    """Remove the other jobs of the same line from the queue."""
    entries = [entry.decode(errors="replace") for entry in connection.lrange(queue_key, 0, -1)]
    others = [entry for entry in entries if _line_of(entry) == _line_of(job_id) is not None]
    if others:
        with connection.pipeline(transaction=False) as pipe:
            for entry in others:
                pipe.lrem(queue_key, 1, entry)
            pipe.delete(*(Job.key_for(entry) for entry in others))
            pipe.execute()


class BellWorker(SimpleWorker):
    """A worker that no malformed data in Redis ends, and that is soon back after an outage of Redis.

    It obeys no commands over Redis, so it needs no thread that listens for them: a signal ends it.
    """

    queue_class = BellQueue
    max_connection_wait_time = LONGEST_PAUSE_S

    @property
    def dequeue_timeout(self) -> int:
        return WAIT_FOR_JOB_S

    @property
    def connection_timeout(self) -> int:
        return WAIT_FOR_JOB_S + REPLY_S

    def subscribe(self) -> None:
        pass

    def run_maintenance_tasks(self) -> None:
        with going_on(self.queues[0]):
            super().run_maintenance_tasks()  # type: ignore[no-untyped-call]
        # After an error RQ would hold its lock and try again at each turn.
        if self.should_run_maintenance_tasks:
            self.queues[0].release_maintenance_lock()  # type: ignore[no-untyped-call]
            self.last_cleaned_at = utcnow()  # type: ignore[assignment]

    def execute_job(self, job: Job, queue: Queue) -> None:
        with going_on(queue):
            super().execute_job(job, queue)


def _unpacked(data: bytes) -> bytes:
    """Return the call of a job, unpacked if RQ has packed it. Data that unpacks to more than MOST_DATA is cut off."""
    try:
        return zlib.decompressobj().decompress(data, MOST_DATA)
    except zlib.error:
        return data


def make_worker() -> BellWorker:
    """Return a worker of the one queue. Call this inside an app context."""
    bells = bell_queue()
    # RQ's clean-up after a dead worker takes the class of jobs from the queue; its own class would run callbacks.
    queue = BellQueue(
        bells.name, connection=bells.connection, job_class=AllowedJob, serializer=JSONSerializer
    )
    return BellWorker(
        [queue],
        connection=queue.connection,
        job_class=AllowedJob,
        serializer=JSONSerializer,
        worker_ttl=WORKER_TTL_S,
        maintenance_interval=MAINTENANCE_INTERVAL_S,
    )


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s worker %(levelname)s %(message)s")
    logging.getLogger("rq.worker").setLevel(logging.WARNING)
    refuse_unsafe_start()
    this_process_is(JOB)
    with create_app({"SQL_LOCK_WAIT_S": LOCK_WAIT_S}).app_context():
        # First: it has later connections wait as long for a reply as for a job.
        worker = make_worker()
        ring_again()
        keep_for_good()
        worker.work()


def keep_for_good() -> None:
    """Have the garbage collector leave out all imported objects: admission is 4 % faster then.

    The figure: `make bench ARGS=admission`, with and without, interleaved.
    """
    gc.collect()
    gc.freeze()


def ring_again() -> None:
    """Ring for every line in which tickets wait, whether or not its bell is set.

    A worker that died between taking a job and running it has lost the job and left the bell, and the sweeper would
    wait for the bell to expire. One admission too many does no harm.
    """
    try:
        published = publish_all(swept_coupons())
        for coupon in published:
            Line(line_redis(), coupon.id).quiet_bell()
        ring_for(published)
    except (redis.RedisError, SQLAlchemyError) as error:
        swallow("not rung at the start", error, "the sweeper rings when the bells have expired")


if __name__ == "__main__":
    main()
