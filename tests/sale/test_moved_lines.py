"""A line whose slot moves to another node of a Cluster: a new epoch, with its wait for receipts."""

from collections.abc import Iterator

import pytest
from sqlalchemy import select

from deploy.clusters import Cluster
from deploy.processes import wait_until
from deploy.stores import Valkey
from tests.builders import make_coupon, make_users
from tests.conftest import on_sqlite
from webapp.line.line import Line
from webapp.models import Coupon, CouponIssue
from webapp.sale import admission, audit, claims
from webapp.sale.epochs import EPOCH_STEP
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db

pytestmark = [
    pytest.mark.usefixtures("app"),
    on_sqlite,
    pytest.mark.parametrize("lines_url", ["cluster"], indirect=True),
]
KNOWN_S = 20.0


@pytest.fixture
def coupon(app, cluster: Cluster) -> Iterator[int]:
    """A coupon of two that three people want; its slot comes home afterwards."""
    coupon_id = make_coupon(quota=2)
    key = Line(line_redis(), coupon_id).gate_key
    home = cluster.master_of(key)
    yield coupon_id
    cluster.move(key, home)
    assert wait_until(cluster.knows, wait_s=KNOWN_S)


def move(cluster: Cluster, coupon_id: int) -> Valkey:
    """Move the slot of a line to another node, and return the one that it has left."""
    key = Line(line_redis(), coupon_id).gate_key
    home = cluster.master_of(key)
    cluster.move(key, next(node for node in cluster.masters if node is not home))
    return home


def epoch_of(coupon_id: int) -> int:
    db.session.rollback()
    return db.session.scalars(select(Coupon.epoch).where(Coupon.id == coupon_id)).one()


def test_another_node_is_another_epoch_and_everybody_keeps_their_ticket(coupon, cluster):
    first, second, third = make_users(3)
    assert [claims.claim(coupon, user).number for user in (first, second)] == [1, 2]
    move(cluster, coupon)
    assert claims.claim(coupon, first).number == 1
    assert epoch_of(coupon) == 2
    assert claims.claim(coupon, third).number == EPOCH_STEP + 1
    assert admission.admit(coupon).issued == 0, "receipts are awaited"
    assert wait_until(lambda: admission.admit(coupon).issued > 0, wait_s=KNOWN_S)
    issued = select(CouponIssue.user_id).order_by(CouponIssue.ticket_number)
    db.session.rollback()
    assert db.session.scalars(issued).all() == [first, second]
    assert audit.run(coupon).ok


def test_results_go_along(coupon, cluster):
    (user,) = make_users(1)
    claims.claim(coupon, user)
    admission.admit(coupon)
    code = claims.standing(coupon, user).code
    move(cluster, coupon)
    assert (claims.standing(coupon, user).state, claims.standing(coupon, user).code) == ("issued", code)
    assert audit.run(coupon).ok


def test_back_at_its_first_node_it_is_another_epoch_again(coupon, cluster):
    """The first node gave numbers in epoch 1, and does not take its own for those of epoch 2."""
    first, second = make_users(2)
    claims.claim(coupon, first)
    home = move(cluster, coupon)
    claims.claim(coupon, second)
    cluster.move(Line(line_redis(), coupon).gate_key, home)
    assert claims.claim(coupon, first).number == 1
    assert epoch_of(coupon) == 3
