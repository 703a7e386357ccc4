"""The two-person rule: what one person asks for waits until another one confirms it, as it was seen, and once."""

import itertools
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from tests.accounts.test_roles import role_of
from tests.builders import failing, make_coupon, make_user, make_users
from tests.cli.test_cli import assert_one_line, run
from tests.log import test_writing
from tests.log.test_writing import newest, written
from tests.sale import test_pools
from tests.sale.test_bulk_revoking import sold
from tests.sale.test_concurrency import at_once
from tests.web.test_admin import row
from webapp.accounts import invitations
from webapp.accounts.blocking import block
from webapp.accounts.invitations import invite, look_at
from webapp.accounts.owners import RoleRefused
from webapp.accounts.roles import give_role
from webapp.accounts.sessions import delete_account
from webapp.log import writing
from webapp.log.reading import chain
from webapp.log.verbs import VERBS
from webapp.models import (
    CLOSED,
    DRAFT,
    LIVE,
    OPERATOR,
    OWNER,
    PAUSED,
    TILL,
    USER,
    VIEWER,
    CouponIssue,
    Invitation,
    Proposal,
    Revocation,
    User,
    utcnow,
)
from webapp.proposals.reading import open_proposals, past_proposals, proposal_by_id
from webapp.proposals.rule import AT_ONCE, WAITING, WITHIN, ProposalRefused, Waits
from webapp.sale import bulk_revoking, claims, pools, redeeming
from webapp.sale.admission import admit
from webapp.sale.anonymising import anonymise
from webapp.sale.archiving import archive
from webapp.sale.confirming import (
    BY_TWO,
    confirm_proposal,
    decline_proposal,
    finish_proposal,
    still_stands,
    waiting_for,
    withdraw_proposal,
)
from webapp.sale.coupons import InvalidField, change_coupon
from webapp.sale.pause_message import PauseMessage
from webapp.sale.pausing import pause, resume
from webapp.stores.sql import db

__all__ = ["run"]


@pytest.fixture(autouse=True)
def rule_on(app):
    app.config["TWO_PERSON_RULE"] = True


@pytest.fixture
def without(app) -> Callable[[], None]:
    """Return what switches the rule off."""
    return lambda: app.config.update(TWO_PERSON_RULE=False)


@pytest.fixture
def asker(app) -> int:
    return make_user(role=OWNER).id


@pytest.fixture
def other(app) -> int:
    return make_user(role=OWNER).id


_serial = itertools.count(1)


TOMORROW = utcnow().replace(microsecond=0) + timedelta(days=1)


def soon(seconds: float) -> Any:
    return utcnow().replace(microsecond=0) + timedelta(seconds=seconds)


def standing(coupon: int) -> int:
    with db.engine.connect() as connection:
        return len(connection.scalars(select(CouponIssue.id).where(CouponIssue.coupon_id == coupon)).all())


def pool_that_is_the_quota() -> tuple[int, int]:
    word = f"P{next(_serial)}"
    coupon = test_pools.pooled(2, word=word, quota=None)
    return coupon, test_pools.checked(coupon, [f"{word}-MORE-1", f"{word}-MORE-2"])


def paused_with_words() -> int:
    coupon = make_coupon()
    pause(coupon, PauseMessage(ko="곧 다시 시작해요", promised_at=soon(600)))
    return coupon


def a_list() -> tuple[int, list[str]]:
    coupon, _users, codes = sold(3)
    return coupon, codes[:2]


Asked = tuple[Callable[[], Any], Callable[[Any, int | None], object], Callable[[Any], object]]
CASES: dict[str, Asked] = {
    "a higher quota": (
        lambda: make_coupon(quota=5),
        lambda at, by: change_coupon(at, by=by, total_quantity=9),
        lambda at: row(at).total_quantity,
    ),
    "a quota without an end": (
        lambda: make_coupon(quota=5),
        lambda at, by: change_coupon(at, by=by, total_quantity=None),
        lambda at: row(at).total_quantity,
    ),
    "a higher quota beside other fields": (
        lambda: make_coupon(quota=5),
        lambda at, by: change_coupon(
            at,
            by=by,
            total_quantity=9,
            title="More",
            valid_until=TOMORROW + timedelta(days=2),
            issue_end_at=TOMORROW,
        ),
        lambda at: (row(at).total_quantity, row(at).title, row(at).valid_until, row(at).issue_end_at),
    ),
    "a higher quota of what was closed": (
        lambda: make_coupon(quota=5, status=CLOSED),
        lambda at, by: change_coupon(at, by=by, total_quantity=9),
        lambda at: row(at).total_quantity,
    ),
    "a quota above the codes of a pool": (
        lambda: test_pools.pooled(2, quota=None),
        lambda at, by: change_coupon(at, by=by, total_quantity=9),
        lambda at: row(at).total_quantity,
    ),
    "a close": (
        lambda: make_coupon(),
        lambda at, by: change_coupon(at, by=by, step="close"),
        lambda at: row(at).status,
    ),
    "a close of what is paused": (
        lambda: paused_with_words(),
        lambda at, by: change_coupon(at, by=by, status=CLOSED),
        lambda at: row(at).status,
    ),
    "an earlier end": (
        lambda: make_coupon(),
        lambda at, by: change_coupon(at, by=by, issue_end_at=soon(60)),
        lambda at: row(at).issue_end_at,
    ),
    "more codes where they are the quota": (
        pool_that_is_the_quota,
        lambda of, by: pools.count_codes(of[1], by=by),
        lambda of: row(of[0]).pool_left,
    ),
    "a list of codes": (
        a_list,
        lambda of, by: bulk_revoking.revoke_all(bulk_revoking.look_at(of[1]), by=by, reason="misprint"),
        lambda of: standing(of[0]),
    ),
    "a role": (
        lambda: make_user().id,
        lambda who, by: give_role(who, TILL, by=by),
        role_of,
    ),
    "a role in place of a lesser one": (
        lambda: make_user(role=VIEWER).id,
        lambda who, by: give_role(who, OWNER, by=by, seen=VIEWER),
        role_of,
    ),
    "an invitation": (
        invitations.new_key,
        lambda key, by: invite(OPERATOR, by=by, key=key, label="Kim"),
        lambda key: look_at(key).state == "open",
    ),
}
"""What waits: what is there before, how it is asked for, and what it would change."""
SUBJECTS = [name for name in CASES if name != "a quota above the codes of a pool"]


def ask(name: str, by: int | None) -> tuple[int, Any]:
    """Ask for a case, and return the id of its proposal and its subject."""
    prepare, asked, state = CASES[name]
    subject = prepare()
    before = state(subject)
    with pytest.raises(Waits) as waits:
        asked(subject, by)
    assert state(subject) == before
    return waits.value.proposal_id, subject


def quota_asked(by: int | None, **fields: Any) -> tuple[int, int]:
    coupon = make_coupon(quota=5)
    with pytest.raises(Waits) as waits:
        change_coupon(coupon, by=by, **fields or {"total_quantity": 9})
    return waits.value.proposal_id, coupon


def refusal(decide: Callable[[], object]) -> str:
    with pytest.raises(ProposalRefused) as refused:
        decide()
    db.session.rollback()
    return refused.value.code


def rewrite(proposal: int, **values: Any) -> None:
    with db.engine.begin() as connection:
        connection.execute(update(Proposal).where(Proposal.id == proposal).values(**values))


# What waits, and what does not


def test_every_verb_of_the_log_is_decided_by_one_or_by_two():
    assert WAITING.keys() | AT_ONCE == set(VERBS)
    assert not WAITING.keys() & AT_ONCE
    assert BY_TWO.keys() == WAITING.keys()


@pytest.mark.parametrize("name", CASES)
def test_it_waits_changes_nothing_and_is_done_when_another_one_confirms_it(name, asker, other):
    before = newest()
    prepare, asked, state = CASES[name]
    subject = prepare()
    was, made = state(subject), newest()
    with pytest.raises(Waits) as waits:
        asked(subject, asker)
    (proposed,) = written(made)
    assert (proposed.verb, proposed.actor_id) == ("propose", asker)
    assert state(subject) == was
    (open_one,) = open_proposals()
    assert (open_one.id, open_one.made_by) == (waits.value.proposal_id, asker)
    assert open_one.expires_at == open_one.made_at + WITHIN == waits.value.expires_at
    confirm_proposal(open_one.id, by=other)
    assert state(subject) != was
    confirmed, *deeds = [entry for entry in written(proposed.id) if entry.verb != "create account"]
    both = {"proposal": open_one.id, "asked_by": asker}
    assert (confirmed.verb, confirmed.actor_id, json.loads(confirmed.after)) == ("confirm", other, both)
    assert {deed.verb for deed in deeds} == {open_one.verb}
    for deed in deeds:
        assert deed.actor_id == other
        assert json.loads(deed.after).items() >= both.items()
    assert open_proposals() == []
    (past,) = past_proposals(9)
    assert (past.decision, past.decided_by, past.done_at is not None) == ("confirmed", other, True)
    assert chain().broken_at is None
    assert before < proposed.id


@pytest.mark.parametrize("name", CASES)
def test_control_without_the_rule_it_is_done_at_once(name, asker, without):
    without()
    prepare, asked, state = CASES[name]
    subject = prepare()
    was = state(subject)
    asked(subject, asker)
    assert state(subject) != was
    assert open_proposals() == []


AT_ONCE_CASES: dict[str, tuple[Callable[[], Any], Callable[[Any, int], object]]] = {
    "a lower quota": (
        lambda: make_coupon(quota=5),
        lambda at, by: change_coupon(at, by=by, total_quantity=3),
    ),
    "an end to a quota without one": (
        lambda: make_coupon(quota=None),
        lambda at, by: change_coupon(at, by=by, total_quantity=9),
    ),
    "the codes of a pool as the quota": (
        lambda: test_pools.pooled(2, quota=9),
        lambda at, by: change_coupon(at, by=by, total_quantity=None),
    ),
    "a pause": (lambda: make_coupon(), lambda at, by: change_coupon(at, by=by, step="pause")),
    "a pause with words": (lambda: make_coupon(), lambda at, by: pause(at, PauseMessage(ko="곧"), by=by)),
    "a resume with a later end": (
        lambda: paused_with_words(),
        lambda at, by: resume(at, by=by, extend=True),
    ),
    "a resume": (
        lambda: make_coupon(status=PAUSED),
        lambda at, by: change_coupon(at, by=by, step="resume"),
    ),
    "a later end": (lambda: make_coupon(), lambda at, by: change_coupon(at, by=by, issue_end_at=soon(7200))),
    "an earlier end of what was closed": (
        lambda: make_coupon(status=CLOSED),
        lambda at, by: change_coupon(at, by=by, issue_end_at=soon(60)),
    ),
    "an earlier end of what is over": (
        lambda: make_coupon(opens_in=-7200, closes_in=-60),
        lambda at, by: change_coupon(at, by=by, issue_end_at=soon(-3600)),
    ),
    "a higher quota of a draft": (
        lambda: make_coupon(quota=5, status=DRAFT),
        lambda at, by: change_coupon(at, by=by, total_quantity=9),
    ),
    "a rehearsal": (
        lambda: make_coupon(quota=5, rehearsal=True),
        lambda at, by: change_coupon(at, by=by, total_quantity=9, status=CLOSED),
    ),
    "codes for a quota that was decided": (
        lambda: test_pools.checked(test_pools.pooled(2, quota=9), ["MORE-0001"]),
        lambda upload, by: pools.count_codes(upload, by=by),
    ),
    "one code": (lambda: sold(1)[2][0], lambda code, by: redeeming.revoke(code, by, "misprint")),
    "an empty list": (
        list,
        lambda codes, by: bulk_revoking.revoke_all(bulk_revoking.look_at(codes), by=by, reason="misprint"),
    ),
    "no role any more": (lambda: make_user(role=TILL).id, lambda who, by: give_role(who, USER, by=by)),
    "fewer rights": (lambda: make_user(role=OPERATOR).id, lambda who, by: give_role(who, VIEWER, by=by)),
    "the same role": (lambda: make_user(role=TILL).id, lambda who, by: give_role(who, TILL, by=by)),
    "a block": (lambda: make_user().id, lambda who, by: block(who, by=by)),
}


@pytest.mark.parametrize("name", AT_ONCE_CASES)
def test_what_protects_and_what_is_decided_already_waits_for_nobody(app, name, asker, without):
    prepare, decide = AT_ONCE_CASES[name]
    without()
    subject = prepare()
    app.config["TWO_PERSON_RULE"] = True
    decide(subject, asker)
    assert open_proposals() == []


OF_DEEDS = {"give_role", "invite", "revoke_all"}
"""Of the decisions that the tests of the log list, those that wait."""


@pytest.mark.parametrize("name", test_writing.DECISIONS)
def test_every_function_that_is_told_by_whom_waits_or_does_not(name, app, without):
    without()
    prepare, decide = test_writing.DEEDS[name]
    subject, before = prepare(), newest()
    app.config["TWO_PERSON_RULE"] = True
    if name in OF_DEEDS:
        with pytest.raises(Waits):
            decide(subject, 77)
    else:
        decide(subject, 77)
    (entry,) = written(before)
    assert (entry.verb == "propose") == (name in OF_DEEDS)


def test_what_breaks_a_rule_is_refused_and_not_proposed(asker):
    coupon, gone = make_coupon(quota=5), make_user(blocked_at=utcnow())
    with pytest.raises(InvalidField):
        change_coupon(coupon, by=asker, total_quantity=10**18)
    with pytest.raises(RoleRefused, match="blocked"):
        give_role(gone.id, TILL, by=asker)
    with pytest.raises(redeeming.Unchanged, match="no_reason"):
        bulk_revoking.revoke_all(bulk_revoking.look_at(a_list()[1]), by=asker, reason=" ")
    assert open_proposals() == []


def test_the_sale_goes_on_while_a_higher_quota_waits(asker, other):
    coupon, _users, codes = sold(3, quota=5)
    with pytest.raises(Waits) as waits:
        change_coupon(coupon, by=asker, total_quantity=9)
    for user in make_users(2):
        claims.claim(coupon, user)
    admit(coupon)
    redeeming.use(codes[0], None)
    redeeming.revoke(codes[1], None, "by mistake")
    assert still_stands(proposal_by_id(waits.value.proposal_id))
    confirm_proposal(waits.value.proposal_id, by=other)
    assert (row(coupon).total_quantity, standing(coupon)) == (9, 4)


# Who decides


@pytest.mark.parametrize("name", SUBJECTS)
@pytest.mark.parametrize("decide", [confirm_proposal, decline_proposal])
def test_who_made_it_or_has_not_the_right_decides_nothing(name, decide, asker):
    proposal, subject = ask(name, asker)
    was, before = CASES[name][2](subject), newest()
    assert refusal(lambda: decide(proposal, by=asker)) == "own"
    lesser = (
        (VIEWER, TILL, USER) if BY_TWO[proposal_by_id(proposal).verb].right == "change" else (OPERATOR, USER)
    )
    for role in lesser:
        assert refusal(lambda role=role: decide(proposal, by=make_user(role=role).id)) == "no_right"
    gone = make_user(role=OWNER, blocked_at=utcnow()).id
    assert refusal(lambda: decide(proposal, by=gone)) == "no_right"
    assert (CASES[name][2](subject), written(before)) == (was, [])
    assert [each.id for each in open_proposals()] == [proposal]


def test_an_operator_confirms_what_operators_may_and_is_counted_for_it(asker):
    operator = make_user(role=OPERATOR).id
    ask("a role", asker)
    proposal, coupon = quota_asked(operator)
    assert [waiting_for(asker, OWNER), waiting_for(operator, OPERATOR), waiting_for(9, VIEWER)] == [1, 0, 0]
    confirm_proposal(proposal, by=make_user(role=OPERATOR).id)
    assert row(coupon).total_quantity == 9


@pytest.mark.parametrize("name", SUBJECTS)
@pytest.mark.parametrize("how", ["another role", "blocked", "deleted"])
def test_a_proposal_is_worth_nothing_once_who_made_it_has_the_right_no_more(name, how, asker, other):
    proposal, subject = ask(name, asker)
    was = CASES[name][2](subject)
    if how == "another role":
        give_role(asker, USER, by=other)
    elif how == "blocked":
        block(asker, by=None)
    else:
        delete_account(asker, by=None)
    assert refusal(lambda: confirm_proposal(proposal, by=other)) == "proposer"
    assert CASES[name][2](subject) == was
    decline_proposal(proposal, by=other)


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_role_that_ends_in_the_last_moment_counts(name, asker, other, monkeypatch):
    """Between the look and the deed: it is asked again in the transaction."""
    proposal, subject = ask(name, asker)
    was = CASES[name][2](subject)
    verb = proposal_by_id(proposal).verb
    by_two = BY_TWO[verb]

    def late(proposed: Any) -> Any:
        give_role(asker, USER, by=other)
        return by_two.seen_now(proposed)

    monkeypatch.setitem(BY_TWO, verb, type(by_two)(by_two.right, by_two.do, late))
    assert refusal(lambda: confirm_proposal(proposal, by=other)) == "proposer"
    assert CASES[name][2](subject) == was


def test_an_invitation_that_waits_opens_nothing_and_then_lasts_as_long_as_any(asker, other):
    key = invitations.new_key()
    with pytest.raises(Waits) as waits:
        invite(TILL, by=asker, key=key, label="Kim")
    user = make_user().id
    with pytest.raises(invitations.InvitationRefused, match="proposed"):
        invitations.take(key, user)
    assert role_of(user) == USER
    assert invitations.open_invitations() == []
    confirm_proposal(waits.value.proposal_id, by=other)
    (made,) = invitations.open_invitations()
    assert (made.label, made.made_by) == ("Kim", asker)
    assert made.expires_at > utcnow() + timedelta(days=6)
    assert invitations.take(key, user) == TILL


@pytest.mark.parametrize("how", ["declined", "withdrawn", "too_old"])
def test_an_invitation_whose_proposal_came_to_nothing_never_opens(how, asker, other):
    key = invitations.new_key()
    with pytest.raises(Waits) as waits:
        invite(TILL, by=asker, key=key, label="Kim")
    if how == "declined":
        decline_proposal(waits.value.proposal_id, by=other)
    elif how == "withdrawn":
        withdraw_proposal(waits.value.proposal_id, by=asker)
    else:
        late = utcnow() - timedelta(seconds=1)
        rewrite(waits.value.proposal_id, expires_at=late)
        db.session.execute(update(Invitation).values(expires_at=late))
        db.session.commit()
    assert look_at(key).state == "withdrawn"
    assert refusal(lambda: confirm_proposal(waits.value.proposal_id, by=other)) == how
    with pytest.raises(invitations.InvitationRefused):
        invitations.take(key, make_user().id)


# Too old, decided, changed


@pytest.mark.parametrize("name", SUBJECTS)
def test_after_half_an_hour_it_is_too_old(name, asker, other):
    proposal, subject = ask(name, asker)
    was, before = CASES[name][2](subject), newest()
    rewrite(proposal, expires_at=utcnow() - timedelta(milliseconds=1))
    for decide in (confirm_proposal, decline_proposal):
        assert refusal(lambda decide=decide: decide(proposal, by=other)) == "too_old"
    assert refusal(lambda: withdraw_proposal(proposal, by=asker)) == "too_old"
    assert (CASES[name][2](subject), written(before), open_proposals()) == (was, [], [])
    assert [each.decision for each in past_proposals(9)] == [None]


@pytest.mark.parametrize("name", SUBJECTS)
def test_it_is_decided_once(name, asker, other):
    proposal, subject = ask(name, asker)
    third = make_user(role=OWNER).id
    confirm_proposal(proposal, by=other)
    was, before = CASES[name][2](subject), newest()
    for decide, by in ((confirm_proposal, other), (confirm_proposal, third), (decline_proposal, third)):
        assert refusal(lambda decide=decide, by=by: decide(proposal, by=by)) == "confirmed"
    assert refusal(lambda: withdraw_proposal(proposal, by=asker)) == "confirmed"
    assert (CASES[name][2](subject), written(before)) == (was, [])


@pytest.mark.parametrize("name", SUBJECTS)
def test_what_was_declined_or_withdrawn_is_never_done(name, asker, other):
    state = CASES[name][2]
    for end, by, verb in ((decline_proposal, other, "decline"), (withdraw_proposal, asker, "withdraw")):
        proposal, subject = ask(name, asker)
        was, before = state(subject), newest()
        assert outcome(withdraw_proposal, proposal, other) == "not_own"
        end(proposal, by=by)
        (entry,) = written(before)
        assert (entry.verb, entry.actor_id) == (verb, by)
        ended = proposal_by_id(proposal).decision
        assert refusal(lambda proposal=proposal: confirm_proposal(proposal, by=other)) == ended
        assert state(subject) == was


def test_there_is_no_such_proposal(asker):
    for decide in (confirm_proposal, decline_proposal, withdraw_proposal, finish_proposal):
        assert refusal(lambda decide=decide: decide(10**9, by=asker)) == "unknown"


CHANGES: dict[str, dict[str, Callable[[Any], object]]] = {
    "a higher quota": {
        "another quota": lambda at: change_coupon(at, total_quantity=3),
        "a pause": lambda at: change_coupon(at, step="pause"),
        "a title": lambda at: change_coupon(at, title="Other"),
        "a later end": lambda at: change_coupon(at, issue_end_at=soon(9000)),
    },
    "a higher quota of what was closed": {"the archive": lambda at: archive(at, by=None)},
    "a close": {
        "a pause": lambda at: change_coupon(at, step="pause"),
        "another quota": lambda at: change_coupon(at, total_quantity=3),
    },
    "an earlier end": {"a later end": lambda at: change_coupon(at, issue_end_at=soon(9000))},
    "more codes where they are the quota": {
        "a pause": lambda of: change_coupon(of[0], step="pause"),
        "the file taken out": lambda of: pools.withdraw_codes(of[1], by=None),
    },
    "a list of codes": {
        "one revoked by itself": lambda of: redeeming.revoke(of[1][0], None, "by mistake"),
        "all revoked by themselves": lambda of: [redeeming.revoke(code, None, "x") for code in of[1]],
        "one used": lambda of: redeeming.use(of[1][1], None),
    },
    "a role": {
        "a block": lambda who: block(who, by=None),
        "deleted": lambda who: delete_account(who, by=None),
    },
    "a role in place of a lesser one": {"no role any more": lambda who: give_role(who, USER, by=None)},
}
"""How each subject changes between the look of two people."""


@pytest.mark.parametrize(("name", "change"), [(name, change) for name in CHANGES for change in CHANGES[name]])
@pytest.mark.parametrize("when", ["before", "in the last moment"])
def test_what_changed_meanwhile_is_not_done(name, change, when, asker, other, monkeypatch):
    proposal, subject = ask(name, asker)
    if when == "before":
        CHANGES[name][change](subject)
        assert not still_stands(proposal_by_id(proposal))
    else:  # after the look, before the lock
        proposed = proposal_by_id(proposal)
        by_two = BY_TWO[proposed.verb]

        def changed(_proposed: Any) -> str:
            CHANGES[name][change](subject)
            return proposed.seen

        monkeypatch.setitem(BY_TWO, proposed.verb, type(by_two)(by_two.right, by_two.do, changed))
    before = newest()
    with pytest.raises((ProposalRefused, RoleRefused, pools.NotCounted)) as refused:
        confirm_proposal(proposal, by=other)
    db.session.rollback()
    if isinstance(refused.value, ProposalRefused):
        assert refused.value.code == "changed"
    assert proposal_by_id(proposal).decision is None
    assert "confirm" not in {entry.verb for entry in written(before)}


@pytest.mark.parametrize("name", CHANGES)
def test_control_what_did_not_change_is(name, asker, other):
    proposal, _subject = ask(name, asker)
    assert still_stands(proposal_by_id(proposal))
    confirm_proposal(proposal, by=other)


def test_of_two_proposals_for_one_quota_the_first_that_is_confirmed_counts(asker, other):
    proposal, coupon = quota_asked(asker)
    with pytest.raises(Waits) as second:
        change_coupon(coupon, by=other, total_quantity=7)
    confirm_proposal(second.value.proposal_id, by=asker)
    assert refusal(lambda: confirm_proposal(proposal, by=other)) == "changed"
    assert row(coupon).total_quantity == 7


def test_the_period_goes_on_while_it_waits(asker, other):
    """A rule that the change breaks by now is told as without the rule, and the proposal stays as it is."""
    coupon = make_coupon(quota=5, opens_in=3600, closes_in=7200)
    with pytest.raises(Waits) as waits:
        change_coupon(coupon, by=asker, total_quantity=9, issue_start_at=soon(1800))
    db.session.execute(update(Proposal).values(arguments=json.dumps({"total_quantity": -1})))
    db.session.commit()
    with pytest.raises(InvalidField):
        confirm_proposal(waits.value.proposal_id, by=other)
    assert proposal_by_id(waits.value.proposal_id).decision is None


def test_a_pause_that_raises_the_quota_waits_as_a_change(asker, other):
    coupon = make_coupon(quota=5)
    with pytest.raises(Waits) as waits:
        change_coupon(coupon, by=asker, total_quantity=9, status=PAUSED)
    assert (waits.value.verb, row(coupon).status) == ("change coupon", LIVE)
    confirm_proposal(waits.value.proposal_id, by=other)
    assert (row(coupon).total_quantity, row(coupon).status) == (9, PAUSED)


# Twice, and at once


@pytest.mark.parametrize("name", [name for name in SUBJECTS if name != "an earlier end"])
def test_who_asks_twice_has_one_proposal(name, asker, other):
    """Who asks for an earlier end by the clock asks for another second each time."""
    prepare, asked, _state = CASES[name]
    subject, found = prepare(), set()
    for by in (asker, asker, other):
        with pytest.raises(Waits) as waits:
            asked(subject, by)
        found.add((waits.value.proposal_id, waits.value.made_by))
    assert len(found) == len(open_proposals()) == 1
    assert found.pop()[1] == asker


@pytest.mark.parametrize("name", ["a higher quota", "a list of codes", "a role", "an invitation"])
def test_clicks_at_one_instant_make_one_proposal(app, name, asker):
    prepare, asked, _state = CASES[name]
    subject, before = prepare(), newest()

    def click() -> int:
        with pytest.raises(Waits) as waits:
            asked(subject, asker)
        return waits.value.proposal_id

    assert len(set(at_once(app, [click] * 4))) == len(open_proposals()) == 1
    assert [entry.verb for entry in written(before)].count("propose") == 1


def outcome(decide: Callable[..., object], proposal: int, by: int) -> str:
    try:
        decide(proposal, by=by)
    except ProposalRefused as refused:
        db.session.rollback()
        return refused.code
    return "done"


@pytest.mark.parametrize("name", SUBJECTS)
def test_of_two_who_confirm_at_once_one_does_it(app, name, asker, other):
    proposal, _subject = ask(name, asker)
    third = make_user(role=OWNER).id
    before = newest()
    calls = [lambda by=by: outcome(confirm_proposal, proposal, by) for by in (other, other, third)]
    told = sorted(at_once(app, calls))
    assert told.count("done") == 1
    assert set(told) <= {"done", "confirmed", "changed"}
    verbs = [entry.verb for entry in written(before)]
    assert verbs.count("confirm") == 1
    assert len(verbs) == (3 if name == "a list of codes" else 2)
    assert chain().broken_at is None


@pytest.mark.parametrize("name", SUBJECTS)
def test_of_one_who_confirms_and_one_who_declines_at_once_one_counts(app, name, asker, other):
    proposal, subject = ask(name, asker)
    was, third = CASES[name][2](subject), make_user(role=OWNER).id
    confirmed, declined = at_once(
        app,
        [
            lambda: outcome(confirm_proposal, proposal, other),
            lambda: outcome(decline_proposal, proposal, third),
        ],
    )
    assert [confirmed, declined].count("done") == 1
    assert (CASES[name][2](subject) != was) == (confirmed == "done")
    assert proposal_by_id(proposal).decision == ("confirmed" if confirmed == "done" else "declined")


# Broken off


@pytest.mark.parametrize("name", [name for name in SUBJECTS if name != "a list of codes"])
def test_whoever_dies_before_the_commit_has_decided_nothing(name, asker, other, monkeypatch):
    proposal, subject = ask(name, asker)
    was, before = CASES[name][2](subject), newest()
    rows = iter([writing.hash_of, failing(RuntimeError("no disk"))])
    with monkeypatch.context() as patch:
        patch.setattr(writing, "hash_of", lambda *row: next(rows)(*row))
        with pytest.raises(RuntimeError):
            confirm_proposal(proposal, by=other)
    db.session.rollback()
    assert (CASES[name][2](subject), written(before)) == (was, [])
    assert proposal_by_id(proposal).decision is None
    confirm_proposal(proposal, by=other)
    assert CASES[name][2](subject) != was


def test_a_list_whose_revoking_breaks_off_is_finished_by_whoever_may(asker, other, monkeypatch):
    coupon, _users, codes = sold(5)
    with pytest.raises(Waits) as waits:
        bulk_revoking.revoke_all(bulk_revoking.look_at(codes), by=asker, reason="misprint")
    proposal, third = waits.value.proposal_id, make_user(role=OPERATOR).id
    assert refusal(lambda: finish_proposal(proposal, by=third)) == "changed"
    monkeypatch.setattr(bulk_revoking, "AT_ONCE", 2)
    parts = iter([bulk_revoking._revoke, failing(OperationalError("", {}, Exception()))])
    with monkeypatch.context() as patch:
        patch.setattr(bulk_revoking, "_revoke", lambda *of: next(parts)(*of))
        with pytest.raises(OperationalError):
            confirm_proposal(proposal, by=other)
    assert standing(coupon) == 3
    half = proposal_by_id(proposal)
    assert (half.decision, half.done_at) == ("confirmed", None)
    redeeming.use(codes[4], None)
    assert refusal(lambda: finish_proposal(proposal, by=make_user(role=VIEWER).id)) == "no_right"
    before = newest()
    for _ in range(2):
        finish_proposal(proposal, by=third)
    assert standing(coupon) == 1
    rows = [entry for entry in written(before) if entry.verb == "revoke"]
    assert [json.loads(entry.after) for entry in rows] == [{"proposal": proposal, "asked_by": asker}] * 2
    assert proposal_by_id(proposal).done_at is not None


def test_a_coupon_that_somebody_else_got_meanwhile_is_not_of_the_list(asker, other):
    coupon, users, codes = sold(2, standby=1)
    with pytest.raises(Waits) as waits:
        bulk_revoking.revoke_all(bulk_revoking.look_at(codes[:1]), by=asker, reason="misprint")
    confirm_proposal(waits.value.proposal_id, by=other)
    admit(coupon)
    finish_proposal(waits.value.proposal_id, by=other)
    with db.engine.connect() as connection:
        holders = connection.scalars(select(CouponIssue.user_id).order_by(CouponIssue.user_id)).all()
        assert holders == [users[1], users[2]]
        assert len(connection.scalars(select(Revocation.id)).all()) == 1


# The setting


@pytest.mark.parametrize("name", SUBJECTS)
def test_what_waits_when_the_rule_is_switched_off_can_be_confirmed_or_asked_for_anew(
    name, asker, other, without
):
    proposal, subject = ask(name, asker)
    without()
    was = CASES[name][2](subject)
    assert refusal(lambda: confirm_proposal(proposal, by=asker)) == "own"
    if name == "an earlier end":
        confirm_proposal(proposal, by=other)
    else:
        CASES[name][1](subject, asker)
        assert refusal(lambda: confirm_proposal(proposal, by=other)) == "changed"
    assert CASES[name][2](subject) != was


def test_the_first_owner_is_made_by_a_command_alone_and_the_second_is_not():
    first, second = make_user().id, make_user().id
    give_role(first, OWNER, by=None)
    with pytest.raises(Waits) as waits:
        give_role(second, OWNER, by=None)
    assert role_of(second) == USER
    confirm_proposal(waits.value.proposal_id, by=first)
    assert role_of(second) == OWNER


# Commands


def test_a_command_asks_too_and_confirms_nothing(run, asker):
    coupon = make_coupon(quota=5)
    for command in (("quota", coupon, 9), ("quota", coupon, "unlimited"), ("close", coupon)):
        assert_one_line(run("coupon", *command), "two people decide this", "/admin/proposals")
    assert (row(coupon).total_quantity, row(coupon).status) == (5, LIVE)
    assert run("coupon", "pause", coupon).exit_code == 0
    assert run("coupon", "resume", coupon).exit_code == 0
    listed = run("proposal", "list").stdout.splitlines()
    assert len(listed) == 3
    assert f'a command  change quota  coupon {coupon}  {{"total_quantity": 9}}' in listed[0]
    confirm_proposal(open_proposals()[0].id, by=asker)
    assert row(coupon).total_quantity == 9
    assert "confirm" not in run("proposal", "--help").stdout.split("Commands")[1]


def test_a_list_of_a_command_waits(run, asker, tmp_path):
    coupon, codes = a_list()
    (file := tmp_path / "codes.csv").write_text("".join(f"{code}\n" for code in codes))
    told = run("coupon", "revoke", "--file", file, "--reason", "misprint")
    assert "two people decide this" in told.stderr
    assert standing(coupon) == 3
    confirm_proposal(open_proposals()[0].id, by=asker)
    assert standing(coupon) == 1


def test_a_list_that_is_too_long_to_wait_is_refused(run, asker, tmp_path, monkeypatch):
    monkeypatch.setattr(bulk_revoking, "MOST_PROPOSED", 1)
    coupon, codes = a_list()
    (file := tmp_path / "codes.csv").write_text("".join(f"{code}\n" for code in codes))
    assert "20,000 codes at most" in run("coupon", "revoke", "--file", file, "--reason", "misprint").stderr
    assert (standing(coupon), open_proposals()) == (3, [])


def test_roles_of_a_command_wait(run, asker):
    user = make_user("kim@example.com")
    assert_one_line(run("user", "role", user.email, "till"), "two people decide this")
    assert_one_line(run("user", "promote", user.email), "two people decide this")
    assert run("user", "role", user.email, "none").exit_code == 0
    link = run("user", "invite", "till", "--for", "Kim")
    assert link.stdout.startswith("/join?key=")
    assert "two people decide this" in link.stderr
    assert look_at(link.stdout.strip().partition("=")[2]).state == "proposed"
    assert role_of(user.id) == USER


def test_an_account_with_a_role_is_made_without_it_and_the_role_waits(run):
    made = run("user", "create", "first@example.com", "--admin", stdin="correct horse battery\n")
    assert made.stdout.splitlines()[-2:] == ["user first@example.com created", "owner first@example.com"]
    made = run("user", "create", "till@example.com", "--role", "till", stdin="correct horse battery\n")
    assert "user till@example.com created" in made.stdout
    assert "two people decide this" in made.stderr
    assert [each.user_id is not None for each in open_proposals()] == [True]


def test_control_without_the_rule_an_account_is_made_with_its_role(run, without):
    without()
    before = newest()
    made = run("user", "create", "till@example.com", "--role", "till", stdin="correct horse battery\n")
    assert "till till@example.com created" in made.stdout
    assert [entry.verb for entry in written(before)] == ["create account"]


def test_a_command_withdraws_what_commands_made(run, asker):
    mine, coupon = quota_asked(None)
    theirs, _coupon = quota_asked(asker)
    assert run("proposal", "withdraw", mine).stdout == f"proposal {mine} withdrawn\n"
    assert_one_line(run("proposal", "withdraw", mine), "withdrawn already")
    assert_one_line(run("proposal", "withdraw", theirs), "on the console")
    assert_one_line(run("proposal", "withdraw", 10**9), "no such proposal")
    assert row(coupon).total_quantity == 5


def test_no_proposal_names_a_person(asker, other):
    for name in SUBJECTS:
        ask(name, asker)
    with db.engine.connect() as connection:
        rows = connection.execute(select(Proposal.__table__)).all()
    assert not [proposal for proposal in rows if "@" in repr(proposal) or "Kim" in repr(proposal)]


def test_whom_a_reason_names_is_forgotten(asker, other):
    user = make_user("kim.minsu@example.com", name="Kim Minsu")
    with pytest.raises(Waits) as waits:
        bulk_revoking.revoke_all(bulk_revoking.look_at(a_list()[1]), by=asker, reason="Kim Minsu has asked")
    anonymise(db.session.get_one(User, user.id), by=None)
    assert proposal_by_id(waits.value.proposal_id).reason == "— has asked"
    confirm_proposal(waits.value.proposal_id, by=other)
