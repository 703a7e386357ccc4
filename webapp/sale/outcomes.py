"""The outcomes of a claim, and the public facts of a line."""

from dataclasses import dataclass

from webapp.line.results import REVOKED, outcome_of
from webapp.line.types import Claimed, Policy, Reply, Standing
from webapp.models import CLOSED, LIVE
from webapp.sale.pause_message import PauseMessage
from webapp.sale.receipts import Refusal


class Refused(Exception):
    """No ticket, and why: `code` is one of not_open, closed, sold_out, not_eligible, other_wave, no_ticket,
    not_found, busy.

    A claim that came too late brings the `refusal`, to be signed.
    """

    def __init__(self, code: str, *, retry_ms: int | None = None, refusal: Refusal | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.retry_ms = retry_ms
        self.refusal = refusal


@dataclass(frozen=True)
class Ticket:
    """Where a user stands: state is none, waiting, issued, sold_out (in standby), rejected or lost (number taken).

    `ahead` counts the people before them in the line; `missed_by` is their place in standby, 1 for the first.
    """

    state: str
    epoch: int
    number: int | None = None
    ahead: int | None = None
    code: str | None = None
    reason: str | None = None
    missed_by: int | None = None


@dataclass(frozen=True)
class LineStatus:
    """The public facts of a line: state is scheduled, open, paused, sold_out or closed; times in ms since 1970.

    `pause` is what a pause says, also of one before the start or after the last coupon; None without a pause.
    """

    state: str
    now_serving: int
    last: int
    issued: int
    quota: int | None
    epoch: int
    now_ms: int
    opens_at_ms: int
    closes_at_ms: int
    sold_out_at_ms: int | None
    waiting: int
    floor: int
    in_standby: int = 0
    standby_limit: int = 0
    pause: PauseMessage | None = None

    @property
    def takes_late_comers(self) -> bool:
        """Whether a click gets a place in standby, now that the coupons are gone."""
        return self.state == "sold_out" and self.in_standby + self.waiting < self.standby_limit

    @property
    def untouched(self) -> bool:
        """Whether nobody has had a number, in this epoch or in an earlier one."""
        return self.last == self.floor and not (self.now_serving or self.waiting or self.in_standby)


def is_revoked(ticket: Ticket | None) -> bool:
    """Whether the ticket had won a coupon that was revoked."""
    return ticket is not None and (ticket.reason or "").startswith(REVOKED)


def ticket_from(found: Claimed | Standing) -> Ticket:
    if found.reply is Reply.WAITING:
        return Ticket("waiting", found.epoch, number=found.number, ahead=found.ahead)
    if found.reply is Reply.STANDBY:
        return Ticket("sold_out", found.epoch, number=found.number, missed_by=found.ahead + 1)
    if found.reply is Reply.NO_TICKET:
        return Ticket("none", found.epoch)
    issued, number, detail = outcome_of(found.result)
    if issued:
        return Ticket("issued", found.epoch, number=number, code=detail)
    return Ticket("rejected", found.epoch, number=number, reason=detail)


def state_of(policy: Policy, *, now_ms: int) -> str:
    """Return the state of a coupon at an instant: scheduled, open, paused, sold_out or closed.

    `lua/claim.lua` decides the same for a claim; tests/sale/test_outcomes.py holds the two together.
    """
    if policy.status == CLOSED or now_ms >= policy.closes_at_ms:
        return "closed"
    if now_ms < policy.opens_at_ms:
        return "scheduled"
    if policy.sold_out:
        return "sold_out"
    return "open" if policy.status == LIVE else "paused"
