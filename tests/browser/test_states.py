"""Every state of every page, in Korean and English, light and dark: what it says, axe-core's opinion, its pictures."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import current_app
from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect
from sqlalchemy import select, update

from tests.browser.pages import frozen, give_place_away, offer, on_sqlite
from tests.browser.pictures import KEPT, SCHEMES, SHOWN, SIZES, photograph
from tests.builders import make_user, make_users, session_cookie
from tests.values.test_pictures import file_of
from webapp.accounts import throttle
from webapp.models import CLOSED, DRAFT, LIVE, OPERATOR, PAUSED, Coupon, User, utcnow
from webapp.models.rehearsals import BROKEN, PASSED, RUNNING, STOPPED
from webapp.sale import admission, claims, lists, redeeming, rehearsing, uploads
from webapp.sale.archiving import archive
from webapp.sale.codes import grouped
from webapp.sale.content import set_content
from webapp.sale.coupons import change_coupon
from webapp.sale.outcomes import Refused
from webapp.sale.people_file import PEOPLE_FILE
from webapp.sale.pictures import set_picture
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


def _bring(visit: Visit, coupon: int, text: str) -> None:
    visit.page.goto(f"/admin/coupons/{coupon}/people")
    file = {"name": "members.csv", "mimeType": "text/csv", "buffer": text.encode()}
    visit.page.locator("input[type=file]").set_input_files(file)
    visit.page.get_by_role("button", name=re.compile("파일 확인하기|Check the file")).click()
    visit.page.wait_for_url("**upload=*")


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


def new_coupon(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto("/admin/coupons/new")


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
        publish_waves(coupon, lambda _rows: None)
    return ids


def archived_coupon(visit: Visit) -> None:
    _become_operator(visit)
    coupon = visit.coupon(status=CLOSED)
    archive(coupon, by=visit.user)
    visit.page.goto(f"/admin/coupons/{coupon}")


def closing(visit: Visit) -> None:
    _become_operator(visit)
    visit.page.goto(f"/admin/coupons/{visit.coupon()}/close")


def _become_operator(visit: Visit) -> None:
    """Make an operator of the visitor, and sign them in again as one."""
    db.session.execute(update(User).where(User.id == visit.user).values(role=OPERATOR))
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
    code_to_check: ("쓸 수 있는 코드예요", "This code can be used"),
    code_used: ("방금 사용 처리했어요", "Used just now"),
    code_used_before: ("이미 사용된 코드예요", "This code was used before"),
    code_used_by_mistake: ("사용 처리를 취소했어요", "The use was taken back"),
    code_of_a_blocked_holder: ("받은 사람의 계정이 차단되어 있어요", "The holder's account is blocked"),
    code_expired: ("기한이 지난 코드예요", "This code has expired"),
    code_taken_back: ("회수된 코드예요", "This code was taken back"),
    code_unknown: ("없는 코드예요", "No such code"),
    new_coupon: ("수량", "Quota"),
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
}
"""What each page must say."""


@on_sqlite
@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_state(person, system, complaints, state, language):
    """Check that the page says what it must, that axe-core finds no violation, and that nothing breaks the CSP."""
    page, user = person(locale={"ko": "ko-KR", "en": "en-US"}[language], device_scale_factor=1)
    page.emulate_media(reduced_motion="reduce")
    state(Visit(page, user, language))
    said = dict(zip(("ko", "en"), STATES[state], strict=True))[language]
    expect(page.get_by_role("main")).to_contain_text(said)
    assert page.locator("html").get_attribute("lang") == language
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page, options=RULES)
        assert found.violations_count == 0, found.generate_report()
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
    assert taken >= set(SHOWN) == {path.stem for path in KEPT.glob("*.webp")}
    assert len(SHOWN) == len(set(SHOWN)) <= 24
