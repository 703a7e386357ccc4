"""The operators' pages: who may see them, what they change, and what a wrong field answers."""

import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.exc import OperationalError

from tests.builders import csrf_token, failing, make_coupon, make_user, make_users, session_cookie, sign_in
from tests.conftest import on_sqlite
from webapp.line.line import Line
from webapp.models import OPERATOR, USER, Coupon, LineEvent, User, utcnow
from webapp.sale import admission, claims, coupons
from webapp.sale.coupons import TERMS, InvalidField, change_coupon
from webapp.stores.script_redis import connect_redis, line_redis
from webapp.stores.sql import db
from webapp.values.texts import one_line
from webapp.web.admin import coupons as admin_coupons
from webapp.web.security import csrf

FORM = {
    "title": "가을 쿠폰",
    "total_quantity": "1,000",
    "issue_start_at": "2030-01-01T10:00",
    "issue_end_at": "2030-01-01T11:00",
    "discount_amount": "5000",
    "min_available_amount": "",
    "valid_until": "",
}


@pytest.fixture
def operator(client):
    sign_in(client, make_user(role=OPERATOR))
    return client


def change_user(user: User | int, **values: Any) -> None:
    user_id = user if isinstance(user, int) else user.id
    db.session.execute(update(User).where(User.id == user_id).values(**values))
    db.session.commit()


def post(client, path: str, **fields):
    return client.post(path, data={"csrf_token": csrf_token(client), **fields})


def row(coupon_id: int) -> Coupon:
    db.session.rollback()
    return db.session.get_one(Coupon, coupon_id, populate_existing=True)


def only_coupon() -> Coupon | None:
    db.session.rollback()
    return db.session.scalars(select(Coupon)).one_or_none()


def value_of(page: str, name: str) -> str:
    """Return what the first field of that name in the edit form shows."""
    field = re.search(rf'<input[^>]*name="{name}"[^>]*>', page.split('id="edit"')[-1])[0]
    return unescape(re.search(r'value="([^"]*)"', field)[1])


def errors(page: str) -> list[str]:
    return re.findall(r'class="error" id="([a-z_]+)-error"', page)


def admin_addresses(app) -> list[tuple[str, str]]:
    """Return (method, path) of every address under /admin, and some beside them that the routing answers itself."""
    values = {
        "coupon_id": 1,
        "step": "close",
        "lang": "en",
        "upload_id": 1,
        "instance_number": 0,
        "per_page": "8",
        "page": "1",
        "order": "asc",
        "user_id": 1,
        "invitation_id": 1,
        "proposal_id": 1,
        "what": "winners",
    }
    values |= {
        "queue_name": "admission",
        "registry_name": "queued",
        "job_id": "j",
        "filename": "css/main.css",
    }
    adapter = app.url_map.bind("localhost")
    found = []
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/admin"):
            steps = {"admin.block_person": "block", "admin.decide_proposal": "confirm"}
            step = {"step": steps[rule.endpoint]} if rule.endpoint in steps else {}
            path = adapter.build(rule.endpoint, {name: values[name] for name in rule.arguments} | step)
            found += [(method, path) for method in ("GET", "POST", "HEAD", "OPTIONS", "DELETE")]
    assert len(found) > 100
    return [
        *found,
        ("GET", "/admin"),
        ("GET", "/admin/nothing"),
        ("GET", "/admin/rq"),
        ("PUT", "/admin/rq/x"),
    ]


LOST = {
    "demoted": {"role": USER},
    "blocked": {"blocked_at": utcnow()},
    "signed out": {"session_epoch": 1},
}
"""How somebody whose session once was an operator's is none any more; SQL alone knows."""


def facts(coupon_id: int) -> dict[str, object]:
    coupon = row(coupon_id)
    return {name: getattr(coupon, name) for name in (*TERMS, "status")}


def sell(coupon_id: int, count: int) -> None:
    for user in make_users(count):
        claims.claim(coupon_id, user)
    admission.admit(coupon_id)


def edit_form(client, coupon_id: int) -> dict[str, str]:
    """Return the fields of the edit form as a browser would send them back untouched."""
    page = client.get(f"/admin/coupons/{coupon_id}").text
    return {name: value_of(page, name) for name in (*FORM, "shown", "csrf_token")}


@pytest.mark.parametrize("who", ["visitor", "user"])
def test_for_everybody_else_nothing_under_admin_exists(app, client, who):
    make_coupon()
    if who != "visitor":
        sign_in(client, make_user())
    answers = {
        (method, path): client.open(path, method=method).status_code for method, path in admin_addresses(app)
    }
    assert {address: status for address, status in answers.items() if status != 404} == {}


@pytest.mark.parametrize("who", LOST)
def test_who_had_a_role_when_the_page_was_opened_is_told_that_it_is_over(app, client, who):
    make_coupon()
    user = make_user(role=OPERATOR)
    cookie, token = session_cookie(app, user)
    change_user(user, **LOST[who])
    answers = {}
    for method, path in admin_addresses(app):
        client.set_cookie("session", cookie)
        answers[method, path] = client.open(path, method=method, headers={"X-CSRFToken": token})
    assert {
        address: answer.status_code for address, answer in answers.items() if answer.status_code != 403
    } == {}
    assert all(
        "다시 로그인해 주세요" in answer.text for (method, _), answer in answers.items() if method != "HEAD"
    )


def test_control_an_operator_finds_them(operator):
    assert operator.get("/admin/").status_code == 200
    assert operator.get("/admin").status_code == 308
    assert operator.get("/admin/nothing").status_code == 404
    assert operator.put("/admin/coupons/new").status_code == 405


def test_an_operator_cannot_be_made_to_post_by_another_page(operator):
    coupon = make_coupon()
    for path in ("/admin/coupons/new", f"/admin/coupons/{coupon}", f"/admin/coupons/{coupon}/pause"):
        assert operator.post(path, data=FORM).status_code == 400
    assert row(coupon).status == "live"
    assert only_coupon().id == coupon


def test_control_without_the_check_another_page_could(operator, monkeypatch):
    coupon = make_coupon()
    monkeypatch.setattr(csrf, "protect", lambda **_: None)
    assert operator.post(f"/admin/coupons/{coupon}/pause").status_code == 303
    assert row(coupon).status == "paused"


def test_a_new_coupon_is_a_draft_stored_as_typed_in_korean_time_and_opens_when_it_is_published(operator):
    answer = post(operator, "/admin/coupons/new", **FORM)
    coupon = only_coupon()
    assert (answer.status_code, answer.location) == (303, f"/admin/coupons/{coupon.id}")
    assert (coupon.title, coupon.total_quantity, coupon.status) == ("가을 쿠폰", 1000, "draft")
    assert (coupon.discount_amount, coupon.min_available_amount, coupon.valid_until) == (5000, 0, None)
    assert coupon.issue_start_at == datetime(2030, 1, 1, 1, tzinfo=UTC)
    assert coupon.issue_end_at == datetime(2030, 1, 1, 2, tzinfo=UTC)
    assert Line(line_redis(), coupon.id).gate() is None
    change_coupon(coupon.id, step="publish")
    assert Line(line_redis(), coupon.id).gate().policy.quota == 1000


def test_a_draft_has_no_line_until_it_is_published(operator):
    post(operator, "/admin/coupons/new", **FORM | {"total_quantity": "", "unlimited": "y"})
    coupon = only_coupon()
    assert (coupon.status, coupon.total_quantity) == ("draft", None)
    assert Line(line_redis(), coupon.id).gate() is None
    assert operator.get(f"/admin/coupons/{coupon.id}").status_code == 200
    change_coupon(coupon.id, step="publish")
    assert row(coupon.id).status == "live"
    assert Line(line_redis(), coupon.id).gate().policy.status == "live"


WRONG = [
    ("title", ""),
    ("title", "   "),
    ("title", "\u200b"),
    ("title", "\u3164\u202e"),
    ("title", "x" * 101),
    ("title", "긴" * 10_000),
    *[
        ("total_quantity", text)
        for text in ("", " ", "-1", "1.5", "many", "1e9", "٣", "9" * 13, "9" * 10_000)
    ],
    *[("discount_amount", text) for text in ("1,5", "10,00", "1.000", "1_000", "5원")],
    ("total_quantity", "999999999999999"),
    ("discount_amount", "-1"),
    ("min_available_amount", "x" * 10_000),
    *[
        ("issue_start_at", text)
        for text in ("", "tomorrow", "0001-01-01T00:00", "9999-12-31T23:59", "2030-02-30T00:00")
    ],
    ("issue_start_at", "2" * 10_000),
    ("issue_end_at", ""),
    ("issue_end_at", FORM["issue_start_at"]),
    ("issue_end_at", "2029-01-01T00:00"),
    ("valid_until", "2029-01-01T00:00"),
    ("valid_until", "2030-01-01T10:59"),
    ("valid_until", "2030-01-01T10:30"),
    ("valid_until", "20300102"),
    ("valid_until", "<script>"),
]


@on_sqlite
@pytest.mark.parametrize(("field", "text"), WRONG, ids=lambda value: value[:20])
def test_a_wrong_field_is_blamed_nothing_changes_and_the_rest_stays_typed(operator, field, text):
    existing = make_coupon(quota=7)
    before = facts(existing)
    for path in ("/admin/coupons/new", f"/admin/coupons/{existing}"):
        answer = post(operator, path, **FORM | {field: text})
        assert answer.status_code == 422
        assert errors(answer.text) == [field]
        shown = {name: value_of(answer.text, name) for name in FORM}
        assert shown == FORM | {field: one_line(text) if field == "title" else text}
    assert facts(existing) == before
    assert only_coupon().id == existing


def test_a_quota_below_what_is_issued_is_refused_in_both_forms(operator):
    coupon = make_coupon(quota=5)
    sell(coupon, 3)
    for path, fields in ((f"/admin/coupons/{coupon}/quota", {}), (f"/admin/coupons/{coupon}", FORM)):
        answer = post(operator, path, **fields | {"total_quantity": "2"})
        assert answer.status_code == 422
        assert len(errors(answer.text)) == 1
        assert row(coupon).total_quantity == 5


@pytest.mark.parametrize(("typed", "stored"), [("3", 3), (" 20,000 ", 20_000), ("２０", 20), (None, None)])
def test_the_quota_alone_can_be_changed(operator, typed, stored):
    coupon = make_coupon(quota=5)
    sell(coupon, 3)
    chosen = {"total_quantity": "", "unlimited": "y"} if typed is None else {"total_quantity": typed}
    sure = f"total_quantity={stored}"
    answer = post(operator, f"/admin/coupons/{coupon}/quota", **chosen, confirmed=sure)
    assert answer.status_code == 303
    assert row(coupon).total_quantity == stored
    assert Line(line_redis(), coupon).gate().policy.quota == stored


def test_editing_one_field_leaves_the_others_to_the_microsecond(operator):
    start = datetime(2030, 1, 1, 1, 2, 3, 456789, tzinfo=UTC)
    coupon = make_coupon()
    db.session.execute(update(Coupon).values(issue_start_at=start, issue_end_at=start + timedelta(hours=1)))
    db.session.commit()
    form = edit_form(operator, coupon)
    assert form["issue_start_at"] == "2030-01-01T10:02:03.456"
    assert operator.post(f"/admin/coupons/{coupon}", data=form | {"title": "New"}).status_code == 303
    assert (row(coupon).title, row(coupon).issue_start_at) == ("New", start)


@on_sqlite
@pytest.mark.parametrize("noughts", ["120000", "000000"])
def test_a_browser_that_leaves_out_noughts_of_a_time_changes_nothing(operator, noughts):
    """Chromium sends 10:02:03.12 for the value 10:02:03.120, and 10:02 for 10:02:00."""
    start = utcnow().replace(second=0, microsecond=int(noughts)) - timedelta(days=1)
    coupon = make_coupon(status="draft")
    db.session.execute(update(Coupon).values(issue_start_at=start))
    db.session.commit()
    form = edit_form(operator, coupon)
    sent = re.sub(r"(:00)?$", "", re.sub(r"(\.\d*?)0+$", r"\1", form["issue_start_at"]))
    answer = operator.post(f"/admin/coupons/{coupon}", data=form | {"title": "New", "issue_start_at": sent})
    assert answer.status_code == 303
    assert (row(coupon).title, row(coupon).issue_start_at) == ("New", start)


def test_two_operators_who_edit_different_fields_do_not_undo_each_other(operator):
    coupon = make_coupon(quota=5)
    form = edit_form(operator, coupon)
    post(operator, f"/admin/coupons/{coupon}/quota", total_quantity="50")
    operator.post(f"/admin/coupons/{coupon}", data=form | {"title": "New"})
    assert (row(coupon).title, row(coupon).total_quantity) == ("New", 50)


def test_control_a_form_that_does_not_know_what_it_showed_does(operator):
    coupon = make_coupon(quota=5)
    form = edit_form(operator, coupon)
    post(operator, f"/admin/coupons/{coupon}/quota", total_quantity="50")
    operator.post(f"/admin/coupons/{coupon}", data=form | {"title": "New", "shown": ""})
    assert row(coupon).total_quantity == 5


DEEP = ["[" * 50_000, '{"a":' * 20_000, "[" * 300_000]
NONSENSE = ["[]", "1", "{", "null", '"x"', "NaN", "9" * 5000, '"\\ud800"', json.dumps({"title": 5}), *DEEP]


@on_sqlite
@pytest.mark.parametrize("shown", NONSENSE, ids=lambda text: f"{text[:20]} {len(text)}")
def test_nonsense_in_the_hidden_field_is_no_error(operator, shown):
    coupon = make_coupon()
    form = edit_form(operator, coupon) | {"shown": shown, "title": "New"}
    assert operator.post(f"/admin/coupons/{coupon}", data=form).status_code == 303
    assert row(coupon).title == "New"


@on_sqlite
@pytest.mark.parametrize(
    ("status", "step", "then"),
    [
        ("live", "pause", "paused"),
        ("paused", "pause", "paused"),
        ("paused", "resume", "live"),
        ("live", "close", "closed"),
        ("paused", "close", "closed"),
        ("closed", "resume", "live"),
        ("live", "resume", "live"),
        ("closed", "close", "closed"),
        ("closed", "pause", "closed"),
        ("draft", "resume", "draft"),
        ("draft", "pause", "draft"),
        ("draft", "close", "draft"),
    ],
)
def test_the_steps(operator, status, step, then):
    coupon = make_coupon(status=status)
    assert post(operator, f"/admin/coupons/{coupon}/{step}").status_code == 303
    assert row(coupon).status == then
    gate = Line(line_redis(), coupon).gate()
    assert (gate.policy.status if gate else "draft") == then


@pytest.mark.parametrize("number", ["", "5"])
@pytest.mark.parametrize("unlimited", [{}, {"unlimited": "y"}], ids=["not chosen", "chosen"])
def test_unlimited_is_chosen_and_never_an_empty_field(operator, number, unlimited):
    coupon = make_coupon(quota=7)
    quota = {"total_quantity": number, **unlimited}
    for path in ("/admin/coupons/new", f"/admin/coupons/{coupon}/quota"):
        answer = post(operator, path, **FORM | quota)
        assert answer.status_code == (422 if bool(number) == bool(unlimited) else 303)
    form = edit_form(operator, coupon) | quota
    assert operator.post(f"/admin/coupons/{coupon}", data=form).status_code == answer.status_code
    kept = 7 if answer.status_code == 422 else 5 if number else None
    assert row(coupon).total_quantity == kept


def test_editing_an_unlimited_coupon_leaves_it_so(operator):
    coupon = make_coupon(quota=None)
    page = operator.get(f"/admin/coupons/{coupon}").text
    assert len(re.findall(r'<input checked [^>]*name="unlimited"', page)) == 2
    form = edit_form(operator, coupon) | {"title": "New", "unlimited": "y"}
    assert operator.post(f"/admin/coupons/{coupon}", data=form).status_code == 303
    assert (row(coupon).title, row(coupon).total_quantity) == ("New", None)


PAST = {"issue_start_at": "2020-01-01T10:00"}


@pytest.mark.parametrize(
    "answer",
    [{}, {"past_start": ""}, {"past_start": "y"}, {"past_start": "2020-01-01T09:00"}],
    ids=["none", "empty", "of no time", "of another time"],
)
def test_a_start_in_the_past_asks_once_more(operator, answer):
    asked = post(operator, "/admin/coupons/new", **FORM | PAST | answer)
    assert (asked.status_code, errors(asked.text)) == (422, ["issue_start_at"])
    assert only_coupon() is None
    tick = re.search(r'<input type="checkbox" name="past_start" value="([^"]*)"', asked.text)[1]
    assert post(operator, "/admin/coupons/new", **FORM | PAST, past_start=tick).status_code == 303
    assert only_coupon().issue_start_at == datetime(2020, 1, 1, 1, tzinfo=UTC)


def test_a_start_to_come_asks_nothing(operator):
    assert "past_start" not in operator.get("/admin/coupons/new").text
    assert "past_start" not in post(operator, "/admin/coupons/new", **FORM | {"title": ""}).text


def test_moving_a_start_into_the_past_asks_once_more_and_then_opens(operator):
    coupon = make_coupon(opens_in=3000)
    form = edit_form(operator, coupon) | PAST
    assert operator.post(f"/admin/coupons/{coupon}", data=form).status_code == 422
    form |= {"past_start": PAST["issue_start_at"]}
    assert operator.post(f"/admin/coupons/{coupon}", data=form).status_code == 303
    assert operator.post(f"/admin/coupons/{coupon}", data=form).status_code == 303
    assert claims.line_status(coupon).state == "open"


def test_other_fields_of_a_coupon_that_has_opened_are_saved_without_a_question(operator):
    coupon = make_coupon()
    form = edit_form(operator, coupon) | {"title": "New"}
    assert operator.post(f"/admin/coupons/{coupon}", data=form).status_code == 303
    assert row(coupon).title == "New"


@pytest.mark.parametrize(
    ("field", "typed", "stored"),
    [
        ("issue_start_at", "2030-01-01", (2029, 12, 31, 15)),
        ("issue_end_at", "2030-01-01", (2030, 1, 1, 15)),
        ("issue_end_at", "2030-01-01T24:00", (2030, 1, 1, 15)),
        ("valid_until", "2030-01-01", (2030, 1, 1, 15)),
        ("valid_until", "2030-01-01T11:00", (2030, 1, 1, 2)),
    ],
)
def test_a_date_alone_means_all_of_that_day(operator, field, typed, stored):
    assert post(operator, "/admin/coupons/new", **FORM | {field: typed}).status_code == 303
    assert getattr(only_coupon(), field) == datetime(*stored, tzinfo=UTC)


POSSIBLE = {
    "draft": {"publish"},
    "live": {"pause", "close"},
    "paused": {"pause", "resume", "close"},
    "closed": {"resume"},
}


@pytest.mark.parametrize("status", POSSIBLE)
def test_the_page_offers_exactly_the_steps_that_are_possible(operator, status):
    coupon = make_coupon(status=status)
    page = operator.get(f"/admin/coupons/{coupon}").text
    offered = set(
        re.findall(rf'"/admin/coupons/{coupon}/(check|pause|resume|close)"', page.split("</nav>")[-1])
    )
    offered = {"publish" if step == "check" else step for step in offered}
    assert offered == POSSIBLE[status]


STATUS = {"publish": "live", "pause": "paused", "resume": "live", "close": "closed"}


@pytest.mark.parametrize("status", POSSIBLE)
@pytest.mark.parametrize("step", STATUS)
def test_a_step_is_taken_from_the_status_that_stands_when_it_is_its_turn(operator, status, step):
    """Whatever the operator saw: another may have been first."""
    coupon = make_coupon(status=status)
    if step in POSSIBLE[status]:
        change_coupon(coupon, step=step)
        assert row(coupon).status == STATUS[step]
    elif status == STATUS[step]:
        change_coupon(coupon, step=step)
        assert row(coupon).status == status
    else:
        with pytest.raises(InvalidField):
            change_coupon(coupon, step=step)
        assert row(coupon).status == status


def test_closing_asks_first(operator):
    coupon = make_coupon()
    page = operator.get(f"/admin/coupons/{coupon}/close")
    assert page.status_code == 200
    assert row(coupon).status == "live"
    assert f'action="/admin/coupons/{coupon}/close"' in page.text


def test_an_unknown_coupon_is_not_found(operator):
    for path in ("/admin/coupons/999999", "/admin/coupons/999999/close", f"/admin/coupons/{10**19}"):
        assert operator.get(path).status_code == 404
    for path in ("/admin/coupons/999999", "/admin/coupons/999999/pause", "/admin/coupons/999999/quota"):
        assert post(operator, path, **FORM).status_code == 404


def test_the_page_shows_the_lines_numbers_and_why_numbers_were_skipped(operator):
    coupon = make_coupon(quota=2)
    users = make_users(5)
    for user in users:
        claims.claim(coupon, user)
    change_user(users[0], blocked_at=utcnow())
    admission.admit(coupon)
    db.session.execute(
        insert(LineEvent).values(
            coupon_id=coupon, epoch=2, kind="epoch", reason="<b>gate missing</b>", at=utcnow()
        )
    )
    db.session.commit()
    page = operator.get(f"/admin/coupons/{coupon}").text
    numbers = dict(re.findall(r"<dt>([^<]+)</dt><dd>(?:<[^>]*>)?([^<]+)<", page))
    assert list(numbers.values())[:6] == ["2", "2", "0", "3", "5", "1"]
    assert len(numbers) == 7
    assert "blocked" in page
    assert "&lt;b&gt;gate missing" in page
    assert "<b>gate" not in page


def test_a_title_is_never_markup(operator):
    post(operator, "/admin/coupons/new", **FORM | {"title": "<script>alert(1)</script>"})
    for path in ("/admin/", f"/admin/coupons/{only_coupon().id}", f"/admin/coupons/{only_coupon().id}/close"):
        assert "<script>alert" not in operator.get(path).text


def test_the_list_goes_on_over_pages(operator, monkeypatch):
    monkeypatch.setattr(admin_coupons, "PER_PAGE", 2)
    coupons = [make_coupon() for _ in range(3)]
    first, second = operator.get("/admin/").text, operator.get("/admin/?page=2").text
    assert [f"/admin/coupons/{coupon}" in first for coupon in coupons] == [False, True, True]
    assert [f"/admin/coupons/{coupon}" in second for coupon in coupons] == [True, False, False]
    for page in ("0", "-1", "x", "9" * 30):
        assert operator.get(f"/admin/?page={page}").status_code == 200


def test_looking_seeds_nothing(operator):
    coupon = make_coupon()
    line_redis().flushall()
    operator.get("/admin/")
    operator.get(f"/admin/coupons/{coupon}")
    assert line_redis().keys("*coupon*") == []


class TestWithoutRedis:
    @pytest.fixture(autouse=True)
    def _coupon(self, app, operator, monkeypatch):
        self.coupon, self.operator = make_coupon(quota=5), operator
        self.token = csrf_token(operator)
        monkeypatch.setitem(
            app.extensions, "line", connect_redis("redis://127.0.0.1:1", decode_responses=True)
        )

    def post(self, path: str, **fields) -> str:
        answer = self.operator.post(path, data={"csrf_token": self.token, **fields}, follow_redirects=True)
        assert answer.status_code == 200
        return unescape(answer.text)

    def test_the_pages_open_and_say_so(self):
        for path in ("/admin/", f"/admin/coupons/{self.coupon}"):
            answer = self.operator.get(path)
            assert answer.status_code == 200
            assert 'role="alert"' in answer.text

    def test_a_change_is_saved_and_the_page_says_that_the_line_follows(self, app):
        page = self.post(f"/admin/coupons/{self.coupon}/quota", total_quantity="9")
        assert self.notice(app) in page
        assert row(self.coupon).total_quantity == 9

    def notice(self, app) -> str:
        with app.test_request_context():
            return str(admin_coupons.SAVED_ONLY)


def test_a_change_is_saved_also_when_sql_goes_away_after_its_commit(operator, app, monkeypatch):
    coupon = make_coupon()
    monkeypatch.setattr(coupons, "publish", failing(OperationalError("SELECT", {}, Exception("gone away"))))
    saved = post(operator, f"/admin/coupons/{coupon}/quota", total_quantity="9")
    assert saved.status_code == 303
    with app.test_request_context():
        said = str(admin_coupons.SAVED_ONLY)
    assert said in operator.get(f"/admin/coupons/{coupon}").text
    assert row(coupon).total_quantity == 9


def test_a_change_that_has_not_reached_the_line_is_shown_as_such(operator):
    coupon = make_coupon(quota=5)
    assert 'role="alert"' not in operator.get(f"/admin/coupons/{coupon}").text
    db.session.execute(update(Coupon).values(total_quantity=9))
    db.session.commit()
    assert 'role="alert"' in operator.get(f"/admin/coupons/{coupon}").text
