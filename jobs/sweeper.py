"""The sweeper: about once a second it publishes every coupon but drafts and those long ended with nobody to serve.

It rings for each line with tickets and no bell, repeats revocations and ended sessions, has what is left of a wave go
to the next one, has rehearsals played, and keeps the history of the lines on sale. So one loop mends a lost bell, a
lost job, a dead worker, a change of policy that did not reach Redis, and a Redis that lost everything. Any number of
sweepers may run.
"""

import itertools
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import redis
from flask import Flask
from sqlalchemy import Row, or_, select
from sqlalchemy.exc import SQLAlchemyError

from jobs.rehearsal.starting import Rehearsals
from webapp import create_app
from webapp.accounts.sessions import ended_sessions
from webapp.line.line import to_be_served
from webapp.log.writing import this_process_is
from webapp.models import DRAFT, Coupon, utcnow
from webapp.models.log import JOB
from webapp.sale.bells import ring_if_waiting
from webapp.sale.elsewhere import waves_near, write_elsewhere
from webapp.sale.history import Sampler
from webapp.sale.members import sweep_members
from webapp.sale.outcomes import Refused
from webapp.sale.publishing import publish_coupon, publish_late_revocations
from webapp.sale.report import sweep_reports
from webapp.sale.rolling import may_roll_over, roll_over
from webapp.startup import refuse_unsafe_start
from webapp.stores.malformed import is_malformed
from webapp.stores.queue import SWEEPER_ALIVE_KEY
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.stores.swallowed import counts, swallow

INTERVAL_S = 1.0
SWEPT_AFTER_END = timedelta(days=7)
"""How long after its end a coupon is swept whatever its line holds. Later it is swept as long as somebody waits, or is
in standby and could be served."""
ALIVE_MS = 5000
LOOK_FOR_ENDED = 60
"""Rounds between two looks for sales that have ended and were not counted."""


def sweep() -> int:
    """Publish every coupon and return how many lines were rung for. Raises redis.RedisError, SQLAlchemyError."""
    publish_late_revocations()
    coupons = swept_coupons()
    roll_over_ended(coupons)
    rung = ring_for(publish_all(coupons))
    ended_sessions().tell_again()
    line_redis().of(SWEEPER_ALIVE_KEY).set(SWEEPER_ALIVE_KEY, "1", px=ALIVE_MS)
    return rung


def roll_over_ended(coupons: Iterable[Row[Any]]) -> None:
    """Have what is left of each wave that has ended go to the next one."""
    now = utcnow()
    for coupon in coupons:
        if may_roll_over(coupon, now):
            with passing_over(coupon):
                roll_over(coupon.id)


def publish_all(coupons: Iterable[Row[Any]]) -> list[Row[Any]]:
    """Publish coupons, and return those whose lines are admitted."""
    admitted = []
    for coupon in coupons:
        with passing_over(coupon):
            if publish_coupon(coupon):
                admitted.append(coupon)
    return admitted


def ring_for(coupons: Iterable[Row[Any]]) -> int:
    """Ring for lines in which somebody waits, and return how many they were.

    The first job that the queue's Redis does not take ends it, because each would wait as long for an answer.
    """
    rung = 0
    for coupon in coupons:
        with passing_over(coupon):
            heard = ring_if_waiting(coupon.id)
            if heard is False:
                break
            rung += heard is True
    return rung


@contextmanager
def passing_over(coupon: Row[Any]) -> Iterator[None]:
    """Go on with the other lines when the data of this one are malformed, or its node of a Cluster is away."""
    try:
        yield
    except (Refused, ValueError, redis.RedisError) as error:
        apart = line_redis().is_apart(error)
        if isinstance(error, redis.RedisError) and not (is_malformed(error) or apart):
            raise
        again = apart and counts["coupon not swept"] > 0
        swallow("coupon not swept", error, "the next sweep tries again", again=again, coupon_id=coupon.id)


def swept_coupons() -> Sequence[Row[Any]]:
    """Return the rows of all coupons in whose lines somebody may wait, or stand in standby and could be served."""
    published, since = Coupon.status != DRAFT, utcnow() - SWEPT_AFTER_END
    long_ended = select(Coupon.id, ~Coupon.sold_out).where(published, Coupon.issue_end_at <= since)
    with db.engine.connect() as connection:
        left = {coupon_id: bool(coupons_left) for coupon_id, coupons_left in connection.execute(long_ended)}
        served = or_(Coupon.issue_end_at > since, Coupon.id.in_(_waited_for(left)))
        return connection.execute(select(Coupon).where(published, served)).all()


def _waited_for(coupons_left: dict[int, bool]) -> list[int]:
    """Return those of the old coupons who are waited for; none of them while a node of a Cluster is away."""
    try:
        return to_be_served(line_redis(), coupons_left)
    except redis.RedisError as error:
        if not line_redis().is_apart(error):
            raise
        swallow(
            "old lines not swept",
            error,
            "the next sweep looks again",
            again=counts["old lines not swept"] > 0,
        )
        return []


def run(stop: threading.Event, *steps: Callable[[], object]) -> None:
    """Take the steps again and again until `stop` is set.

    An outage of a store is logged once, and the next round tries again.
    """
    failing = False
    while not stop.wait(INTERVAL_S):
        try:
            for step in steps:
                step()
            failing = False
        except (redis.RedisError, SQLAlchemyError) as error:
            swallow("not swept", error, "the next sweep tries again", again=failing)
            failing = True


def sweep_lists() -> None:
    """Write to Redis who may have a coupon, and who has one of another wave, where Redis does not know it."""
    sweep_members()
    for wave in waves_near():
        with passing_over(wave):
            write_elsewhere(wave)


def run_lists(app: Flask) -> None:
    """Keep the lists in Redis in a thread of their own: to write one of a million takes seconds, and lines wait."""
    with app.app_context():
        run(threading.Event(), sweep_lists)


def run_reports(app: Flask) -> None:
    """Count large sales in a thread of their own. Who asks waits a second; what has ended is looked for each minute."""
    rounds = itertools.count()
    with app.app_context():
        run(threading.Event(), lambda: sweep_reports(also_ended=next(rounds) % LOOK_FOR_ENDED == 0))


def keep_history(app: Flask) -> None:
    """Keep samples of the lines on sale in a thread of their own: no line waits for them, nor they for a long sweep."""
    with app.app_context():
        run(threading.Event(), Sampler().look)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s sweeper %(levelname)s %(message)s")
    refuse_unsafe_start()
    # A sweep may stop at any point, because the next one does it all again.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    this_process_is(JOB)
    app = create_app()
    for name, beside in (("lists", run_lists), ("reports", run_reports), ("history", keep_history)):
        threading.Thread(target=beside, args=(app,), daemon=True, name=name).start()
    with app.app_context():
        run(threading.Event(), sweep, Rehearsals().look)


if __name__ == "__main__":
    main()
