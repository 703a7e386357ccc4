"""Each rule that bars a user is enforced, also in a batch that is trusted and asks for as little as it can."""

from collections.abc import Callable

import pytest
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError

from tests.builders import make_coupon, make_users
from webapp.models import Coupon, CouponIssue, LineEvent, User, utcnow
from webapp.sale import admission, claims, drawing, eligibility
from webapp.sale.codes import new_codes
from webapp.sale.eligibility import Rule
from webapp.stores.sql import db

pytestmark = pytest.mark.usefixtures("app")


def block(user: int) -> None:
    with db.engine.begin() as connection:
        connection.execute(update(User).where(User.id == user).values(blocked_at=utcnow()))


def remove(user: int) -> None:
    with db.engine.begin() as connection:
        connection.execute(delete(User).where(User.id == user))


BARRED: dict[str, Callable[[int], None]] = {"blocked": block, "deleted": remove}
"""How somebody comes under each rule: a new rule needs its line here."""
REASONS = [rule.reason for rule in eligibility.RULES]


def issued(coupon: int) -> list[int]:
    with db.engine.connect() as connection:
        ids = select(CouponIssue.user_id).where(CouponIssue.coupon_id == coupon).order_by(CouponIssue.user_id)
        return list(connection.scalars(ids))


def insert_for(user: int) -> None:
    coupon = make_coupon()
    with db.engine.begin() as connection:
        row = connection.execute(select(Coupon).where(Coupon.id == coupon)).one()
        admission._insert_issues(connection, row, 1, [(user, 1, *new_codes(1))])


def admitted(reason: str) -> tuple[list[int], list[int]]:
    """Have three people claim, bring the second under the rule, and return the three and who was issued."""
    coupon, users = make_coupon(quota=10), make_users(3)
    for user in users:
        claims.claim(coupon, user)
    BARRED[reason](users[1])
    admission.admit(coupon)
    return users, issued(coupon)


def test_how_somebody_comes_under_it_is_known_of_every_rule():
    assert set(BARRED) == set(REASONS)


@pytest.mark.parametrize("reason", REASONS)
def test_a_user_under_a_rule_is_rejected_and_the_rest_is_issued(reason):
    users, winners = admitted(reason)
    assert winners == [users[0], users[2]]
    with db.engine.connect() as connection:
        told = select(LineEvent.reason).where(LineEvent.kind == "rejected").order_by(LineEvent.id.desc())
        assert connection.scalar(told.limit(1)) == reason


@pytest.mark.parametrize("rule", eligibility.RULES, ids=REASONS)
def test_the_constraint_that_a_rule_names_refuses_the_row(rule):
    (user,) = make_users(1)
    BARRED[rule.reason](user)
    if rule.constraint is None:
        insert_for(user)
    else:
        with pytest.raises(IntegrityError, match=r"FOREIGN KEY|foreign key"):
            insert_for(user)


@pytest.mark.parametrize("reason", [rule.reason for rule in eligibility.RULES if not rule.constraint])
def test_control_a_rule_that_names_a_constraint_that_is_none_is_skipped(monkeypatch, reason):
    def pretending(rule: Rule) -> Rule:
        return Rule(rule.reason, rule.found_among, constraint="none such")

    monkeypatch.setattr(eligibility, "RULES", tuple(map(pretending, eligibility.RULES)))
    users, winners = admitted(reason)
    assert winners == users


def test_a_new_rule_counts_at_once(monkeypatch):
    def second(connection, ids):
        return [user for user in ids if user == min(ids) + 1]

    monkeypatch.setattr(eligibility, "RULES", (*eligibility.RULES, Rule("second", second)))
    coupon, users = make_coupon(quota=10), make_users(3)
    for user in users:
        claims.claim(coupon, user)
    admission.admit(coupon)
    assert issued(coupon) == [users[0], users[2]]
    assert claims.standing(coupon, users[1]).reason == "second"


def test_the_first_rule_that_finds_somebody_gives_the_reason(monkeypatch):
    everybody = (Rule("first", lambda _, ids: ids), Rule("later", lambda _, ids: ids))
    monkeypatch.setattr(eligibility, "RULES", everybody)
    with db.engine.connect() as connection:
        assert eligibility.barred_among(connection, [1, 2], all_rules=True) == dict.fromkeys((1, 2), "first")


ODD_CODES = ["O'CLOCK", "a');--", '"', "\\", "%s", "%%", "?", ":code", "쿠폰", "{0}", "';DROP#"]


def test_a_code_is_text_and_never_a_part_of_the_statement(monkeypatch):
    """Codes of our own hold nothing of the kind; codes out of a file may."""
    coupon, users = make_coupon(quota=len(ODD_CODES)), make_users(len(ODD_CODES))
    for user in users:
        claims.claim(coupon, user)
    monkeypatch.setattr(drawing, "new_codes", lambda count: ODD_CODES[:count])
    admission.admit(coupon)
    with db.engine.connect() as connection:
        rows = select(CouponIssue.code).where(CouponIssue.coupon_id == coupon).order_by(CouponIssue.id)
        assert list(connection.scalars(rows)) == ODD_CODES
        assert connection.scalar(select(func.count()).select_from(User)) >= len(users)
    assert [claims.standing(coupon, user).code for user in users] == ODD_CODES
