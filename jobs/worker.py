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

from jobs.sweeper import sweep_one, swept_coupons
from webapp import create_app
from webapp.checks import refuse_unsafe_start
from webapp.extensions import FAILED_JOB_TTL_S, JOB_TIMEOUT_S, QUEUE_NAME, bell_queue, line_redis
from webapp.issuing import ADMISSION_JOB
from webapp.line import Line
from webapp.malformed import ERRORS, going_on, is_malformed, set_entry_aside
from webapp.models import utcnow
from webapp.swallowed import swallow

ALLOWED_JOBS = frozenset({ADMISSION_JOB})
WORKER_TTL_S = 30
MAINTENANCE_INTERVAL_S = 30
LOCK_WAIT_S = 5
MOST_DATA = 1000
"""Bytes of a call, packed or not."""
AS_RUNG = {
    b"origin": QUEUE_NAME.encode(),
    b"timeout": JOB_TIMEOUT_S,
    b"result_ttl": 0,
    b"failure_ttl": FAILED_JOB_TTL_S,
}
STATUSES = {status.value.encode() for status in JobStatus}


class AllowedJob(Job):
    """A job that runs only our own functions, with integers, and ignores callbacks and webhooks.

    Whoever can write to Redis could otherwise have any importable function called, whatever the serializer. Of what
    Redis holds it reads the call alone; the rest is as `issuing.ring` sets it, whatever stands there.
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
    def success_callback(self) -> Any:
        return None

    @property
    def failure_callback(self) -> Any:
        return None

    @property
    def stopped_callback(self) -> Any:
        return None

    def send_webhooks(self, *_args: Any, **_options: Any) -> None:
        return None


class BellQueue(Queue):
    """A queue that sets aside what it cannot read: one strange entry must not end the worker."""

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
        if found is None:
            set_entry_aside(connection, queue_key, job_id)
        return found


class BellWorker(SimpleWorker):
    """A worker that whatever stands in Redis does not end."""

    queue_class = BellQueue

    def run_maintenance_tasks(self) -> None:
        with going_on(self.queues[0]):
            super().run_maintenance_tasks()  # type: ignore[no-untyped-call]
        if self.should_run_maintenance_tasks:
            self.queues[0].release_maintenance_lock()  # type: ignore[no-untyped-call]
            self.last_cleaned_at = utcnow()  # type: ignore[assignment]

    def execute_job(self, job: Job, queue: Queue) -> None:
        with going_on(queue):
            super().execute_job(job, queue)

    def handle_payload(self, message: Any) -> None:
        with going_on(self.queues[0]):
            super().handle_payload(message)  # type: ignore[no-untyped-call]


def _unpacked(data: bytes) -> bytes:
    """Return a call as it is, or as RQ packs it; what unpacks to more than a call is cut off, and no call."""
    try:
        return zlib.decompressobj().decompress(data, MOST_DATA)
    except zlib.error:
        return data


def make_worker() -> BellWorker:
    """Return a worker of the one queue; call it inside an app context."""
    bells = bell_queue()
    # What cleans up after a dead worker asks the queue, not the worker, and would run callbacks.
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
    with create_app({"SQL_LOCK_WAIT_S": LOCK_WAIT_S}).app_context():
        ring_again()
        keep_for_good()
        make_worker().work()


def keep_for_good() -> None:
    """Have the garbage collector leave out all that was imported: admission is 4 % faster for it.

    The figure: `make bench ARGS=admission`, with and without, interleaved.
    """
    gc.collect()
    gc.freeze()


def ring_again() -> None:
    """Ring for every line in which people wait, whether somebody rang or not.

    A worker that died between taking a job and running it took the bell with it, and the sweeper would wait for the
    bell to expire. One admission too many does no harm.
    """
    try:
        for coupon in swept_coupons():
            Line(line_redis(), coupon.id).quiet_bell()
            sweep_one(coupon)
    except (redis.RedisError, SQLAlchemyError) as error:
        swallow("not rung at the start", error, "the sweeper rings when the bells have expired")


if __name__ == "__main__":
    main()
