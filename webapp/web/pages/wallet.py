"""The visitor's coupons and their codes: the list, and one coupon to show at a till."""

import hashlib
from collections.abc import Iterable

from flask import Blueprint, Response, abort, jsonify, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as WerkzeugResponse

from webapp.accounts.visitor import signed_in_user
from webapp.models import User
from webapp.sale import held
from webapp.sale.held import Held
from webapp.web.errors import Unauthenticated, wants_json
from webapp.web.pages.tickets import note_held

bp = Blueprint("wallet", __name__)

ISSUE = "<id:issue_id>"
NEXT_MS = 7000
"""When an open page asks again for the state of a coupon, so that a use at the till shows within 10 s."""


@bp.get("/wallet")
def index() -> str | WerkzeugResponse:
    user = signed_in_user()
    if user is None:
        return _sign_in_first()
    issues = held.all_of(user.id)
    note_held(user.id, issues)
    return render_template("wallet/index.html", issues=issues, mark=_mark(issues))


@bp.get(f"/wallet/{ISSUE}")
def show(issue_id: int) -> str | WerkzeugResponse:
    user = signed_in_user()
    if user is None:
        return _sign_in_first()
    own = _own(user, issue_id)
    note_held(user.id, [own])
    return render_template("wallet/show.html", held=own)


@bp.get("/wallet/state")
def state_of_all() -> Response:
    return _told(mark=_mark(held.all_of(_somebody().id)))


@bp.get(f"/wallet/{ISSUE}/state")
def state(issue_id: int) -> Response:
    """Answer with the state of a coupon (usable, used, expired or revoked) and the time of it."""
    own = _own(_somebody(), issue_id)
    return _told(state=own.state, at=own.at.isoformat() if own.at else None, mark=own.mark)


def _told(**facts: str | None) -> Response:
    """Answer with the mark of a page; a page with another mark is out of date."""
    answer = jsonify(**facts, next_ms=NEXT_MS)
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _somebody() -> User:
    user = signed_in_user()
    if user is None:
        raise Unauthenticated
    return user


def _own(user: User, issue_id: int) -> Held:
    found = held.by_issue(user.id, issue_id)
    if found is None:
        abort(404)
    return found


def _mark(issues: Iterable[Held]) -> str:
    return hashlib.sha256(";".join(each.mark for each in issues).encode()).hexdigest()[:16]


def _sign_in_first() -> WerkzeugResponse:
    if wants_json():
        raise Unauthenticated
    return redirect(url_for("accounts.login", next=request.path), 303)
