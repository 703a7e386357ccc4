"""Bells: a caller that has set the bell of a line enqueues its RQ job here.

A job may get lost or go unheard, because the bell of its line expires, and the sweeper rings for every line that has
waiting tickets and no bell. So the queue keeps few jobs, and none for long.
"""

from uuid import uuid4

import redis

from webapp.line.line import Line
from webapp.stores.malformed import going_on
from webapp.stores.queue import BELL_TTL_S, FAILED_JOB_TTL_S, JOB_TIMEOUT_S, MOST_BELLS, bell_queue
from webapp.stores.script_redis import line_redis
from webapp.stores.swallowed import swallow

ADMISSION_JOB = "jobs.admission.admit"


def ring(coupon_id: int) -> bool:
    """Enqueue one admission job with a fresh id, and return whether the queue has it.

    An error is swallowed and counted: the ticket is already in line, and the sweeper rings within seconds.
    """
    try:
        with going_on(bell_queue()):
            _enqueue(coupon_id)
            return True
        _enqueue(coupon_id)
    except redis.RedisError as error:
        swallow("bell not enqueued", error, "the sweeper rings within seconds", coupon_id=coupon_id)
        return False
    return True


def _enqueue(coupon_id: int) -> None:
    queue = bell_queue()
    queue.enqueue(
        ADMISSION_JOB,
        coupon_id,
        job_id=f"{coupon_id}-{uuid4().hex}",
        ttl=BELL_TTL_S,
        job_timeout=JOB_TIMEOUT_S,
        result_ttl=0,
        failure_ttl=FAILED_JOB_TTL_S,
        description="admit the line of one coupon",
    )
    queue.connection.ltrim(queue.key, -MOST_BELLS, -1)


def ring_if_waiting(coupon_id: int) -> bool | None:
    """Ring when somebody waits and nobody has rung; return what `ring` does, or None when there was no need."""
    return ring(coupon_id) if Line(line_redis(), coupon_id).set_bell() else None
