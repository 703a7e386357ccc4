"""Invitations: a link gives a role once, to whoever takes it in time, and takes nothing away."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from tests.accounts.test_roles import role_of, tried
from tests.builders import failing, make_user
from tests.log.test_writing import newest, written
from tests.sale.test_concurrency import at_once
from webapp.accounts import invitations
from webapp.accounts.invitations import InvitationRefused, invite, look_at, open_invitations, take, withdraw
from webapp.accounts.roles import give_role
from webapp.log import writing
from webapp.models import OPERATOR, OWNER, ROLES, TILL, USER, VIEWER, Invitation, User, utcnow
from webapp.stores.sql import db


@pytest.fixture
def owner(app) -> int:
    return make_user(role=OWNER).id


def refused(key: str, user_id: int) -> str:
    try:
        return take(key, user_id)
    except InvitationRefused as why:
        return why.code


def only() -> Invitation:
    db.session.rollback()
    return db.session.scalars(select(Invitation).execution_options(populate_existing=True)).one()


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_taken_once(owner, role):
    key, user, late = invite(role, by=owner, label="민지"), make_user().id, make_user().id
    assert only().label == "민지"
    assert take(key, user) == role
    assert take(key, user) == role, "a second click"
    assert refused(key, late) == "used"
    assert [role_of(user), role_of(late)] == [role, USER]
    assert (only().taken_by, only().label) == (user, "")
    assert db.session.scalar(select(User.session_epoch).where(User.id == user)) == 1


def test_the_key_is_stored_as_a_hash_alone(owner):
    key = invite(TILL, by=owner)
    assert len(key) >= 43
    assert key not in str(db.session.execute(select(Invitation.__table__)).all())
    assert look_at(only().key_hash).state == "unknown"


def test_of_many_at_once_one_takes_it(app, owner):
    key, users = invite(TILL, by=owner), [make_user().id for _ in range(5)]
    said = at_once(app, [lambda user=user: refused(key, user) for user in users])
    assert sorted(said) == [TILL, *["used"] * 4]
    assert [role_of(user) for user in users].count(TILL) == 1


def test_control_without_the_look_at_what_stands_many_take_it(owner, monkeypatch):
    key, users = invite(TILL, by=owner), [make_user().id for _ in range(2)]
    monkeypatch.setattr(invitations, "_UNDECIDED", ())
    seen = look_at(key)
    monkeypatch.setattr(invitations, "look_at", lambda _key: seen)
    assert [refused(key, user) for user in users] == [TILL, TILL]


def test_one_that_is_too_old_withdrawn_or_unknown(owner):
    user = make_user().id
    key = invite(TILL, by=owner)
    db.session.execute(update(Invitation).values(expires_at=utcnow() - timedelta(seconds=1)))
    db.session.commit()
    assert refused(key, user) == "too_old"
    assert open_invitations() == []
    key = invite(VIEWER, by=owner)
    (one,) = open_invitations()
    assert withdraw(one.id, by=owner) is True
    assert withdraw(one.id, by=owner) is False
    assert refused(key, user) == "withdrawn"
    for nonsense in ("", "x", "\ud800", "가" * 1000):
        assert refused(nonsense, user) == "unknown"
    assert role_of(user) == USER


def test_withdrawn_and_taken_at_once_is_one_of_both(app, owner):
    for _ in range(5):
        key, user = invite(TILL, by=owner), make_user().id
        (one,) = open_invitations()
        gone, said = at_once(
            app, [lambda one=one: withdraw(one.id, by=owner), lambda key=key, user=user: refused(key, user)]
        )
        assert (gone, said, role_of(user)) in [(True, "withdrawn", USER), (False, TILL, TILL)]


def test_the_invitation_of_somebody_who_is_no_owner_any_more_opens_nothing(owner):
    former = make_user(role=OWNER).id
    key, user = invite(OWNER, by=former), make_user().id
    give_role(former, USER, by=owner)
    assert refused(key, former) == "withdrawn", "no way back by an own link"
    assert refused(key, user) == "withdrawn"
    assert open_invitations() == []


def test_control_an_owner_s_own_stands(owner):
    key = invite(OWNER, by=owner)
    assert refused(key, make_user().id) == OWNER


def test_a_command_may_invite_where_there_is_no_owner(app):
    assert refused(invite(OWNER, by=None), make_user().id) == OWNER


def test_only_an_owner_invites_and_withdraws(owner):
    operator = make_user(role=OPERATOR).id
    invite(TILL, by=owner)
    assert tried(lambda: invite(OWNER, by=operator)) == "no_owner"
    assert tried(lambda: withdraw(only().id, by=operator)) == "no_owner"
    assert only().withdrawn_at is None
    with pytest.raises(ValueError, match="user"):
        invite(USER, by=owner)


LESS = [(OWNER, role) for role in ROLES] + [
    (TILL, VIEWER),
    (VIEWER, TILL),
    (OPERATOR, TILL),
    (OPERATOR, VIEWER),
]


@pytest.mark.parametrize(("has", "invited"), LESS)
def test_it_takes_no_right_away(owner, has, invited):
    key, user = invite(invited, by=owner), make_user(role=has).id
    assert refused(key, user) == "less"
    assert role_of(user) == has
    assert look_at(key).state == "open", "somebody else may take it"


@pytest.mark.parametrize(("has", "invited"), [(TILL, OPERATOR), (VIEWER, OPERATOR), (OPERATOR, OWNER)])
def test_control_it_adds_rights(owner, has, invited):
    key, user = invite(invited, by=owner), make_user(role=has).id
    assert refused(key, user) == invited
    assert role_of(user) == invited


@pytest.mark.parametrize("who", [{"blocked_at": utcnow()}, {"rehearsal": True}])
def test_who_is_blocked_or_invented_takes_none(owner, who):
    key, user = invite(TILL, by=owner), make_user(**who).id
    assert refused(key, user) == "blocked"
    assert refused(key, 10**9) == "blocked"
    assert look_at(key).state == "open"


def test_who_lost_the_role_again_does_not_get_it_back_by_the_same_link(owner):
    key, user = invite(TILL, by=owner), make_user().id
    take(key, user)
    give_role(user, USER, by=owner)
    assert refused(key, user) == "used"
    assert role_of(user) == USER


def test_the_log_tells_who_took_which_role_and_no_key_and_no_name(owner):
    before = newest()
    key, user = invite(TILL, by=owner, label="민지"), make_user().id
    take(key, user)
    take(key, user)
    invited, taken = written(before)
    assert (invited.verb, invited.actor_id, invited.user_id) == ("invite", owner, None)
    assert (taken.verb, taken.actor_id, taken.user_id) == ("take invitation", user, user)
    assert json.loads(taken.before) == {"role": USER}
    assert json.loads(taken.after) == {"invitation": only().id, "role": TILL}
    assert not any(word in f"{invited}{taken}" for word in (key, "민지"))


def test_without_its_row_in_the_log_no_role_is_taken(owner, monkeypatch):
    key, user, before = invite(TILL, by=owner), make_user().id, newest()
    monkeypatch.setattr(writing, "hash_of", failing(RuntimeError("no disk")))
    with pytest.raises(RuntimeError):
        take(key, user)
    db.session.rollback()
    assert (look_at(key).state, role_of(user), newest()) == ("open", USER, before)


def test_a_broken_commit_leaves_it_open(owner, monkeypatch):
    key, user = invite(TILL, by=owner), make_user().id

    def broken(*_args, **_options):
        raise RuntimeError("power cut")

    monkeypatch.setattr(invitations, "end_sessions", broken)
    with pytest.raises(RuntimeError):
        take(key, user)
    db.session.rollback()
    assert (look_at(key).state, role_of(user)) == ("open", USER)
