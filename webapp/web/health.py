"""Is the process alive, and can it do its work?"""

import os
import time
from collections.abc import Mapping

import redis
from flask import Blueprint, Response, current_app, jsonify
from rq import Worker
from sqlalchemy import false, text, update
from sqlalchemy.exc import SQLAlchemyError

from webapp.models import Coupon
from webapp.stores import malformed, swallowed
from webapp.stores.malformed import NOT_ALLOWED, going_on
from webapp.stores.queue import SWEEPER_ALIVE_KEY, bell_queue
from webapp.stores.script_redis import ScriptRedis, line_redis
from webapp.stores.sql import db

bp = Blueprint("health", __name__)

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
}
SQL_SAYS = {
    **dict.fromkeys(("(1290,", "(1792,", "(1836,", "(3100,"), READ_ONLY),
    **dict.fromkeys(("(1044,", "(1045,", "(1142,"), "no permission"),
    **dict.fromkeys(("(1054,", "(1146,", "no such table"), "not up to date"),
}


@bp.get("/healthz")
def healthz() -> Response:
    """Answer as long as the process lives. No store is asked."""
    return Response("ok\n", content_type="text/plain", headers={"Cache-Control": "no-store"})


@bp.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Answer with the state of each part; 503 when users could not be served.

    A read-only SQL server, missing workers, a missing sweeper and a wrong clock are shown but do not count, because the
    web gives tickets all the same.
    """
    redis_says, clock = _takes_writes(line_redis())
    queue_says, _ = _takes_writes(current_app.extensions["bells"])
    parts: dict[str, object] = {"redis": redis_says, "queue": queue_says, "sql": _sql(), "clock": clock}
    ready = parts["redis"] == parts["queue"] == "ok" and parts["sql"] in ("ok", READ_ONLY)
    parts["workers"] = _workers() if parts["queue"] == "ok" else 0
    parts["sweeper"] = parts["redis"] == "ok" and bool(line_redis().exists(SWEEPER_ALIVE_KEY))
    aside = malformed.counts() if parts["redis"] == "ok" else {}
    status = "ready" if ready else "unavailable"
    # What one process counts is its own; an operator who asks again may hear another.
    own = {"process": os.getpid(), "fast_path": current_app.extensions.get("fast_path_counts", "off")}
    answer = jsonify(status=status, parts=parts, swallowed=swallowed.counts, malformed=aside, **own)
    answer.headers["Cache-Control"] = "no-store"
    return answer, 200 if ready else 503


def _takes_writes(connection: ScriptRedis) -> tuple[str, str]:
    """Return what a Redis says, and what its clock does: "ok" when a script can write, over a click's connections."""
    try:
        now_ms, back_ms = connection.run_script("probe", [PROBE_KEY], [PROBE_MS])
    except redis.RedisError as error:
        return _in_words(error, REDIS_SAYS), "unknown"
    return "ok", _clock_in_words(now_ms - time.time() * 1000, back_ms)


def _clock_in_words(apart_ms: float, back_ms: float) -> str:
    if back_ms > CLOCK_MS:
        return f"Redis's clock was put back by {back_ms / 1000:.1f} s"
    if abs(apart_ms) > CLOCK_MS:
        side = "ahead of" if apart_ms > 0 else "behind"
        return f"Redis's clock is {abs(apart_ms) / 1000:.1f} s {side} that of this host"
    return "ok"


def _sql() -> str:
    """Return "ok" when rows can be written; else what is wrong. On SQLite it only reads, because a write waits."""
    try:
        with db.engine.connect() as connection:
            # An UPDATE of no row is refused by a read-only server, and changes and locks nothing.
            nothing = update(Coupon).where(false()).values(revision=Coupon.revision)
            connection.execute(text("SELECT 1") if db.engine.name == "sqlite" else nothing)
    except SQLAlchemyError as error:
        return _in_words(error, SQL_SAYS)
    return "ok"


def _in_words(error: Exception, words: Mapping[str, str]) -> str:
    """Return the words for an error of a store, or else the name of its class."""
    said = f"{type(error).__name__} {error}"
    return next((word for sign, word in words.items() if sign in said), type(error).__name__)


def _workers() -> int:
    queue = bell_queue()
    with going_on(queue):
        return int(Worker.count(queue=queue))
    return 0  # the registry was malformed, and is set aside now
