"""What a coupon's fields may become: what was promised gets no worse, and a drop that has opened keeps its start."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from sqlalchemy import select, update

from tests.builders import csrf_token, make_coupon, make_user, make_users, sign_in
from tests.conftest import on_sqlite
from tests.web.test_admin import edit_form, errors, row, sell
from webapp.models import OPERATOR, Coupon, CouponIssue, utcnow
from webapp.sale import admission, audit, claims, coupons, redeeming
from webapp.sale.coupons import InvalidField, change_coupon
from webapp.stores.script_redis import connect_redis
from webapp.stores.sql import db

UNTIL = datetime(2031, 1, 1, tzinfo=UTC)
TERMS = {"discount_amount": 10_000, "min_available_amount": 20_000, "valid_until": UNTIL}
SECOND = timedelta(seconds=1)

WORSE = [
    ("discount_amount", 9999),
    ("discount_amount", 1000),
    ("discount_amount", 0),
    ("min_available_amount", 20_001),
    ("min_available_amount", 10**12),
    ("valid_until", UNTIL - SECOND),
    ("valid_until", UNTIL - timedelta(days=365)),
]
NO_WORSE = [
    ("discount_amount", 10_000),
    ("discount_amount", 10_001),
    ("min_available_amount", 20_000),
    ("min_available_amount", 19_999),
    ("min_available_amount", 0),
    ("valid_until", UNTIL),
    ("valid_until", UNTIL + SECOND),
    ("valid_until", None),
    ("title", "가을 쿠폰"),
    ("total_quantity", 1),
    ("total_quantity", None),
    ("issue_end_at", UNTIL),
]


def promised_coupon(*, how: str = "issued", **fields: Any) -> int:
    """Return a coupon that somebody holds, or has a ticket for, or held."""
    coupon = make_coupon(**{"quota": 5, **TERMS, **fields})
    user = make_users(1)[0]
    claims.claim(coupon, user)
    if how != "waiting":
        admission.admit(coupon)
    return coupon


def refused(coupon: int, **fields: Any) -> InvalidField:
    before = row(coupon)
    stood = {name: getattr(before, name) for name in coupons.FIELDS}
    with pytest.raises(InvalidField) as raised:
        change_coupon(coupon, **fields)
    assert {name: getattr(row(coupon), name) for name in coupons.FIELDS} == stood
    return raised.value


@pytest.fixture
def without_redis(app, monkeypatch):
    def cut() -> None:
        monkeypatch.setitem(
            app.extensions, "line", connect_redis("redis://127.0.0.1:1", decode_responses=True)
        )

    return cut


@pytest.mark.parametrize(("field", "value"), WORSE)
@pytest.mark.parametrize("how", ["issued", "waiting"])
def test_terms_get_no_worse_once_somebody_has_a_ticket(app, field, value, how):
    coupon = promised_coupon(how=how)
    error = refused(coupon, **{field: value})
    assert error.field == field
    assert str(error).startswith(("할인 10,000원", "최소 주문 금액 20,000원", "2031-01-01 09:00까지"))


@pytest.mark.parametrize(("field", "value"), NO_WORSE)
def test_they_may_get_better_and_the_rest_may_change(app, field, value):
    coupon = promised_coupon()
    change_coupon(coupon, **{field: value})
    change_coupon(coupon, **{field: value})
    assert getattr(row(coupon), field) == value
    assert audit.run(coupon).ok


@on_sqlite
@pytest.mark.parametrize(("field", "value"), [*WORSE, ("valid_until", None)])
@pytest.mark.parametrize(
    "fields", [{}, {"opens_in": 3000}, {"status": "draft"}], ids=["open", "coming", "draft"]
)
def test_control_before_the_first_ticket_everything_may_change(app, field, value, fields):
    coupon = make_coupon(**TERMS, **fields)
    change_coupon(coupon, **{field: value})
    assert getattr(row(coupon), field) == value


@pytest.mark.parametrize(("field", "value"), WORSE)
def test_control_without_the_rule_they_get_worse(app, monkeypatch, field, value):
    monkeypatch.setattr(coupons, "_keep_promises", lambda *_: None)
    coupon = promised_coupon()
    change_coupon(coupon, **{field: value})
    assert getattr(row(coupon), field) == value


def test_an_end_where_none_was_promised_is_worse(app):
    coupon = promised_coupon(valid_until=None)
    assert refused(coupon, valid_until=UNTIL).field == "valid_until"
    assert refused(coupon, valid_until=datetime(2999, 1, 1, tzinfo=UTC)).field == "valid_until"


def test_one_worse_field_among_better_ones_is_refused_with_them(app):
    coupon = promised_coupon()
    assert (
        refused(coupon, discount_amount=20_000, min_available_amount=20_001).field == "min_available_amount"
    )


@pytest.mark.parametrize("status", ["paused", "closed"])
def test_pausing_or_closing_does_not_loosen_a_promise(app, status):
    coupon = promised_coupon()
    change_coupon(coupon, status=status)
    assert refused(coupon, discount_amount=1).field == "discount_amount"
    assert refused(coupon, status="live", discount_amount=1).field == "discount_amount"


def test_what_was_improved_is_promised_from_then_on(app):
    coupon = promised_coupon()
    change_coupon(coupon, discount_amount=15_000)
    assert "15,000" in str(refused(coupon, discount_amount=12_000))


def test_a_promise_outlives_its_last_holder(app):
    coupon = promised_coupon()
    redeeming.revoke(db.session.scalar(select(CouponIssue.code)), None, "mistake")
    assert row(coupon).issued_quantity == 0
    assert refused(coupon, discount_amount=1).field == "discount_amount"


def test_when_nobody_knows_of_tickets_a_drop_that_has_opened_counts_as_promised(app, without_redis):
    opened, coming = make_coupon(**TERMS), make_coupon(**TERMS, opens_in=3000)
    without_redis()
    assert refused(opened, discount_amount=1).field == "discount_amount"
    with pytest.raises(redis.RedisError):
        change_coupon(coming, discount_amount=1)
    assert row(coming).discount_amount == 1, "it is saved, and follows"


# The start


LATER = datetime(2030, 6, 1, tzinfo=UTC)
PERIOD = {"issue_end_at": LATER + timedelta(hours=1), "valid_until": None}


@pytest.mark.parametrize("start", [LATER, utcnow() - timedelta(hours=2)], ids=["later", "earlier"])
@pytest.mark.parametrize(
    "fields",
    [{}, {"opens_in": 3}, {"status": "paused"}, {"opens_in": -60, "closes_in": -30}],
    ids=["open", "opens in a moment", "paused", "ended"],
)
def test_a_drop_that_has_opened_keeps_its_start(app, fields, start):
    coupon = make_coupon(**fields)
    assert refused(coupon, issue_start_at=start, **PERIOD).field == "issue_start_at"
    assert audit.run(coupon).ok


@pytest.mark.parametrize("status", ["live", "paused", "closed"])
def test_so_does_one_that_was_issued(app, status):
    coupon = promised_coupon()
    change_coupon(coupon, status=status)
    assert refused(coupon, issue_start_at=LATER, **PERIOD).field == "issue_start_at"
    assert audit.run(coupon).ok


@pytest.mark.parametrize("start", [LATER, utcnow() - timedelta(hours=2)], ids=["later", "earlier"])
@pytest.mark.parametrize(
    "fields",
    [{"status": "draft"}, {"opens_in": 3000}, {"opens_in": 3000, "status": "paused"}, {"status": "closed"}],
    ids=["draft", "coming", "paused before", "closed before anybody came"],
)
def test_until_then_the_start_moves_and_the_audit_agrees(app, fields, start):
    coupon = make_coupon(**fields)
    change_coupon(coupon, issue_start_at=start, **PERIOD)
    assert row(coupon).issue_start_at == start
    change_coupon(coupon, status="live")
    if start < utcnow():
        sell(coupon, 2)
        assert row(coupon).issued_quantity == 2
    assert audit.run(coupon).ok


def test_a_start_that_moved_all_the_same_is_no_fault_of_the_line(app, monkeypatch):
    """The audit judges each ticket by the periods that the gate had."""
    monkeypatch.setattr(coupons, "_keep_promises", lambda *_: None)
    coupon = promised_coupon()
    change_coupon(coupon, issue_start_at=LATER, **PERIOD)
    assert audit.run(coupon).ok


def test_the_clock_of_the_line_decides_where_ours_is_late(app, monkeypatch):
    coupon = make_coupon(opens_in=-30)
    monkeypatch.setattr(coupons, "utcnow", lambda: utcnow() - timedelta(hours=1))
    assert refused(coupon, issue_start_at=LATER, **PERIOD).field == "issue_start_at"


def test_the_end_of_an_open_drop_may_move_also_into_the_past(app):
    coupon = promised_coupon()
    change_coupon(coupon, issue_end_at=utcnow() - SECOND)
    assert claims.line_status(coupon).state == "closed"
    change_coupon(coupon, issue_end_at=utcnow() + timedelta(hours=1))
    assert claims.line_status(coupon).state == "open"


# Under the lock


def test_a_coupon_that_is_issued_while_the_form_is_sent_is_promised(app, monkeypatch):
    """Nobody had a ticket when the change looked; by the time it holds the row somebody has the coupon."""
    coupon, ask = make_coupon(**TERMS), coupons._gate

    def looked_then_sold(coupon_id: int) -> Any:
        gate = ask(coupon_id)
        sell(coupon_id, 1)
        return gate

    monkeypatch.setattr(coupons, "_gate", looked_then_sold)
    assert refused(coupon, discount_amount=1).field == "discount_amount"


# What stood before there was a rule


@pytest.mark.parametrize("fields", [{"status": "paused"}, {"total_quantity": 50}, {"title": "New"}])
def test_what_breaks_a_rule_already_does_not_keep_an_operator_from_the_rest(app, fields):
    coupon = make_coupon()
    db.session.execute(update(Coupon).values(valid_until=utcnow(), title="\u200b"))
    db.session.commit()
    change_coupon(coupon, **fields)
    with pytest.raises(InvalidField):
        change_coupon(coupon, issue_end_at=utcnow() + timedelta(days=9))


def test_a_draft_that_breaks_a_rule_is_not_published(app):
    coupon = make_coupon(status="draft")
    db.session.execute(update(Coupon).values(valid_until=utcnow()))
    db.session.commit()
    assert refused(coupon, status="live").field == "valid_until"


CLOSES = LATER + timedelta(hours=1)


@pytest.mark.parametrize("until", [CLOSES, CLOSES + SECOND, UNTIL, None])
def test_it_is_valid_until_it_closes_at_least(app, until):
    fields = {"issue_start_at": LATER, "issue_end_at": CLOSES, "valid_until": until}
    assert row(coupons.create_coupon(title="T", **fields)).valid_until == until
    change_coupon(make_coupon(opens_in=3000), **fields)


@pytest.mark.parametrize("until", [CLOSES - SECOND, LATER + SECOND, LATER, LATER - SECOND, utcnow()])
def test_it_cannot_end_before_it_closes(app, until):
    fields = {"issue_start_at": LATER, "issue_end_at": CLOSES, "valid_until": until}
    with pytest.raises(InvalidField) as creating:
        coupons.create_coupon(title="T", **fields)
    assert creating.value.field == refused(make_coupon(opens_in=3000), **fields).field == "valid_until"


# The page


def test_the_page_says_what_cannot_change_and_why(app, client):
    sign_in(client, make_user(role=OPERATOR))
    client.get("/language/en")
    coming, promised = make_coupon(opens_in=3000), promised_coupon()
    page = client.get(f"/admin/coupons/{coming}").text
    assert "Promised to people already" not in page
    assert "readonly" not in page
    page = client.get(f"/admin/coupons/{promised}").text
    assert page.count("Promised to people already") == len(coupons.NO_WORSE) - 1, (
        "all but the kind of the benefit"
    )
    assert "It has opened: the start stays." in page
    assert page.count("readonly") == 1


@pytest.mark.parametrize(
    ("field", "typed", "words"),
    [
        ("discount_amount", "1,000", "A discount of 10,000 won was promised"),
        ("min_available_amount", "30000", "A least purchase of 20,000 won was promised"),
        ("valid_until", "2030-12-31", "valid until 2031-01-01 09:00"),
        ("issue_start_at", "2020-01-01T00:00", "stays."),
    ],
)
def test_the_form_blames_the_field_and_names_what_was_promised(app, client, field, typed, words):
    sign_in(client, make_user(role=OPERATOR))
    client.get("/language/en")
    coupon = promised_coupon()
    form = edit_form(client, coupon) | {field: typed, "past_start": typed}
    answer = client.post(f"/admin/coupons/{coupon}", data=form | {"csrf_token": csrf_token(client)})
    assert (answer.status_code, errors(answer.text)) == (422, [field])
    assert words in answer.text
    assert row(coupon).discount_amount == 10_000
