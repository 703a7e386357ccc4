"""My coupons and their codes: the list, and one coupon to show at a till."""

from typing import Any

from flask import Blueprint, abort, redirect, render_template, request, url_for
from sqlalchemy import Select, select
from werkzeug.wrappers import Response

from webapp.accounts import signed_in_user
from webapp.errors import Unauthenticated, wants_json
from webapp.extensions import db
from webapp.models import Coupon, CouponIssue, utcnow

bp = Blueprint("wallet", __name__)


@bp.get("/wallet")
def index() -> str | Response:
    user = signed_in_user()
    if user is None:
        return _sign_in_first()
    rows = db.session.execute(_issues_of(user.id).order_by(CouponIssue.issued_at.desc()))
    return render_template("wallet/index.html", issues=[dict(row._mapping) for row in rows])


@bp.get("/wallet/<int(min=1, max=9223372036854775807):issue_id>")
def show(issue_id: int) -> str | Response:
    user = signed_in_user()
    if user is None:
        return _sign_in_first()
    issue = db.session.execute(_issues_of(user.id).where(CouponIssue.id == issue_id)).one_or_none()
    if issue is None:
        abort(404)
    expired = issue.valid_until is not None and issue.valid_until <= utcnow()
    return render_template("wallet/show.html", issue=issue, expired=expired)


def _sign_in_first() -> Response:
    if wants_json():
        raise Unauthenticated
    return redirect(url_for("accounts.login", next=request.path), 303)


def _issues_of(user_id: int) -> Select[*tuple[Any, ...]]:
    return (
        select(
            CouponIssue.id,
            Coupon.title.label("coupon_title"),
            Coupon.id.label("coupon_id"),
            Coupon.discount_amount,
            Coupon.min_available_amount,
            CouponIssue.code,
            CouponIssue.issued_at,
            CouponIssue.used_at,
            Coupon.valid_until,
        )
        .join_from(CouponIssue, Coupon, CouponIssue.coupon_id == Coupon.id)
        .where(CouponIssue.user_id == user_id)
    )
