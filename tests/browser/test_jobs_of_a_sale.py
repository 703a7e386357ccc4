"""Each job of whoever runs a sale and answers those who complain, on a phone and on a desktop: see `test_jobs`."""

import itertools
from collections.abc import Callable, Sequence

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select

from tests.browser.jobs_of_a_sale import somebody
from tests.browser.pages import offer, on_sqlite, paused, shopper_reads
from tests.builders import make_user, make_users
from webapp.accounts.blocking import block
from webapp.models import CLOSED, Coupon, CouponIssue, User
from webapp.sale import admission, claims
from webapp.sale.coupons import change_coupon
from webapp.stores.sql import db

pytestmark = on_sqlite
Do = Callable[[str, str], Page]
_serial = itertools.count(1)


@pytest.fixture
def title() -> str:
    return f"토요일 피자 {next(_serial)}"


def sale(title: str, *, quota: int, users: Sequence[int]) -> int:
    """Return a live coupon for which people have pressed, in order, before anybody was decided."""
    coupon = offer(title=title, quota=quota)
    with paused(coupon):
        press(coupon, users)
    return coupon


def press(coupon: int, users: Sequence[int]) -> None:
    for user in users:
        claims.claim(coupon, user)


def complainer(title: str) -> User:
    return make_user(somebody(title), name="민지")


def test_raise(do: Do, title, person):
    users = make_users(4)
    coupon = sale(title, quota=2, users=users)
    admission.admit(coupon)
    do("raise", title)
    admission.admit(coupon)
    shopper_reads(person, coupon, "축하해요", db.session.get_one(User, users[3]))


def test_lower(do: Do, title):
    coupon, users = offer(title=title, quota=4), make_users(4)
    with paused(coupon):
        press(coupon, users)
        do("lower", title)
    admission.admit(coupon)
    assert [claims.standing(coupon, user).state for user in users] == ["issued"] * 2 + ["sold_out"] * 2


def test_close(do: Do, title, person):
    coupon = sale(title, quota=4, users=make_users(1))
    do("close", title)
    assert db.session.get_one(Coupon, coupon).status == CLOSED
    shopper_reads(person, coupon, "끝난 이벤트예요")


def test_find_who_won(do: Do, title):
    admission.admit(sale(title, quota=1, users=[complainer(title).id]))
    do("find who won", title)


def lost(title: str) -> User:
    """Return somebody who was one number too late."""
    user = complainer(title)
    admission.admit(sale(title, quota=1, users=[*make_users(1), user.id]))
    return user


def test_find_who_lost(do: Do, title):
    lost(title)
    do("find who lost", title)


def test_find_who_was_refused(do: Do, title):
    user, coupon = complainer(title), offer(title=title)
    with paused(coupon):
        press(coupon, [user.id])
        block(user.id, by=None)
    admission.admit(coupon)
    do("find who was refused", title)


def test_find_who_came_late(do: Do, title):
    complainer(title)
    admission.admit(sale(title, quota=1, users=make_users(1)))
    do("find who came late", title)


def test_prove_the_order(do: Do, title):
    lost(title)
    page = do("prove the order", title)
    expect(page.get_by_role("main")).to_contain_text("2")


def test_revoke_one(do: Do, title, person):
    user = complainer(title)
    coupon = sale(title, quota=1, users=[user.id])
    admission.admit(coupon)
    do("revoke one", title)
    shopper_reads(person, coupon, "부정 사용", user)


def test_revoke_a_hundred(do: Do, title, person):
    users = make_users(100)
    coupon = sale(title, quota=100, users=users)
    admission.admit(coupon)
    do("revoke a hundred", title)
    assert not db.session.scalars(select(CouponIssue.id).where(CouponIssue.coupon_id == coupon)).all()
    shopper_reads(person, coupon, "결제 취소", db.session.get_one(User, users[99]))


def test_who_changed_what(do: Do, title):
    coupon = offer(title=title, quota=10)
    change_coupon(coupon, total_quantity=20)
    do("who changed what", title)
