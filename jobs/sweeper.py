"""The sweeper: about once a second it publishes every coupon but drafts and those long ended.

It rings for each line with tickets and no bell, and repeats revocations and ended sessions. So one loop mends a lost
bell, a lost job, a dead worker, a change of policy that did not reach Redis, and a Redis that lost everything. Any
number of sweepers may run.
"""

import logging
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import redis
from sqlalchemy import Row, select
from sqlalchemy.exc import SQLAlchemyError

from webapp import create_app
from webapp.accounts.sessions import ended_sessions
from webapp.models import DRAFT, Coupon, utcnow
from webapp.sale.outcomes import Refused
from webapp.sale.publishing import publish_coupon, publish_late_revocations
from webapp.startup import refuse_unsafe_start
from webapp.stores.malformed import is_malformed
from webapp.stores.queue import SWEEPER_ALIVE_KEY
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.stores.swallowed import swallow

INTERVAL_S = 1.0
SWEPT_AFTER_END = timedelta(days=7)
"""How long after its end a line is still swept. Later only a change itself publishes and rings."""
ALIVE_MS = 5000


def sweep() -> int:
    """Publish every coupon and return how many lines were rung for. Raises redis.RedisError, SQLAlchemyError."""
    publish_late_revocations()
    rung = sum(sweep_one(coupon) for coupon in swept_coupons())
    ended_sessions().tell_again()
    line_redis().set(SWEEPER_ALIVE_KEY, "1", px=ALIVE_MS)
    return rung


def sweep_one(coupon: Row[Any]) -> bool:
    """Publish one coupon and return whether its line was rung for. Malformed data in one line stops no other line."""
    try:
        return publish_coupon(coupon)
    except (Refused, ValueError, redis.ResponseError) as error:
        if isinstance(error, redis.ResponseError) and not is_malformed(error):
            raise
        swallow("coupon not swept", error, "the next sweep tries again", coupon_id=coupon.id)
        return False


def swept_coupons() -> Sequence[Row[Any]]:
    """Return the rows of all coupons in whose lines tickets may wait."""
    swept = select(Coupon).where(Coupon.status != DRAFT, Coupon.issue_end_at > utcnow() - SWEPT_AFTER_END)
    with db.engine.connect() as connection:
        return connection.execute(swept).all()


def run(stop: threading.Event) -> None:
    """Sweep until `stop` is set. An outage of a store is logged once, and the next sweep tries again."""
    failing = False
    while not stop.wait(INTERVAL_S):
        try:
            sweep()
            failing = False
        except (redis.RedisError, SQLAlchemyError) as error:
            swallow("not swept", error, "the next sweep tries again", again=failing)
            failing = True


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s sweeper %(levelname)s %(message)s")
    refuse_unsafe_start()
    # A sweep may stop at any point, because the next one does it all again.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    with create_app().app_context():
        run(threading.Event())


if __name__ == "__main__":
    main()
