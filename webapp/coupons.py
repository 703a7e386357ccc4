"""The pages that people see: the list of coupons, and one page for every state of one coupon."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import Blueprint, make_response, redirect, render_template, request
from flask_login import current_user
from sqlalchemy import ColumnElement, Select, and_, or_, select
from werkzeug.wrappers import Response

from webapp import held, issuing
from webapp.accounts import safe_next
from webapp.extensions import db
from webapp.held import Held
from webapp.issuing import Refused, Serving, Ticket
from webapp.models import CLOSED, DRAFT, PAUSED, Coupon, utcnow
from webapp.policy import coupon_by_id
from webapp.presenting import LANGUAGES
from webapp.security import cookie_name
from webapp.tickets import presented_refusal, receipt_for, ticket_of

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

    @property
    def over(self) -> bool:
        return self.closes_at <= utcnow()


@bp.get("/")
def index() -> str:
    offers = _listed()
    ids = [offer.id for group in offers.values() for offer in group]
    mine = held.among(current_user.id, ids) if current_user.is_authenticated else {}
    return render_template("coupons/index.html", **offers, mine=mine)


@bp.get(f"/coupons/{COUPON}")
def show(coupon_id: int) -> str:
    coupon = coupon_by_id(coupon_id)
    if coupon is None or coupon.status == DRAFT:
        raise Refused("not_found")
    serving = issuing.serving(coupon_id)
    ticket, mine = _own(coupon_id) if current_user.is_authenticated else (None, None)
    notice = request.args.get("notice")
    return render_template(
        "coupons/show.html",
        offer=_offer(coupon, serving.state, serving.issued),
        ticket=ticket,
        held=mine,
        last_issued=held.last_issued(coupon_id) if ticket and ticket.state == "sold_out" else None,
        serving=serving,
        receipt=receipt_for(coupon_id, current_user.id, ticket) if ticket else None,
        refusal=presented_refusal(coupon_id),
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
    secure = request.is_secure
    name = cookie_name("lang", secure=secure)
    response.set_cookie(name, code, max_age=365 * 24 * 3600, samesite="Lax", secure=secure, httponly=True)
    return response


def _own(coupon_id: int) -> tuple[Ticket, Held | None]:
    """Return where the visitor stands, and what they hold."""
    ticket = ticket_of(coupon_id, current_user.id)
    return held.confirmed(current_user.id, coupon_id, ticket)


def _listed() -> dict[str, list[Offer]]:
    """Return what is open, the first to end first; what is coming, the first to open first; what ended, the last first.

    A coupon that has run out or was closed has ended. What is open has no limit, and is read last: what opens while
    this reads is among it all the same, and nowhere else.
    """
    now, end, start = utcnow(), Coupon.issue_end_at, Coupon.issue_start_at
    closed, over, begun = Coupon.status == CLOSED, end <= now, start <= now
    gone = and_(Coupon.total_quantity.is_not(None), Coupon.issued_quantity >= Coupon.total_quantity)
    ended = or_(closed, over, and_(begun, gone))
    queries = {
        "ended": _shown(ended, end > now - SHOWN_AFTER_END).order_by(end.desc()).limit(MOST_SHOWN),
        "coming": _shown(~closed, ~begun).order_by(start).limit(MOST_SHOWN),
        "open": _shown(~closed, begun, ~over, ~gone).order_by(end),
    }
    found = {
        name: db.session.scalars(query.order_by(Coupon.id.desc())).all() for name, query in queries.items()
    }
    db.session.close()  # who looks may have to be asked for, which takes a connection of its own
    shown: dict[int, str] = {coupon.id: name for name, coupons in found.items() for coupon in coupons}
    return {
        name: [
            _offer(coupon, _state_at(coupon, now), coupon.issued_quantity)
            for coupon in coupons
            if shown[coupon.id] == name
        ]
        for name, coupons in found.items()
    }


def _shown(*conditions: ColumnElement[bool]) -> Select[Coupon]:
    """Return the query of coupons that people may see, read anew when this session has read them before."""
    visible = (Coupon.status != DRAFT, Coupon.rehearsal.is_(False))
    return select(Coupon).where(*visible, *conditions).execution_options(populate_existing=True)


def _state_at(coupon: Coupon, now: datetime) -> str:
    """Return the state for the list, where the web server's clock and SQL are near enough."""
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
    """Whether the page may still change by itself.

    Who waited when the coupons ran out is served whenever one comes back, also after the end: by a quota that is raised
    or a coupon that is taken back.
    """
    if ticket is not None and ticket.state in ("issued", "rejected"):
        return False
    return (ticket is not None and ticket.state in ("waiting", "sold_out")) or serving.state != "closed"
