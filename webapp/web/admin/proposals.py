"""The page of proposals: what waits for a second person, what it would do by now, and what became of the others."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil
from typing import Any

import redis
from flask import flash, has_request_context, redirect, render_template, request, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _
from sqlalchemy import Row
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.wrappers import Response

from webapp.accounts.names import names_of
from webapp.accounts.owners import RoleRefused
from webapp.accounts.roles import team as colleagues
from webapp.models import Coupon, Invitation, User, utcnow
from webapp.models.proposals import CONFIRMED, DECLINED, WITHDRAWN
from webapp.proposals import rule
from webapp.proposals.reading import arguments_of, open_proposals, past_proposals, proposal_by_id
from webapp.proposals.rule import ProposalRefused, Waits
from webapp.sale import confirming
from webapp.sale.bulk_revoking import standing
from webapp.sale.consequences import of_close
from webapp.sale.coupons import InvalidField
from webapp.sale.lists import NotCounted
from webapp.sale.outcomes import Refused
from webapp.sale.uploads import upload_by_id
from webapp.stores.sql import db
from webapp.stores.swallowed import swallow
from webapp.values.moments import SEOUL
from webapp.web.admin.consequences import effects_of, sentences
from webapp.web.admin.coupons import SAVED_ONLY, gate_of, operator_id
from webapp.web.admin.guard import bp
from webapp.web.admin.log import FIELDS, worded
from webapp.web.admin.team import WHY as ROLE_WHY
from webapp.web.presenting import thousands
from webapp.web.rights import MEANS, NAMES, role_now

PAGE = "/proposals"
PAST_SHOWN = 50
OPEN_SHOWN = 10
"""What each of them would do by now is asked of both stores, which takes some 10 ms (`make bench ARGS=console`)."""
MINUTE = timedelta(minutes=1)
WHAT = {
    "change quota": _("Change the quota"),
    "change coupon": _("Change the coupon"),
    "close": _("Close the coupon"),
    "count codes": _("Put codes into the pool"),
    "revoke": _("Take back many coupons"),
    "grant role": _("Give a role"),
    "invite": _("Invite a colleague"),
}
"""What a proposal asks for, by its verb."""
OUTCOMES = {
    CONFIRMED: _("Confirmed"),
    DECLINED: _("Declined"),
    WITHDRAWN: _("Withdrawn"),
    None: _("Not confirmed in time"),
}
WHY = {
    "unknown": _("There is no such proposal."),
    CONFIRMED: _("This proposal was confirmed already. It was not done twice."),
    DECLINED: _("This proposal was declined already. Nothing was changed."),
    WITHDRAWN: _("This proposal was withdrawn already. Nothing was changed."),
    "too_old": _("The 30 minutes of this proposal are over. Nothing was changed; ask for it anew."),
    "own": _("You have asked for this yourself. Another person has to decide it."),
    "not_own": _("Somebody else has asked for this. You can decline it."),
    "no_right": _("Your role may not decide this. Nothing was changed."),
    "proposer": _("Whoever asked for this may not do it any more. Nothing was changed."),
    "changed": _(
        "This has changed since it was asked for. Nothing was done; look at it, and ask for it anew."
    ),
}
"""Why a proposal was not decided."""
DECIDE = {
    "confirm": (confirming.confirm_proposal, _("Confirmed and done.")),
    "decline": (confirming.decline_proposal, _("The proposal is declined. Nothing was changed.")),
    "withdraw": (confirming.withdraw_proposal, _("The proposal is withdrawn. Nothing was changed.")),
    "finish": (confirming.finish_proposal, _("Confirmed and done.")),
}
BROKE_OFF = _("It broke off in the middle. Press “Do the rest” below: what is done is not done twice.")


@dataclass(kw_only=True)
class Told:
    """An open proposal in words: the coupon or person that it is about, what changes, and what that does by now.

    `stands` says that its subject is as it was seen, `others` that there is somebody else who may confirm it.
    """

    row: Row[Any]
    coupon: Coupon | None = None
    user: User | None = None
    changes: list[tuple[str, str, str]] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    stands: bool = True
    others: bool = True

    @property
    def minutes_left(self) -> int:
        left: timedelta = self.row.expires_at - utcnow()
        return max(1, ceil(left / MINUTE))

    @property
    def mine(self) -> bool:
        return bool(self.row.made_by == operator_id())

    @property
    def may_decide(self) -> bool:
        return not self.mine and role_now() in confirming.roles_of(self.row)


@bp.get(PAGE)
def proposals() -> str:
    waiting, past = open_proposals(), past_proposals(PAST_SHOWN)
    rows = waiting[:OPEN_SHOWN]
    names = names_of(who for row in (*rows, *past) for who in (row.made_by, row.decided_by, row.user_id))
    able = [each for each in colleagues() if not each.blocked_at] if rows else []
    told = [_told(row, able) for row in rows]
    db.session.close()
    unfinished = [row for row in past if row.decision == CONFIRMED and row.done_at is None]
    facts = {"outcomes": OUTCOMES, "unfinished": unfinished, "names": names}
    return render_template(
        "admin/proposals.html", told=told, past=past, more=len(waiting) - len(rows), **facts
    )


@bp.post(f"{PAGE}/<id:proposal_id>/<any({', '.join(DECIDE)}):step>")
def decide_proposal(proposal_id: int, step: str) -> Response:
    decide, done = DECIDE[step]
    try:
        decide(proposal_id, by=operator_id())
    except ProposalRefused as refused:
        flash(str(WHY[refused.code]))
    except RoleRefused as refused:
        flash(str(ROLE_WHY[refused.code]))
    except InvalidField as error:
        flash(gettext("It was not done: %(why)s", why=str(error)))
    except NotCounted:
        flash(str(WHY["changed"]))
    except (SQLAlchemyError, redis.RedisError, Refused) as error:
        _say_how_far(proposal_id, error)
    else:
        flash(str(done))
    return redirect(url_for("admin.proposals"), 303)


def _say_how_far(proposal_id: int, error: Exception) -> None:
    """Say what a store that failed has left; raise the error again when nothing of it was confirmed."""
    db.session.rollback()
    row = proposal_by_id(proposal_id)
    if row is None or row.decision != CONFIRMED:
        raise error
    swallow(
        "confirmed and not told",
        error,
        "it is committed; the sweeper tells Redis, and the page asks for the rest",
    )
    flash(str(SAVED_ONLY if row.done_at else BROKE_OFF))


@bp.app_errorhandler(Waits)
def waits_for_somebody(waits: Waits) -> Response:
    """Answer a form whose deed waits: with the page of proposals, on which it stands."""
    flash(waiting_words(waits))
    return redirect(url_for("admin.proposals"), 303)


def waiting_words(waits: Waits) -> str:
    if waits.made_by != operator_id():
        return str(gettext("Somebody has asked for exactly this already. Decide it below."))
    until = f"{waits.expires_at.astimezone(SEOUL):%H:%M}"
    return str(gettext("It waits for another person until %(time)s. Nothing is changed yet.", time=until))


@bp.app_template_filter()
def asked_for(verb: str) -> str:
    return str(WHAT[verb])


@bp.app_template_global()
def proposals_waiting() -> int:
    """Return how many proposals the visitor of a console page may confirm; 0 while SQL is away."""
    if not has_request_context() or request.blueprint != bp.name or not rule.is_on():
        return 0
    try:
        return confirming.waiting_for(operator_id(), role_now())
    except SQLAlchemyError as error:
        swallow("proposals not counted", error, "the page shows none")
        return 0


bp.add_app_template_global(rule.is_on, "two_people")


def _told(row: Row[Any], able: list[User]) -> Told:
    others = any(each.id != row.made_by and each.role in confirming.roles_of(row) for each in able)
    told = Told(row=row, stands=confirming.still_stands(row), others=others)
    if row.verb in ("revoke", "grant role", "invite"):
        {"revoke": _tell_list, "grant role": _tell_role, "invite": _tell_invitation}[row.verb](told)
        return told
    told.coupon = db.session.get(Coupon, row.coupon_id)
    if told.coupon is not None:
        _tell_codes(told) if row.verb == "count codes" else _tell_change(told, told.coupon)
    return told


def _tell_change(told: Told, coupon: Coupon) -> None:
    asked, gate = arguments_of(told.row), gate_of(coupon)
    if told.row.verb == "close":
        told.sentences = sentences(of_close(gate))
        return
    told.changes = list(_changes(coupon, json.loads(told.row.arguments)))
    told.sentences = sentences(effects_of(coupon, gate, asked))


def _changes(coupon: Coupon, asked: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, value in asked.items():
        yield str(FIELDS.get(name, name)), worded(name, getattr(coupon, name)), worded(name, value)


def _tell_codes(told: Told) -> None:
    upload = upload_by_id(arguments_of(told.row)["upload"])
    told.changes = [(str(FIELDS["codes"]), "", thousands(upload.good if upload else 0))]


def _tell_list(told: Told) -> None:
    with db.engine.connect() as connection:
        found = standing(arguments_of(told.row)["issues"], connection)
    for coupon_id, count in Counter(issue.coupon_id for issue in found).most_common():
        coupon = db.session.get_one(Coupon, coupon_id)
        told.sentences.append(f"{coupon.title}: {thousands(count)}")
    told.sentences.append(gettext("Reason: %(reason)s", reason=told.row.reason))


def _tell_role(told: Told) -> None:
    told.user = db.session.get(User, told.row.user_id)
    _tell_rights(told, told.row.seen, arguments_of(told.row)["role"])


def _tell_invitation(told: Told) -> None:
    asked = arguments_of(told.row)
    _tell_rights(told, "", asked["role"])
    made = db.session.get(Invitation, asked["invitation"])
    if made is not None and made.label:
        told.sentences.append(gettext("For: %(label)s", label=made.label))


def _tell_rights(told: Told, now: str, then: str) -> None:
    told.changes = [(str(FIELDS["role"]), str(NAMES.get(now, "")), str(NAMES[then]))]
    told.sentences = [str(MEANS[then])]
