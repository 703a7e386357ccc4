"""Is the process alive, and can it do its work?"""

from typing import Any

import redis
from flask import Blueprint, Response, current_app, jsonify
from rq import Worker
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from webapp import malformed, swallowed
from webapp.extensions import SWEEPER_ALIVE_KEY, bell_queue, db, line_redis
from webapp.malformed import going_on

bp = Blueprint("health", __name__)


@bp.get("/healthz")
def healthz() -> Response:
    """Answer while the process lives, touching nothing else."""
    return Response("ok\n", content_type="text/plain", headers={"Cache-Control": "no-store"})


@bp.get("/readyz")
def readyz() -> tuple[Response, int]:
    """Tell of each part; 503 when a store does not answer.

    Workers and the sweeper are told, but do not count: without them people still get their tickets, in order.
    """
    parts: dict[str, Any] = {"redis": _redis(), "queue": _queue(), "sql": _sql()}
    ready = all(part == "ok" for part in parts.values())
    parts["workers"] = _workers() if parts["queue"] == "ok" else 0
    parts["sweeper"] = parts["redis"] == "ok" and bool(line_redis().exists(SWEEPER_ALIVE_KEY))
    aside = malformed.counts() if parts["redis"] == "ok" else {}
    status = "ready" if ready else "unavailable"
    answer = jsonify(status=status, parts=parts, swallowed=swallowed.counts, malformed=aside)
    answer.headers["Cache-Control"] = "no-store"
    return answer, 200 if ready else 503


def _redis() -> str:
    return _answers(line_redis())


def _queue() -> str:
    return _answers(current_app.extensions["bells"])


def _answers(connection: redis.Redis) -> str:
    try:
        connection.ping()
    except redis.RedisError as error:
        return type(error).__name__
    return "ok"


def _sql() -> str:
    try:
        with db.engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        return type(error).__name__
    return "ok"


def _workers() -> int:
    queue = bell_queue()
    with going_on(queue):
        return int(Worker.count(queue=queue))
    return 0
