"""The one place by which every deed goes that needs two people while the rule is on (TWO_PERSON_RULE)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask import current_app
from sqlalchemy import Connection, Row, insert, select, update

from webapp.log import record
from webapp.models import Proposal, User, utcnow
from webapp.models.proposals import CONFIRMED

WITHIN = timedelta(minutes=30)
"""How long a proposal can be confirmed."""

WAITING = {
    "change quota": "a higher one, of what has gone live",
    "change coupon": "a higher quota or an earlier end, of what has gone live",
    "close": "always",
    "count codes": "where they are the quota of what has gone live",
    "revoke": "by a list",
    "grant role": "one that adds a right",
    "invite": "always",
}
"""The verbs of the log that two people decide, each with when."""
AT_ONCE = frozenset(
    {
        *("create coupon", "duplicate coupon", "publish", "pause", "resume"),
        *("write texts", "set picture", "make waves", "roll over", "archive", "unarchive"),
        *("set audience", "count list", "withdraw list", "add person", "remove person"),
        *("withdraw codes", "count members", "set member"),
        *("ask for rehearsal", "stop rehearsal", "undo use", "export", "block", "unblock"),
        *("create account", "set password", "rename account", "delete account", "anonymise"),
        *("withdraw invitation", "take invitation"),
        *("propose", "confirm", "decline", "withdraw"),
    }
)
"""The verbs of the log that one person decides."""


@dataclass(frozen=True, kw_only=True)
class Deed:
    """What somebody asks for: a verb of WAITING about a coupon or an account, and the `roles` that may do it.

    `arguments` are plain JSON values or times. `seen` tells the state of the subject, `before` the part of it that
    would change. The log is told `told`, or the arguments. A deed that is not `whole` takes several transactions, and
    is done when the last of them is.
    """

    verb: str
    roles: frozenset[str]
    arguments: Mapping[str, Any]
    seen: str
    coupon: int | None = None
    user: int | None = None
    reason: str | None = None
    before: Mapping[str, Any] | None = None
    told: Mapping[str, Any] | None = None
    whole: bool = True


class Waits(Exception):
    """Nothing was done: the deed waits as this proposal, `made_by` whom (None for a command), until `expires_at`."""

    def __init__(self, proposal_id: int, verb: str, made_by: int | None, expires_at: datetime) -> None:
        super().__init__(proposal_id)
        self.proposal_id, self.verb, self.made_by, self.expires_at = proposal_id, verb, made_by, expires_at


class ProposalRefused(Exception):
    """A proposal was not decided, and nothing was changed.

    `code` is one of unknown, confirmed, declined, withdrawn, too_old, own, not_own, no_right, proposer, changed.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def is_on() -> bool:
    return bool(current_app.config["TWO_PERSON_RULE"])


def second_person(
    connection: Connection, deed: Deed, *, by: int | None, confirms: int | None, commit: Callable[[], None]
) -> dict[str, Any]:
    """Let a deed go on that confirms a proposal, or have it wait as one. The caller holds the lock of its subject.

    With `confirms`, the id of a proposal, that is confirmed in this transaction, and what the deed's row of the log
    says of it is returned; raises ProposalRefused when it cannot be. Without one, and while the rule is on, the
    proposal is committed and Waits is raised: a repeat finds the same proposal. While it is off, {} is returned.
    """
    if deed.verb not in WAITING:
        raise ValueError(deed.verb)
    if confirms is not None:
        return _confirm(connection, deed, confirms, by)
    if not is_on():
        return {}
    waits = _same(connection, deed) or _propose(connection, deed, by)
    commit()
    raise waits


def taken(connection: Connection, proposal_id: int) -> Row[Any]:
    """Return the row of a proposal, held until the transaction ends: of two who decide it one waits.

    Raises ProposalRefused when there is none.
    """
    mine = Proposal.id == proposal_id
    connection.execute(update(Proposal).where(mine).values(verb=Proposal.verb))
    row = connection.execute(select(Proposal.__table__).where(mine)).one_or_none()
    if row is None:
        raise ProposalRefused("unknown")
    return row


def raise_if_decided(row: Row[Any]) -> None:
    """Raise ProposalRefused for a proposal that was decided, or that is too old."""
    if row.decision is not None:
        raise ProposalRefused(row.decision)
    if row.expires_at <= utcnow():
        raise ProposalRefused("too_old")


def raise_unless_other(connection: Connection, row: Row[Any], by: int | None, roles: frozenset[str]) -> None:
    """Raise ProposalRefused unless `by` is another person than who made it, and both have one of the roles now."""
    if by == row.made_by:
        raise ProposalRefused("own")
    raise_without_right(connection, by, roles)
    if row.made_by is not None and not _has_one(connection, row.made_by, roles):
        raise ProposalRefused("proposer")


def raise_without_right(connection: Connection, by: int | None, roles: frozenset[str]) -> None:
    """Raise ProposalRefused unless this account has one of the roles now, and is not blocked."""
    if not _has_one(connection, by, roles):
        raise ProposalRefused("no_right")


def decide(connection: Connection, row: Row[Any], decision: str, *, by: int | None, **values: Any) -> None:
    """Write down what became of a proposal that is `taken`, with other values. The caller commits."""
    decided = {"decision": decision, "decided_by": by, "decided_at": utcnow(), **values}
    connection.execute(update(Proposal).where(Proposal.id == row.id).values(**decided))


def _confirm(connection: Connection, deed: Deed, proposal_id: int, by: int | None) -> dict[str, Any]:
    row = taken(connection, proposal_id)
    raise_if_decided(row)
    raise_unless_other(connection, row, by, deed.roles)
    if (row.verb, row.seen) != (deed.verb, deed.seen):
        raise ProposalRefused("changed")
    decide(connection, row, CONFIRMED, by=by, done_at=utcnow() if deed.whole else None)
    both = {"proposal": row.id, "asked_by": row.made_by}
    record(connection, "confirm", by=by, coupon=deed.coupon, user=deed.user, after=both)
    return both


def _has_one(connection: Connection, user_id: int | None, roles: frozenset[str]) -> bool:
    able = select(User.role).where(User.id == user_id, User.blocked_at.is_(None))
    return connection.scalar(able) in roles


def _same(connection: Connection, deed: Deed) -> Waits | None:
    """Return the open proposal of the very same deed: two clicks, or two operators, make one."""
    still = (Proposal.decision.is_(None), Proposal.expires_at > utcnow())
    row = connection.execute(select(Proposal.__table__).filter_by(**_asked(deed)).where(*still)).first()
    return None if row is None else Waits(row.id, row.verb, row.made_by, row.expires_at)


def _propose(connection: Connection, deed: Deed, by: int | None) -> Waits:
    now = utcnow()
    made = {"made_by": by, "made_at": now, "expires_at": now + WITHIN}
    proposal_id = int(connection.execute(insert(Proposal).values(**_asked(deed), **made)).lastrowid)
    told = {
        "proposal": proposal_id,
        "deed": deed.verb,
        **(deed.arguments if deed.told is None else deed.told),
    }
    facts = {"coupon": deed.coupon, "user": deed.user, "reason": deed.reason, "before": deed.before}
    record(connection, "propose", by=by, **facts, after=told)
    return Waits(proposal_id, deed.verb, by, now + WITHIN)


def _asked(deed: Deed) -> dict[str, Any]:
    """Return the columns that say what is asked for; an empty one is compared as such."""
    arguments = json.dumps(deed.arguments, default=datetime.isoformat, ensure_ascii=False, sort_keys=True)
    subject = {"verb": deed.verb, "coupon_id": deed.coupon, "user_id": deed.user, "seen": deed.seen}
    return {**subject, "arguments": arguments, "reason": deed.reason}
