"""Receipts to read, print and verify: when a claim arrived, and how it was decided."""

from datetime import datetime

from flask import Blueprint, current_app, jsonify, redirect, render_template, request, url_for
from flask_login import current_user
from sqlalchemy import func, select
from werkzeug.wrappers import Response

from webapp import issuing, receipts
from webapp.errors import Unauthenticated, wants_json
from webapp.extensions import db
from webapp.issuing import Refused
from webapp.models import DRAFT, CouponIssue
from webapp.policy import coupon_by_id
from webapp.receipts import Receipt
from webapp.tickets import COUPON, receipt_for

bp = Blueprint("receipts", __name__)

MOST_TEXT = 200
"""Longer than any receipt: what was pasted is shown again up to here."""


@bp.get(f"/coupons/{COUPON}/receipt")
def show(coupon_id: int) -> str | Response:
    # As on the coupon's page the session alone counts: a blocked account may read why it got none.
    if not current_user.is_authenticated:
        if wants_json():
            raise Unauthenticated
        return redirect(url_for("accounts.login", next=request.path), 303)
    coupon = coupon_by_id(coupon_id)
    if coupon is None or coupon.status == DRAFT:
        raise Refused("not_found")
    ticket = issuing.standing(coupon_id, current_user.id)
    if ticket.number is None:
        raise Refused("no_ticket")
    last_issued = _last_issued(coupon_id)
    return render_template(
        "receipts/show.html",
        coupon=coupon,
        ticket=ticket,
        serving=issuing.serving(coupon_id),
        arrived_ms=issuing.arrival(coupon_id, ticket.number),
        issued_at=_issued_at(coupon_id, current_user.id),
        last_issued=last_issued,
        last_arrived_ms=issuing.arrival(coupon_id, last_issued) if last_issued else None,
        receipt=receipt_for(coupon_id, current_user.id, ticket),
    )


@bp.route("/receipts/verify", methods=["GET", "POST"])
def verify() -> str | Response:
    """Say whether a text is a receipt of ours, unaltered, and what it proves; white space in it does not count."""
    sent = request.form if request.method == "POST" else request.args
    text = "".join(sent.get("receipt", "").split())
    receipt = receipts.read(current_app.config["SECRET_KEY"], text)
    facts = _facts(receipt) if receipt else None
    if wants_json():
        return jsonify(valid=facts is not None, **(facts or {}))
    return render_template("receipts/verify.html", text=text[:MOST_TEXT], facts=facts)


def _facts(receipt: Receipt) -> dict[str, str | int | None]:
    """Return what the receipt says, and of its owner no more than two digits."""
    coupon = coupon_by_id(receipt.coupon_id)
    return {
        "coupon_id": receipt.coupon_id,
        "coupon": coupon.title if coupon else None,
        "number": receipt.number,
        "epoch": receipt.epoch,
        "account": f"••{str(receipt.user_id)[-2:]}",
        "arrived_at_ms": issuing.arrival(receipt.coupon_id, receipt.number),
    }


def _issued_at(coupon_id: int, user_id: int) -> datetime | None:
    mine = (CouponIssue.coupon_id == coupon_id, CouponIssue.user_id == user_id)
    return db.session.scalar(select(CouponIssue.issued_at).where(*mine))


def _last_issued(coupon_id: int) -> int | None:
    """Return the highest number that holds the coupon."""
    return db.session.scalar(
        select(func.max(CouponIssue.ticket_number)).where(CouponIssue.coupon_id == coupon_id)
    )
