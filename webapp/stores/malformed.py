"""Malformed data: bytes in Redis that no script and no command of ours can have written.

They are set aside and counted, and the rest goes on. This module does so for RQ's keys; `webapp.line.line` does so for
the keys of a line.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from rq import Queue
from rq.exceptions import DeserializationError, TimeoutFormatError
from rq.utils import as_text
from rq.worker_registration import REDIS_WORKER_KEYS, WORKERS_BY_QUEUE_KEY

from webapp.stores.pool import code_of
from webapp.stores.script_redis import line_redis
from webapp.stores.swallowed import swallow

COUNTS_KEY = "malformed"
"""A hash: how many things all processes together have set aside, by the kind of place."""
KEPT = 1000
KEPT_BYTES = 200
KEPT_S = 7 * 24 * 3600
ERRORS = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    DeserializationError,
    TimeoutFormatError,
    redis.ResponseError,
)
"""The errors that reading malformed data ends in."""
NOT_ALLOWED = "can't run this command"
"""What Redis 6.2 and 7 say, without a code, when the user may not run a command of a script."""


class Malformed(ValueError):
    """Data in Redis that no command and no script of ours can have written."""


def is_malformed(error: Exception) -> bool:
    """Say whether the error is about data in Redis, and not about Redis itself.

    An error about Redis has a class of its own (out of memory, loading …) or, inside a script, a code of its own.
    """
    if isinstance(error, redis.ResponseError):
        plain = type(error) is redis.ResponseError and NOT_ALLOWED not in str(error)
        return plain and code_of(error) in ("", "ERR", "WRONGTYPE")
    return isinstance(error, ERRORS)


def count_aside(place: str, how_many: int = 1, coupon_id: int | None = None) -> None:
    """Count things that were set aside, for this process and for all. Raises redis.RedisError."""
    if how_many:
        ids = {} if coupon_id is None else {"coupon_id": coupon_id}
        swallow(
            f"malformed: {place}", Malformed(), "it is set aside, and the rest goes on", again=False, **ids
        )
        try:
            line_redis().of(COUNTS_KEY).hincrby(COUNTS_KEY, place, how_many)
        except redis.ResponseError:
            line_redis().of(COUNTS_KEY).delete(COUNTS_KEY)  # the count itself was none


def counts() -> dict[str, int]:
    """Return how many things were set aside, by the kind of place. Raises redis.RedisError."""
    try:
        kept: Any = line_redis().of(COUNTS_KEY).hgetall(COUNTS_KEY)
        return {place: int(count) for place, count in kept.items()}
    except (ValueError, redis.ResponseError):
        return {}


@contextmanager
def going_on(queue: Queue) -> Iterator[None]:
    """Go on after an error about malformed data, with the malformed parts of the queue set aside."""
    try:
        yield
    except ERRORS as error:
        if not is_malformed(error):
            raise
        swallow("queue not read", error, "what is malformed is set aside, and the sweeper rings again")
        set_queue_aside(queue)


def set_queue_aside(queue: Queue) -> int:
    """Set aside the keys of a queue, its jobs and its workers that have another type, and entries that are no text.

    Return how many things that was. Raises redis.RedisError.
    """
    found = sum(_set_key_aside(queue, key, kind) for key, kind in _kinds(queue).items())
    count_aside("queue", found)
    return found


def set_entry_aside(connection: redis.Redis, queue_key: str, entry: str) -> None:
    """Set aside an entry that a worker took and whose job cannot be read. Raises redis.RedisError."""
    connection.lrem(f"{queue_key}:intermediate", 0, entry)
    _keep(connection, queue_key, entry.encode(errors="replace"))
    count_aside("entry of the queue")


def _kinds(queue: Queue) -> dict[str, str]:
    """Return the keys that RQ reads for this queue, and the type of each."""
    registries = (
        queue.started_job_registry,
        queue.finished_job_registry,
        queue.failed_job_registry,
        queue.deferred_job_registry,
        queue.ready_job_registry,
        queue.scheduled_job_registry,
        queue.canceled_job_registry,
    )
    sets = (Queue.redis_queues_keys, REDIS_WORKER_KEYS, WORKERS_BY_QUEUE_KEY % queue.name)
    kinds = {queue.key: "list", queue.intermediate_queue_key: "list"} | dict.fromkeys(sets, "set")
    return kinds | {registry.key: "zset" for registry in registries}


def _set_key_aside(queue: Queue, key: str, kind: str) -> int:
    connection: Any = queue.connection
    stands = as_text(connection.type(key))
    if stands not in (kind, "none"):
        # Renamed and not deleted: an operator may want to see what it was.
        connection.rename(key, f"{key}:set-aside")
        connection.expire(f"{key}:set-aside", KEPT_S)
        return 1
    strange = [entry for entry in _entries(connection, key, stands) if not _is_text(entry)]
    for entry in strange:
        _remove(connection, key, stands, entry)
        _keep(connection, queue.key, entry)
    return len(strange)


def _entries(connection: Any, key: str, kind: str) -> list[bytes]:
    if kind == "list":
        return list(connection.lrange(key, 0, -1))
    if kind == "set":
        return list(connection.smembers(key))
    return list(connection.zrange(key, 0, -1))


def _remove(connection: Any, key: str, kind: str, entry: bytes) -> None:
    if kind == "list":
        connection.lrem(key, 0, entry)
    elif kind == "set":
        connection.srem(key, entry)
    else:
        connection.zrem(key, entry)


def _keep(connection: Any, queue_key: str, entry: bytes) -> None:
    """Keep the beginning of an entry, for an operator to look at."""
    connection.lpush(f"{queue_key}:malformed", entry[:KEPT_BYTES])
    connection.ltrim(f"{queue_key}:malformed", 0, KEPT - 1)


def _is_text(entry: bytes) -> bool:
    try:
        entry.decode()
    except UnicodeDecodeError:
        return False
    return True
