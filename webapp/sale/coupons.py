"""Decisions of operators: create a coupon and change it. Every rule of a coupon's fields is here."""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from flask_babel import lazy_gettext as _
from sqlalchemy import insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from webapp.line.line import Line
from webapp.line.types import Gate
from webapp.log import record
from webapp.models import (
    AMOUNT,
    CLOSED,
    DRAFT,
    LIVE,
    STATUSES,
    TITLE_LENGTH,
    Coupon,
    CouponRow,
    utcnow,
)
from webapp.sale import benefit
from webapp.sale.benefit import Message
from webapp.sale.locking import CouponLock, locked_coupon
from webapp.sale.outcomes import Refused
from webapp.sale.pause_message import NOTHING, pause_seconds, with_pause
from webapp.sale.publishing import publish
from webapp.sale.steps import STEPS, Step, verb_of
from webapp.sale.submissions import Sent, raise_if_sent_before
from webapp.sale.submissions import record as record_sent
from webapp.sale.two_people import second_operator
from webapp.stores.script_redis import line_redis
from webapp.stores.sql import db
from webapp.stores.swallowed import swallow
from webapp.values.amounts import MOST
from webapp.values.moments import EARLIEST, SEOUL
from webapp.values.texts import one_line

NOT_POSSIBLE = _("The coupon's status has changed meanwhile; this step is not possible now.")
ARCHIVED = _("This coupon is in the archive. Bring it back before you change it.")

TERMS = (
    "title",
    "total_quantity",
    "benefit",
    *benefit.NOTHING,
    "min_available_amount",
    "standby_limit",
    "issue_start_at",
    "issue_end_at",
    "valid_until",
)
"""The fields that a form of the console carries."""
AMOUNTS = ("discount_amount", "min_available_amount", "standby_limit")
"""Whole numbers from 0 on; one that is left out is 0."""
FIELDS = frozenset({*TERMS, *NOTHING.fields(), "title_en", "status"})
ONE_LINE = ("title", "title_en", "benefit_words", "benefit_words_en")
NO_WORSE: dict[str, Callable[[Any, Any], bool]] = {
    **benefit.NO_WORSE,
    "min_available_amount": lambda now, then: then <= now,
    "valid_until": lambda now, then: then is None or (now is not None and then >= now),
}
"""The fields that make a coupon's worth to its holder, each with the test that a change takes nothing away."""

PROMISED = NO_WORSE.keys() | {"issue_start_at"}
DEFAULTS = {
    "title_en": "",
    "total_quantity": None,
    "benefit": AMOUNT,
    **benefit.NOTHING,
    "min_available_amount": 0,
    "standby_limit": 0,
    "valid_until": None,
    **NOTHING.fields(),
    "status": LIVE,
}

ABOUT_TO_OPEN = timedelta(seconds=5)
"""So long before its start a drop counts as opened: a later start would reach the line after the first clicks."""


class InvalidField(ValueError):
    """A field that breaks a rule; the message is for people, in their language."""

    def __init__(self, field: str, message: Message) -> None:
        super().__init__(message)
        self.field = field

    def __str__(self) -> str:
        return str(self.args[0])


def create_coupon(
    *, by: int | None = None, rehearsal: bool = False, sent: Sent | None = None, **fields: Any
) -> int:
    """Create a coupon, open its line in Redis unless it is a draft, and return its id.

    Fields: title, title_en, issue_start_at, issue_end_at (aware datetimes), total_quantity (None = unlimited), benefit
    and the fields of its kind (`webapp.sale.benefit`), min_available_amount (won), standby_limit, valid_until, status.
    `by` is the operator, None for a command; a rehearsal's coupon is nobody's decision and does not stand in the log.
    Raises InvalidField and creates nothing when one breaks a rule, and SentBefore when the form that was `sent` has
    made a coupon already. redis.RedisError after the commit leaves the coupon created, and the sweeper publishes it. A
    caller that needs the id in any case creates a draft first.
    """
    coupon_id = _insert(new_row(fields) | {"rehearsal": rehearsal}, sent, by)
    publish(coupon_id)
    return coupon_id


def new_row(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a new coupon, clean and complete. Raises InvalidField when one breaks a rule."""
    values = DEFAULTS | _known(fields)
    values |= benefit.cleared(values)
    _validate(values, FIELDS, issued=0)
    return values


def _insert(values: dict[str, Any], sent: Sent | None, by: int | None) -> int:
    try:
        with db.engine.begin() as connection:
            coupon_id = int(connection.execute(insert(Coupon).values(**values)).lastrowid)
            if sent:
                record_sent(connection, sent, coupon_id)
            if not values["rehearsal"]:
                told = {name: values[name] for name in sorted(FIELDS) if values[name] != DEFAULTS.get(name)}
                record(connection, "create coupon", by=by, coupon=coupon_id, after=told)
    except IntegrityError:
        if sent:
            raise_if_sent_before(sent)
        raise
    return coupon_id


def change_coupon(
    coupon_id: int,
    *,
    by: int | None = None,
    step: str | None = None,
    confirms: int | None = None,
    look: Callable[[CouponRow], None] = lambda row: None,
    agree: Callable[[CouponRow, Mapping[str, Any]], None] = lambda row, changed: None,
    also: Callable[[CouponRow], Mapping[str, Any]] | None = None,
    **fields: Any,
) -> None:
    """Change fields of a coupon under its row lock, or take one of STEPS, commit, and rewrite its gate.

    A step that another operator's has overtaken breaks a rule: "publish" does not resume what was paused meanwhile.
    `by` is the operator, None for a command. `look` is given the locked row first, and `agree` the row and what is
    about to change, once every rule allows it; when either raises, nothing is changed. `also` is given the row and
    returns more fields to change, which follow from it. `confirms` is the id of the proposal that this change confirms.
    Raises Waits, and changes nothing, when another operator has to confirm it.
    Raises LookupError for an unknown coupon, and InvalidField when a field breaks a rule: nothing is changed then.
    Rules are also: no quota below the issued number, no terms worse than promised, no other start once the drop has
    opened, no change in the archive. A value that stands already breaks no rule. Raises redis.RedisError or
    Refused(busy) when the gate cannot be written after the commit: the change stands, and the sweeper writes the gate
    within seconds.
    """
    fields = _known(fields | ({"status": STEPS[step][1]} if step else {}))
    gate = _gate(coupon_id) if fields.keys() & PROMISED else None
    with locked_coupon(coupon_id) as lock:
        coupon = lock.coupon
        if coupon is None:
            raise LookupError(coupon_id)
        look(coupon)
        changed = _changed(coupon, with_pause(coupon, fields | dict(also(coupon) if also else {})))
        if changed:
            refuse_archived(coupon)
        _validate_change(coupon, changed, STEPS if step is None else {step: STEPS[step]})
        _keep_promises(lock, changed, gate)
        agree(coupon, changed)
        if changed:
            verb = step or verb_of(coupon.status, changed)
            both = second_operator(lock, changed, fields, verb, by=by, confirms=confirms)
            lock.connection.execute(update(Coupon).where(Coupon.id == coupon_id).values(**changed))
            _log(lock, verb, changed, by, both)
        lock.commit()
    try:
        publish(coupon_id)
    except SQLAlchemyError as error:
        # The change stands: an error of SQL from here would say that it does not.
        raise Refused("busy") from error


def _log(
    lock: CouponLock, verb: str, changed: Mapping[str, Any], by: int | None, both: Mapping[str, Any]
) -> None:
    if lock.coupon.rehearsal:
        return
    before = {name: getattr(lock.coupon, name) for name in changed}
    after = {**changed, **pause_seconds(lock.coupon, changed), **both}
    record(lock.connection, verb, by=by, coupon=lock.coupon.id, before=before, after=after)


def refuse_archived(coupon: CouponRow) -> None:
    """Raises InvalidField for a coupon in the archive, which nobody changes."""
    if coupon.archived_at is not None:
        raise InvalidField("status", ARCHIVED)


def _changed(coupon: CouponRow, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that differ from the row, where those of other kinds of benefit say nothing."""
    fields = {**fields, **benefit.cleared({"benefit": coupon.benefit, **fields})}
    return {name: value for name, value in fields.items() if value != getattr(coupon, name)}


def coupon_by_id(coupon_id: int) -> Coupon | None:
    """Return the coupon, detached: no SQL connection waits while Redis is asked, or the line made anew."""
    coupon = db.session.scalar(select(Coupon).where(Coupon.id == coupon_id))
    db.session.close()
    return coupon


def promised(coupon: Coupon | CouponRow, gate: Gate | None) -> bool:
    """Whether somebody holds the coupon or has a ticket for it: from then on its terms get no worse.

    Without an open gate, and after an epoch was lost, tickets may exist that only a receipt knows: a drop that has
    opened, or was closed, counts as promised then.
    """
    given = gate is not None and gate.last > gate.floor
    lost = gate is None or not gate.opened or gate.epoch > 1
    may_be_given = lost and (coupon.status == CLOSED or has_opened(coupon, gate))
    return coupon.issued_quantity > 0 or given or may_be_given


def has_opened(coupon: Coupon | CouponRow, gate: Gate | None) -> bool:
    """Whether the start has passed, by the line's clock or by ours, or is too near for the line to hear of another.

    A draft has not opened, and a coupon that was closed has not unless somebody got a ticket.
    """
    if coupon.status == DRAFT:
        return False
    now = max(utcnow(), datetime.fromtimestamp(gate.now_ms / 1000, UTC) if gate else EARLIEST)
    started = coupon.status != CLOSED and coupon.issue_start_at <= now + ABOUT_TO_OPEN
    return started or coupon.issued_quantity > 0 or (gate is not None and gate.last > gate.floor)


def _gate(coupon_id: int) -> Gate | None:
    try:
        return Line(line_redis(), coupon_id).gate()
    except redis.RedisError as error:
        swallow("line not asked", error, "a drop that has opened counts as promised", coupon_id=coupon_id)
        return None


def _keep_promises(lock: CouponLock, changed: Mapping[str, Any], gate: Gate | None) -> None:
    coupon = lock.coupon
    if "issue_start_at" in changed and has_opened(coupon, gate):
        raise InvalidField(
            "issue_start_at",
            _("It has opened, or is about to: %(now)s stays.", now=korean_time(coupon.issue_start_at)),
        )
    for name, is_no_worse in NO_WORSE.items():
        worse = name in changed and not is_no_worse(getattr(coupon, name), changed[name])
        if worse and promised(coupon, gate):
            raise InvalidField(name, _broken_promise(coupon, name))


def _broken_promise(coupon: CouponRow, name: str) -> Message:
    """Return why the field cannot become worse, with the promised value."""
    now = getattr(coupon, name)
    if broken := benefit.broken_promise(coupon, name):
        return broken
    if name == "min_available_amount":
        return _("A least purchase of %(now)s won was promised; it cannot be more.", now=f"{now:,}")
    if now is None:
        return _("It was promised without an end; it cannot get one now.")
    return _("It was promised to be valid until %(now)s; it cannot end before.", now=korean_time(now))


def korean_time(moment: datetime) -> str:
    """Return date and time in Korea, to the minute."""
    return f"{moment.astimezone(SEOUL):%Y-%m-%d %H:%M}"


def _known(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with clean texts. Raises TypeError for an unknown field."""
    if unknown := fields.keys() - FIELDS:
        raise TypeError(f"unknown fields {sorted(unknown)}")
    return fields | {name: one_line(fields[name]) for name in ONE_LINE if name in fields}


def _validate_change(coupon: CouponRow, changed: dict[str, Any], steps: Mapping[str, Step]) -> None:
    """Validate the changed fields, for an old value must not keep a sale from pausing; for a step from draft, all."""
    values = {name: getattr(coupon, name) for name in FIELDS} | changed
    leaves_draft = coupon.status == DRAFT and "status" in changed
    _validate(values, FIELDS if leaves_draft else changed.keys(), issued=coupon.issued_quantity)
    possible = [after for before, after in steps.values() if coupon.status in before]
    if "status" in changed and values["status"] not in possible:
        raise InvalidField("status", NOT_POSSIBLE)


def _validate(values: Mapping[str, Any], names: Collection[str], *, issued: int) -> None:
    if "title" in names and not 1 <= len(values["title"]) <= TITLE_LENGTH:
        raise InvalidField("title", _("Give a title of 1 to %(most)s characters.", most=TITLE_LENGTH))
    if "title_en" in names and len(values["title_en"]) > TITLE_LENGTH:
        raise InvalidField("title_en", _("Write %(most)s characters at most.", most=TITLE_LENGTH))
    if (benefit.NO_WORSE.keys() & set(names)) and (wrong := benefit.wrong_benefit(values)):
        raise InvalidField(*wrong)
    if "total_quantity" in names and values["total_quantity"] is not None:
        _check_quota(values["total_quantity"], issued)
    for name in AMOUNTS:
        if name in names:
            _check_amount(name, values[name])
    if "issue_start_at" in names or "issue_end_at" in names:
        _check_period(values["issue_start_at"], values["issue_end_at"])
    if "valid_until" in names or "issue_end_at" in names:
        _check_validity(values["valid_until"], values["issue_end_at"])
    if values["status"] not in STATUSES:
        raise InvalidField("status", _("This status does not exist."))


def _check_quota(quota: int, issued: int) -> None:
    _check_amount("total_quantity", quota)
    if quota < issued:
        raise InvalidField(
            "total_quantity", _("%(issued)s are issued already; the quota cannot be less.", issued=issued)
        )


def _check_amount(field: str, amount: int) -> None:
    if not 0 <= amount <= MOST:
        raise InvalidField(field, _("Give a whole number from 0 to %(most)s.", most=f"{MOST:,}"))


def _check_period(start: datetime, end: datetime) -> None:
    if start >= end:
        raise InvalidField("issue_end_at", _("The end must be after the start."))


def _check_validity(valid_until: datetime | None, end: datetime) -> None:
    """A coupon that is issued in the last moment of the period is still worth something."""
    if valid_until is not None and valid_until < end:
        raise InvalidField("valid_until", _("It must stay valid until it closes, at least."))
