"""The sweeper: about once a second it publishes every coupon but drafts and those long ended with nobody to serve.

It rings for each line with tickets and no bell, repeats revocations and ended sessions, has what is left of a wave go
to the next one, and has rehearsals played. So one loop mends a lost bell, a lost job, a dead worker, a change of policy
that did not reach Redis, and a Redis that lost everything. Any number of sweepers may run.
"""

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
from sqlalchemy import Row, and_, or_, select
from sqlalchemy.exc import SQLAlchemyError

from jobs.rehearsal.starting import Rehearsals
from webapp import create_app
from webapp.accounts.sessions import ended_sessions
from webapp.line.line import to_be_served
from webapp.models import DRAFT, Coupon, utcnow
from webapp.sale.bells import ring_if_waiting
from webapp.sale.members import sweep_members
from webapp.sale.outcomes import Refused
from webapp.sale.publishing import publish_coupon, publish_late_revocations
from webapp.sale.rolling import may_roll_over, roll_over
from webapp.startup import refuse_unsafe_start
from webapp.stores.malformed import is_malformed
from webapp.stores.queue import SWEEPER_ALIVE_KEY
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.stores.swallowed import swallow

INTERVAL_S = 1.0
SWEPT_AFTER_END = timedelta(days=7)
"""How long after its end a coupon is swept whatever its line holds. Later it is swept as long as somebody waits, or is
in standby and could be served."""
ALIVE_MS = 5000


def sweep() -> int:
    """Publish every coupon and return how many lines were rung for. Raises redis.RedisError, SQLAlchemyError."""
    publish_late_revocations()
    coupons = swept_coupons()
    roll_over_ended(coupons)
    published = publish_all(coupons)
    ended_sessions().tell_again()
    line_redis().set(SWEEPER_ALIVE_KEY, "1", px=ALIVE_MS)
    return ring_for(published)


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
    """Go on with the other lines when the data of this one are malformed."""
    try:
        yield
    except (Refused, ValueError, redis.ResponseError) as error:
        if isinstance(error, redis.ResponseError) and not is_malformed(error):
            raise
        swallow("coupon not swept", error, "the next sweep tries again", coupon_id=coupon.id)


def swept_coupons() -> Sequence[Row[Any]]:
    """Return the rows of all coupons in whose lines somebody may wait, or stand in standby and could be served."""
    published, since = Coupon.status != DRAFT, utcnow() - SWEPT_AFTER_END
    gone = and_(Coupon.total_quantity.is_not(None), Coupon.issued_quantity >= Coupon.total_quantity)
    long_ended = select(Coupon.id, ~gone).where(published, Coupon.issue_end_at <= since)
    with db.engine.connect() as connection:
        left = {coupon_id: bool(coupons_left) for coupon_id, coupons_left in connection.execute(long_ended)}
        served = or_(Coupon.issue_end_at > since, Coupon.id.in_(to_be_served(line_redis(), left)))
        return connection.execute(select(Coupon).where(published, served)).all()


def run(stop: threading.Event, sweep: Callable[[], object] = sweep) -> None:
    """Sweep until `stop` is set. An outage of a store is logged once, and the next sweep tries again."""
    failing, rehearsals = False, Rehearsals()
    while not stop.wait(INTERVAL_S):
        try:
            sweep()
            rehearsals.look()
            failing = False
        except (redis.RedisError, SQLAlchemyError) as error:
            swallow("not swept", error, "the next sweep tries again", again=failing)
            failing = True


def run_members(app: Flask) -> None:
    """Keep the lists in Redis in a thread of their own: to write one of a million takes seconds, and lines wait."""
    with app.app_context():
        run(threading.Event(), sweep_members)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s sweeper %(levelname)s %(message)s")
    refuse_unsafe_start()
    # A sweep may stop at any point, because the next one does it all again.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    app = create_app()
    threading.Thread(target=run_members, args=(app,), daemon=True, name="members").start()
    with app.app_context():
        run(threading.Event())


if __name__ == "__main__":
    main()
