"""Each job of a marketing team, done once on a phone and once on a desktop, and what then is so.

The number of steps is the one that docs/campaign.md tells; `make screenshots` writes it there.
"""

import itertools
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import delete, select, update

from tests.browser.jobs import codes_for
from tests.browser.pages import offer, on_sqlite, shopper_reads
from tests.browser.test_resilience import forget
from tests.builders import make_user, make_users
from webapp.models import DRAFT, LIVE, TILL, USER, VIEWER, Coupon, Proposal, User, utcnow
from webapp.sale import admission, claims
from webapp.sale.coupons import change_coupon
from webapp.sale.pausing import pause
from webapp.sale.waves import publish_waves
from webapp.stores.sql import db

pytestmark = on_sqlite
Person = Callable[..., tuple[Page, int]]
DAY = 24 * 3600
_serial = itertools.count(1)


@pytest.fixture
def title() -> str:
    return f"금요일 치킨 {next(_serial)}"


def draft(title: str, **fields: object) -> int:
    return offer(title=title, status=DRAFT, **{"opens_in": DAY, "closes_in": 30 * DAY} | fields)


def newest() -> int:
    return int(db.session.scalars(select(Coupon.id).order_by(Coupon.id.desc()).limit(1)).one())


def test_create_for_friday_20(do, title, person):
    page = do("create for Friday 20:00", title)
    expect(page.get_by_role("main")).to_contain_text(re.compile(r"\(금\) 20:00 – .*\(금\) 22:00"))
    coupon = db.session.get_one(Coupon, newest())
    assert (coupon.title, coupon.status, coupon.total_quantity) == (title, DRAFT, 5000)
    change_coupon(coupon.id, status=LIVE)
    shopper_reads(person, coupon.id, "5,000원 할인")


def test_preview(do, title, visitor, complaints):
    coupon = draft(title)
    address = do("preview", title).url
    colleague = visitor()
    colleague.goto(address)
    expect(colleague.get_by_role("main")).to_contain_text("축하해요! 쿠폰을 받았어요")
    colleague.goto(f"/coupons/{coupon}")
    expect(colleague.get_by_role("main")).to_contain_text("찾을 수 없어요")
    forget(complaints, "status of 404")


def test_edit(do, title, person):
    coupon = draft(title)
    do("edit", title)
    change_coupon(coupon, status=LIVE)
    shopper_reads(person, coupon, f"{title} 더")
    shopper_reads(person, coupon, "7,000원 할인")


def test_picture_and_terms(do, title, person):
    coupon = draft(title)
    do("picture and terms", title)
    change_coupon(coupon, status=LIVE)
    page, _user = person()
    page.goto(f"/coupons/{coupon}")
    page.get_by_text("유의사항").click()
    expect(page.get_by_text("만 받을 수 있어요")).to_be_visible()
    assert page.locator("img.picture").evaluate(
        "picture => picture.decode().then(() => picture.naturalWidth)"
    )


def test_member_list(do, title, person):
    coupon = draft(title, opens_in=-60)
    listed = db.session.scalar(select(User).where(User.email == "minji@example.com"))
    do("member list", title)
    change_coupon(coupon, status=LIVE)
    shopper_reads(person, coupon, "쿠폰 받기", listed or make_user("minji@example.com"))
    shopper_reads(person, coupon, "참여 대상이 아니에요")


def test_own_codes(do, title, person):
    coupon, user = draft(title, opens_in=-60, quota=2), make_user()
    do("own codes", title)
    change_coupon(coupon, status=LIVE)
    claims.claim(coupon, user.id)
    admission.admit(coupon)
    shopper_reads(person, coupon, codes_for(title)[0], user)


def test_daily_waves(do, title, person):
    coupon = draft(title)
    page = do("daily waves", title)
    page.get_by_role("link", name="쿠폰과 대기열").click()
    expect(page.get_by_role("row", name=title)).to_contain_text("5차로 나눔")
    publish_waves(coupon, by=None, look=lambda _rows: None)
    shopper_reads(person, coupon, "총 5차 중 1차")


def test_standby_for_late_comers(do, title, person):
    coupon = draft(title, opens_in=-60, quota=1)
    do("standby for late comers", title)
    change_coupon(coupon, status=LIVE)
    claims.claim(coupon, make_user().id)
    admission.admit(coupon)
    shopper_reads(person, coupon, "예비로 기다리기")


def test_duplicate(do, title, person):
    model = draft(title, discount_amount=7000)
    page = do("duplicate", title)
    expect(page.get_by_role("main")).to_contain_text(re.compile(r"\(금\) 20:00 – .*\(금\) 22:00"))
    copy = newest()
    assert copy != model
    change_coupon(copy, status=LIVE)
    shopper_reads(person, copy, "7,000원 할인")


def test_checks_before_going_live(do, title, person):
    coupon = draft(title, valid_until=utcnow() + timedelta(days=60))
    do("checks before going live", title)
    shopper_reads(person, coupon, "뒤에 시작해요")


def test_rehearse(do, title):
    # Near the start of a real drop a rehearsal is asked about: the coupons of other tests have opened long ago.
    db.session.execute(
        update(Coupon).where(Coupon.status != DRAFT).values(issue_start_at=utcnow() - timedelta(days=1))
    )
    db.session.commit()
    coupon = draft(title, quota=30)
    page = do("rehearse", title)
    expect(page.get_by_role("main")).to_contain_text("30 / 30")
    assert db.session.get_one(Coupon, coupon).issued_quantity == 0


@pytest.fixture
def small_team(system):
    """Nobody but who does the job has a role: pictures of a team of hundreds show nothing."""
    db.session.execute(update(User).values(role=USER))
    db.session.commit()


def joined(person: Person, page: Page) -> tuple[Page, User]:
    """Have a colleague open the link that an owner sees, and take the role."""
    link, user = page.locator("#address").input_value(), make_user()
    theirs, _user = person(user)
    theirs.goto(link)
    theirs.get_by_role("button", name="권한 받기").click()
    expect(theirs.get_by_role("status")).to_contain_text("새 권한을 받았어요")
    db.session.refresh(user)
    return theirs, user


def test_invite_a_till(do, title, person, small_team):
    theirs, user = joined(person, do("invite a till", title))
    assert user.role == TILL
    expect(theirs).to_have_url(re.compile("/admin/redeem$"))
    expect(theirs.get_by_role("link", name="운영", exact=True)).to_have_count(0)


def test_invite_a_viewer(do, title, person, small_team):
    draft(title)
    theirs, user = joined(person, do("invite a viewer", title))
    assert user.role == VIEWER
    theirs.get_by_role("link", name=title, exact=True).click()
    expect(theirs.get_by_role("heading", name="설정")).to_be_visible()
    expect(theirs.get_by_role("main").get_by_role("button")).to_have_count(0)


def sold(title: str) -> int:
    """Return a coupon of that title that one person has won."""
    coupon, winner = draft(title, opens_in=-60), make_user()
    change_coupon(coupon, status=LIVE)
    claims.claim(coupon, winner.id)
    admission.admit(coupon)
    return coupon


def test_export_for_excel(do, title):
    sold(title)
    do("export for Excel", title)


def test_the_report(do, title):
    sold(title)
    page = do("the report", title)
    page.emulate_media(media="print")
    expect(page.get_by_role("navigation")).to_have_count(0)
    expect(page.get_by_role("heading", name="다시 집계하기")).to_be_hidden()


def test_redemption_rates_and_expired(do, title):
    over = update(Coupon).where(Coupon.id == sold(title)).values(valid_until=utcnow() - timedelta(days=1))
    db.session.execute(over)
    db.session.commit()
    do("redemption rates and expired", title)


def test_watch_live(do, title):
    coupon = offer(title=title, quota=500)
    for user in make_users(7):
        claims.claim(coupon, user)
    page = do("watch live", title)
    for user in make_users(5):
        claims.claim(coupon, user)
    issued = page.locator(".board__figures div:has(dt:text-is('발급')) dd")
    expect(issued).to_have_text("12 / 500")  # and nothing was pressed for it


def test_two_people_decide(do, title):
    db.session.execute(delete(Proposal))
    db.session.commit()
    coupon = offer(title=title, quota=500)
    do("two people decide", title)
    db.session.expire_all()
    assert db.session.get_one(Coupon, coupon).total_quantity == 800


def test_pause_and_explain(do, title, person):
    coupon, waiting = offer(title=title), make_user()
    do("pause and explain", title)
    claims.claim(coupon, waiting.id)
    for user in (None, waiting):
        shopper_reads(person, coupon, "결제에 문제가 생겨 확인하고 있어요.", user)
        shopper_reads(person, coupon, "분 남음", user)


def test_resume_and_extend(do, title, person):
    coupon = offer(title=title, opens_in=-7200)
    pause(coupon)
    since = {"paused_at": utcnow() - timedelta(minutes=20)}
    db.session.execute(update(Coupon).where(Coupon.id == coupon).values(since))
    db.session.commit()
    end = db.session.get_one(Coupon, coupon).issue_end_at
    do("resume and extend", title)
    db.session.expire_all()
    moved = db.session.get_one(Coupon, coupon).issue_end_at - end
    assert timedelta(minutes=20) <= moved < timedelta(minutes=22)
    shopper_reads(person, coupon, "쿠폰 받기")
