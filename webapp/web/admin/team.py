"""The page on which owners give roles, take them away, and invite colleagues."""

import hmac
from collections.abc import Callable

from flask import abort, current_app, flash, redirect, render_template, request, url_for
from flask_babel import gettext
from flask_babel import lazy_gettext as _
from sqlalchemy import select
from werkzeug.wrappers import Response

from webapp.accounts import invitations
from webapp.accounts.owners import RoleRefused
from webapp.accounts.roles import give_role
from webapp.accounts.roles import team as colleagues
from webapp.models import ROLES, USER, User, utcnow
from webapp.proposals.rule import Waits
from webapp.sale.submissions import TOKEN, new_token
from webapp.stores.sql import db
from webapp.web.admin.coupons import operator_id
from webapp.web.admin.guard import bp
from webapp.web.pages.accounts import enter
from webapp.web.rights import home_of

TEAM = "/team"
WHY = {
    "last_owner": _("This is the last owner who can sign in. Make somebody else an owner first."),
    "no_owner": _("You are no owner any more. Nothing was changed."),
    "blocked": _("This account is blocked. Let it in again first, on the page of the person."),
    "unknown": _("This account cannot have a role."),
    "changed": _(
        "The role of this account has changed meanwhile. Nothing was changed; look at what stands now."
    ),
}
"""Why a role was not given or taken away."""


@bp.get(TEAM)
def team() -> str:
    return _page()


@bp.post(f"{TEAM}/add")
def add_role() -> Response:
    """Give a role to an account that has none, found by its address."""
    typed, role = request.form.get("email", "").strip(), _sent_role()
    user = db.session.scalar(select(User).where(User.email == typed, User.rehearsal.is_(False)))
    db.session.close()
    if user is None:
        flash(gettext("No account has this address. Invite this person by a link."))
    elif user.role not in (USER, role):
        flash(gettext("This account has a role already. Change it in the list."))
    else:
        _said(lambda: give_role(user.id, role, by=operator_id(), seen=USER))
    return _back()


@bp.post(f"{TEAM}/<id:user_id>")
def change_role(user_id: int) -> Response:
    """Give an account another role, or none. An owner who gives up the role goes on with the one that is left."""
    role, seen = USER if "away" in request.form else _sent_role(), request.form.get("seen")
    changed = _said(lambda: give_role(user_id, role, by=operator_id(), seen=seen))
    if not (changed and user_id == operator_id()):
        return _back()
    enter(db.session.get_one(User, user_id, populate_existing=True))
    flash(gettext("You have given up your role as an owner."))
    return redirect(home_of(role), 303)


@bp.post(f"{TEAM}/invitations")
def invite() -> Response | tuple[str, int]:
    """Make an invitation and show its link, this once. A second click of the same form shows the same link."""
    once = request.form.get("once", "")
    key = _key_of(once if TOKEN.fullmatch(once) else new_token())
    waits = None
    try:
        invitations.invite(_sent_role(), by=operator_id(), label=request.form.get("label", ""), key=key)
    except RoleRefused as refused:
        flash(str(WHY[refused.code]))
        return _back()
    except Waits as waiting:
        waits = waiting
    return _page(address=url_for("joining.join", key=key, _external=True), waits=waits), 201


@bp.post(f"{TEAM}/invitations/<id:invitation_id>/withdraw")
def withdraw_invitation(invitation_id: int) -> Response:
    try:
        withdrawn = invitations.withdraw(invitation_id, by=operator_id())
    except RoleRefused as refused:
        flash(str(WHY[refused.code]))
    else:
        flash(
            gettext("The invitation is withdrawn.")
            if withdrawn
            else gettext("It was used or withdrawn already.")
        )
    return _back()


def _page(address: str | None = None, waits: Waits | None = None) -> str:
    return render_template(
        "admin/team.html",
        colleagues=colleagues(),
        invitations=invitations.open_invitations(),
        roles=ROLES,
        me=operator_id(),
        address=address,
        waits=waits,
        until=utcnow() + invitations.LASTS,
        once_token=new_token(),
    )


def _back() -> Response:
    return redirect(url_for("admin.team"), 303)


def _sent_role() -> str:
    """Return the role of the form; answer 400 for what is none."""
    role = request.form.get("role", "")
    return role if role in ROLES else abort(400)


def _said(give: Callable[[], bool]) -> bool:
    """Give or take away a role, and say what came of it."""
    try:
        changed = give()
    except RoleRefused as refused:
        flash(str(WHY[refused.code]))
        return False
    flash(gettext("Saved."))
    return changed


def _key_of(once: str) -> str:
    """Return the key that belongs to the token of a form: nobody knows it without our secret."""
    secret = current_app.config["SECRET_KEY"].encode()
    return hmac.digest(secret, f"invitation {once}".encode(), "sha256").hex()
