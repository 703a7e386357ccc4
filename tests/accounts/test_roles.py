"""Roles: who has which rights, and that an owner stays, whatever happens at once."""

from functools import partial

import pytest
from sqlalchemy import select, update

from tests.builders import make_user
from tests.sale.test_concurrency import at_once
from webapp.accounts import blocking, owners, roles, sessions
from webapp.accounts.owners import RoleRefused
from webapp.accounts.roles import RIGHTS, give_role, may, team
from webapp.accounts.sessions import delete_account, end_sessions
from webapp.models import OPERATOR, OWNER, ROLES, TILL, USER, VIEWER, User, utcnow
from webapp.sale.anonymising import anonymise
from webapp.stores.sql import db

ROUNDS = 5


def role_of(user_id: int) -> str | None:
    db.session.rollback()
    return db.session.scalar(select(User.role).where(User.id == user_id))


def able_owners() -> set[int]:
    db.session.rollback()
    return set(db.session.scalars(select(User.id).where(User.role == OWNER, User.blocked_at.is_(None))))


def tried(call):
    """Return what a call returns, or the code with which it is refused."""
    try:
        return call()
    except RoleRefused as refused:
        return refused.code


def takes_away(user_id: int, *, by: int):
    return tried(lambda: give_role(user_id, USER, by=by))


def test_the_table_of_rights():
    rights = {role: {right for right in RIGHTS if may(role, right)} for role in (*ROLES, USER)}
    assert rights == {
        OWNER: {"look", "change", "redeem", "team", "queue"},
        OPERATOR: {"look", "change", "redeem"},
        TILL: {"redeem"},
        VIEWER: {"look"},
        USER: set(),
    }


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_given_once_and_ends_the_sessions(app, role):
    owner, user = make_user(role=OWNER), make_user()
    assert give_role(user.id, role, by=owner.id) is True
    assert give_role(user.id, role, by=owner.id) is False
    db.session.refresh(user)
    assert (user.role, user.session_epoch) == (role, 1)


LOSSES = {
    "role": lambda user: give_role(user, OPERATOR, by=None),
    "none": lambda user: give_role(user, USER, by=None),
    "block": lambda user: blocking.block(user, by=None),
    "anonymise": lambda user: anonymise(db.session.get_one(User, user), by=None),
    "delete": lambda user: delete_account(user, by=None),
    "any change of the account": lambda user: end_sessions(user, role=TILL),
}
"""Each way in which an owner may be one no more."""


@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES)
def test_the_last_owner_cannot_be_lost(app, lose):
    last = make_user(role=OWNER).id
    make_user(role=OWNER, blocked_at=utcnow())
    make_user(role=OPERATOR)
    assert tried(lambda: lose(last)) == "last_owner"
    assert able_owners() == {last}
    other = make_user(role=OWNER).id
    lose(last)
    assert able_owners() == {other}


@pytest.mark.parametrize("first", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("second", LOSSES.values(), ids=LOSSES)
def test_two_owners_lost_in_one_second_leave_one(app, first, second):
    two = [make_user(role=OWNER).id for _ in range(2)]
    said = at_once(app, [lambda: tried(lambda: first(two[0])), lambda: tried(lambda: second(two[1]))])
    assert said.count("last_owner") == 1
    assert len(able_owners()) == 1


def test_two_owners_who_take_each_other_away_leave_one(app):
    for _ in range(ROUNDS):
        make_user(role=OWNER)  # with a third, the last owner is none of the two
        a, b = make_user(role=OWNER).id, make_user(role=OWNER).id
        each = [partial(takes_away, a, by=b), partial(takes_away, b, by=a)]
        assert sorted(map(str, at_once(app, each))) == ["True", "no_owner"]
        assert sorted([role_of(a), role_of(b)]) == [OWNER, USER]


def test_control_without_the_lock_both_are_lost(app, monkeypatch):
    """Both have looked before either writes, as two processes may."""
    two = [make_user(role=OWNER).id for _ in range(2)]
    seen = able_owners()
    monkeypatch.setattr(owners, "locked_owners", lambda: sorted(seen))
    for user in two:
        give_role(user, USER, by=None)
    assert able_owners() == set()


def test_control_without_the_guard_of_sessions_the_last_owner_is_lost(app, monkeypatch):
    last = make_user(role=OWNER).id
    monkeypatch.setattr(sessions, "keep_an_owner", lambda losing: None)
    blocking.block(last, by=None)
    assert able_owners() == set()


def test_who_is_no_owner_any_more_gives_nothing(app):
    make_user(role=OWNER)
    user = make_user()
    for former in (make_user(role=OPERATOR), make_user(role=OWNER, blocked_at=utcnow())):
        assert tried(lambda former=former: give_role(user.id, TILL, by=former.id)) == "no_owner"
    assert role_of(user.id) == USER


def test_control_without_the_question_who_asks_it_is_given(app, monkeypatch):
    user, former = make_user(), make_user(role=OPERATOR)
    monkeypatch.setattr(roles, "require_owner", lambda _by: None)
    assert give_role(user.id, TILL, by=former.id)


def test_a_role_that_another_owner_has_changed_meanwhile_stays(app):
    owner, user = make_user(role=OWNER), make_user(role=TILL)
    give_role(user.id, VIEWER, by=owner.id, seen=TILL)
    assert tried(lambda: give_role(user.id, OPERATOR, by=owner.id, seen=TILL)) == "changed"
    assert give_role(user.id, VIEWER, by=owner.id, seen=TILL) is False, "it is so already"
    assert role_of(user.id) == VIEWER


def test_opposite_decisions_in_one_second_leave_one_of_them(app):
    owner, user = make_user(role=OWNER).id, make_user(role=VIEWER).id
    both = (OPERATOR, TILL)
    calls = [lambda role=role: tried(lambda: give_role(user, role, by=owner, seen=VIEWER)) for role in both]
    assert sorted(map(str, at_once(app, calls))) == ["True", "changed"]
    assert role_of(user) in both


@pytest.mark.parametrize(
    ("who", "why"), [({"blocked_at": utcnow()}, "blocked"), ({"rehearsal": True}, "unknown")]
)
def test_whoever_cannot_have_a_role(app, who, why):
    owner, user = make_user(role=OWNER), make_user(**who)
    assert tried(lambda: give_role(user.id, TILL, by=owner.id)) == why
    assert tried(lambda: give_role(10**9, TILL, by=owner.id)) == "unknown"
    assert role_of(user.id) == USER


@pytest.mark.parametrize("role", ROLES)
def test_an_operator_blocks_and_lets_in_nobody_with_a_role(app, role):
    make_user(role=OWNER)
    operator, colleague = make_user(role=OPERATOR), make_user(role=role)
    assert tried(lambda: blocking.block(colleague.id, by=operator.id)) == "has_role"
    blocking.block(colleague.id, by=None)
    assert tried(lambda: blocking.unblock(colleague.id, by=operator.id)) == "has_role"
    give_role(colleague.id, USER, by=None)
    assert tried(lambda: blocking.unblock(colleague.id, by=operator.id)) is None
    db.session.refresh(colleague)
    assert (colleague.role, colleague.blocked_at) == (USER, None)


def test_a_role_given_while_an_operator_blocks_is_one_of_both(app):
    owner, operator = make_user(role=OWNER).id, make_user(role=OPERATOR).id
    for _ in range(ROUNDS):
        user = make_user().id
        calls = [
            partial(tried, partial(give_role, user, OWNER, by=owner)),
            partial(tried, partial(blocking.block, user, by=operator)),
        ]
        assert at_once(app, calls) in ([True, "has_role"], ["blocked", None])


def test_the_role_of_somebody_blocked_can_be_taken_away(app):
    owner, user = make_user(role=OWNER), make_user(role=OPERATOR, blocked_at=utcnow())
    assert give_role(user.id, USER, by=owner.id)


def test_the_team_begins_with_the_owners(app):
    made = [make_user(role=role) for role in (VIEWER, TILL, OPERATOR, OWNER, USER)]
    assert [user.id for user in team()] == [made[3].id, made[2].id, made[1].id, made[0].id]


def test_the_tables_take_no_other_role(app):
    user = make_user()
    with pytest.raises(Exception, match=r"(?i)constraint"):
        db.session.execute(update(User).where(User.id == user.id).values(role="admin"))
    db.session.rollback()
