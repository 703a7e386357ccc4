"""Polls and pages before the start, a second over HTTP, beside the least that Flask can be asked for."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from bench import http
from bench.measure import Table, interleaved
from bench.stage import Stage
from jobs.rehearsal.crowd import Crowd, signed_in

PEOPLE = 2_000
WORKERS = 2
SECONDS = 3
ROUNDS = 5
PAGE = "Accept: text/html,*/*;q=0.8\r\nAccept-Language: ko\r\n"


def run(stage: Stage) -> list[Table]:
    crowd = signed_in(stage.app, stage.users(PEOPLE), "127.0.0.1")
    open_now, soon = stage.coupon(), stage.coupon(opens_in_s=3600)
    asked = {
        "serving": requests(stage, crowd, "serving", f"/coupons/{open_now}/serving"),
        "ticket": requests(stage, crowd, "ticket", f"/coupons/{open_now}/ticket"),
        "page": requests(stage, crowd, "page", f"/coupons/{soon}", PAGE),
    }
    with ExitStack() as running:
        flask, ours, plain = (
            running.enter_context(stage.server(f"bench.apps:{name}", workers=WORKERS))
            for name in ("empty_flask", "ours", "plain")
        )
        subjects: dict[str, Callable[[], float]] = {
            "empty Flask view": partial(rate, flask, asked["serving"]),
            "/serving": partial(rate, ours, asked["serving"]),
            "/ticket": partial(rate, ours, asked["ticket"]),
            "page before the start": partial(rate, ours, asked["page"]),
            "/serving, Flask alone": partial(rate, plain, asked["serving"]),
            "/ticket, Flask alone": partial(rate, plain, asked["ticket"]),
        }
        rows = interleaved(subjects, rounds=ROUNDS)
    title = f"Polls and pages of signed-in people, {WORKERS} gunicorn processes and the driver on one machine"
    return [Table(title, "answers/s", rows)]


def requests(stage: Stage, crowd: Crowd, name: str, path: str, headers: str = "") -> http.Requests:
    """Write one request of each user."""
    end = f"{headers}\r\n".encode()
    each = (crowd.get(path, index).removesuffix(b"\r\n") + end for index in range(PEOPLE))
    return http.write_requests(stage.directory / name, each)


def rate(port: int, asked: http.Requests) -> float:
    return http.drive(port, asked, expected=200, seconds=SECONDS).rate
