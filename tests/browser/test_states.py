"""Every state of every page, in Korean and English, light and dark: what it says, axe-core's opinion, its pictures."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from itertools import product
from typing import Any
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import current_app
from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect
from sqlalchemy import delete, insert, select, update

from tests.browser.pages import frozen, give_place_away, offer, on_sqlite
from tests.browser.pictures import JOBS, JOBS_SHOWN, KEPT, SCHEMES, SHOWN, SIZES, photograph, told_steps
from tests.builders import make_user, make_users, session_cookie
from tests.values.test_pictures import file_of
from webapp.accounts import throttle
from webapp.accounts.invitations import invite, new_key, take
from webapp.accounts.roles import give_role
from webapp.accounts.sessions import end_sessions
from webapp.line.line import Line
from webapp.line.watching import tell_turnout
from webapp.models import (
    CLOSED,
    DRAFT,
    LIVE,
    OPERATOR,
    OWNER,
    PAUSED,
    TILL,
    TITLE_LENGTH,
    USER,
    VIEWER,
    Coupon,
    CouponIssue,
    Invitation,
    LineSample,
    Proposal,
    User,
    utcnow,
)
from webapp.models.rehearsals import BROKEN, PASSED, RUNNING, STOPPED
from webapp.proposals.rule import Waits
from webapp.sale import admission, bulk_revoking, claims, lists, pools, redeeming, rehearsing, report, uploads
from webapp.sale.archiving import archive
from webapp.sale.codes import grouped
from webapp.sale.content import set_content
from webapp.sale.coupons import change_coupon
from webapp.sale.outcomes import Refused
from webapp.sale.pause_message import PauseMessage
from webapp.sale.pausing import pause
from webapp.sale.people_file import PEOPLE_FILE
from webapp.sale.pictures import set_picture
from webapp.sale.pool_file import POOL_FILE
from webapp.sale.previews import sign_preview
from webapp.sale.publishing import publish
from webapp.sale.waves import make_waves, publish_waves
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.web.pages.tickets import refusal_receipt

RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": [
        "violations"
    ],  # all else that it found, of a long page, takes longer to tell than to find
}
TITLES = {"ko": "치킨 5,000원 할인", "en": "₩5,000 off fried chicken"}
DAY = 24 * 3600


@dataclass
class Visit:
    """Somebody's browser, and who they are: the id is of the account that is signed in, or was."""

    page: Page
    user: int
    language: str
    two_people: str = ""
    """The address of a server on which two people decide."""

    def coupon(self, **fields: object) -> int:
        return offer(title=TITLES[self.language], **fields)

    def open(self, coupon: int) -> int:
        self.page.goto(f"/coupons/{coupon}")
        return coupon

    def sign_out(self) -> None:
        self.page.context.clear_cookies(name="session")

    def press(self) -> None:
        self.page.locator("[data-claim] button").click()


State = Callable[[Visit], None]


def decided(coupon: int, quota: int | None = None) -> int:
    """Let the admission go on, until nobody waits."""
    change_coupon(coupon, status=LIVE, **({} if quota is None else {"total_quantity": quota}))
    admission.admit(coupon)
    return coupon


def claimed(visit: Visit, before: int = 0, **fields: object) -> int:
    """Return a coupon that so many others and the visitor wait for."""
    coupon = visit.coupon(**fields)
    claims.line_status(coupon)
    _hold(coupon)
    for user in (*(make_users(before) if before else ()), visit.user):
        claims.claim(coupon, user)
    return coupon


def _hold(coupon: int) -> None:
    """Have the admission wait, and nobody told of it: the gate stays open."""
    db.session.execute(update(Coupon).where(Coupon.id == coupon).values(status=PAUSED))
    db.session.commit()


# The states of a coupon's page


def anonymous(visit: Visit) -> None:
    visit.sign_out()
    visit.open(visit.coupon())


def anonymous_scheduled(visit: Visit) -> None:
    visit.sign_out()
    visit.open(visit.coupon(opens_in=3000))


def scheduled(visit: Visit) -> None:
    visit.open(visit.coupon(opens_in=2 * DAY, closes_in=3 * DAY, valid_until=utcnow() + timedelta(days=30)))


def open_now(visit: Visit) -> None:
    visit.open(visit.coupon(quota=1234))


def too_early(visit: Visit) -> None:
    coupon = visit.coupon(opens_in=600)
    visit.page.goto(f"/coupons/{coupon}?notice=not_open")


def submitting(visit: Visit) -> None:
    visit.open(visit.coupon())
    visit.page.route("**/claim", lambda route: None)  # never answered
    visit.press()


def waiting(visit: Visit) -> None:
    visit.open(claimed(visit, before=41, quota=500))


def more_ahead_than_left(visit: Visit) -> None:
    visit.open(claimed(visit, before=41, quota=12))


def waiting_paused(visit: Visit) -> None:
    visit.open(claimed(visit, before=41, status=PAUSED))


def stopped(visit: Visit) -> None:
    waiting(visit)
    visit.page.locator("#updates").click()
    expect(visit.page.locator("#updates")).to_have_attribute("aria-pressed", "true")


def issued(visit: Visit) -> None:
    visit.open(decided(claimed(visit, valid_until=utcnow() + timedelta(days=30))))


def already(visit: Visit) -> None:
    coupon = decided(claimed(visit))
    visit.page.goto(f"/coupons/{coupon}?notice=already")


def missed(visit: Visit) -> None:
    visit.open(decided(claimed(visit, before=2, quota=2)))


def missed_by_far(visit: Visit) -> None:
    visit.open(decided(claimed(visit, before=202, quota=2)))


def used(visit: Visit) -> None:
    coupon = decided(claimed(visit))
    redeeming.use(claims.standing(coupon, visit.user).code, None)
    visit.open(coupon)


def expired(visit: Visit) -> None:
    visit.open(_over(decided(claimed(visit, valid_until=utcnow() + timedelta(days=1)))))


def _over(coupon: int) -> int:
    late = update(Coupon).values(valid_until=utcnow() - timedelta(days=1))
    db.session.execute(late.where(Coupon.id == coupon))
    db.session.commit()
    return coupon


def too_late(visit: Visit) -> None:
    coupon = decided(claimed(Visit(visit.page, make_user().id, visit.language), quota=1))
    with pytest.raises(Refused) as refused:
        claims.claim(coupon, visit.user)
    visit.page.goto(f"/coupons/{coupon}?notice=sold_out&refusal={refusal_receipt(refused.value)}")


def sold_out(visit: Visit) -> None:
    other = Visit(visit.page, make_user().id, visit.language)
    visit.open(decided(claimed(other, quota=1)))


def place_in_standby(visit: Visit) -> None:
    visit.open(decided(claimed(visit, before=2, quota=1, standby_limit=50)))


def standby_offered(visit: Visit) -> None:
    other = Visit(visit.page, make_user().id, visit.language)
    visit.open(decided(claimed(other, quota=1, standby_limit=50)))


def standby_full(visit: Visit) -> None:
    other = Visit(visit.page, make_user().id, visit.language)
    visit.open(decided(claimed(other, before=1, quota=1, standby_limit=1)))


def paused(visit: Visit) -> None:
    visit.open(visit.coupon(status=PAUSED))


def paused_with_a_message(visit: Visit) -> None:
    coupon = visit.coupon()
    pause(coupon, PauseMessage("payment", promised_at=utcnow() + timedelta(minutes=12)))
    visit.open(coupon)


def scheduled_and_paused(visit: Visit) -> None:
    coupon = visit.coupon(opens_in=2 * DAY, closes_in=3 * DAY)
    pause(coupon, PauseMessage(ko="재고를 다시 세고 있어요.", en="We are counting the stock once more."))
    visit.open(coupon)


def waiting_longer_than_promised(visit: Visit) -> None:
    coupon = claimed(visit, before=41, status=PAUSED)
    pause(coupon, PauseMessage("error", promised_at=utcnow() + timedelta(minutes=12)))
    passed = update(Coupon).values(promised_at=utcnow() - timedelta(minutes=1))
    db.session.execute(passed.where(Coupon.id == coupon))
    db.session.commit()
    publish(coupon)
    visit.open(coupon)


def standby_while_it_is_paused(visit: Visit) -> None:
    coupon = decided(claimed(visit, before=1, quota=1))
    pause(coupon, PauseMessage("crowd"))
    visit.open(coupon)


def ended(visit: Visit) -> None:
    coupon = visit.coupon()
    change_coupon(coupon, status=CLOSED)
    visit.open(coupon)


def rejected(visit: Visit) -> None:
    coupon = claimed(visit)
    db.session.execute(update(User).where(User.id == visit.user).values(blocked_at=utcnow()))
    db.session.commit()
    decided(coupon)
    visit.open(coupon)


def revoked(visit: Visit) -> None:
    coupon = decided(claimed(visit))
    redeeming.revoke(claims.standing(coupon, visit.user).code, None, "#1024")
    visit.open(coupon)


def place_lost(visit: Visit) -> None:
    coupon = visit.open(claimed(visit))
    give_place_away(coupon)
    expect(visit.page.locator("#lost")).to_be_visible()


def place_found(visit: Visit) -> None:
    coupon = visit.open(claimed(visit, before=3))
    line = admission.Line(line_redis(), coupon)
    line.forget()
    expect(visit.page.locator("#coupon")).to_have_attribute("data-epoch", "2")


def signed_out_while_waiting(visit: Visit) -> None:
    coupon = visit.open(claimed(visit, before=3))
    visit.page.goto("/")
    visit.sign_out()
    visit.open(coupon)
    expect(visit.page.locator("#kept")).to_be_visible()


def connection_lost(visit: Visit) -> None:
    waiting(visit)
    visit.page.context.set_offline(True)
    expect(visit.page.locator("#offline")).to_be_visible()


def busy(visit: Visit) -> None:
    coupon = visit.coupon()
    with frozen(line_redis().info("server")["process_id"]):
        visit.open(coupon)
        visit.page.route("**/coupons/*", lambda route: None)  # it would find its way back at once


# The other pages


def the_list(visit: Visit) -> None:
    visit.coupon(), visit.coupon(quota=None), visit.coupon(opens_in=DAY, closes_in=2 * DAY)
    visit.page.goto("/")


def sign_in(visit: Visit) -> None:
    visit.sign_out()
    visit.page.goto("/login")


def wrong_password(visit: Visit) -> None:
    sign_in(visit)
    _try_password(visit)


def limited(visit: Visit) -> None:
    sign_in(visit)
    for _ in range(throttle.TRIES.amount + 1):
        _try_password(visit)


def _try_password(visit: Visit) -> None:
    visit.page.locator("[name=email]").fill(f"minji{visit.user}@example.com")
    visit.page.locator("[name=password]").fill("wrong")
    with visit.page.expect_navigation():
        visit.page.get_by_role("main").get_by_role("button").click()


def register(visit: Visit) -> None:
    visit.sign_out()
    visit.page.goto("/register")


def wallet(visit: Visit) -> None:
    decided(claimed(visit, valid_until=utcnow() + timedelta(days=30)))
    visit.page.goto("/wallet")


def till(visit: Visit) -> None:
    wallet(visit)
    visit.page.locator(".choices a").first.click()
    visit.page.wait_for_url("**/wallet/*")


def till_used(visit: Visit) -> None:
    till(visit)
    redeeming.use(visit.page.locator(".code").inner_text(), None)
    visit.page.reload()


def till_expired(visit: Visit) -> None:
    till(visit)
    _over(db.session.scalars(select(Coupon.id).order_by(Coupon.id.desc())).first() or 0)
    visit.page.reload()


def wallet_taken_back(visit: Visit) -> None:
    revoked(visit)
    visit.page.goto("/wallet")


def wallet_empty(visit: Visit) -> None:
    visit.page.goto("/wallet")


def receipt_of_a_winner(visit: Visit) -> None:
    visit.page.goto(f"/coupons/{decided(claimed(visit))}/receipt")


def receipt_after_a_pause(visit: Visit) -> None:
    coupon = claimed(visit)
    pause(coupon, PauseMessage("payment"))
    visit.page.goto(f"/coupons/{decided(coupon)}/receipt")


def receipt_of_a_loser(visit: Visit) -> None:
    visit.page.goto(f"/coupons/{decided(claimed(visit, before=2, quota=2))}/receipt")


def receipt_of_a_refusal(visit: Visit) -> None:
    too_late(visit)
    visit.page.locator("#refusal a").click()
    visit.page.wait_for_url("**/receipt?refusal=**")


def refusal_verified(visit: Visit) -> None:
    receipt_of_a_refusal(visit)
    visit.page.locator("main .back a").first.click()
    visit.page.wait_for_url("**/verify**")


def verified(visit: Visit) -> None:
    receipt_of_a_winner(visit)
    visit.page.locator("main .back a").first.click()
    visit.page.wait_for_url("**/verify**")
    visit.page.get_by_role("main").get_by_role("button").click()


def not_ours(visit: Visit) -> None:
    visit.page.goto("/receipts/verify?receipt=1.2.3.4.AAAAAAAAAAAAAAAAAAAAAA")


def no_receipt(visit: Visit) -> None:
    visit.page.goto(f"/coupons/{visit.coupon()}/receipt")


def not_found(visit: Visit) -> None:
    visit.sign_out()
    visit.page.goto("/coupons/999999999")


def page_out_of_date(visit: Visit) -> None:
    visit.sign_out()
    visit.page.goto("/login")
    visit.page.locator("main [name=csrf_token]").evaluate("field => { field.value = 'old'; }")
    visit.page.locator("[name=email]").fill("minji@example.com")
    visit.page.locator("[name=password]").fill("correct horse")
    visit.page.get_by_role("main").get_by_role("button").click()


def wrong_kind_of_request(visit: Visit) -> None:
    visit.page.goto(f"/coupons/{visit.coupon()}/claim")


def operations(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto("/admin/")


def operations_of_a_coupon(visit: Visit) -> None:
    _become_operator(visit)
    coupon = claimed(visit, before=7)
    change_coupon(coupon, status=PAUSED)
    visit.page.goto(f"/admin/coupons/{coupon}")


def person_who_waits_in_a_pause(visit: Visit) -> None:
    waiting = make_user()
    coupon = claimed(Visit(visit.page, waiting.id, visit.language), before=2)
    pause(coupon, PauseMessage("payment"), by=visit.user)
    _become_operator(visit)
    visit.page.goto(f"/admin/people/{waiting.id}")


def pause_to_explain(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto(f"/admin/coupons/{visit.coupon()}")
    visit.page.locator("form[action$='/pause'] summary").click()


def pause_that_goes_on(visit: Visit) -> None:
    _become_operator(visit)
    coupon = visit.coupon(opens_in=-7200, closes_in=7200)
    pause(coupon, PauseMessage("payment", promised_at=utcnow() + timedelta(minutes=12)), by=visit.user)
    since = update(Coupon).values(paused_at=utcnow() - timedelta(minutes=20))
    db.session.execute(since.where(Coupon.id == coupon))
    db.session.commit()
    visit.page.goto(f"/admin/coupons/{coupon}")


def pause_with_a_wrong_promise(visit: Visit) -> None:
    pause_to_explain(visit)
    form = visit.page.locator("form[action$='/pause']")
    form.locator("[name=promised_at]").fill("2026-01-01T10:00")
    with visit.page.expect_navigation():
        form.get_by_role("button").last.click()


def checks_before_going_live(visit: Visit) -> None:
    _become_operator(visit)
    coupon = visit.coupon(status="draft", opens_in=DAY, closes_in=2 * DAY)
    visit.page.goto(f"/admin/coupons/{coupon}/check")


def checks_that_block(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto(f"/admin/coupons/{visit.coupon(status='draft', quota=0)}/check")


def changed_before_going_live(visit: Visit) -> None:
    _become_operator(visit)
    coupon = visit.coupon(status="draft", opens_in=DAY, closes_in=2 * DAY)
    visit.page.goto(f"/admin/coupons/{coupon}/check")
    change_coupon(coupon, total_quantity=1000)
    visit.page.locator("main form[method=post] button").click()
    visit.page.get_by_role("alert").wait_for()


def _rehearse(visit: Visit, coupon: int, **fields: Any) -> None:
    """Have a rehearsal stand where the fields say, whatever a sweeper does."""
    if other := rehearsing.under_way():
        rehearsing.end(other.id, STOPPED)
    rehearsal = rehearsing.ask(coupon, by=visit.user, people=200, although_near=True, state=RUNNING)
    if state := fields.get("state"):
        rehearsing.end(rehearsal, state, fields["report"])
    else:
        rehearsing.tell(rehearsal, "claims", 120, 200)
    visit.page.goto(f"/admin/coupons/{coupon}/rehearse")


def rehearsal_to_ask_for(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto(f"/admin/coupons/{visit.coupon(status='draft')}/rehearse")


def rehearsal_under_way(visit: Visit) -> None:
    _become_operator(visit)
    _rehearse(visit, visit.coupon(status="draft"))


def rehearsal_that_went_well(visit: Visit) -> None:
    _become_operator(visit)
    figures = {"people": 200, "issued": 100, "expected": 100, "unanswered": 0}
    figures |= {"answer_ms": 213, "tickets_s": 0.31, "known_s": 1.2}
    report = {
        "summary": figures,
        "lines": ["claims         200; answers 200: 200", "ok    issued 100 of 100"],
    }
    _rehearse(visit, visit.coupon(status="draft"), state=PASSED, report=report)
    visit.page.locator("summary").click()


def rehearsal_broken_off(visit: Visit) -> None:
    _become_operator(visit)
    report = {"why": "no server answers at 127.0.0.1:8000"}
    _rehearse(visit, visit.coupon(status="draft"), state=BROKEN, report=report)


def excluded(visit: Visit) -> None:
    coupon = visit.coupon()
    lists.set_audience(coupon, "grades", ["VIP", "GOLD"], by=None)
    visit.open(coupon)


def list_to_decide(visit: Visit) -> None:
    _become_operator(visit)
    coupon = visit.coupon(status="draft")
    lists.add_person(coupon, db.session.get_one(User, visit.user).email, by=None)
    _bring(visit, coupon, "email\nminji@example.com\nminji@example.com\nkim@\nsumin@example.com\n")


def list_refused(visit: Visit) -> None:
    _become_operator(visit)
    _bring(visit, visit.coupon(status="draft"), "PK\x03\x04")


def list_is_read(visit: Visit) -> None:
    _become_operator(visit)
    coupon = visit.coupon(status="draft")
    upload = uploads.begin(PEOPLE_FILE, coupon, "members.csv", by=None)
    uploads._change(upload, percent=42, good=420_000)
    # It would load itself again while it is looked at.
    visit.page.route("**/progress.js*", lambda route: route.fulfill(body="", content_type="text/javascript"))
    visit.page.goto(f"/admin/coupons/{coupon}/people")


def _bring(visit: Visit, coupon: int, text: str, name: str = "members.csv", *, page: str = "people") -> None:
    visit.page.goto(f"/admin/coupons/{coupon}/{page}")
    file = {"name": name, "mimeType": "text/csv", "buffer": text.encode()}
    visit.page.locator("input[type=file]").set_input_files(file)
    visit.page.get_by_role("button", name=re.compile("파일 확인하기|Check the file")).click()
    visit.page.wait_for_url("**upload=*")


def codes_of_ours(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto(f"/admin/coupons/{visit.coupon(status='draft')}/codes")


def codes_to_decide(visit: Visit) -> None:
    _become_operator(visit)
    coupon = visit.coupon(status="draft")
    _pool(coupon, visit, 60)
    own = [f"{visit.user:08}", f"A{visit.user:06}", f"A{visit.user:06}", f"B{visit.user:06}"]
    lines = ["쿠폰번호", *own, "A B", "1.23E+12"]
    _bring(visit, coupon, "\n".join([*lines, ""]), page="codes")


def codes_gone(visit: Visit) -> None:
    coupon = visit.coupon(quota=1)
    _pool(coupon, visit, 1)
    claims.claim(coupon, visit.user)
    change_coupon(coupon, total_quantity=20)
    admission.admit(coupon)
    _become_operator(visit)
    visit.page.goto(f"/admin/coupons/{coupon}/codes")


def codes_missing(visit: Visit) -> None:
    coupon = visit.coupon(quota=3)
    _pool(coupon, visit, 3)
    change_coupon(coupon, total_quantity=20)
    _become_operator(visit)
    visit.page.goto("/admin/")


def issued_a_code_of_the_shop(visit: Visit) -> None:
    coupon = visit.coupon(quota=1)
    _pool(coupon, visit, 1)
    claims.claim(coupon, visit.user)
    admission.admit(coupon)
    visit.open(coupon)


def _pool(coupon: int, visit: Visit, count: int) -> None:
    """Give a coupon so many codes of its own, as long as a code can be."""
    upload = uploads.begin(POOL_FILE, coupon, "codes-2026.csv", by=None)
    lines = "".join(f"Shop/{visit.user:010}-{number:05}".ljust(40, "x") + "\n" for number in range(count))
    uploads.read(upload, POOL_FILE, BytesIO(lines.encode()))
    pools.count_codes(upload, by=None)


def code_to_check(visit: Visit) -> None:
    coupon = decided(claimed(visit))
    code = claims.standing(coupon, visit.user).code
    _become_operator(visit)
    visit.page.goto(f"/admin/redeem?code={grouped(code)}")


def code_used(visit: Visit) -> None:
    code_to_check(visit)
    visit.page.locator("main form[method=post] button").first.click()
    visit.page.locator(".verdict--now").wait_for()


def code_used_before(visit: Visit) -> None:
    code_used(visit)
    code = visit.page.locator(".code").inner_text()
    visit.page.goto(f"/admin/redeem?code={code}")


def code_used_by_mistake(visit: Visit) -> None:
    code_used(visit)
    visit.page.locator("[name=reason]").fill("#1024")
    visit.page.locator(".button--danger").click()
    visit.page.locator(".verdict--usable").wait_for()


def code_of_a_blocked_holder(visit: Visit) -> None:
    holder = make_user(f"hana{make_user().id}@example.com")
    coupon = visit.coupon()
    claims.claim(coupon, holder.id)
    decided(coupon)
    db.session.execute(update(User).where(User.id == holder.id).values(blocked_at=utcnow()))
    db.session.commit()
    _become_operator(visit)
    visit.page.goto(f"/admin/redeem?code={grouped(claims.standing(coupon, holder.id).code)}")


def code_expired(visit: Visit) -> None:
    coupon = decided(claimed(visit, valid_until=utcnow() + timedelta(days=1)))
    code = claims.standing(coupon, visit.user).code
    db.session.execute(
        update(Coupon).where(Coupon.id == coupon).values(valid_until=utcnow() - timedelta(days=1))
    )
    db.session.commit()
    _become_operator(visit)
    visit.page.goto(f"/admin/redeem?code={grouped(code)}")


def code_taken_back(visit: Visit) -> None:
    code_to_check(visit)
    code = visit.page.locator(".code").inner_text()
    redeeming.revoke(code, visit.user, "#1024")
    visit.page.reload()


def code_unknown(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto("/admin/redeem?code=0000-0000-0000")


def somebody_who_won(visit: Visit) -> None:
    """An operator looks for who has the coupon, and reads what happened."""
    coupon = decided(claimed(visit))
    code = claims.standing(coupon, visit.user).code
    _become_operator(visit)
    redeeming.use(code, visit.user)
    visit.page.goto(f"/admin/people/{visit.user}?coupon={coupon}")


def somebody_who_lost(visit: Visit) -> None:
    coupon, loser = visit.coupon(quota=1), make_user(f"lost{make_user().id}@example.com")
    for user in (visit.user, loser.id):
        claims.claim(coupon, user)
    decided(coupon)
    _become_operator(visit)
    visit.page.goto(f"/admin/people?q={loser.email}")
    visit.page.get_by_role("link", name=loser.email).click()


def somebody_who_never_came(visit: Visit) -> None:
    coupon = decided(claimed(visit, total_quantity=1))
    _become_operator(visit)
    visit.page.goto(f"/admin/people/{make_user().id}?coupon={coupon}")


def people_found(visit: Visit) -> None:
    make_user(f"hana{make_user().id}@example.com", name="김하나")
    _become_operator(visit)
    visit.page.goto("/admin/people?q=김하")


def files_for_excel(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto(f"/admin/coupons/{decided(claimed(visit))}/export")


def report_of_a_sale(visit: Visit) -> None:
    """A sale that has sold out, with uses on three days, and somebody in standby."""
    _become_operator(visit)
    coupon = decided(claimed(visit, before=40, quota=40, discount_amount=5000))
    uses = [(5, "2026-12-05 03:00"), (12, "2026-12-06 03:00"), (7, "2026-12-08 03:00")]
    for most, at in uses:
        first = select(CouponIssue.id).where(CouponIssue.coupon_id == coupon, CouponIssue.used_at.is_(None))
        ids = db.session.scalars(first.limit(most)).all()
        used_at = datetime.fromisoformat(at).replace(tzinfo=UTC)
        db.session.execute(update(CouponIssue).where(CouponIssue.id.in_(ids)).values(used_at=used_at))
        db.session.commit()
    for second in range(40):
        at = utcnow() + timedelta(seconds=second % 7 * second / 20)
        one = update(CouponIssue).where(
            CouponIssue.coupon_id == coupon, CouponIssue.ticket_number == second + 1
        )
        db.session.execute(one.values(issued_at=at))
        db.session.commit()
    report.keep(coupon)
    change_coupon(coupon, step="pause", by=visit.user)
    visit.page.goto(f"/admin/coupons/{coupon}/report")


def report_to_come(visit: Visit) -> None:
    _become_operator(visit)
    coupon = decided(claimed(visit))
    report.want(coupon)
    # The page loads itself again every two seconds, and nobody could look at it here.
    still = {"body": "", "content_type": "text/javascript"}
    visit.page.route(re.compile("/progress[^/]*js"), lambda route: route.fulfill(**still))
    visit.page.goto(f"/admin/coupons/{coupon}/report")
    visit.page.get_by_role("status").wait_for()


def nobody_found(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto("/admin/people?q=nobody@example.com")


def log_of_everything(visit: Visit) -> None:
    coupon = visit.coupon()
    _become_operator(visit)
    change_coupon(coupon, by=visit.user, total_quantity=9)
    change_coupon(coupon, by=visit.user, step="pause")
    visit.page.goto("/admin/log")


def log_of_a_coupon(visit: Visit) -> None:
    """What somebody has asked for with a typing error stands beside the rows that there are."""
    coupon = visit.coupon()
    _become_operator(visit)
    visit.page.goto(f"/admin/coupons/{coupon}/log?person=nobody@example.com")


def new_coupon(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto("/admin/coupons/new")


def new_coupon_refused(visit: Visit) -> None:
    new_coupon(visit)
    visit.page.locator("[name=issue_start_at]").fill("2026-01-02T20:00")
    visit.page.locator("[name=issue_end_at]").fill("2026-01-01T20:00")
    visit.page.locator("main form .button--primary").click()


def edited_meanwhile(visit: Visit) -> None:
    """Two operators have the page open, and change the same field."""
    _become_operator(visit)
    coupon = visit.coupon(status=DRAFT)
    visit.page.goto(f"/admin/coupons/{coupon}")
    other = visit.page.context.new_page()
    other.goto(visit.page.url)
    for page, quota in ((other, "1,000"), (visit.page, "50")):
        page.locator("section:has(#edit) [name=total_quantity]").fill(quota)
        page.locator("section:has(#edit) .button--primary").click()
        page.wait_for_load_state()
    other.close()


LONG_TITLE = "끝없이이어지는제목" * 12
"""Longer than a line of any page, without a space."""


def long_title(visit: Visit) -> None:
    """A list of coupons of which one has the longest title that there can be."""
    _become_operator(visit)
    _long_titled()
    visit.page.goto("/admin/")


def long_title_of_a_coupon(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto(f"/admin/coupons/{_long_titled()}")


def long_title_for_a_shopper(visit: Visit) -> None:
    visit.open(_long_titled(status=LIVE))


def _long_titled(**fields: Any) -> int:
    return offer(title=LONG_TITLE[:TITLE_LENGTH], **{"status": DRAFT, "quota": 1_000_000_000} | fields)


def sixty_waves(visit: Visit) -> None:
    _become_operator(visit)
    coupon = visit.coupon(status=DRAFT, opens_in=DAY, closes_in=80 * DAY)
    times = [utcnow() + timedelta(days=at) for at in range(1, 61)]
    make_waves(coupon, times, quota=500, rolls_over=True, by=None)
    visit.page.goto(f"/admin/coupons/{coupon}/waves")


def list_that_counts(visit: Visit) -> None:
    _become_operator(visit)
    coupon = visit.coupon(status=DRAFT)
    _bring(visit, coupon, "email\nminji@example.com\nsumin@example.com\n", f"{'회원명단' * 15}.csv")
    visit.page.locator("main form .button--primary", has_text=re.compile("명단에 넣기|on the list")).click()
    visit.page.goto(f"/admin/coupons/{coupon}/people?q=minji@example.com")


CONTENT = {
    "description": "**바삭한** 치킨을 만나요.\n\n- 순살과 뼈 모두\n- 포장과 배달 모두",
    "terms": "- 1인 **1매**만 받을 수 있어요\n- 다른 쿠폰과 함께 쓸 수 없어요\n- [매장 안내](https://example.com)",
    "place": "전국 매장과 앱",
    "contact": "02-123-4567 (평일 10–18시)",
}
ENGLISH_CONTENT = {
    "description": "**Crisp** chicken.\n\n- With bones or without\n- To take away or delivered",
    "terms": "- **One** for each person\n- Not together with other coupons\n- [Our shops](https://example.com)",
    "place": "All shops, and the app",
    "contact": "02-123-4567 (weekdays, 10 to 18)",
}


def told(visit: Visit, **fields: object) -> int:
    """Return a coupon with everything that a campaign can say and show."""
    coupon = visit.coupon(**fields)
    for language, texts in (("ko", CONTENT), ("en", ENGLISH_CONTENT)):
        set_content(coupon, language, texts, by=None)
    set_picture(coupon, file_of(banner(), "JPEG"), by=None)
    return coupon


def banner() -> Image.Image:
    picture = Image.new("RGB", (1600, 800), "#f5a524")
    ImageDraw.Draw(picture).ellipse((900, 100, 1500, 700), fill="#8a3b12")
    return picture


def campaign(visit: Visit) -> None:
    gift = {
        "benefit": "gift",
        "discount_amount": 0,
        "benefit_words": "콜라 1잔",
        "benefit_words_en": "a cola",
    }
    visit.open(told(visit, opens_in=2 * DAY, closes_in=3 * DAY, **gift))
    visit.page.locator("#terms summary").click()


def campaign_shared(visit: Visit) -> None:
    visit.page.goto(f"/coupons/{visit.coupon(opens_in=600)}/share")


def help_page(visit: Visit) -> None:
    visit.page.goto("/help")


def content_of_a_coupon(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto(f"/admin/coupons/{told(visit)}/content/{visit.language}")


def content_changed_meanwhile(visit: Visit) -> None:
    content_of_a_coupon(visit)
    coupon = int(visit.page.url.split("/coupons/")[1].split("/")[0])
    set_content(coupon, visit.language, {"place": "서울 매장"}, by=None)
    visit.page.locator("[name=place]").fill("부산 매장")
    visit.page.locator("form.card .button--primary").click()


def picture_of_a_coupon(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto(f"/admin/coupons/{told(visit)}/picture")


def picture_refused(visit: Visit) -> None:
    picture_of_a_coupon(visit)
    svg = {"name": "logo.svg", "mimeType": "image/svg+xml", "buffer": b"<svg/>"}
    visit.page.locator("[name=picture]").set_input_files(svg)
    visit.page.locator("form.card .button--primary").click()


def preview_of_a_coupon(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto(f"/admin/coupons/{told(visit, status=DRAFT)}/preview")


def previewed(visit: Visit) -> None:
    coupon = told(visit, status=DRAFT, opens_in=DAY, closes_in=2 * DAY)
    visit.sign_out()
    key = sign_preview(current_app.config["SECRET_KEY"], coupon)
    visit.page.goto(f"/preview?key={key}&state=issued")


def preview_over(visit: Visit) -> None:
    visit.sign_out()
    visit.page.goto("/preview?key=1")


def duplicating(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto(f"/admin/coupons/{visit.coupon(valid_until=utcnow() + timedelta(days=30))}/duplicate")


def wave_of_a_campaign(visit: Visit) -> None:
    visit.page.goto(f"/coupons/{_waves(visit)[0]}")


def one_of_another_wave(visit: Visit) -> None:
    first, second = _waves(visit)
    for wave in (first, second):
        now = {"issue_start_at": utcnow() - timedelta(minutes=5)}
        db.session.execute(
            update(Coupon).where(Coupon.id == wave).values(**now, revision=Coupon.revision + 1)
        )
        db.session.commit()
        publish(wave)
    claims.claim(first, visit.user)
    admission.admit(first)
    visit.page.goto(f"/coupons/{second}")


def waves_of_a_draft(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto(f"/admin/coupons/{_waves(visit, live=False)[0]}/waves")


def waves_that_are_live(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto(f"/admin/coupons/{_waves(visit)[1]}/waves")


def _waves(visit: Visit, *, live: bool = True) -> list[int]:
    coupon = visit.coupon(status=DRAFT, opens_in=DAY, closes_in=3 * DAY)
    times = [utcnow() + timedelta(days=at) for at in (1, 2)]
    ids = make_waves(coupon, times, quota=500, rolls_over=True, by=None)
    if live:
        publish_waves(coupon, by=None, look=lambda _rows: None)
    return ids


def archived_coupon(visit: Visit) -> None:
    _become_operator(visit)
    coupon = visit.coupon(status=CLOSED)
    archive(coupon, by=visit.user)
    visit.page.goto(f"/admin/coupons/{coupon}")


def list_to_revoke(visit: Visit) -> None:
    """Before the button stands what it will do: to how many, and which lines stay as they are."""
    coupon = decided(claimed(visit))
    code = claims.standing(coupon, visit.user).code
    _become_operator(visit)
    visit.page.goto("/admin/revocations")
    visit.page.locator("#codes").fill(f"{code}\n{code}\n0000-0000-0000")
    visit.page.locator("#reason").fill("중복 발급")
    visit.page.locator("form[action$=revocations] button").click()


def revocations(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto("/admin/revocations")


def quota_to_confirm(visit: Visit) -> None:
    """A quota that is raised serves those in standby: the page says how many, before the button."""
    coupon = visit.coupon(quota=1)
    for user in (visit.user, make_user().id, make_user().id):
        claims.claim(coupon, user)
    decided(coupon)
    _become_operator(visit)
    visit.page.goto(f"/admin/coupons/{coupon}")
    visit.page.locator("#quota").fill("5")
    visit.page.locator("form[action$=quota] button").click()


def live_board(visit: Visit) -> None:
    """A sale in its second minute, of which the sweeper has seen every second, and in which a few were refused."""
    coupon = claimed(visit, before=41, quota=3000)
    now = utcnow()
    rows = []
    for number in range(1, 101):
        came, none = min(42, number // 2), {"in_standby": 0, "refused": 0, "pages": 0}
        at = now - timedelta(seconds=100 - number)
        figures = {
            "epoch": 1,
            "last_number": came,
            "came": came,
            "issued": came // 2,
            "waiting": came - came // 2,
        }
        rows.append({"coupon_id": coupon, "number": number, "at": at} | figures | none)
    with db.engine.begin() as connection:
        connection.execute(insert(LineSample), rows)
    tell_turnout(
        line_redis(),
        coupon,
        process="web",
        times=1,
        pages=1234,
        polls=310,
        refused={"not_open": 12, "other_wave": 3},
    )
    _become_operator(visit)
    visit.page.goto(f"/admin/coupons/{coupon}/live")


def live_board_before_the_start(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto(f"/admin/coupons/{visit.coupon(opens_in=600)}/live")


def live_board_of_a_draft(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto(f"/admin/coupons/{visit.coupon(status=DRAFT)}/live")


def live_board_with_drift(visit: Visit) -> None:
    """A coupon that Redis shows somebody and that SQL knows nothing of."""
    coupon = decided(claimed(visit, quota=1), quota=1)
    line_redis().hset(Line(line_redis(), coupon).results_key, "999999999", "issued:9:ABCD")
    _become_operator(visit)
    visit.page.goto(f"/admin/coupons/{coupon}/live")
    expect(visit.page.locator(".error[role=alert]")).to_be_visible()


def live_board_unheard(visit: Visit) -> None:
    """The server does not answer any more; the figures that it gave last stay, and are marked."""
    live_board(visit)
    visit.page.route("**/live/now", lambda route: route.fulfill(status=503))
    expect(visit.page.locator("#unheard")).to_be_visible()


def live_board_without_redis(visit: Visit) -> None:
    """Redis stands still while an operator looks on, and is back before anybody looks at the page."""
    live_board(visit)
    with frozen(line_redis().info("server")["process_id"]):
        expect(visit.page.locator(".board__old")).to_be_visible()
        visit.page.get_by_role("button", name=re.compile("자동 새로고침 끄기|Turn auto-refresh off")).click()


def closing(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto(f"/admin/coupons/{visit.coupon()}/close")


def team(visit: Visit) -> None:
    _become_operator(visit, OWNER)
    _team(visit)
    visit.page.goto("/admin/team")


def _team(visit: Visit) -> None:
    """Have the visitor's team alone be there: each role, an open invitation, and one that was withdrawn."""
    mine = User.id == visit.user
    db.session.execute(update(User).where(~mine).values(role=USER))
    db.session.execute(delete(Invitation))
    db.session.commit()
    for role, name in ((OPERATOR, "이서연"), (TILL, "명동점 계산대"), (VIEWER, "본사 재무팀")):
        make_user(role=role, name=name)
    invite(TILL, by=visit.user, label={"ko": "강남점 민지", "en": "Minji in Gangnam"}[visit.language])


def link_of_an_invitation(visit: Visit) -> None:
    team(visit)
    visit.page.locator("#label").fill("수민")
    visit.page.locator("section[aria-labelledby=invite] button").click()
    visit.page.wait_for_selector("#address")


def last_owner_stays(visit: Visit) -> None:
    team(visit)
    visit.page.locator("button.button--danger").first.click()
    visit.page.wait_for_selector(".notice")


def asked(deed: Callable[[], object]) -> int:
    """Return the proposal that a deed becomes while two people decide."""
    current_app.config["TWO_PERSON_RULE"] = True
    try:
        with pytest.raises(Waits) as waits:
            deed()
    finally:
        current_app.config["TWO_PERSON_RULE"] = False
    return waits.value.proposal_id


def _proposals(visit: Visit) -> int:
    """Have a colleague ask for one thing of each kind, the visitor for one, and return a coupon that waits."""
    team(visit)
    db.session.execute(delete(Proposal))
    db.session.commit()
    other = make_user(role=OWNER, name="이서연").id
    coupon = claimed(visit, before=41, quota=12)
    codes = [claims.standing(decided(claimed(visit)), visit.user).code for _ in range(2)]
    asked(lambda: change_coupon(coupon, by=other, total_quantity=30))
    asked(lambda: change_coupon(claimed(visit, before=7), by=other, step="close"))
    asked(lambda: change_coupon(visit.coupon(), by=visit.user, total_quantity=None))
    words = {"ko": "인쇄가 잘못됐어요", "en": "A misprint"}[visit.language]
    asked(lambda: bulk_revoking.revoke_all(bulk_revoking.look_at(codes), by=other, reason=words))
    asked(lambda: give_role(make_user().id, TILL, by=other))
    asked(lambda: invite(OPERATOR, by=other, label={"ko": "강남점 민지", "en": "Minji"}[visit.language]))
    changed = visit.coupon()
    asked(lambda: change_coupon(changed, by=None, total_quantity=200, title="더 많이"))
    change_coupon(changed, status=PAUSED)
    return coupon


def proposals_to_decide(visit: Visit) -> None:
    _proposals(visit)
    visit.page.goto(f"{visit.two_people}/admin/proposals")


def proposals_decided(visit: Visit) -> None:
    _proposals(visit)
    visit.page.goto(f"{visit.two_people}/admin/proposals")
    for name in ("확인하고 실행하기|Confirm and do it", "거절하기|Decline", "취소하기|Withdraw"):
        with visit.page.expect_navigation():
            visit.page.get_by_role("button", name=re.compile(name)).first.click()
    late = update(Proposal).where(Proposal.decision.is_(None)).values(expires_at=utcnow())
    db.session.execute(late)
    broken = (
        update(Proposal).where(Proposal.verb == "revoke").values(decision="confirmed", decided_at=utcnow())
    )
    db.session.execute(broken)
    db.session.commit()
    visit.page.reload()


def proposal_of_a_coupon(visit: Visit) -> None:
    coupon = _proposals(visit)
    visit.page.goto(f"{visit.two_people}/admin/coupons/{coupon}")


def proposal_just_made(visit: Visit) -> None:
    _become_operator(visit)
    db.session.execute(delete(Proposal))
    db.session.commit()
    visit.page.goto(f"{visit.two_people}/admin/coupons/{visit.coupon()}/close")
    visit.page.locator("main .button--danger").click()
    visit.page.wait_for_url("**/admin/proposals")


def closing_by_two(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto(f"{visit.two_people}/admin/coupons/{visit.coupon()}/close")


def link_that_waits(visit: Visit) -> None:
    team(visit)
    visit.page.goto(f"{visit.two_people}/admin/team")
    visit.page.locator("section[aria-labelledby=invite] button").click()
    visit.page.wait_for_selector("#address")


def invitation_that_waits(visit: Visit) -> None:
    make_user(role=OWNER)  # who could confirm it
    key = new_key()
    asked(lambda: invite(OPERATOR, by=None, key=key))
    visit.page.goto(f"/join?key={key}")


def invitation(visit: Visit) -> None:
    visit.page.goto(f"/join?key={invite(OPERATOR, by=None)}")


def invitation_before_signing_in(visit: Visit) -> None:
    visit.sign_out()
    visit.page.goto(f"/join?key={invite(TILL, by=None)}")


def invitation_used(visit: Visit) -> None:
    key = invite(TILL, by=None)
    take(key, make_user().id)
    visit.page.goto(f"/join?key={key}")


def refused_to_a_viewer(visit: Visit) -> None:
    _become_operator(visit, VIEWER)
    visit.page.goto("/admin/coupons/new")


def role_that_ended(visit: Visit) -> None:
    _become_operator(visit)
    coupon = visit.coupon()
    visit.page.goto(f"/admin/coupons/{coupon}")
    end_sessions(visit.user, role=USER)
    visit.page.locator("form[action$='/pause'] button").first.click()


def console_of_a_viewer(visit: Visit) -> None:
    _become_operator(visit, VIEWER)
    visit.coupon()
    visit.page.goto("/admin/")


def campaign_of_a_viewer(visit: Visit) -> None:
    _become_operator(visit, VIEWER)
    visit.page.goto(f"/admin/coupons/{visit.coupon(standby_limit=50)}")


def codes_of_a_viewer(visit: Visit) -> None:
    _become_operator(visit, VIEWER)
    coupon = visit.coupon(status="draft", quota=2)
    _pool(coupon, visit, 2)
    visit.page.goto(f"/admin/coupons/{coupon}/codes")


def people_of_a_viewer(visit: Visit) -> None:
    _become_operator(visit, VIEWER)
    coupon = visit.coupon(status="draft")
    lists.add_person(coupon, "minji@example.com", by=None)
    visit.page.goto(f"/admin/coupons/{coupon}/people?q=minji@example.com")


def checks_of_a_viewer(visit: Visit) -> None:
    _become_operator(visit, VIEWER)
    visit.page.goto(f"/admin/coupons/{visit.coupon(status='draft')}/check")


def till_of_a_colleague(visit: Visit) -> None:
    _become_operator(visit, TILL)
    coupon = decided(claimed(visit))
    code = claims.standing(coupon, visit.user).code
    visit.page.goto(f"/admin/redeem?code={grouped(code)}")


def _become_operator(visit: Visit, role: str = OPERATOR) -> None:
    """Give the visitor a role, and sign them in again with it."""
    db.session.execute(update(User).where(User.id == visit.user).values(role=role))
    db.session.commit()
    cookie, _token = session_cookie(current_app._get_current_object(), visit.user)
    visit.page.context.add_cookies([{"name": "session", "value": cookie, "domain": "127.0.0.1", "path": "/"}])


STATES: dict[State, tuple[str, str]] = {
    the_list: ("치킨 5,000원 할인", "₩5,000 off fried chicken"),
    anonymous: ("로그인하고 참여하기", "Sign in to take part"),
    anonymous_scheduled: ("뒤에 시작해요", "Opens in"),
    scheduled: ("새로고침하지 않아도 버튼이 열려요", "No refresh needed"),
    open_now: ("1,234장 남았어요", "1,234 left"),
    too_early: ("조금 일찍 누르셨어요", "A little too early"),
    submitting: ("접수하는 중이에요…", "Sending your request…"),
    waiting: ("앞에 41명", "41 ahead"),
    more_ahead_than_left: ("보다 앞선 분이 많아요", "More people are ahead than coupons left"),
    waiting_paused: ("잠시 멈췄어요. 순번은 그대로예요", "Paused for a moment. Your place is safe"),
    stopped: ("자동 새로고침 켜기", "Turn auto-refresh on"),
    issued: ("축하해요! 쿠폰을 받았어요", "Congratulations, it's yours!"),
    already: ("이미 받은 쿠폰이에요", "You already have this coupon"),
    missed: ("내 순번 3, 마지막 2", "You 3, last 2"),
    missed_by_far: ("201명 앞에서 마감됐어요", "It ran out 201 places before yours"),
    used: ("이미 사용한 쿠폰이에요", "This coupon was used"),
    expired: ("기한이 지난 쿠폰이에요", "This coupon has expired"),
    too_late: ("마지막 쿠폰이 나간 뒤에 신청이 도착했어요", "arrived after the last coupon had gone"),
    sold_out: ("준비한 쿠폰이 모두 나갔어요", "All coupons are gone"),
    paused: ("잠시 멈췄어요", "Paused for a moment"),
    paused_with_a_message: ("약 12분 남음", "There is trouble with payments"),
    scheduled_and_paused: ("재고를 다시 세고 있어요", "We are counting the stock once more"),
    waiting_longer_than_promised: ("더 걸리고 있어요", "It takes longer than we said"),
    standby_while_it_is_paused: ("준비를 더 하고 있어요", "We are making room"),
    receipt_after_a_pause: ("발급이 잠시 멈췄어요", "The line was paused from"),
    person_who_waits_in_a_pause: ("지금은 잠시 멈췄고", "The sale is paused, and places are kept"),
    pause_to_explain: ("다시 시작할 시각", "Goes on at"),
    pause_that_goes_on: ("20분 더 신청할 수 있어요", "People can come for 20 minutes more"),
    pause_with_a_wrong_promise: ("멈췄어요. 안내문은 아직", "It is paused. The message is not shown yet"),
    ended: ("끝난 이벤트예요", "This event has ended"),
    rejected: ("참여 대상이 아니에요", "Not eligible"),
    revoked: ("받은 쿠폰이 회수됐어요", "Your coupon was taken back"),
    place_lost: ("다시 눌러 주세요", "Please press once more"),
    place_found: ("순번을 되찾았어요", "We found your place again"),
    signed_out_while_waiting: ("이 기기에서 이미 신청하셨어요", "You asked for this coupon on this device"),
    connection_lost: ("연결이 끊겼어요. 순번은 그대로예요", "Connection lost. Your place is safe"),
    busy: ("접속이 많아요", "Very busy"),
    sign_in: ("로그인", "Sign in"),
    wrong_password: ("이메일 주소나 비밀번호가 맞지 않아요", "is wrong"),
    limited: ("초 뒤에 다시 눌러 주세요", "Too many wrong passwords. Try again in"),
    register: ("가입하기", "Register"),
    wallet: ("내 쿠폰", "My coupons"),
    till: ("계산대에서 이 화면을 보여 주세요", "Show this at the till"),
    till_used: ("사용", "Used"),
    till_expired: ("까지 쓸 수 있었어요", "It could be used until"),
    wallet_taken_back: ("받은 쿠폰이 회수됐어요", "Your coupon was taken back"),
    wallet_empty: ("아직 받은 쿠폰이 없어요", "You have no coupon yet"),
    receipt_of_a_winner: ("접수증", "Receipt"),
    receipt_of_a_loser: ("차례가 오기 전에 쿠폰이 모두 나갔어요", "All coupons were gone before"),
    receipt_of_a_refusal: ("먼저 온 분", "Before you"),
    refusal_verified: ("순번을 받지 못한 신청의 접수증이에요", "It is of a request that got no number"),
    verified: ("저희가 서명한 접수증이 맞고", "This receipt is ours, and unaltered"),
    not_ours: ("접수증이 아니", "This is no receipt of ours"),
    no_receipt: ("받은 순번이 없어요", "You have no number here"),
    not_found: ("찾을 수 없어요", "Not found"),
    page_out_of_date: ("페이지가 오래됐어요", "The page was out of date"),
    wrong_kind_of_request: ("이 주소는 다른 방식으로 열어야 해요", "another kind of request"),
    operations: ("쿠폰과 대기열", "Coupons and their lines"),
    operations_of_a_coupon: ("수량", "Quota"),
    place_in_standby: ("예비 2번째예요", "You are number 2 in standby"),
    standby_offered: ("예비로 기다리기", "Stand by"),
    standby_full: ("예비 자리도 모두 찼어요", "All places in standby are taken"),
    checks_before_going_live: ("하나씩 확인해 주세요", "Look at each of these"),
    checks_that_block: ("아직 공개할 수 없어요", "It cannot go live yet"),
    changed_before_going_live: ("다른 운영자가 내용을 바꿨어요", "Another operator has changed it"),
    rehearsal_to_ask_for: ("가상 인원", "Invented people"),
    rehearsal_under_way: ("120 / 200", "120 / 200"),
    rehearsal_that_went_well: ("리허설을 잘 마쳤어요", "The rehearsal went well"),
    rehearsal_broken_off: ("리허설을 끝내지 못했어요", "The rehearsal could not be finished"),
    excluded: ("VIP · GOLD 등급 회원만", "for members of these grades: VIP · GOLD"),
    list_to_decide: ("2명을 명단에 넣기", "Put 2 people on the list"),
    list_refused: ("엑셀 파일이에요", "This is an Excel workbook"),
    list_is_read: ("파일을 읽고 있어요", "The file is being read"),
    codes_of_ours: ("FirstCome이 만드는 코드", "Codes that FirstCome draws"),
    codes_to_decide: ("코드 3개 넣기", "Put 3 codes into the pool"),
    codes_gone: ("남은 코드가 없어요", "No code is left"),
    codes_missing: ("코드 부족", "Too few codes"),
    issued_a_code_of_the_shop: ("Shop/", "Shop/"),
    code_to_check: ("쓸 수 있는 코드예요", "This code can be used"),
    code_used: ("방금 사용 처리했어요", "Used just now"),
    code_used_before: ("이미 사용된 코드예요", "This code was used before"),
    code_used_by_mistake: ("사용 처리를 취소했어요", "The use was taken back"),
    code_of_a_blocked_holder: ("받은 사람의 계정이 차단되어 있어요", "The holder's account is blocked"),
    code_expired: ("기한이 지난 코드예요", "This code has expired"),
    code_taken_back: ("회수된 코드예요", "This code was taken back"),
    code_unknown: ("없는 코드예요", "No such code"),
    log_of_everything: ("수량을 바꿨어요", "Changed the quota"),
    log_of_a_coupon: ("이 주소의 계정이 없어요", "There is no account with this address"),
    somebody_who_won: ("쿠폰을 받았고, 사용했어요", "won the coupon, and it was used"),
    somebody_who_lost: ("대기 1번째예요", "number 1 of those who get what comes back"),
    somebody_who_never_came: (
        "모두 나가기 전에 도착한 요청이 없어요",
        "no click arrived before the coupons were gone",
    ),
    people_found: ("이름으로 찾음", "by name"),
    files_for_excel: ("당첨자 (엑셀)", "Winners (Excel)"),
    report_of_a_sale: ("40장 모두 앞선 순번부터", "Of 40 coupons none went"),
    report_to_come: ("집계하고 감사하는 중", "It is being counted and audited"),
    nobody_found: ("찾은 사람이 없어요", "Nobody was found"),
    new_coupon: ("수량", "Quota"),
    edited_meanwhile: (
        "다른 운영자가 바꿨어요: 1000",
        "Another operator has changed this meanwhile, to: 1000",
    ),
    new_coupon_refused: ("제목을 입력해 주세요", "Give a title"),
    long_title: (LONG_TITLE[:TITLE_LENGTH], LONG_TITLE[:TITLE_LENGTH]),
    long_title_of_a_coupon: (LONG_TITLE[:TITLE_LENGTH], LONG_TITLE[:TITLE_LENGTH]),
    long_title_for_a_shopper: (LONG_TITLE[:TITLE_LENGTH], LONG_TITLE[:TITLE_LENGTH]),
    sixty_waves: ("60차로 나눠 여는 캠페인이에요", "60 waves are one campaign"),
    list_that_counts: ("명단에 있어요", "On the list"),
    campaign: ("콜라 1잔", "Gift: a cola"),
    campaign_shared: ("페이지 주소", "Address of the page"),
    help_page: ("도움말", "Help"),
    content_of_a_coupon: ("사람들에게 보이는 모습", "As people see it"),
    content_changed_meanwhile: ("그사이 다른 분이 바꿨어요", "Somebody has changed this meanwhile"),
    picture_of_a_coupon: ("지금 사진", "The picture now"),
    picture_refused: ("PNG로 저장해서", "Save it as PNG"),
    preview_of_a_coupon: ("미리 보기 링크", "Link to the preview"),
    previewed: ("축하해요! 쿠폰을 받았어요", "Congratulations, it's yours!"),
    preview_over: ("미리 보기가 끝났어요", "This preview is over"),
    duplicating: ("기간만 새로 정해 주세요", "Give it a period of its own"),
    wave_of_a_campaign: ("총 2차 중 1차", "Wave 1 of 2"),
    one_of_another_wave: ("다른 차수에서 이미 받으셨어요", "you have one of another wave"),
    waves_of_a_draft: ("차수 다시 만들기", "Make the waves again"),
    waves_that_are_live: ("2차로 나눠 여는 캠페인이에요", "2 waves are one campaign"),
    archived_coupon: ("보관함에서 꺼내기", "Bring back from the archive"),
    closing: ("쿠폰을 마감할까요?", "Close the coupon?"),
    team: ("강남점 민지", "Minji in Gangnam"),
    proposals_to_decide: ("확인하고 실행하기", "Confirm and do it"),
    proposals_decided: ("나머지 실행하기", "Do the rest"),
    proposal_of_a_coupon: ("다른 분의 확인을 기다려요", "it waits for a second person until"),
    proposal_just_made: ("아직 바뀐 것은 없어요", "Nothing is changed yet"),
    closing_by_two: ("다른 운영자가 30분 안에", "another operator has confirmed it"),
    link_that_waits: ("다른 소유자가 확인해야 열려요", "until another owner has confirmed it"),
    invitation_that_waits: ("아직 열리지 않은 초대예요", "This invitation is not open yet"),
    link_of_an_invitation: ("이 링크를 동료에게 보내 주세요", "Send this link to your colleague"),
    last_owner_stays: ("로그인할 수 있는 마지막 소유자예요", "This is the last owner who can sign in"),
    invitation: ("초대를 받았어요", "You are invited"),
    invitation_before_signing_in: ("새로 가입해 주세요", "or register one"),
    invitation_used: ("이미 쓴 초대예요", "This invitation was used"),
    refused_to_a_viewer: ("이 계정으로는 할 수 없는 일이라", "Your account may not do this"),
    role_that_ended: ("방금 요청하신 일은 처리하지 않았어요", "What you just asked for was not done"),
    console_of_a_viewer: ("사람 찾기", "Find a person"),
    campaign_of_a_viewer: ("예비 인원", "Most people in standby"),
    codes_of_a_viewer: ("직접 올린 코드", "Codes of your own"),
    people_of_a_viewer: ("명단에 있어요", "On the list"),
    checks_of_a_viewer: ("하나씩 확인해 주세요", "Look at each of these"),
    till_of_a_colleague: ("쓸 수 있는 코드예요", "This code can be used"),
    revocations: ("쿠폰 한꺼번에 회수하기", "Take back many coupons"),
    list_to_revoke: ("회수하게 될 쿠폰: 1장", "Would be taken back: 1"),
    quota_to_confirm: ("이대로 바꿀까요?", "Save this change?"),
    live_board: ("초당 발급", "Admissions a second"),
    live_board_before_the_start: ("아직 시작하지 않았어요.", "Not open yet."),
    live_board_of_a_draft: ("초안이에요. 아직 아무에게도 보이지 않아요.", "Draft: nobody sees it yet."),
    live_board_with_drift: ("서로 다르게 알고 있는 사람이 있어요", "do not tell the same people the same"),
    live_board_unheard: ("서버가 응답하지 않아요", "The server does not answer"),
    live_board_without_redis: ("지난 숫자", "Old figures"),
}
"""What each page must say."""


PAGES: dict[str, State] = {
    "coupons.index": the_list,
    "coupons.show": open_now,
    "content.share": campaign_shared,
    "content.help_page": help_page,
    "preview.show": previewed,
    "receipts.show": receipt_of_a_winner,
    "receipts.verify": not_ours,
    "accounts.register": register,
    "accounts.login": sign_in,
    "wallet.index": wallet,
    "wallet.show": till,
    "admin.index": operations,
    "admin.new": new_coupon,
    "admin.show": operations_of_a_coupon,
    "admin.live_board": live_board,
    "admin.ask": closing,
    "admin.duplicate": duplicating,
    "admin.preview": preview_of_a_coupon,
    "admin.check": checks_before_going_live,
    "admin.redeem": code_to_check,
    "admin.content": content_of_a_coupon,
    "admin.picture": picture_of_a_coupon,
    "admin.people": list_to_decide,
    "admin.codes": codes_of_ours,
    "admin.exports": files_for_excel,
    "admin.report": report_of_a_sale,
    "admin.find_people": people_found,
    "admin.person": somebody_who_won,
    "admin.whole_log": log_of_everything,
    "admin.revocations": revocations,
    "admin.coupon_log": log_of_a_coupon,
    "admin.rehearsal": rehearsal_to_ask_for,
    "admin.waves": waves_of_a_draft,
    "admin.team": team,
    "admin.proposals": proposals_to_decide,
    "joining.join": invitation,
}
"""A state of each page that there is, by its endpoint."""
NO_PAGES = {
    "static": "files",
    "shop.style": "a style sheet",
    "shop.logo": "a picture",
    "content.picture": "a picture",
    "content.calendar": "a file for calendars",
    "coupons.language": "it leads back",
    "tickets.ticket": "JSON",
    "tickets.serving": "JSON",
    "wallet.state": "JSON",
    "wallet.state_of_all": "JSON",
    "admin.live_now": "the part of the live board that changes",
    "admin.lines_of_people": "a table to download",
    "admin.lines_of_codes": "a table to download",
    "admin.export_file": "a table to download",
    "health.healthz": "a word",
    "health.readyz": "JSON",
}
"""What else GET answers, and what that is. The pages of rq_dashboard are not ours."""
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def endpoint_of(page: Page) -> str:
    endpoint, _values = current_app.url_map.bind("localhost").match(urlsplit(page.url).path)
    return str(endpoint)


@on_sqlite
def test_every_page_that_there_is_has_a_state(system):
    rules = [rule for rule in system.url_map.iter_rules() if "GET" in rule.methods]
    endpoints = {rule.endpoint for rule in rules if not rule.endpoint.startswith("rq_dashboard")}
    assert endpoints == PAGES.keys() | NO_PAGES.keys()
    assert set(PAGES.values()) <= STATES.keys()


@on_sqlite
@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_state(person, system, two_people, complaints, state, language):
    """Check that the page says what it must, that axe-core finds no violation, and that nothing breaks the CSP."""
    page, user = person(locale={"ko": "ko-KR", "en": "en-US"}[language], device_scale_factor=1)
    page.emulate_media(reduced_motion="reduce")
    state(Visit(page, user, language, two_people))
    said = dict(zip(("ko", "en"), STATES[state], strict=True))[language]
    expect(page.get_by_role("main")).to_contain_text(said)
    assert page.locator("html").get_attribute("lang") == language
    assert state not in PAGES.values() or PAGES.get(endpoint_of(page)) is state
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        # Colours do not depend on the width, so in the dark one is looked at.
        for viewport in SIZES.values() if scheme == "light" else [SIZES["phone"]]:
            page.set_viewport_size(viewport)
            found = Axe().run(page, options=RULES)
            assert found.violations_count == 0, found.generate_report()
            assert page.evaluate(WIDER) == 0, viewport
        photograph(page, f"{state.__name__.replace('_', '-')}-{language}", scheme)
    assert not [each for each in complaints if not re.search("status of 4|status of 503|ERR_INTERNET", each)]
    complaints.clear()


@on_sqlite
def test_the_control_axe_finds_what_is_wrong(person, system):
    page, _user = person()
    page.goto("/")
    page.evaluate("document.body.append(document.createElement('img'))")
    assert "image-alt" in Axe().run(page, options=RULES).generate_snapshot()


def test_the_documents_keep_two_dozen_of_these_pictures():
    states = [state.__name__.replace("_", "-") for state in STATES]
    taken = {"-".join(each) for each in product(states, ("ko", "en"), SIZES, SCHEMES)}
    assert taken >= set(SHOWN)
    assert {*SHOWN, *JOBS_SHOWN} == {path.stem for path in KEPT.glob("*.webp")}
    assert len(SHOWN) == len(set(SHOWN)) <= 24


def test_the_document_tells_the_steps_of_every_job():
    assert all(told_steps(job, size) for job in JOBS for size in SIZES)
