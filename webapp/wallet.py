"""My coupons and their codes."""

from flask import Blueprint, redirect, render_template, request, url_for
from sqlalchemy import select
from werkzeug.wrappers import Response

from webapp.accounts import signed_in_user
from webapp.errors import Unauthenticated, wants_json
from webapp.extensions import db
from webapp.models import Coupon, CouponIssue

bp = Blueprint("wallet", __name__)


@bp.get("/wallet")
def index() -> str | Response:
    user = signed_in_user()
    if user is None:
        if wants_json():
            raise Unauthenticated
        return redirect(url_for("accounts.login", next=request.path), 303)
    return render_template("wallet/index.html", issues=_issues_of(user.id))


def _issues_of(user_id: int) -> list[dict[str, object]]:
    rows = db.session.execute(
        select(
            Coupon.title.label("coupon_title"),
            Coupon.id.label("coupon_id"),
            Coupon.discount_amount,
            CouponIssue.code,
            CouponIssue.issued_at,
            CouponIssue.used_at,
            Coupon.valid_until,
        )
        .join_from(CouponIssue, Coupon, CouponIssue.coupon_id == Coupon.id)
        .where(CouponIssue.user_id == user_id)
        .order_by(CouponIssue.issued_at.desc())
    )
    return [dict(row._mapping) for row in rows]
