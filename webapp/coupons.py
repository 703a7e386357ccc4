"""The pages that people see: the list of coupons, and one page for every state of one coupon."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import Blueprint, make_response, redirect, render_template, request
from flask_login import current_user
from sqlalchemy import select
from werkzeug.wrappers import Response

from webapp import issuing
from webapp.accounts import safe_next
from webapp.extensions import db
from webapp.issuing import Refused, Serving, Ticket
from webapp.models import CLOSED, DRAFT, PAUSED, Coupon, utcnow
from webapp.policy import coupon_by_id
from webapp.presenting import LANGUAGES
from webapp.tickets import receipt_for, ticket_of

bp = Blueprint("coupons", __name__)

COUPON = "<int(min=1, max=9223372036854775807):coupon_id>"
SHOWN_AFTER_END = timedelta(days=30)
MOST_SHOWN = 100
NOTICES = frozenset({"not_open", "already", "bad_csrf"})


@dataclass(frozen=True)
class Offer:
    """A coupon as people see it."""

    id: int
    title: str
    discount_amount: int
    min_available_amount: int
    total_quantity: int | None
    opens_at: datetime
    closes_at: datetime
    valid_until: datetime | None
    state: str
    left: int | None


@bp.get("/")
def index() -> str:
    offers = [_offer(coupon, _state_now(coupon), coupon.issued_quantity) for coupon in _listed()]
    return render_template(
        "coupons/index.html",
        open=[offer for offer in offers if offer.state in ("open", "paused")],
        coming=[offer for offer in offers if offer.state == "scheduled"],
        ended=[offer for offer in offers if offer.state in ("sold_out", "closed")],
    )


@bp.get(f"/coupons/{COUPON}")
def show(coupon_id: int) -> str:
    coupon = coupon_by_id(coupon_id)
    if coupon is None or coupon.status == DRAFT:
        raise Refused("not_found")
    serving = issuing.serving(coupon_id)
    ticket = ticket_of(coupon_id, current_user.id) if current_user.is_authenticated else None
    notice = request.args.get("notice")
    return render_template(
        "coupons/show.html",
        offer=_offer(coupon, serving.state, serving.issued),
        ticket=ticket,
        serving=serving,
        receipt=receipt_for(coupon_id, current_user.id, ticket) if ticket else None,
        notice=notice if notice in NOTICES else None,
        poll=_moves(ticket, serving),
        refresh_s=_refresh_s(ticket, serving),
    )


@bp.get("/language/<code>")
def language(code: str) -> Response:
    """Remember a language and go back to the page."""
    if code not in LANGUAGES:
        raise Refused("not_found")
    response = make_response(redirect(safe_next(request.args.get("next")), 303))
    response.set_cookie(
        "lang", code, max_age=365 * 24 * 3600, samesite="Lax", secure=request.is_secure, httponly=True
    )
    return response


def _listed() -> list[Coupon]:
    shown = (
        select(Coupon)
        .where(
            Coupon.status != DRAFT,
            Coupon.rehearsal.is_(False),
            Coupon.issue_end_at > utcnow() - SHOWN_AFTER_END,
        )
        .order_by(Coupon.issue_start_at.desc())
        .limit(MOST_SHOWN)
    )
    return list(db.session.scalars(shown))


def _state_now(coupon: Coupon) -> str:
    """Return the state for the list, where the web server's clock and SQL are near enough."""
    now = utcnow()
    if coupon.status == CLOSED or now >= coupon.issue_end_at:
        return "closed"
    if now < coupon.issue_start_at:
        return "scheduled"
    if coupon.sold_out:
        return "sold_out"
    return "paused" if coupon.status == PAUSED else "open"


def _offer(coupon: Coupon, state: str, issued: int) -> Offer:
    quota = coupon.total_quantity
    return Offer(
        id=coupon.id,
        title=coupon.title,
        discount_amount=coupon.discount_amount,
        min_available_amount=coupon.min_available_amount,
        total_quantity=quota,
        opens_at=coupon.issue_start_at,
        closes_at=coupon.issue_end_at,
        valid_until=coupon.valid_until,
        state=state,
        left=None if quota is None else max(0, quota - issued),
    )


def _refresh_s(ticket: Ticket | None, serving: Serving) -> int | None:
    """Return after how many seconds the page of a visitor without JavaScript loads itself again."""
    if ticket is not None and ticket.state == "waiting":
        return 5
    if serving.state == "scheduled":
        return min(30, max(1, (serving.opens_at_ms - serving.now_ms) // 1000 + 1))
    return None


def _moves(ticket: Ticket | None, serving: Serving) -> bool:
    """Whether the page may still change by itself."""
    if ticket is not None and ticket.state in ("issued", "rejected"):
        return False
    return (ticket is not None and ticket.state == "waiting") or serving.state != "closed"
