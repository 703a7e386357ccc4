"""The RQ worker: runs the admission job, with the app's context and a warm SQL connection."""

import gc
import logging
from typing import Any

import redis
from rq import SimpleWorker
from rq.exceptions import DeserializationError
from rq.job import Job
from rq.serializers import JSONSerializer
from sqlalchemy.exc import SQLAlchemyError

from jobs.sweeper import swept_coupons
from webapp import create_app
from webapp.checks import refuse_unsafe_start
from webapp.extensions import bell_queue, line_redis
from webapp.issuing import ADMISSION_JOB, Refused, publish_row
from webapp.line import Line
from webapp.swallowed import swallow

ALLOWED_JOBS = frozenset({ADMISSION_JOB})
WORKER_TTL_S = 30
MAINTENANCE_INTERVAL_S = 30
LOCK_WAIT_S = 5


class AllowedJob(Job):
    """A job that runs only our own functions, with integers, and ignores callbacks and webhooks.

    Whoever can write to Redis could otherwise have any importable function called, whatever the serializer.
    """

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


def make_worker() -> SimpleWorker:
    """Return a worker of the one queue; call it inside an app context."""
    queue = bell_queue()
    # What cleans up after a dead worker asks the queue, not the worker, and would run callbacks.
    queue.job_class = AllowedJob
    return SimpleWorker(
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
            publish_row(coupon)
    except (redis.RedisError, SQLAlchemyError, Refused) as error:
        swallow("not rung at the start", error, "the sweeper rings when the bells have expired")


if __name__ == "__main__":
    main()
