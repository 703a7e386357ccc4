"""Is the process alive, and can it do its work?"""

import os

from flask import Blueprint, Response, current_app, jsonify

from webapp.sale.condition import READ_ONLY, probed, sql_condition, sweeper_lives, workers
from webapp.stores import malformed, swallowed
from webapp.stores.script_redis import line_redis

bp = Blueprint("health", __name__)


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
    line, queue = probed(line_redis()), probed(current_app.extensions["bells"])
    parts: dict[str, object] = {
        "redis": line.says,
        "queue": queue.says,
        "sql": sql_condition(),
        "clock": line.clock,
    }
    ready = parts["redis"] == parts["queue"] == "ok" and parts["sql"] in ("ok", READ_ONLY)
    parts["workers"] = workers() if parts["queue"] == "ok" else 0
    parts["sweeper"] = parts["redis"] == "ok" and sweeper_lives()
    aside = malformed.counts() if parts["redis"] == "ok" else {}
    status = "ready" if ready else "unavailable"
    # What one process counts is its own; an operator who asks again may hear another.
    own = {"process": os.getpid(), "fast_path": current_app.extensions.get("fast_path_counts", "off")}
    answer = jsonify(status=status, parts=parts, swallowed=swallowed.counts, malformed=aside, **own)
    answer.headers["Cache-Control"] = "no-store"
    return answer, 200 if ready else 503
