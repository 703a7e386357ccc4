"""My coupons and their codes."""

import pytest
from sqlalchemy import select, update

from tests.builders import make_coupon, make_user, sign_in
from tests.visits import BROWSER, PROGRAM, assert_refused, context_of, visit
from webapp.models import CouponIssue, User, utcnow
from webapp.sale import admission, claims
from webapp.sale.codes import grouped
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db


def issue(user: User, **coupon: object) -> str:
    """Have the user get a coupon, and return its code."""
    coupon_id = make_coupon(**coupon)
    claims.claim(coupon_id, user.id)
    admission.admit(coupon_id)
    db.session.rollback()
    return db.session.scalars(select(CouponIssue.code).where(CouponIssue.coupon_id == coupon_id)).one()


def test_the_wallet_shows_every_code_of_mine_newest_first(client):
    user = make_user()
    sign_in(client, user)
    first = issue(user, title="치킨 <b>", discount_amount=5000)
    second = issue(user, title="피자", discount_amount=3000)
    issues = context_of(client, "/wallet")["issues"]
    assert [(each.title, each.discount_amount, each.code) for each in issues] == [
        ("피자", 3000, second),
        ("치킨 <b>", 5000, first),
    ]
    page = visit(client, "/wallet").text
    assert grouped(first) in page
    assert grouped(second) in page
    assert "치킨 &lt;b&gt;" in page


def test_the_wallet_shows_nobody_elses_codes(client):
    code = issue(make_user())
    sign_in(client, make_user())
    assert context_of(client, "/wallet")["issues"] == []
    assert grouped(code) not in visit(client, "/wallet").text


def test_a_waiting_ticket_is_no_coupon_yet(client):
    user, coupon = make_user(), make_coupon()
    sign_in(client, user)
    claims.claim(coupon, user.id)
    assert context_of(client, "/wallet")["issues"] == []


def test_used_coupons_stay(client):
    user = make_user()
    sign_in(client, user)
    issue(user)
    used = utcnow()
    db.session.execute(update(CouponIssue).values(used_at=used))
    db.session.commit()
    assert [each.used_at for each in context_of(client, "/wallet")["issues"]] == [used]


def test_the_wallet_needs_no_redis(client):
    user = make_user()
    sign_in(client, user)
    code = issue(user)
    line_redis().flushall()
    assert [each.code for each in context_of(client, "/wallet")["issues"]] == [code]


@pytest.mark.parametrize("accept", [BROWSER, PROGRAM], ids=["page", "json"])
def test_the_wallet_is_for_people_who_are_signed_in(client, accept):
    answer = visit(client, "/wallet?x=1", accept)
    if accept == PROGRAM:
        assert_refused(answer, 401, "unauthenticated")
    else:
        assert (answer.status_code, answer.location) == (303, "/login?next=/wallet")


def test_no_cache_keeps_the_wallet(client):
    sign_in(client, make_user())
    answer = visit(client, "/wallet")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Vary"] == "Cookie"
