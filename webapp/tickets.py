"""The claim and the polls: Redis once, SQL never."""

import json
import time
from typing import NamedTuple

from flask import Blueprint, Response, current_app, redirect, request, url_for
from flask_login import current_user
from werkzeug.wrappers import Response as WerkzeugResponse

from webapp import issuing, receipts
from webapp.errors import Unauthenticated, problem, wants_json
from webapp.extensions import csrf
from webapp.issuing import Refused, Serving, Ticket
from webapp.receipts import Receipt, Refusal

bp = Blueprint("tickets", __name__)

COUPON = "<int(min=1, max=9223372036854775807):coupon_id>"
RECEIPT_HEADER = "X-Ticket-Receipt"
SERVING_FRESH_S = 0.25
"""How long a process answers `/serving` from its own copy."""
NEAR, NEAR_MS = 500, 1000
"""How many are near the front, and how often they may ask."""
SLOW_MS = 10_000
"""The longest pause between two polls, but for what POLLS_PER_SECOND asks for."""
AFTER_END_MS = 24_000
"""When to ask again after the end, where only a coupon that comes back is to be heard of: within 30 s, give or take a
fifth."""
STILL_MS = {"scheduled": 4000, "sold_out": SLOW_MS, "closed": AFTER_END_MS}
"""When to ask again where nothing moves, and whole crowds look on. Before the start the answers set the countdown."""
PACE_MS = 3000
"""Over how long the pace of a line is taken."""
SHOWN_REFUSALS = frozenset({"not_open", "closed", "sold_out"})


class Served(NamedTuple):
    """The public numbers of a line, as they are and as they are answered, good until a time of time.monotonic().

    `lately` holds what this process heard in the last PACE_MS, oldest first: (now_ms, serving number).
    """

    fresh_until: float
    serving: Serving
    body: bytes
    lately: tuple[tuple[int, int], ...]

    @property
    def pace(self) -> float:
        """How many tickets are decided in a ms."""
        (first_ms, first), (last_ms, last) = self.lately[0], self.lately[-1]
        return (last - first) / (last_ms - first_ms) if last_ms > first_ms else 0.0


_served: dict[int, Served] = {}


@bp.post(f"/coupons/{COUPON}/claim")
# Checked inside: who is not signed in is sent to sign in, whatever token they bring.
@csrf.exempt  # type: ignore[untyped-decorator]
def claim(coupon_id: int) -> WerkzeugResponse:
    as_json = wants_json()
    if not current_user.is_authenticated:
        if as_json:
            raise Unauthenticated
        page = url_for("coupons.show", coupon_id=coupon_id)
        return redirect(url_for("accounts.login", next=page), 303)
    csrf.protect()
    try:
        ticket = issuing.claim(coupon_id, current_user.id)
    except Refused as refused:
        if refused.code not in SHOWN_REFUSALS:
            raise
        receipt = refusal_receipt(refused)
        if as_json:
            return problem(refused.code, retry_ms=refused.retry_ms, receipt=receipt)
        return _to_page(coupon_id, refused.code, receipt)
    if as_json:
        return _private(ticket_json(coupon_id, current_user.id, ticket, claimed_next_ms(coupon_id, ticket)))
    return _to_page(coupon_id, "already" if ticket.state == "issued" else None)


@bp.get(f"/coupons/{COUPON}/ticket")
def ticket(coupon_id: int) -> Response:
    if not current_user.is_authenticated:
        raise Unauthenticated
    ticket = ticket_of(coupon_id, current_user.id)
    return _private(ticket_json(coupon_id, current_user.id, ticket, ticket_next_ms(coupon_id, ticket)))


@bp.get(f"/coupons/{COUPON}/serving")
def serving(coupon_id: int) -> Response:
    """Answer with the public numbers, at most SERVING_FRESH_S old, the same for everyone."""
    body = served(coupon_id).body
    return Response(body, content_type="application/json", headers={"Cache-Control": "public, max-age=1"})


def served(coupon_id: int) -> Served:
    """Return the public numbers from this process's own copy. Raises Refused(not_found, busy), redis.RedisError."""
    now = time.monotonic()
    kept = _served.get(coupon_id)
    if kept is None or now >= kept.fresh_until:
        serving = issuing.serving(coupon_id)
        lately = _lately(kept, serving)
        kept = _served[coupon_id] = Served(now + SERVING_FRESH_S, serving, _serving_json(serving), lately)
    return kept


def _lately(kept: Served | None, serving: Serving) -> tuple[tuple[int, int], ...]:
    before = kept.lately if kept else ()
    return (
        *(heard for heard in before if 0 < serving.now_ms - heard[0] <= PACE_MS),
        (serving.now_ms, serving.serving),
    )


def ticket_of(coupon_id: int, user_id: int) -> Ticket:
    """Return where the user stands; with a receipt of a ticket that Redis lost, the place is given back."""
    found = issuing.standing(coupon_id, user_id)
    receipt = _presented(coupon_id, user_id) if found.state == "none" else None
    if receipt is None:
        return found
    return issuing.restore(coupon_id, user_id, number=receipt.number, epoch=receipt.epoch)


def receipt_for(coupon_id: int, user_id: int, ticket: Ticket) -> str | None:
    if ticket.number is None:
        return None
    return receipts.sign(
        current_app.config["SECRET_KEY"], Receipt(coupon_id, user_id, ticket.number, ticket.epoch)
    )


def refusal_receipt(refused: Refused) -> str | None:
    """Return the signed proof that somebody came too late, or None for any other refusal."""
    if refused.refusal is None:
        return None
    return receipts.sign_refusal(current_app.config["SECRET_KEY"], refused.refusal)


def presented_refusal(coupon_id: int) -> Refusal | None:
    """Return the refusal that the address brings, if it is ours, unaltered, this visitor's and for this coupon."""
    if not current_user.is_authenticated:
        return None
    refusal = receipts.read_refusal(current_app.config["SECRET_KEY"], request.args.get("refusal", ""))
    if refusal is None or (refusal.coupon_id, refusal.user_id) != (coupon_id, current_user.id):
        return None
    return refusal


def _to_page(coupon_id: int, notice: str | None, refusal: str | None = None) -> WerkzeugResponse:
    return redirect(url_for("coupons.show", coupon_id=coupon_id, notice=notice, refusal=refusal), 303)


def _presented(coupon_id: int, user_id: int) -> Receipt | None:
    """Return the receipt that the request brings, if it is ours, unaltered, this user's and for this coupon."""
    receipt = receipts.read(current_app.config["SECRET_KEY"], request.headers.get(RECEIPT_HEADER, ""))
    if receipt is None or (receipt.coupon_id, receipt.user_id) != (coupon_id, user_id):
        return None
    return receipt


def _private(body: bytes) -> Response:
    return Response(body, content_type="application/json", headers={"Cache-Control": "no-store"})


def ticket_json(coupon_id: int, user_id: int, ticket: Ticket, next_ms: int) -> bytes:
    body = {
        "state": ticket.state,
        "number": ticket.number,
        "ahead": ticket.ahead,
        "code": ticket.code,
        "receipt": receipt_for(coupon_id, user_id, ticket),
        "epoch": ticket.epoch,
        "next_ms": next_ms,
    }
    return json.dumps(body).encode()


def _serving_json(serving: Serving) -> bytes:
    body = {
        "state": serving.state,
        "serving": serving.serving,
        "last": serving.last,
        "issued": serving.issued,
        "quota": serving.quota,
        "epoch": serving.epoch,
        "now_ms": serving.now_ms,
        "opens_at_ms": serving.opens_at_ms,
        "closes_at_ms": serving.closes_at_ms,
        "next_ms": _serving_next_ms(serving),
    }
    return json.dumps(body).encode()


# When to ask again: /serving says it to whoever looks on, /ticket to whoever has a ticket, and the pages do as told.


def next_ms(ahead: int, waiting: int = 0) -> int:
    """Return when somebody may ask again, in ms, who has so many ahead where so many wait.

    It is 1 s near the front, up to SLOW_MS far from it, and longer only to keep the polls of all who wait within
    POLLS_PER_SECOND. Near is at most a quarter of that many, who are excepted.
    """
    polls_per_second = current_app.config["POLLS_PER_SECOND"]
    if ahead < min(NEAR, polls_per_second // 4):
        return NEAR_MS
    steps = ((NEAR, NEAR_MS), (2000, 2000), (10_000, 4000))
    by_distance = next((pause for limit, pause in steps if ahead < limit), SLOW_MS)
    return int(max(by_distance, max(ahead, waiting) * 1000 // polls_per_second))


def ticket_next_ms(coupon_id: int, ticket: Ticket) -> int:
    """Return when whoever has this ticket may ask again: when it is their turn, if that is sooner than others may.

    So whoever is issued a coupon hears of it in time, for one poll more a person, at most as many a second as are
    decided. Near the front that needs no look at the line. Raises what `served` raises.
    """
    may = claimed_next_ms(coupon_id, ticket)
    if ticket.state != "waiting" or may == NEAR_MS:
        return may
    kept, ahead = served(coupon_id), ticket.ahead or 0
    may = next_ms(ahead, kept.serving.waiting)
    return min(may, max(NEAR_MS, int(ahead / kept.pace))) if kept.pace > 0 else may


def claimed_next_ms(coupon_id: int, ticket: Ticket) -> int:
    """Return the same for a click: whoever is the last in line has everybody else ahead."""
    if ticket.state == "waiting":
        return next_ms(ticket.ahead or 0)
    return _serving_next_ms(served(coupon_id).serving)


def _serving_next_ms(serving: Serving) -> int:
    if serving.waiting:
        return next_ms(serving.waiting)
    missed = serving.last - max(serving.serving, serving.floor)
    still = STILL_MS.get(serving.state, NEAR_MS)
    return int(max(still, missed * 1000 // current_app.config["POLLS_PER_SECOND"]))
