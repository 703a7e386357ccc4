"""The condition of the parts: whether each store takes writes, what the clocks say, and who is at work."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import redis
from rq import Worker
from sqlalchemy import false, text, update
from sqlalchemy.exc import SQLAlchemyError

from webapp.models import Coupon
from webapp.stores.malformed import NOT_ALLOWED, going_on
from webapp.stores.queue import SWEEPER_ALIVE_KEY, bell_queue
from webapp.stores.script_redis import Lines, line_redis
from webapp.stores.sql import db

PROBE_KEY, PROBE_MS = "probe", 3_600_000
CLOCK_MS = 1000
"""How far Redis's clock may be from what it was, and from that of this host, without a word."""
READ_ONLY = "read only"
REDIS_SAYS = {
    "Link with MASTER": "its master is away",
    **dict.fromkeys(("Demoted", "READONLY"), READ_ONLY),
    **dict.fromkeys(("OutOfMemoryError", "OOM"), "full"),
    **dict.fromkeys(("BusyLoadingError", "LOADING"), "loading its file"),
    **dict.fromkeys(
        ("AuthenticationError", "NoPermissionError", "NOAUTH", "NOPERM", "ACL failure", NOT_ALLOWED),
        "no permission",
    ),
    "MISCONF": "cannot save",
    "NOREPLICAS": "too few replicas",
    "BUSY": "held up by a script",
    **dict.fromkeys(("ClusterDownError", "CLUSTERDOWN"), "its Cluster is down"),
    "TryAgainError": "a slot of its Cluster is moving",
}
SQL_SAYS = {
    **dict.fromkeys(("(1290,", "(1792,", "(1836,", "(3100,"), READ_ONLY),
    **dict.fromkeys(("(1044,", "(1045,", "(1142,"), "no permission"),
    **dict.fromkeys(("(1054,", "(1146,", "no such table"), "not up to date"),
}


@dataclass(frozen=True)
class Probed:
    """What a Redis says to a write: "ok", or what is wrong; and what its clock did.

    `apart_ms`: how far the clock is ahead of that of this host. `back_ms`: how far it was put back. Both are None where
    Redis took no write.
    """

    says: str
    apart_ms: float | None = None
    back_ms: float | None = None

    @property
    def clock(self) -> str:
        if self.apart_ms is None or self.back_ms is None:
            return "unknown"
        return clock_in_words(self.apart_ms, self.back_ms)


def probed(connections: Lines) -> Probed:
    """Ask a Redis to take a write of a script, over a click's connections; each node of a Cluster, until one does not.

    Of their clocks the one counts that is the farthest from ours.
    """
    apart_ms, back_ms = [0.0], [0]
    try:
        for key in connections.keys_everywhere(PROBE_KEY):
            now_ms, was_back_ms = connections.of(key).run_script("probe", [key], [PROBE_MS])
            apart_ms.append(now_ms - time.time() * 1000)
            back_ms.append(was_back_ms)
    except redis.RedisError as error:
        return Probed(in_words(error, REDIS_SAYS))
    return Probed("ok", max(apart_ms, key=abs), max(back_ms))


def clock_in_words(apart_ms: float, back_ms: float) -> str:
    if back_ms > CLOCK_MS:
        return f"Redis's clock was put back by {back_ms / 1000:.1f} s"
    if abs(apart_ms) > CLOCK_MS:
        side = "ahead of" if apart_ms > 0 else "behind"
        return f"Redis's clock is {abs(apart_ms) / 1000:.1f} s {side} that of this host"
    return "ok"


def sql_condition() -> str:
    """Return "ok" when rows can be written; else what is wrong. On SQLite it only reads, because a write waits."""
    try:
        with db.engine.connect() as connection:
            # An UPDATE of no row is refused by a read-only server, and changes and locks nothing.
            nothing = update(Coupon).where(false()).values(revision=Coupon.revision)
            connection.execute(text("SELECT 1") if db.engine.name == "sqlite" else nothing)
    except SQLAlchemyError as error:
        return in_words(error, SQL_SAYS)
    return "ok"


def sql_apart_s() -> float:
    """Return how many seconds the clock of the SQL server is ahead of that of this host; 0 for SQLite.

    Raises SQLAlchemyError.
    """
    if db.engine.name == "sqlite":
        return 0.0
    with db.engine.connect() as connection:
        return float(connection.scalar(text("SELECT UNIX_TIMESTAMP(NOW(6))")) or 0) - time.time()


def in_words(error: Exception, words: Mapping[str, str]) -> str:
    """Return the words for an error of a store, or else the name of its class."""
    said = f"{type(error).__name__} {error}"
    return next((word for sign, word in words.items() if sign in said), type(error).__name__)


def workers() -> int:
    """Return how many workers listen to the queue. Raises redis.RedisError."""
    queue = bell_queue()
    with going_on(queue):
        return int(Worker.count(queue=queue))
    return 0  # the registry was malformed, and is set aside now


def sweeper_lives() -> bool:
    """Return whether a sweeper has swept lately. Raises redis.RedisError."""
    return bool(line_redis().of(SWEEPER_ALIVE_KEY).exists(SWEEPER_ALIVE_KEY))
