"""A coupon's page in every state, with invented people, and the signed key by which colleagues see it.

Nobody needs an account for it, and nothing is read or written but the coupon itself. A key expires.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from itsdangerous import BadSignature, URLSafeTimedSerializer

from webapp.models import Coupon, utcnow
from webapp.sale.benefit import worth_of
from webapp.sale.held import Held
from webapp.sale.outcomes import LineStatus, Ticket
from webapp.sale.pause_message import NOTHING
from webapp.sale.records import most_issued

LASTS = timedelta(days=7)
SAMPLE_CODE = "000000000000"
NUMBER, AHEAD, BEFORE = 128, 41, 2
"""The ticket of the one who looks, how many are ahead of it, and by how many places it missed."""
STATES: dict[str, tuple[str, str | None]] = {
    "anonymous": ("open", None),
    "scheduled": ("scheduled", None),
    "open": ("open", None),
    "paused": ("paused", None),
    "waiting": ("open", "waiting"),
    "issued": ("open", "issued"),
    "standby": ("sold_out", "sold_out"),
    "sold_out": ("sold_out", None),
    "rejected": ("open", "rejected"),
    "ended": ("closed", None),
}
"""Each state of the page, with that of the line and that of the ticket of the one who looks."""


@dataclass(frozen=True)
class Preview:
    """What a page in that state shows, as if it were so."""

    state: str
    line: LineStatus
    ticket: Ticket | None
    held: Held | None
    last_issued: int | None

    @property
    def signed_in(self) -> bool:
        return self.state != "anonymous"


def preview(coupon: Coupon, state: str) -> Preview:
    """Return the facts of a page in that state of STATES."""
    line, own = STATES[state]
    return Preview(
        state=state,
        line=_line(coupon, line),
        ticket=_ticket(own) if own else None,
        held=_held(coupon) if state == "issued" else None,
        last_issued=NUMBER - BEFORE if state == "standby" else None,
    )


def sign_preview(key: str, coupon_id: int) -> str:
    """Return a key that shows previews of this coupon, and of no other, for as long as LASTS."""
    return _serializer(key).dumps(coupon_id)


def read_preview(key: str, text: str) -> tuple[int, datetime] | None:
    """Return the coupon's id and until when the text shows it; None when it is not ours, altered or expired."""
    try:
        coupon_id, made = _serializer(key).loads(
            text, max_age=int(LASTS.total_seconds()), return_timestamp=True
        )
    except BadSignature:
        return None
    return int(coupon_id), made + LASTS


def _serializer(key: str) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(key, salt="preview")


def _line(coupon: Coupon, state: str) -> LineStatus:
    quota = most_issued(coupon)
    all_gone = state == "sold_out" and quota is not None
    now = int(utcnow().timestamp() * 1000)
    opens, closes = (int(each.timestamp() * 1000) for each in (coupon.issue_start_at, coupon.issue_end_at))
    return LineStatus(
        state=state,
        now_serving=NUMBER - AHEAD - 1,
        last=NUMBER,
        issued=quota if all_gone and quota is not None else 0,
        quota=quota,
        epoch=1,
        now_ms=min(now, opens - 3_600_000) if state == "scheduled" else now,
        opens_at_ms=opens,
        closes_at_ms=closes,
        sold_out_at_ms=opens + 60_000 if state == "sold_out" else None,
        waiting=0 if state == "sold_out" else AHEAD + 1,
        floor=0,
        standby_limit=coupon.standby_limit,
        pause=NOTHING if state == "paused" else None,
    )


def _ticket(state: str) -> Ticket:
    return Ticket(
        state,
        1,
        number=NUMBER,
        ahead=AHEAD if state == "waiting" else None,
        code=SAMPLE_CODE if state == "issued" else None,
        reason="blocked" if state == "rejected" else None,
        missed_by=BEFORE if state == "sold_out" else None,
    )


def _held(coupon: Coupon) -> Held:
    return Held(
        **worth_of(coupon),
        id=None,
        coupon_id=coupon.id,
        min_available_amount=coupon.min_available_amount,
        code=SAMPLE_CODE,
        issued_at=coupon.issue_start_at,
        valid_until=coupon.valid_until and max(coupon.valid_until, utcnow() + timedelta(days=1)),
    )
