"""Every address of operators against every role: what one may not do is refused in words, and does not appear."""

import re
from html import unescape
from io import BytesIO
from urllib.parse import urlsplit

import pytest
from sqlalchemy import select
from werkzeug.exceptions import HTTPException

from tests.builders import csrf_token, make_coupon, make_user, sign_in
from tests.conftest import on_sqlite
from tests.visits import visit
from tests.web.test_admin import admin_addresses, row
from webapp.accounts.roles import give_role
from webapp.models import CLOSED, DRAFT, OPERATOR, OWNER, ROLES, TILL, USER, VIEWER, CouponIssue, User
from webapp.sale import admission, claims, lists, pools, redeeming, uploads
from webapp.sale.people_file import PEOPLE_FILE
from webapp.sale.pool_file import POOL_FILE
from webapp.sale.waves import make_waves
from webapp.stores.sql import db
from webapp.web import rights

KO, EN = {"Accept-Language": "ko"}, {"Accept-Language": "en"}
WHO = {"w": OWNER, "o": OPERATOR, "t": TILL, "v": VIEWER}
TABLE = {
    "admin.index": ("wov", ""),
    "admin.new": ("wo", "wo"),
    "admin.show": ("wov", "wo"),
    "admin.quota": ("", "wo"),
    "admin.ask": ("wo", ""),
    "admin.take": ("", "wo"),
    "admin.pause": ("", "wo"),
    "admin.resume": ("", "wo"),
    "admin.content": ("wov", "wo"),
    "admin.picture": ("wov", "wo"),
    "admin.duplicate": ("wo", "wo"),
    "admin.preview": ("wov", ""),
    "admin.put_aside": ("", "wo"),
    "admin.check": ("wov", ""),
    "admin.check_and_go_live": ("", "wo"),
    "admin.people": ("wov", ""),
    "admin.set_audience": ("", "wo"),
    "admin.upload_people": ("", "wo"),
    "admin.count_people": ("", "wo"),
    "admin.withdraw_people": ("", "wo"),
    "admin.add_person": ("", "wo"),
    "admin.remove_person": ("", "wo"),
    "admin.lines_of_people": ("wov", ""),
    "admin.codes": ("wov", ""),
    "admin.upload_codes": ("", "wo"),
    "admin.count_codes": ("", "wo"),
    "admin.withdraw_codes": ("", "wo"),
    "admin.lines_of_codes": ("wo", ""),
    "admin.rehearsal": ("wov", ""),
    "admin.rehearse": ("", "wo"),
    "admin.stop_rehearsal": ("", "wo"),
    "admin.waves": ("wov", "wo"),
    "admin.live_board": ("wov", ""),
    "admin.live_now": ("wov", ""),
    "admin.revocations": ("wo", ""),
    "admin.revoke_list": ("", "wo"),
    "admin.exports": ("wo", ""),
    "admin.export_file": ("wo", ""),
    "admin.report": ("wov", ""),
    "admin.count_report": ("", "wo"),
    "admin.find_people": ("wov", ""),
    "admin.person": ("wov", ""),
    "admin.block_person": ("", "wo"),
    "admin.whole_log": ("wov", ""),
    "admin.coupon_log": ("wov", ""),
    "admin.redeem": ("wot", ""),
    "admin.use": ("", "wot"),
    "admin.undo_use": ("", "wot"),
    "admin.revoke": ("", "wo"),
    "admin.proposals": ("wov", ""),
    "admin.decide_proposal": ("", "wo"),
    "admin.team": ("w", ""),
    "admin.add_role": ("", "w"),
    "admin.change_role": ("", "w"),
    "admin.invite": ("", "w"),
    "admin.withdraw_invitation": ("", "w"),
}
"""Who may read an address and who may send it something: owner w, operator o, till t, viewer v."""
UNKNOWN = ("wov", "wo")
"""Who is told what there is at an address that takes no such request, or at none."""
READING = ("GET", "HEAD")
QUEUE = "/admin/rq"


def endpoint_at(app, path: str, method: str) -> str | None:
    try:
        return app.url_map.bind("localhost").match(path, method)[0]
    except HTTPException:  # no such address, no such method, or a redirect
        return None


def allowed(app, path: str, method: str) -> set[str]:
    """Return the roles that may ask for this, by TABLE alone."""
    if f"{path}/".startswith(f"{QUEUE}/"):
        return {OWNER}
    reads, sends = TABLE.get(endpoint_at(app, path, method) or "", UNKNOWN)
    if method == "OPTIONS":  # answered by the framework for what can be sent, or else be read
        sends = (sends or reads).replace("v", "")
    return {WHO[letter] for letter in (reads if method in READING else sends)}


def everything() -> dict[str, list[tuple]]:
    """Return all that SQL holds."""
    db.session.rollback()
    return {
        table.name: list(map(tuple, db.session.execute(select(table)))) for table in db.metadata.sorted_tables
    }


def test_it_is_known_of_every_address_who_may_ask_for_it(app):
    endpoints = {rule.endpoint for rule in app.url_map.iter_rules() if rule.rule.startswith("/admin")}
    assert {each for each in endpoints if not each.startswith("rq_dashboard.")} == TABLE.keys()


@pytest.mark.parametrize("role", ROLES)
def test_every_address_and_method_against_every_role(app, client, role):
    make_user(role=OWNER)
    make_coupon()
    user = make_user(role=role)
    token, before = sign_in(client, user), everything()
    for method, path in admin_addresses(app):
        may = role in allowed(app, path, method)
        # Whoever may do it brings no token: this is about who gets that far.
        headers = KO | ({} if may else {"X-CSRFToken": token})
        answer = client.open(path, method=method, headers=headers, buffered=True)
        if may:
            assert answer.status_code != 403, (method, path)
        else:
            assert answer.status_code == 403, (method, path)
            assert method == "HEAD" or "처리하지 않았어요" in answer.text
    assert everything() == before


@on_sqlite
def test_control_with_a_right_too_many_the_table_is_not_kept(app, client, monkeypatch):
    monkeypatch.setitem(rights.NEEDED, "admin.take", "look")
    with pytest.raises(AssertionError):
        test_every_address_and_method_against_every_role(app, client, VIEWER)


@on_sqlite
def test_a_program_hears_the_code_of_the_refusal(client):
    sign_in(client, make_user(role=TILL))
    answer = client.get("/admin/", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json["code"]) == (403, "forbidden")


# What appears


OF_A_CAMPAIGN = (
    *("content", "content/en", "picture", "people", "codes", "preview", "waves"),
    *("duplicate", "check", "rehearse", "close", "log"),
)


@pytest.fixture
def shop(app, client):
    """A console in which everything is to be seen: the addresses of its pages, and the codes that can be used."""
    user, other = make_user("kim@example.com"), make_user("lee@example.com")
    live = make_coupon(quota=5, title="Live", standby_limit=3)
    draft, aside = make_coupon(status=DRAFT, opens_in=600, title="Draft"), make_coupon(status=CLOSED)
    pool = make_coupon(status=DRAFT, opens_in=600, title="Pool", quota=1)
    waves = make_coupon(status=DRAFT, opens_in=600, closes_in=90000, title="Waves", quota=2)
    first = row(waves)
    times = [first.issue_start_at, first.issue_start_at.replace(microsecond=0)]
    make_waves(waves, [times[0], times[0] + (first.issue_end_at - times[0]) / 2], quota=1, by=None)
    for each in (user, other):
        claims.claim(live, each.id)
    admission.admit(live)
    drawn = list(db.session.scalars(select(CouponIssue.code).order_by(CouponIssue.id)))
    redeeming.use(drawn[1], None)
    bring(PEOPLE_FILE, draft, b"kim@example.com\nnobody\n", count=lists.count_people, seen_version=None)
    bring(PEOPLE_FILE, draft, b"lee@example.com\n")
    bring(POOL_FILE, pool, b"SHOP-0001\nSHOP-0002\n", count=pools.count_codes, seen=None)
    told = bring(POOL_FILE, pool, b"SHOP-0003\nSHOP-0001\n")
    pages = [
        "/admin/",
        "/admin/?archived=1",
        "/admin/coupons/new",
        "/admin/redeem",
        "/admin/redeem?code=kim@example.com",
    ]
    pages += [f"/admin/redeem?code={code}" for code in drawn] + [
        "/admin/people",
        "/admin/people?q=kim@example.com",
    ]
    pages += [f"/admin/people/{each.id}" for each in (user, other)] + ["/admin/team", "/admin/log"]
    kinds = [
        "content",
        "content/en",
        "picture",
        "people",
        "codes",
        "preview",
        "waves",
        "duplicate",
        "check",
        "rehearse",
        "close",
    ]
    for coupon in (live, draft, aside, pool, waves):
        pages += [f"/admin/coupons/{coupon}", *(f"/admin/coupons/{coupon}/{kind}" for kind in kinds)]
    pages += [
        f"/admin/coupons/{draft}/people?q=kim@example.com",
        f"/admin/coupons/{pool}/codes/lines/{told}.csv",
    ]
    return pages, [drawn[0], "SHOP-0001", "SHOP-0002", "SHOP-0003"]


def bring(kind, coupon: int, text: bytes, *, count=None, **seen) -> int:
    upload = uploads.begin(kind, coupon, "file.csv", by=None)
    uploads.read(upload, kind, BytesIO(text))
    if count is not None:
        count(upload, by=None, **({"replace": False} if kind is PEOPLE_FILE else {}), **seen)
    return upload


def asked_by(page: str, path: str) -> set[tuple[str, str]]:
    """Return (method, address) of everything that can be pressed on a page."""
    links = {("GET", unescape(link)) for link in re.findall(r'<a [^>]*href="([^"]*)"', page)}
    for form in re.findall(r"<form[^>]*>", page):
        action = re.search(r'action="([^"]*)"', form)
        method = "POST" if 'method="post"' in form else "GET"
        links.add((method, unescape(action[1]) if action else path))
    return links | {("POST", unescape(other)) for other in re.findall(r'formaction="([^"]*)"', page)}


def crawled(app, client, role: str, pages: list[str]) -> tuple[dict[str, str], set[tuple[str, str]]]:
    """Return the pages that somebody of that role can open, and what on them is refused to them."""
    sign_in(client, make_user(role=role))
    seen, refused = {}, set()
    for page in pages:
        answer = client.get(page, headers=EN)
        assert answer.status_code in (200, 403), page
        if answer.status_code == 403 or answer.mimetype != "text/html":
            seen |= {} if answer.status_code == 403 else {page: answer.text}
            continue
        seen[page] = answer.text
        for method, address in asked_by(answer.text, page):
            path = urlsplit(address).path
            if path.startswith("/admin") and role not in allowed(app, path, method):
                refused.add((method, path))
    return seen, refused


@pytest.mark.parametrize("role", ROLES)
def test_what_one_may_not_do_does_not_appear(app, client, shop, role):
    pages, _codes = shop
    seen, refused = crawled(app, client, role, pages)
    assert refused == set()
    assert len(seen) >= {OWNER: 60, OPERATOR: 60, TILL: 4, VIEWER: 45}[role]
    assert role != TILL or all(page.startswith("/admin/redeem") for page in seen)


@on_sqlite
@pytest.mark.parametrize("role", [OPERATOR, TILL, VIEWER])
def test_control_without_the_question_it_does(app, client, shop, role):
    pages, _codes = shop
    app.jinja_env.globals["may"] = lambda _right: True
    _seen, refused = crawled(app, client, role, pages)
    assert ("GET", "/admin/team") in refused or role == TILL
    assert ("GET", "/admin/") in refused or role != TILL


def test_a_viewer_sees_every_campaign_and_no_code_that_can_be_used(app, client, shop):
    pages, codes = shop
    seen, _refused = crawled(app, client, VIEWER, pages)
    for code in codes:
        shown = [page for page, text in seen.items() if code in text.replace("-", "") or code in text]
        assert shown == [], code
    forms = {
        method for page, text in seen.items() for method, path in asked_by(text, page) if path != "/logout"
    }
    assert forms == {"GET"}


@on_sqlite
def test_control_an_operator_sees_each_of_them(app, client, shop):
    pages, codes = shop
    seen, _refused = crawled(app, client, OPERATOR, pages)
    for code in (codes[0], "SHOP-0001"):
        assert any(code in text or code in text.replace("-", "") for text in seen.values()), code


# Signing in, and the links above every page

HOMES = {OWNER: "/admin/", OPERATOR: "/admin/", VIEWER: "/admin/", TILL: "/admin/redeem", USER: "/"}


@pytest.mark.usefixtures("cheap_hashes")
@pytest.mark.parametrize("role", HOMES)
def test_signing_in_leads_to_where_the_role_begins(client, role):
    user = make_user(role=role, password="correct horse battery")
    coupon = make_coupon()
    form = {"email": user.email, "password": "correct horse battery"}

    def lands(came_from: str = "") -> str:
        return client.post(f"/login{came_from}", data=form | {"csrf_token": csrf_token(client)}).location

    assert lands() == HOMES[role]
    assert lands(f"?next=/coupons/{coupon}") == f"/coupons/{coupon}"
    assert lands("?next=//elsewhere.example") == HOMES[role]
    assert client.get(HOMES[role]).status_code == 200
    page = client.get("/", headers=KO).text
    assert ("운영" in page) == (role in (OWNER, OPERATOR, VIEWER))
    assert ('href="/admin/redeem"' in page) == (role == TILL)


@pytest.mark.parametrize("role", [OWNER, TILL, USER])
def test_the_page_before_the_start_has_the_links_of_the_role(client, role):
    """The fast path keeps this page: each role has its own."""
    coupon = make_coupon(opens_in=600)
    for each in (OPERATOR, role, role):
        sign_in(client, make_user(role=each))
        page = visit(client, f"/coupons/{coupon}").text
    assert ('href="/admin/"' in page) == (role == OWNER)
    assert ('href="/admin/redeem"' in page) == (role == TILL)


# A role that ends while its page is open


@pytest.mark.parametrize("then", [USER, VIEWER, TILL])
def test_the_next_click_after_the_role_was_taken_is_refused_in_words_and_does_nothing(client, then):
    make_user(role=OWNER)
    coupon, user = make_coupon(), make_user(role=OPERATOR)
    sign_in(client, user)
    form = {"csrf_token": csrf_token(client)}
    assert client.get(f"/admin/coupons/{coupon}").status_code == 200
    give_role(user.id, then, by=None)
    answer = client.post(f"/admin/coupons/{coupon}/pause", data=form, headers=KO)
    assert answer.status_code == 403
    assert "방금 요청하신 일은 처리하지 않았어요" in answer.text
    assert 'href="/login"' in answer.text
    assert row(coupon).status == "live"
    sign_in(client, db.session.get_one(User, user.id, populate_existing=True))
    form = {"csrf_token": csrf_token(client)}
    again = client.post(f"/admin/coupons/{coupon}/pause", data=form, headers=KO)
    assert again.status_code == (404 if then == USER else 403)
    assert row(coupon).status == "live"


def test_control_as_long_as_it_stands_the_click_counts(client):
    coupon = make_coupon()
    sign_in(client, make_user(role=OPERATOR))
    client.post(f"/admin/coupons/{coupon}/pause", data={"csrf_token": csrf_token(client)})
    assert row(coupon).status == "paused"


@on_sqlite
def test_sql_decides_and_not_what_the_session_says(client):
    """Whoever was an operator before roles were told apart is an owner now, with the session of before."""
    user = make_user(role=OPERATOR)
    sign_in(client, user)
    db.session.get_one(User, user.id).role = OWNER
    db.session.commit()
    assert client.get("/admin/team").status_code == 200
    assert "/admin/team" in client.get("/admin/").text
