"""The audit: proves the promises that can be read from the stores, figure by figure.

SQL and Redis are read while the coupon's row is locked, so that no admission commits between the two readings. Claims
go on meanwhile, and a batch that was committed just before may still be settled. So the counter is read first and only
numbers up to it are added up, and the line is read before the results: whoever left it in between has one by then.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, or_, select

from webapp.log.reading import chain
from webapp.models import Coupon, Proposal
from webapp.models.proposals import CONFIRMED
from webapp.sale.audit_audience import audience_checks
from webapp.sale.audit_checks import ADMISSION, ELSEWHERE, SHOWN, Check, checks_of, none
from webapp.sale.audit_facts import facts_of
from webapp.sale.audit_pool import pool_checks
from webapp.sale.audit_waves import wave_checks
from webapp.sale.locking import locked_coupon
from webapp.sale.outcomes import Refused
from webapp.stores.sql import db

RUNG_WITHIN_S = 2.0
"""The sweeper goes round once a second: whoever waits has a bell by then, and the waves have heard of each other."""


@dataclass(frozen=True)
class Report:
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def lines(self) -> Iterator[str]:
        yield from (str(check) for check in self.checks)


def run(coupon_id: int) -> Report:
    """Audit one coupon; nothing is changed. Raises Refused(not_found), redis.RedisError, SQLAlchemyError.

    A failing audit reads once more: a settling or a change of policy that ran just then is over by that time. For what
    the sweeper mends it gives that its time first.
    """
    report = _audit(coupon_id)
    if report.ok:
        return report
    if any(check.name in (ADMISSION, ELSEWHERE) and not check.ok for check in report.checks):
        time.sleep(RUNG_WITHIN_S)
    return _audit(coupon_id)


def _audit(coupon_id: int) -> Report:
    with locked_coupon(coupon_id) as lock:
        if lock.coupon is None:
            raise Refused("not_found")
        facts = facts_of(lock)
    # A list may be long, and nobody has to wait while it is read.
    with db.engine.connect() as connection:
        coupon = connection.execute(select(Coupon).where(Coupon.id == coupon_id)).one()
        more = (*audience_checks(connection, coupon), *wave_checks(connection, coupon))
        more = (*more, *pool_checks(connection, coupon_id), two_people_check(connection))
    return Report((*checks_of(facts), *more, log_check()))


def two_people_check(connection: Connection) -> Check:
    """Judge all proposals: whoever confirmed one is another person than who made it."""
    alone = or_(Proposal.decided_by.is_(None), Proposal.decided_by == Proposal.made_by)
    found = select(Proposal.id).where(Proposal.decision == CONFIRMED, alone).limit(SHOWN)
    return none("two people", connection.scalars(found), "proposals that one person made and confirmed")


def log_check() -> Check:
    """Judge the log of operators, whole: it belongs to no coupon. Raises SQLAlchemyError."""
    found = chain()
    if found.broken_at is None:
        return Check("log", True, f"{found.entries} entries, the last one {found.hash[:16] or 'none'}")
    return Check("log", False, f"entry {found.broken_at} of {found.entries} is not as it was written")
