"""Receipts to read, print and verify: when a claim arrived, and how it was decided."""

from datetime import datetime

from flask import Blueprint, current_app, jsonify, redirect, render_template, request, url_for
from flask_login import current_user
from werkzeug.wrappers import Response

from webapp.models import DRAFT, Coupon
from webapp.sale import claims, held, receipts
from webapp.sale.coupons import coupon_by_id
from webapp.sale.held import Held
from webapp.sale.outcomes import LineStatus, Refused, Ticket
from webapp.sale.pause_history import Pause, pauses_between
from webapp.sale.receipts import Receipt, Refusal
from webapp.sale.turnout import turnout
from webapp.web.addresses import COUPON
from webapp.web.errors import Unauthenticated, wants_json
from webapp.web.pages.tickets import note_shown, presented_refusal, receipt_for
from webapp.web.presenting import moment

bp = Blueprint("receipts", __name__)

Facts = dict[str, str | int | None]

MOST_TEXT = 200
"""The most characters of a pasted text that are shown again; no receipt is longer."""


@bp.get(f"/coupons/{COUPON}/receipt")
def show(coupon_id: int) -> str | tuple[str, int] | Response:
    # As on the coupon's page the session alone counts: a blocked user may read why they got no coupon.
    if not current_user.is_authenticated:
        if wants_json():
            raise Unauthenticated
        # `full_path` ends in a question mark when there is no query.
        return redirect(url_for("accounts.login", next=request.full_path.rstrip("?")), 303)
    coupon = coupon_by_id(coupon_id)
    if coupon is None or coupon.status == DRAFT:
        raise Refused("not_found")
    if refusal := presented_refusal(coupon_id):
        return render_template(
            "receipts/refusal.html", coupon=coupon, refusal=refusal, receipt=request.args["refusal"]
        )
    ticket, own = held.confirmed(current_user.id, coupon_id, claims.standing(coupon_id, current_user.id))
    note_shown(turnout(), coupon_id, current_user.id, ticket)
    return _no_receipt(coupon) if ticket.number is None else _receipt(coupon, ticket, own)


def _receipt(coupon: Coupon, ticket: Ticket, own: Held | None) -> str:
    last_issued = held.last_issued(coupon.id)
    line = claims.line_status(coupon.id)
    arrived_ms = claims.arrival(coupon.id, ticket.number) if ticket.number else None
    return render_template(
        "receipts/show.html",
        coupon=coupon,
        ticket=ticket,
        held=own,
        line=line,
        arrived_ms=arrived_ms,
        pauses=_pauses(coupon.id, arrived_ms, _decided_at(line, own)),
        last_issued=last_issued,
        last_arrived_ms=claims.arrival(coupon.id, last_issued) if last_issued else None,
        receipt=receipt_for(coupon.id, current_user.id, ticket),
    )


def _pauses(coupon_id: int, arrived_ms: int | None, until: datetime) -> list[Pause]:
    """Return the pauses since the number was given; of one without its time only the pause that lasts."""
    since = moment(arrived_ms) if arrived_ms is not None else until
    return pauses_between(coupon_id, since, until)


def _decided_at(line: LineStatus, own: Held | None) -> datetime:
    """Return when the coupon was issued, or when the last one had gone, or now."""
    if own:
        return own.issued_at
    return moment(line.sold_out_at_ms or line.now_ms)


def _no_receipt(coupon: Coupon) -> tuple[str, int]:
    """Answer a visitor without a ticket with the state of the coupon; they may have a refusal."""
    if wants_json():
        raise Refused("no_ticket")
    return render_template("receipts/none.html", coupon=coupon, line=claims.line_status(coupon.id)), 404


@bp.route("/receipts/verify", methods=["GET", "POST"])
def verify() -> str | Response:
    """Show whether a text is an unaltered receipt of ours, and what it proves; white space in it does not count."""
    sent = request.form if request.method == "POST" else request.args
    text = "".join(sent.get("receipt", "").split())
    key = current_app.config["SECRET_KEY"]
    receipt, refusal = receipts.read(key, text), receipts.read_refusal(key, text)
    facts = _facts(receipt) if receipt else _facts_of_refusal(refusal) if refusal else None
    if wants_json():
        return jsonify(valid=facts is not None, **(facts or {}))
    return render_template("receipts/verify.html", text=text[:MOST_TEXT], facts=facts, refusal=refusal)


def _facts(receipt: Receipt) -> Facts:
    return {
        **_whose(receipt),
        "number": receipt.number,
        "epoch": receipt.epoch,
        "arrived_at_ms": claims.arrival(receipt.coupon_id, receipt.number),
    }


def _facts_of_refusal(refusal: Refusal) -> Facts:
    return {
        **_whose(refusal),
        "refused": refusal.code,
        "arrived_at_ms": refusal.arrived_ms,
        "ended_at_ms": refusal.ended_ms,
        "last_issued": refusal.last_issued,
        "last_arrived_at_ms": refusal.last_arrived_ms,
        "issued": refusal.issued,
        "waiting": refusal.waiting,
    }


def _whose(receipt: Receipt | Refusal) -> Facts:
    """Return the coupon of a receipt, and two digits of its owner's id."""
    coupon = coupon_by_id(receipt.coupon_id)
    return {
        "coupon_id": receipt.coupon_id,
        "coupon": coupon.title if coupon else None,
        "account": f"••{str(receipt.user_id)[-2:]}",
    }
