"""The page of an invitation: what it gives, and the button that takes it."""

from flask import Blueprint, Response, flash, redirect, render_template, request
from flask_babel import gettext
from werkzeug.wrappers import Response as WerkzeugResponse

from webapp.accounts.invitations import InvitationRefused, Invited, look_at, take, why_not
from webapp.accounts.visitor import signed_in_user
from webapp.models import User
from webapp.stores.sql import db
from webapp.web.errors import Unauthenticated, problem
from webapp.web.pages.accounts import enter
from webapp.web.rights import NAMES, home_of
from webapp.web.security import KEPT_BY_NOBODY

bp = Blueprint("joining", __name__)
MOST_KEY = 100


@bp.get("/join")
def join() -> Response | WerkzeugResponse:
    """Show the invitation. Looking uses nothing: programs that preview a link look too. The key is in no log."""
    user, invited = signed_in_user(), look_at(_key())
    if user is not None and _has_taken(user, invited):
        return redirect(home_of(user.role), 303)
    if why := why_not(invited, user.role if user else ""):
        return problem(f"invitation_{why}")
    page = render_template(
        "accounts/join.html", invited=invited, user=user, key=_key(), here=request.full_path
    )
    return Response(page, headers={"Cache-Control": KEPT_BY_NOBODY, "X-Robots-Tag": "noindex"})


@bp.post("/join")
def take_invitation() -> Response | WerkzeugResponse:
    """Take the role, and go on with it on this device; every other session of the account has ended."""
    user = signed_in_user()
    if user is None:
        raise Unauthenticated
    try:
        role = take(_key(), user.id)
    except InvitationRefused as refused:
        return problem(f"invitation_{refused.code}")
    enter(db.session.get_one(User, user.id, populate_existing=True))
    flash(gettext("You have a new role: %(role)s.", role=NAMES[role]))
    return redirect(home_of(role), 303)


def _key() -> str:
    return request.values.get("key", "")[:MOST_KEY]


def _has_taken(user: User, invited: Invited) -> bool:
    return invited.taken_by == user.id and invited.role == user.role
