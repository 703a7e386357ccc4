"""Claims a second while operators look at the live board of that very sale, and while nobody does."""

import http.client
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

from sqlalchemy import update

from bench import http as wrk
from bench.claims import PEOPLE, WORKERS
from bench.measure import Table, interleaved
from bench.stage import Stage
from jobs.rehearsal.crowd import Crowd, signed_in
from webapp.line.line import Line
from webapp.models import OPERATOR, User
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

OPERATORS = 10
SECONDS, ROUNDS = 3, 5
EACH_S = 1.0


def run(stage: Stage) -> list[Table]:
    crowd = signed_in(stage.app, range(1, PEOPLE + 1), "127.0.0.1")
    operators = signed_in(stage.app, _operators(stage), "127.0.0.1").sessions
    with ExitStack() as running:
        port = running.enter_context(stage.server("bench.apps:ours", workers=WORKERS))
        running.enter_context(stage.process([sys.executable, "-m", "jobs.sweeper"]))
        claims = partial(claims_a_second, stage, crowd, port)
        rows = interleaved(
            {
                "nobody looks on": lambda: claims([]),
                f"{OPERATORS} operators look on": lambda: claims(operators),
                "nobody, once more": lambda: claims([]),
            },
            rounds=ROUNDS,
        )
    title = f"Claims over HTTP beside the live board, {WORKERS} gunicorn processes, a sweeper and {stage.database}"
    return [Table(title, "claims/s", rows)]


def claims_a_second(stage: Stage, crowd: Crowd, port: int, operators: Sequence[str]) -> float:
    """Drive the server with claims for a new coupon, while operators ask for its board once a second each."""
    coupon_id = stage.coupon()
    asked = (crowd.form_claim(coupon_id, index) for index in range(PEOPLE))
    written = wrk.write_requests(stage.directory / "claims", asked)
    with looking_on(port, coupon_id, operators):
        rate = wrk.drive(port, written, expected=303, seconds=SECONDS).rate
    Line(line_redis(), coupon_id).forget()
    return rate


@contextmanager
def looking_on(port: int, coupon_id: int, operators: Sequence[str]) -> Iterator[None]:
    """Have operators look on. Raises RuntimeError when the board was not shown to each of them."""
    stop, shown = threading.Event(), [0] * len(operators)
    lookers = [
        threading.Thread(target=_look_on, args=(port, coupon_id, cookie, number, shown, stop))
        for number, cookie in enumerate(operators)
    ]
    for looker in lookers:
        looker.start()
    yield
    stop.set()
    for looker in lookers:
        looker.join()
    if not all(shown):
        raise RuntimeError(f"the board was shown so often to each operator: {shown}")


def _look_on(
    port: int, coupon_id: int, cookie: str, number: int, shown: list[int], stop: threading.Event
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    while not stop.is_set():
        began = time.monotonic()
        connection.request("GET", f"/admin/coupons/{coupon_id}/live/now", headers={"Cookie": cookie})
        answer = connection.getresponse()
        shown[number] += answer.status == 200 and b"board__figures" in answer.read()
        stop.wait(max(0.0, EACH_S - (time.monotonic() - began)))
    connection.close()


def _operators(stage: Stage) -> list[int]:
    ids = stage.users(OPERATORS)
    with db.engine.begin() as connection:
        connection.execute(update(User).where(User.id.in_(ids)).values(role=OPERATOR))
    return ids
