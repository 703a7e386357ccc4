"""Answers of nginx alone: the public poll and the files, beside gunicorn and an empty Flask view."""

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench import http, nginx
from bench.measure import Table, interleaved
from bench.polls import rate, requests
from bench.stage import Stage
from jobs.rehearsal.crowd import signed_in

PEOPLE = 2_000
ROUNDS = 5


def run(stage: Stage) -> list[Table]:
    if nginx.program() is None:
        raise SystemExit("this benchmark needs nginx (Debian: nginx-light)")
    crowd = signed_in(stage.app, stage.users(PEOPLE), "127.0.0.1")
    polls = requests(stage, crowd, "serving", f"/coupons/{stage.coupon()}/serving")
    file = http.write_requests(
        stage.directory / "file", [b"GET /static/style.css HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"] * PEOPLE
    )
    with ExitStack() as running:
        directory = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="fc-nginx-")))
        flask, ours = (
            running.enter_context(stage.server(f"bench.apps:{name}", workers=2))
            for name in ("empty_flask", "ours")
        )
        front = running.enter_context(nginx.in_front_of(ours, directory))
        subjects: dict[str, Callable[[], float]] = {
            "empty Flask view": partial(rate, flask, polls),
            "/serving, gunicorn": partial(rate, ours, polls),
            "/serving, nginx": partial(rate, front, polls),
            "style.css, gunicorn": partial(rate, ours, file),
            "style.css, nginx": partial(rate, front, file),
        }
        rows = interleaved(subjects, rounds=ROUNDS)
    return [Table("Answers that need no app, on one machine with the driver", "answers/s", rows)]
