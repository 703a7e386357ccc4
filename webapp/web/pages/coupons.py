"""The list of coupons, and one page for every state of one coupon."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from flask import Blueprint, make_response, redirect, render_template, request
from flask_babel import get_locale
from flask_login import current_user
from sqlalchemy import ColumnElement, Select, and_, or_, select
from werkzeug.wrappers import Response

from webapp.models import CLOSED, DRAFT, EVERYBODY, Coupon, utcnow
from webapp.sale import audience, claims, held
from webapp.sale.benefit import Worth, worth_of
from webapp.sale.content import content_of, said_in
from webapp.sale.coupons import coupon_by_id
from webapp.sale.held import Held
from webapp.sale.outcomes import LineStatus, Refused, Ticket
from webapp.sale.records import most_issued, state_at
from webapp.sale.turnout import turnout
from webapp.sale.waves import Place, place_of, places_of, wave_held
from webapp.stores.sql import db
from webapp.web.addresses import COUPON, safe_next
from webapp.web.pages.tickets import note_held, note_shown, presented_refusal, receipt_for, ticket_of
from webapp.web.presenting import LANGUAGES
from webapp.web.security import cookie_name

bp = Blueprint("coupons", __name__)
SHOWN_AFTER_END = timedelta(days=30)
MOST_SHOWN = 100
PAUSED_REFRESH_S = 15
"""How often a page without JavaScript looks whether a pause is over, or says something else."""
NOTICES = frozenset({"not_open", "already", "bad_csrf", "not_eligible", "other_wave"})


@dataclass(frozen=True, kw_only=True)
class Offer(Worth):
    """A coupon as people see it."""

    id: int
    min_available_amount: int
    total_quantity: int | None
    opens_at: datetime
    closes_at: datetime
    valid_until: datetime | None
    audience: str
    grades: list[str]
    state: str
    left: int | None
    standby_limit: int
    picture: str | None
    preview: bool = False
    place: Place | None = None

    @property
    def over(self) -> bool:
        return self.closes_at <= utcnow()


@bp.get("/")
def index() -> str:
    offers = _listed()
    ids = [offer.id for group in offers.values() for offer in group]
    mine = held.among(current_user.id, ids) if current_user.is_authenticated else {}
    if mine:
        note_held(current_user.id, mine.values())
    return render_template("coupons/index.html", **offers, mine=mine)


@bp.get(f"/coupons/{COUPON}")
def show(coupon_id: int) -> str:
    coupon = coupon_by_id(coupon_id)
    # To visitors a draft does not exist.
    if coupon is None or coupon.status == DRAFT:
        raise Refused("not_found")
    serving = claims.line_status(coupon_id)
    ticket, mine = _own(coupon_id) if current_user.is_authenticated else (None, None)
    notice = request.args.get("notice")
    place, new = place_of(coupon), ticket is None or ticket.state == "none"
    elsewhere = wave_held(coupon, current_user.id) if new and current_user.is_authenticated else None
    excluded = elsewhere is not None or (new and _is_excluded(coupon))
    return render_template(
        "coupons/show.html",
        offer=offer_of(coupon, serving.state, serving.issued, place=place),
        said=said_in(str(get_locale()), content_of(coupon)),
        ticket=ticket,
        excluded=excluded,
        elsewhere=elsewhere,
        held=mine,
        last_issued=held.last_issued(coupon_id) if ticket and ticket.state == "sold_out" else None,
        line=serving,
        receipt=receipt_for(coupon_id, current_user.id, ticket) if ticket else None,
        refusal=presented_refusal(coupon_id),
        # The notice comes from the address, so unknown ones are ignored.
        notice=notice if notice in NOTICES else None,
        poll=_moves(ticket, serving) and not excluded,
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


def _is_excluded(coupon: Coupon) -> bool:
    """Say whether the coupon is for others than this visitor, by SQL: a list that Redis has lost excludes nobody."""
    if coupon.audience == EVERYBODY or not current_user.is_authenticated:
        return False
    with db.engine.connect() as connection:
        return bool(audience.outsiders_among(connection, coupon, [current_user.id]))


def _own(coupon_id: int) -> tuple[Ticket, Held | None]:
    """Return the visitor's ticket, and the coupon that they hold or held."""
    ticket = ticket_of(coupon_id, current_user.id)
    ticket, own = held.confirmed(current_user.id, coupon_id, ticket)
    note_shown(turnout(), coupon_id, current_user.id, ticket)
    return ticket, own


def _listed() -> dict[str, list[Offer]]:
    """Return the open coupons, the first to end first; the coming, the first to open first; the ended, the last first.

    A coupon that is sold out or closed has ended. The open ones have no limit and are read last: a coupon that opens
    between the queries is among them, and nowhere else.
    """
    # This server's clock decides only the place in the list. Redis's clock decides every claim.
    now, end, start = utcnow(), Coupon.issue_end_at, Coupon.issue_start_at
    closed, over, begun = Coupon.status == CLOSED, end <= now, start <= now
    ended = or_(closed, over, and_(begun, Coupon.sold_out))
    queries = {
        "ended": _shown(ended, end > now - SHOWN_AFTER_END).order_by(end.desc()).limit(MOST_SHOWN),
        "coming": _shown(~closed, ~begun).order_by(start).limit(MOST_SHOWN),
        "open": _shown(~closed, begun, ~over, ~Coupon.sold_out).order_by(end),
    }
    found = {
        name: db.session.scalars(query.order_by(Coupon.id.desc())).all() for name, query in queries.items()
    }
    db.session.close()  # the next step may look the visitor up, which takes a connection of its own
    shown: dict[int, str] = {coupon.id: name for name, coupons in found.items() for coupon in coupons}
    listed = {
        name: [coupon for coupon in found[name] if shown[coupon.id] == name]
        for name in ("open", "coming", "ended")
    }
    places = _places(coupon for coupons in listed.values() for coupon in coupons)
    return {
        name: [
            offer_of(coupon, state_at(coupon, now), coupon.issued_quantity, place=places.get(coupon.id))
            for coupon in coupons
            if coupon.campaign_id is None or coupon.id in places
        ]
        for name, coupons in listed.items()
    }


def _places(coupons: Iterable[Coupon]) -> dict[int, Place]:
    """Return, by id, the one wave of each campaign that stands for it: the first of these, and which wave it is."""
    first: dict[int, Coupon] = {}
    for coupon in coupons:
        if coupon.campaign_id is not None:
            first.setdefault(coupon.campaign_id, coupon)
    return places_of(first.values())


def _shown(*conditions: ColumnElement[bool]) -> Select[Coupon]:
    """Return a query of coupons that people may see; it reads rows anew that this session has read before."""
    visible = (Coupon.status != DRAFT, Coupon.rehearsal.is_(False), Coupon.archived_at.is_(None))
    return select(Coupon).where(*visible, *conditions).execution_options(populate_existing=True)


def offer_of(
    coupon: Coupon, state: str, issued: int, *, preview: bool = False, place: Place | None = None
) -> Offer:
    """Return a coupon as people see it in that state of its line."""
    quota = most_issued(coupon)
    return Offer(
        id=coupon.id,
        **worth_of(coupon),
        min_available_amount=coupon.min_available_amount,
        total_quantity=quota,
        opens_at=coupon.issue_start_at,
        closes_at=coupon.issue_end_at,
        valid_until=coupon.valid_until,
        audience=coupon.audience,
        grades=audience.grades_of(coupon),
        state=state,
        # `quota` is of SQL and `issued` of Redis, so they may be of different moments.
        picture=coupon.picture,
        preview=preview,
        place=place,
        left=None if quota is None else max(0, quota - issued),
        standby_limit=coupon.standby_limit,
    )


def _refresh_s(ticket: Ticket | None, serving: LineStatus) -> int | None:
    """Return after how many seconds a page without JavaScript loads itself again, None for never."""
    if ticket is not None and ticket.state == "waiting":
        return 5
    if serving.state == "paused":
        return PAUSED_REFRESH_S
    if serving.state == "scheduled":
        return min(30, max(1, (serving.opens_at_ms - serving.now_ms) // 1000 + 1))
    return None


def _moves(ticket: Ticket | None, serving: LineStatus) -> bool:
    """Say whether the page may still change by itself.

    A user in standby is served whenever a coupon comes back, also after the end: the quota is raised, or a coupon is
    revoked.
    """
    if ticket is not None and ticket.state in ("issued", "rejected"):
        return False
    return (ticket is not None and ticket.state in ("waiting", "sold_out")) or serving.state != "closed"
