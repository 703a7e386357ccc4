"""A campaign once more: everything that it says and gives, a period of its own, and nothing of its past."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from tests.builders import csrf_token, make_coupon
from tests.cli.test_cli import assert_one_line, run
from tests.conftest import on_sqlite
from tests.sale.test_benefit import COFFEE
from tests.sale.test_content import KOREAN
from tests.sale.test_pictures import BANNER
from tests.web.test_admin import operator, post, row, sell
from webapp.models import DRAFT, Coupon
from webapp.sale import duplicating
from webapp.sale.content import Content, content_of, set_content
from webapp.sale.coupons import InvalidField
from webapp.sale.duplicating import OWN, duplicate_coupon
from webapp.sale.pictures import set_picture
from webapp.stores.sql import db

__all__ = ["operator", "run"]

OPENS, CLOSES = datetime(2030, 1, 1, tzinfo=UTC), datetime(2030, 1, 3, tzinfo=UTC)
PERIOD = {"opens_at": OPENS, "closes_at": CLOSES}
FORM = {"issue_start_at": "2030-01-01T09:00", "issue_end_at": "2030-01-03T09:00"}


@pytest.fixture
def model(app) -> int:
    """A coupon that has sold, with everything that a campaign can say and show."""
    coupon = make_coupon(quota=9, min_available_amount=7000, **COFFEE)
    set_content(coupon, "ko", KOREAN, by=None)
    set_content(coupon, "en", {"title": "Autumn", "terms": "One each"}, by=None)
    set_picture(coupon, BANNER, by=None)
    sell(coupon, 3)
    return coupon


def facts(coupon: int) -> dict[str, object]:
    return {column.name: getattr(row(coupon), column.name) for column in Coupon.__table__.columns}


def count() -> int:
    db.session.rollback()
    return db.session.scalar(select(func.count(Coupon.id)))


def test_it_takes_everything_but_the_past(model):
    before = facts(model) | {"revision": None}
    made = duplicate_coupon(model, **PERIOD, by=None)
    old, new = facts(model), facts(made)
    assert {name: value for name, value in new.items() if name not in OWN} == {
        name: value for name, value in old.items() if name not in OWN
    }
    assert (new["status"], new["issued_quantity"], new["last_number"], new["epoch"]) == (DRAFT, 0, 0, 0)
    assert new["epoch_mark"] is None
    assert old["epoch_mark"]
    assert (new["issue_start_at"], new["issue_end_at"]) == (OPENS, CLOSES)
    assert (
        content_of(row(made))
        == content_of(row(model))
        == {
            "ko": Content(**KOREAN),
            "en": Content(title="Autumn", terms="One each"),
        }
    )
    assert old | {"revision": None} == before


def test_control_without_the_copy_of_the_texts_it_says_nothing(model, monkeypatch):
    monkeypatch.setattr(duplicating, "COPIES", ())
    assert content_of(row(duplicate_coupon(model, **PERIOD, by=None)))["ko"].terms == ""


@on_sqlite
@pytest.mark.parametrize("more", [None, timedelta(0), timedelta(days=30)])
def test_it_stays_valid_for_as_long_after_its_end(app, more):
    until = None if more is None else row(make_coupon()).issue_end_at.replace(microsecond=0) + more
    coupon = make_coupon()
    end = row(coupon).issue_end_at
    db.session.execute(Coupon.__table__.update().values(valid_until=None if until is None else end + more))
    db.session.commit()
    made = row(duplicate_coupon(coupon, **PERIOD, by=None))
    assert made.valid_until == (None if more is None else CLOSES + more)


@on_sqlite
def test_what_is_no_period_or_no_coupon_makes_nothing(model):
    with pytest.raises(InvalidField) as refusal:
        duplicate_coupon(model, opens_at=CLOSES, closes_at=OPENS, by=None)
    assert refusal.value.field == "issue_end_at"
    with pytest.raises(LookupError):
        duplicate_coupon(10**9, **PERIOD, by=None)
    assert count() == 1


def test_the_form_makes_one_however_often_it_is_sent(operator, model):
    path = f"/admin/coupons/{model}/duplicate"
    assert operator.get(path).status_code == 200
    sent = FORM | {"once": "0123456789abcdef" * 2}
    answers = [post(operator, path, **sent) for _ in range(2)]
    assert {(each.status_code, each.location) for each in answers} == {(303, f"/admin/coupons/{model + 1}")}
    assert count() == 2
    other = post(operator, path, **sent | {"issue_end_at": "2030-01-04T09:00"})
    assert (other.status_code, count()) == (409, 2)


@on_sqlite
@pytest.mark.parametrize(
    "fields",
    [{"issue_start_at": ""}, {"issue_end_at": "2029-01-01T00:00"}, {"issue_start_at": "2020-01-01T00:00"}],
)
def test_the_form_blames_a_wrong_period(operator, model, fields):
    answer = post(operator, f"/admin/coupons/{model}/duplicate", **FORM | fields)
    assert (answer.status_code, count()) == (422, 1)
    assert 'class="error"' in answer.text


@on_sqlite
def test_a_start_that_has_passed_is_asked_about_once_more(operator, model):
    past = {"issue_start_at": "2020-01-01T00:00", "past_start": "2020-01-01T00:00"}
    assert post(operator, f"/admin/coupons/{model}/duplicate", **FORM | past).status_code == 303
    assert csrf_token(operator)


@on_sqlite
def test_the_command_prints_the_id(run, model):
    period = ("--opens-at", "2030-01-01T09:00", "--closes-at", "2030-01-03T09:00")
    made = run("coupon", "duplicate", model, *period)
    assert row(int(made.output)).issue_start_at == OPENS
    assert_one_line(run("coupon", "duplicate", 10**9, *period), "no coupon")
    assert_one_line(run("coupon", "duplicate", model, *period[:3], "2029-01-01"), "issue_end_at")
