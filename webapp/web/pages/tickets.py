"""The claim and the polls, in Flask. They ask Redis once and SQL never; `webapp.web.fast.path` answers the same."""

import json
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import NamedTuple
from wsgiref.types import WSGIEnvironment

from flask import Blueprint, Response, current_app, redirect, request, url_for
from flask_login import current_user
from werkzeug.wrappers import Response as WerkzeugResponse

from webapp.line.keys import RESULTS_KEPT_MS
from webapp.models import utcnow
from webapp.sale import claims, receipts
from webapp.sale.held import Held
from webapp.sale.outcomes import LineStatus, Refused, Ticket
from webapp.sale.pauses import NEAR_MS, SLOW_MS, next_ms
from webapp.sale.receipts import Receipt, Refusal
from webapp.sale.turnout import Turnout, turnout
from webapp.web.addresses import COUPON
from webapp.web.errors import Unauthenticated, problem, wants_json
from webapp.web.pause_words import pause_json
from webapp.web.security import csrf

bp = Blueprint("tickets", __name__)
RECEIPT_HEADER = "X-Ticket-Receipt"
STATUS_FRESH_S = 0.25
"""How long a process answers `/serving` from its own copy."""
AFTER_END_MS = 24_000
"""When to ask again after the end. Only a coupon that comes back is news then; it shows within 30 s."""
STILL_MS = {"scheduled": 4000, "sold_out": SLOW_MS, "closed": AFTER_END_MS}
"""When to ask again while nothing moves and crowds look on. Before the start the answers set the countdown."""
PACE_MS = 3000
"""The time over which the pace of a line is measured."""
WITHOUT_RECEIPT = frozenset({"not_eligible", "other_wave"})
"""The refusals of a person: they prove nothing of a line, and say the same to everybody."""
SHOWN_REFUSALS = frozenset({"not_open", "closed", "sold_out", *WITHOUT_RECEIPT})


class KeptStatus(NamedTuple):
    """The public numbers of a line, and the answer with them, good until `fresh_until` of time.monotonic().

    `next_ms` says in how many ms a page without a ticket asks again. `lately` holds the readings of this process in the
    last PACE_MS, the oldest first: (now_ms, "now serving").
    """

    fresh_until: float
    status: LineStatus
    body: bytes
    lately: tuple[tuple[int, int], ...]
    next_ms: int = NEAR_MS

    @property
    def pace(self) -> float:
        """How many tickets are decided in one ms."""
        (first_ms, first), (last_ms, last) = self.lately[0], self.lately[-1]
        return (last - first) / (last_ms - first_ms) if last_ms > first_ms else 0.0


DECIDED = ("issued", "rejected")
COUNTED = "firstcome.counted"
"""Where a request says that its refusal was counted."""
_kept_statuses: dict[int, KeptStatus] = {}


@bp.post(f"/coupons/{COUPON}/claim")
# The token is checked inside: a visitor who is not signed in is sent to sign in, whatever token they bring.
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
        ticket = claims.claim(coupon_id, current_user.id)
    except Refused as refused:
        count_refused(turnout(), coupon_id, refused, request.environ)
        # The coupon's page explains these; an unknown coupon or a busy store has a page of its own.
        if refused.code not in SHOWN_REFUSALS:
            raise
        receipt = refusal_receipt(refused)
        if as_json:
            return problem(refused.code, retry_ms=refused.retry_ms, receipt=receipt)
        return _to_page(coupon_id, refused.code, receipt)
    if as_json:
        note_shown(turnout(), coupon_id, current_user.id, ticket)
        return _private(ticket_json(coupon_id, current_user.id, ticket, claimed_next_ms(coupon_id, ticket)))
    return _to_page(coupon_id, "already" if ticket.state == "issued" else None)


@bp.get(f"/coupons/{COUPON}/ticket")
def ticket(coupon_id: int) -> Response:
    if not current_user.is_authenticated:
        raise Unauthenticated
    ticket = ticket_of(coupon_id, current_user.id)
    next_ms = ticket_next_ms(coupon_id, ticket)
    count_ticket_poll(turnout(), coupon_id, next_ms)
    note_shown(turnout(), coupon_id, current_user.id, ticket)
    return _private(ticket_json(coupon_id, current_user.id, ticket, next_ms))


@bp.get(f"/coupons/{COUPON}/serving")
def serving(coupon_id: int) -> Response:
    """Answer with the public numbers, at most STATUS_FRESH_S old, the same for everyone."""
    body = polled_status(turnout(), coupon_id).body
    return Response(body, content_type="application/json", headers={"Cache-Control": "public, max-age=1"})


def kept_status(coupon_id: int) -> KeptStatus:
    """Return the public numbers from this process's own copy. Raises Refused(not_found, busy), redis.RedisError."""
    now = time.monotonic()
    kept = _kept_statuses.get(coupon_id)
    if kept is None or now >= kept.fresh_until:
        serving = claims.line_status(coupon_id)
        next_ms, lately = _serving_next_ms(serving), _lately(kept, serving)
        kept = _kept_statuses[coupon_id] = KeptStatus(
            now + STATUS_FRESH_S, serving, line_status_json(serving, next_ms), lately, next_ms
        )
    return kept


def polled_status(counted: Turnout, coupon_id: int) -> KeptStatus:
    """Return the same to a page that polls, and count the poll. Raises as `kept_status` does."""
    kept = kept_status(coupon_id)
    counted.polled(coupon_id, kept.next_ms)
    return kept


def count_ticket_poll(counted: Turnout, coupon_id: int, next_ms: int) -> None:
    kept = _kept_statuses.get(coupon_id)
    counted.asked_for_ticket(coupon_id, next_ms, kept.next_ms if kept else None)


def note_shown(counted: Turnout, coupon_id: int, user_id: int, ticket: Ticket) -> None:
    """Note that an answer tells somebody what was decided for them. It asks no store."""
    if ticket.state in DECIDED:
        counted.shown(coupon_id, user_id)


def note_held(user_id: int, coupons: Iterable[Held]) -> None:
    """Note the same of a page that shows what somebody holds or held, of coupons whose notes are kept for sure."""
    since = utcnow() - timedelta(milliseconds=RESULTS_KEPT_MS)
    for each in coupons:
        if each.issued_at > since:
            turnout().shown(each.coupon_id, user_id)


def count_refused(counted: Turnout, coupon_id: int, refused: Refused, environ: WSGIEnvironment) -> None:
    """Count a click without a number, once: what the fast path has counted may come here again, for the words."""
    if refused.code != "not_found" and COUNTED not in environ:
        environ[COUNTED] = True
        counted.refused(coupon_id, refused.code)


def _lately(kept: KeptStatus | None, serving: LineStatus) -> tuple[tuple[int, int], ...]:
    # A reading from later than now is one from before Redis's clock was put back: it is dropped, too.
    before = kept.lately if kept else ()
    return (
        *(heard for heard in before if 0 < serving.now_ms - heard[0] <= PACE_MS),
        (serving.now_ms, serving.now_serving),
    )


def ticket_of(coupon_id: int, user_id: int) -> Ticket:
    """Return the user's ticket. If Redis lost it and the request brings its receipt, it is restored."""
    found = claims.standing(coupon_id, user_id)
    worth = is_worth_more(request.headers.get(RECEIPT_HEADER, ""), found)
    receipt = _presented(coupon_id, user_id) if worth else None
    if receipt is None:
        return found
    return claims.restore(coupon_id, user_id, number=receipt.number, epoch=receipt.epoch)


def is_worth_more(receipt: str, ticket: Ticket) -> bool:
    """Whether a receipt, if it is ours, is worth more than what its owner has; a result is worth the most."""
    if ticket.state == "none":
        return bool(receipt)
    return ticket.state in ("waiting", "sold_out") and 0 < receipts.number_in(receipt) < (ticket.number or 0)


def receipt_for(coupon_id: int, user_id: int, ticket: Ticket) -> str | None:
    if ticket.number is None:
        return None
    return receipts.sign(
        current_app.config["SECRET_KEY"], Receipt(coupon_id, user_id, ticket.number, ticket.epoch)
    )


def refusal_receipt(refused: Refused) -> str | None:
    """Return the signed proof of a claim that came too late, or None for any other refusal."""
    if refused.refusal is None:
        return None
    return receipts.sign_refusal(current_app.config["SECRET_KEY"], refused.refusal)


def presented_refusal(coupon_id: int) -> Refusal | None:
    """Return the refusal in the address, if it is ours, unaltered, this visitor's and for this coupon."""
    if not current_user.is_authenticated:
        return None
    refusal = receipts.read_refusal(current_app.config["SECRET_KEY"], request.args.get("refusal", ""))
    if refusal is None or (refusal.coupon_id, refusal.user_id) != (coupon_id, current_user.id):
        return None
    return refusal


def _to_page(coupon_id: int, notice: str | None, refusal: str | None = None) -> WerkzeugResponse:
    return redirect(url_for("coupons.show", coupon_id=coupon_id, notice=notice, refusal=refusal), 303)


def _presented(coupon_id: int, user_id: int) -> Receipt | None:
    """Return the receipt in the header, if it is ours, unaltered, this user's and for this coupon."""
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


def line_status_json(serving: LineStatus, next_ms: int) -> bytes:
    body = {
        "state": serving.state,
        "serving": serving.now_serving,
        "last": serving.last,
        "issued": serving.issued,
        "quota": serving.quota,
        "epoch": serving.epoch,
        "now_ms": serving.now_ms,
        "opens_at_ms": serving.opens_at_ms,
        "closes_at_ms": serving.closes_at_ms,
        "next_ms": next_ms,
        "pause": pause_json(serving),
    }
    return json.dumps(body).encode()


# When to ask again: pages without a ticket obey /serving, pages with a ticket obey /ticket.


def ticket_next_ms(coupon_id: int, ticket: Ticket) -> int:
    """Return in how many ms the page of this ticket may ask again: at its turn, if that comes sooner than its poll.

    So a user hears of their coupon in time. It costs one poll more a person, at most as many a second as tickets are
    decided. Near the front the line is not read for it. Raises Refused(not_found, busy), redis.RedisError.
    """
    may = claimed_next_ms(coupon_id, ticket)
    if ticket.state != "waiting" or may == NEAR_MS:
        return may
    kept, ahead = kept_status(coupon_id), ticket.ahead or 0
    may = next_ms(ahead, kept.status.waiting)
    return min(may, max(NEAR_MS, int(ahead / kept.pace))) if kept.pace > 0 else may


def claimed_next_ms(coupon_id: int, ticket: Ticket) -> int:
    """Return the same for a click, whose ticket is the last in line: all others are ahead of it."""
    if ticket.state == "waiting":
        return next_ms(ticket.ahead or 0)
    return _serving_next_ms(kept_status(coupon_id).status)


def _serving_next_ms(serving: LineStatus) -> int:
    if serving.waiting:
        return next_ms(serving.waiting)
    # With nobody in line, the numbers that were given and not decided are in standby, and their pages ask too.
    missed = serving.last - max(serving.now_serving, serving.floor)
    still = STILL_MS.get(serving.state, NEAR_MS)
    return int(max(still, missed * 1000 // current_app.config["POLLS_PER_SECOND"]))
