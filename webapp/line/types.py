"""The arguments and replies of the scripts in `lua/`, as Python types."""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from webapp.line.keys import MOST_NUMBER, RESULTS_KEPT_MS
from webapp.line.results import RESULT


class Reply(IntEnum):
    """The first value of a script's reply; each script names the same numbers at its head."""

    NO_GATE = 0
    WAITING = 1
    DECIDED = 2
    STANDBY = 3
    NOT_OPEN = 4
    CLOSED = 5
    SOLD_OUT = 6
    NO_TICKET = 7
    PAST = 8
    NOT_ELIGIBLE = 9
    NO_LIST = 10
    OTHER_WAVE = 11
    FULL = 12


@dataclass(frozen=True)
class Claimed:
    """What claim.lua says of one user. `ring`: this caller enqueues the admission job; `result`: see the script."""

    reply: Reply
    epoch: int
    number: int
    ahead: int
    ring: bool
    now_ms: int
    result: str

    @property
    def readable(self) -> bool:
        return _is_readable(self)


@dataclass(frozen=True)
class Standing:
    """What read_standing.lua says of one user. `ahead`: tickets before it, in line or in standby."""

    reply: Reply
    epoch: int
    number: int
    ahead: int
    result: str

    @property
    def readable(self) -> bool:
        return _is_readable(self)


@dataclass(frozen=True)
class Restored(Standing):
    """The reply of restore_ticket.lua.

    `grace_ms`: how long admission waits for receipts in all, 0 when it does not wait any more.
    """

    now_serving: int
    grace_ms: int


class Waiting(NamedTuple):
    member: str
    number: int


@dataclass(frozen=True)
class Head:
    """The first tickets of a line, and whether its gate says sold out.

    `malformed` are members whose scores are no numbers of tickets.
    """

    epoch: int
    last: int
    sold_out: bool
    tickets: list[Waiting]
    malformed: list[str]


class Life(NamedTuple):
    """Whether an epoch is open in this run of the server; the mark of one that was begun there and is not open yet."""

    opened: bool
    mark: int | None


class Settled(NamedTuple):
    """A decided ticket and its result; an empty result only removes the ticket from the line."""

    member: str | bytes
    number: int
    result: str


@dataclass(frozen=True)
class Policy:
    """The part of a coupon's row that the gate copies. Times are epoch ms; a quota of None means unlimited.

    `standby_limit`: up to so many people in standby, whoever comes after the coupons are gone takes a place there.
    `audience` is the version of who may have it, "" for everybody. `pause` is what a pause says, as
    `webapp.sale.pause_message` writes it, "" for nothing.
    """

    revision: int
    status: str
    quota: int | None
    issued: int
    opens_at_ms: int
    closes_at_ms: int
    standby_limit: int = 0
    audience: str = ""
    pause: str = ""

    @property
    def sold_out(self) -> bool:
        return self.quota is not None and self.issued >= self.quota

    def args(self) -> list[str | int]:
        """Return the first arguments of publish.lua, settle_batch.lua and begin_epoch.lua."""
        quota = "" if self.quota is None else self.quota
        return [
            self.revision,
            self.status,
            quota,
            self.issued,
            self.opens_at_ms,
            self.closes_at_ms,
            int(self.sold_out),
            self.standby_limit,
            self.audience,
            self.pause,
        ]


@dataclass(frozen=True)
class Gate:
    """The gate, the numbers of tickets in line and in standby, and Redis's clock in ms since 1970, all of one instant.

    `opened`: its epoch is open in this run of the server; of any other gate nothing is to be believed, because it may
    be of the past. `mark`: of its beginning, if that was in this run and it gives no numbers yet. `was_opened`: it was
    opened once. `doubted`: it was ended on purpose, because it did not fit SQL or a receipt. `ahead_ms`: how far the
    latest instant in it is ahead of the clock, which was put back by as much at least; else 0.

    `first_opens_at_ms`, `last_closes_at_ms`: the widest period that it had, None in a gate from before these fields.
    Admission waits for receipts between the two ends of the grace, which are 0 once it was found to be over.
    """

    policy: Policy
    epoch: int
    last: int
    now_serving: int
    sold_out: bool
    sold_out_at_ms: int | None
    floor: int
    opened: bool
    mark: int | None
    was_opened: bool
    doubted: bool
    first_opens_at_ms: int | None
    last_closes_at_ms: int | None
    grace_from_ms: int | None
    grace_until_ms: int | None
    waiting: int
    in_standby: int
    now_ms: int
    ahead_ms: int

    @property
    def results_gone(self) -> bool:
        """Whether results and arrivals have left Redis, so long ago was the end."""
        return self.now_ms >= self.policy.closes_at_ms + RESULTS_KEPT_MS


def _is_readable(found: "Claimed | Standing") -> bool:
    if found.reply is Reply.DECIDED:
        return RESULT.fullmatch(found.result) is not None
    return 0 <= found.number < MOST_NUMBER
