"""The audit of who may have a coupon: nobody else holds it, and Redis has a bit for just these accounts."""

from collections.abc import Iterator
from itertools import islice

from sqlalchemy import Connection, select

from webapp.line.line import Line
from webapp.models import DRAFT, EVERYBODY, CouponIssue, CouponRow, User
from webapp.sale.audience import audience_of, bits_of, outsiders_among, users_of
from webapp.sale.audit_checks import Check, none
from webapp.stores.script_redis import line_redis

READ = 2000


def audience_checks(connection: Connection, coupon: CouponRow) -> Iterator[Check]:
    """Judge the holders of a coupon that is not for everybody, and its bits. Raises SQLAlchemyError, redis.RedisError.

    Holders from before the audience last changed are not judged: they may have had the right then.
    """
    if coupon.audience == EVERYBODY:
        return
    holders = select(CouponIssue.user_id).where(
        CouponIssue.coupon_id == coupon.id, CouponIssue.id > coupon.audience_after
    )
    outside: list[int] = []
    ids = list(connection.scalars(holders.order_by(CouponIssue.id)))
    for start in range(0, len(ids), READ):
        outside += outsiders_among(connection, coupon, ids[start : start + READ])
    yield none("audience", outside, f"who hold it and never might, of {len(ids)} since its audience changed")
    if coupon.status != DRAFT:
        yield _bits_check(connection, coupon)


def _bits_check(connection: Connection, coupon: CouponRow) -> Check:
    line = Line(line_redis(), coupon.id)
    gate = line.gate()
    if gate is None or not gate.opened or gate.results_gone:
        return Check("members", True, "no epoch is open, so nobody is let in")
    if not line.members_are_of(gate.epoch, audience_of(coupon)):
        return Check("members", False, "not whole: every click is busy until the sweeper writes them anew")
    found = drift(line.member_bits(), bits_of(users_of(connection, coupon)))
    ids = [user_id for user_id, _ in islice(found, READ)]
    # Who is blocked or deleted gets nothing, whatever the bit says.
    able = select(User.id).where(User.id.in_(ids), User.blocked_at.is_(None)).order_by(User.id)
    return none("members", connection.scalars(able), "users whose bit in Redis is not what SQL says")


def drift(copy: bytes, truth: bytes) -> Iterator[tuple[int, bool]]:
    """Yield the user ids whose bits differ, and whether the copy has them."""
    length = max(len(copy), len(truth))
    for at, (one, other) in enumerate(
        zip(copy.ljust(length, b"\0"), truth.ljust(length, b"\0"), strict=True)
    ):
        if one != other:
            differing = (bit for bit in range(8) if (one ^ other) & 0x80 >> bit)
            yield from ((8 * at + bit, bool(one & 0x80 >> bit)) for bit in differing)
