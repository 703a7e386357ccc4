"""The archive: what is over leaves the lists, holders keep theirs, and nobody changes it."""

import pytest

from tests.builders import make_coupon, make_user, sign_in
from tests.cli.test_cli import assert_one_line, run
from tests.conftest import on_sqlite
from tests.sale.test_pictures import BANNER
from tests.web.test_admin import operator, post, row
from webapp.models import CLOSED, DRAFT, LIVE, OPERATOR, PAUSED
from webapp.sale import admission, claims, coupons
from webapp.sale.archiving import archive, unarchive
from webapp.sale.content import set_content
from webapp.sale.coupons import InvalidField, change_coupon
from webapp.sale.pictures import set_picture

__all__ = ["operator", "run"]

OVER = [
    {"status": DRAFT},
    {"status": CLOSED},
    {"opens_in": -60, "closes_in": -1},
    {"status": PAUSED, "closes_in": -1},
]
CHANGES = [
    lambda coupon: change_coupon(coupon, status=LIVE),
    lambda coupon: change_coupon(coupon, total_quantity=99),
    lambda coupon: set_content(coupon, "ko", {"terms": "x"}, by=None),
    lambda coupon: set_picture(coupon, BANNER, by=None),
]


@pytest.mark.parametrize("fields", OVER)
def test_what_nobody_can_get_leaves_the_lists_and_comes_back(operator, fields):
    coupon = make_coupon(title="가을 쿠폰", **fields)
    for _ in range(2):
        assert post(operator, f"/admin/coupons/{coupon}/archive").status_code == 303
        assert row(coupon).archived_at is not None
    assert "가을 쿠폰" not in operator.get("/admin/").text + operator.get("/").text
    assert "가을 쿠폰" in operator.get("/admin/?archived=1").text
    for _ in range(2):
        post(operator, f"/admin/coupons/{coupon}/archive", undo="1")
        assert row(coupon).archived_at is None
    assert "가을 쿠폰" in operator.get("/admin/").text


@pytest.mark.parametrize("fields", [{}, {"status": PAUSED}, {"opens_in": 60}])
def test_what_people_can_get_stays(operator, fields):
    coupon = make_coupon(**fields)
    with pytest.raises(InvalidField):
        archive(coupon, by=None)
    assert post(operator, f"/admin/coupons/{coupon}/archive").status_code == 303
    assert row(coupon).archived_at is None


@pytest.mark.parametrize("change", CHANGES)
def test_nobody_changes_what_is_in_the_archive(app, change):
    coupon = make_coupon(status=CLOSED)
    archive(coupon, by=None)
    before = vars(row(coupon)) | {"_sa_instance_state": None, "revision": None}
    with pytest.raises(InvalidField):
        change(coupon)
    assert vars(row(coupon)) | {"_sa_instance_state": None, "revision": None} == before
    unarchive(coupon, by=None)
    change(coupon)


@on_sqlite
def test_control_without_the_rule_it_would_open_unseen(app, monkeypatch):
    coupon = make_coupon(status=CLOSED)
    archive(coupon, by=None)
    monkeypatch.setattr(coupons, "refuse_archived", lambda coupon: None)
    change_coupon(coupon, status=LIVE)
    assert (row(coupon).status, row(coupon).archived_at is None) == (LIVE, False)


@on_sqlite
def test_whoever_holds_it_keeps_it(app, client):
    coupon, user = make_coupon(title="가을 쿠폰"), make_user()
    sign_in(client, user)
    claims.claim(coupon, user.id)
    admission.admit(coupon)
    change_coupon(coupon, status=CLOSED)
    archive(coupon, by=None)
    assert "가을 쿠폰" in client.get("/wallet").text
    assert client.get(f"/coupons/{coupon}").status_code == 200
    assert "가을 쿠폰" not in client.get("/").text


@on_sqlite
def test_the_page_offers_no_step_but_the_way_back(operator):
    coupon = make_coupon(status=CLOSED)
    archive(coupon, by=make_user(role=OPERATOR).id)
    page = operator.get(f"/admin/coupons/{coupon}").text
    assert f'action="/admin/coupons/{coupon}/archive"' in page
    assert 'name="undo"' in page
    assert f'action="/admin/coupons/{coupon}/resume"' not in page


@on_sqlite
def test_the_commands(run):
    coupon, opened = make_coupon(status=CLOSED, title="가을 쿠폰"), make_coupon()
    assert run("coupon", "archive", coupon).exit_code == 0
    assert "가을 쿠폰" not in run("coupon", "list").output
    assert "가을 쿠폰" in run("coupon", "list", "--archived").output
    assert run("coupon", "unarchive", coupon).exit_code == 0
    assert "가을 쿠폰" in run("coupon", "list").output
    assert_one_line(run("coupon", "archive", opened), "Close it first")
    assert_one_line(run("coupon", "archive", 10**9), "no coupon")
