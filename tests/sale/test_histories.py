"""Short histories that once broke a promise: two stores, an operator, and a Redis that forgot or started again."""

from collections.abc import Callable

import pytest
from sqlalchemy import select

from tests.builders import make_coupon, make_users
from webapp.line.line import Line
from webapp.models import CouponIssue
from webapp.sale import admission, audit, claims, publishing, redeeming
from webapp.sale import epochs as sale_epochs
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture(autouse=True)
def no_grace(monkeypatch) -> None:
    monkeypatch.setattr(sale_epochs, "GRACE_MS", 0)


def line_of(coupon: int) -> Line:
    return Line(line_redis(), coupon)


def holders(coupon: int) -> list[int]:
    db.session.rollback()
    query = select(CouponIssue.user_id).where(CouponIssue.coupon_id == coupon)
    return list(db.session.scalars(query.order_by(CouponIssue.user_id)))


def code_of(coupon: int, user: int) -> str:
    return claims.standing(coupon, user).code


def states(coupon: int, users: list[int]) -> list[str]:
    return [claims.standing(coupon, user).state for user in users]


def claim_and_admit(coupon: int, users: list[int]) -> None:
    for user in users:
        claims.claim(coupon, user)
    admission.admit(coupon)


def restart() -> None:
    """Have Redis be another run of the server, with everything that it knew."""
    for gate in line_redis().scan_iter("*:gate"):
        if line_redis().hexists(gate, "run_id"):
            line_redis().hset(gate, "run_id", "another")


def replica() -> Callable[[], None]:
    """Copy every key now, and return what has this copy take over, as a replica that was behind."""
    behind = {
        key: line_redis().execute_command("DUMP", key, NEVER_DECODE=True) for key in line_redis().scan_iter()
    }

    def take_over() -> None:
        line_redis().flushall()
        for key, dump in behind.items():
            line_redis().restore(key, 0, dump)
        restart()

    return take_over


# Decided once


def test_a_revoked_coupon_is_not_issued_again_by_a_replica_that_was_behind():
    coupon, users = make_coupon(quota=1), make_users(2)
    for user in users:
        claims.claim(coupon, user)
    take_over = replica()
    admission.admit(coupon)
    redeeming.revoke(code_of(coupon, users[0]), None, "fraud")
    take_over()
    publishing.publish(coupon)
    assert [ticket.member for ticket in line_of(coupon).waiting()] == [str(users[1])]
    admission.admit(coupon)
    assert holders(coupon) == [users[1]]
    assert states(coupon, users) == ["rejected", "issued"]
    assert audit.run(coupon).ok


@pytest.mark.parametrize("quota", [1, 9], ids=["the quota is just enough", "the batch is trusted"])
@pytest.mark.parametrize("where", ["line_key", "standby_key"])
def test_whom_sql_has_rejected_is_rejected_again_whatever_number_comes_with_them(quota, where):
    coupon, users = make_coupon(quota=quota), make_users(2)
    claim_and_admit(coupon, users[:1])
    redeeming.revoke(code_of(coupon, users[0]), None, "fraud")
    line = line_of(coupon)
    line_redis().hdel(line.results_key, str(users[0]))
    line_redis().zadd(getattr(line, where), {str(users[0]): 1})
    claims.claim(coupon, users[1])
    publishing.publish(coupon)
    admission.admit(coupon)
    assert holders(coupon) == [users[1]]
    assert states(coupon, users) == ["rejected", "issued"]


def test_a_number_that_comes_with_somebody_rejected_before_is_skipped_for_a_reason():
    coupon, users = make_coupon(quota=9), make_users(2)
    claim_and_admit(coupon, users[:1])
    redeeming.revoke(code_of(coupon, users[0]), None, "fraud")
    line_redis().hdel(line_of(coupon).results_key, str(users[0]))
    claim_and_admit(coupon, users)
    assert holders(coupon) == [users[1]]
    assert audit.run(coupon).ok
