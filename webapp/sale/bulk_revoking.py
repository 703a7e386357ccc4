"""Many codes are revoked by a list: looked at first, then each as one alone, some under each hold of the lock."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

import redis
from sqlalchemy import Connection, Row, case, literal, select, update

from webapp.accounts.roles import CHANGE, RIGHTS
from webapp.models import Coupon, CouponIssue, Proposal, Revocation, utcnow
from webapp.proposals import rule
from webapp.proposals.reading import arguments_of
from webapp.proposals.rule import Deed, second_person
from webapp.sale import publishing
from webapp.sale.codes import meant_by
from webapp.sale.locking import CouponLock, locked_coupon
from webapp.sale.outcomes import Refused
from webapp.sale.redeeming import Unchanged, move_issue, told_reason
from webapp.stores.sql import db
from webapp.stores.swallowed import swallow

T = TypeVar("T")
AT_ONCE = 50
"""Codes under one hold of the lock: admission waits for some 50 ms."""
LOOKED_UP = 200
MOST_PROPOSED = 20_000
"""Codes of a list that another operator has to confirm."""
TAKEN = ("unknown", "twice", "used", "revoked")
"""What is said of a line whose code stays as it is."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One line of a list: `verdict` is "issued" for a code that will be revoked, else one of TAKEN."""

    line: int
    typed: str
    verdict: str
    code: str = ""
    coupon_id: int = 0
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Revoked:
    """How many codes were revoked by this call, and how many were used or revoked in between."""

    count: int
    kept: int


def look_at(lines: Iterable[str]) -> list[Listed]:
    """Return what would happen to each line that is not empty; nothing is changed. Raises SQLAlchemyError.

    A code is meant in any way that `redeeming.look_up` knows. A line that several codes are meant by is unknown.
    """
    numbered = [(number, text.strip()) for number, text in enumerate(lines, 1) if text.strip()]
    listed: list[Listed] = []
    seen: set[str] = set()
    for some in _parts(numbered, LOOKED_UP):
        found = _look_up([typed for _number, typed in some])
        for number, typed in some:
            listed.append(_judged(number, typed, found.get(typed), seen))
    return listed


def _judged(number: int, typed: str, row: Row[Any] | None, seen: set[str]) -> Listed:
    if row is None:
        return Listed(line=number, typed=typed, verdict="unknown")
    verdict = "twice" if row.code in seen else row.verdict
    seen.add(row.code)
    facts = {"code": row.code, "coupon_id": row.coupon_id, "title": row.title}
    return Listed(line=number, typed=typed, verdict=verdict, **facts)


def _look_up(texts: Sequence[str]) -> dict[str, Row[Any]]:
    """Return the row of the code that each text means: what stands there letter by letter comes first."""
    found: dict[str, Row[Any]] = {}
    ways = {typed: list(meant_by(typed)) for typed in texts}
    settled: set[str] = set()
    for way in range(max(map(len, ways.values()), default=0)):
        meant = {
            typed: codes[way] for typed, codes in ways.items() if typed not in settled and way < len(codes)
        }
        rows = _rows_of({code for codes in meant.values() for code in codes})
        for typed, codes in meant.items():
            if own := [rows[code] for code in codes if code in rows]:
                settled.add(typed)
                found |= {typed: own[0]} if len({row.code for row in own}) == 1 else {}
    return found


def _rows_of(codes: set[str]) -> dict[str, Row[Any]]:
    rows: dict[str, Row[Any]] = {}
    with db.engine.connect() as connection:
        for some in _parts(sorted(codes), LOOKED_UP):
            for query in (_issued(some), _revoked(some)):
                rows |= {row.code: row for row in connection.execute(query)}
    return rows


def _issued(codes: Sequence[str]) -> Any:
    verdict = case((CouponIssue.used_at.is_(None), "issued"), else_="used").label("verdict")
    query: Any = select(CouponIssue.code, CouponIssue.coupon_id, Coupon.title, verdict)
    return query.join(Coupon, Coupon.id == CouponIssue.coupon_id).where(CouponIssue.code.in_(codes))


def _revoked(codes: Sequence[str]) -> Any:
    query: Any = select(
        Revocation.code, Revocation.coupon_id, Coupon.title, literal("revoked").label("verdict")
    )
    return query.join(Coupon, Coupon.id == Revocation.coupon_id).where(Revocation.code.in_(codes))


def revoke_all(
    listed: Sequence[Listed],
    *,
    by: int | None,
    reason: str,
    heard: Callable[[int], None] = lambda _done: None,
) -> Revoked:
    """Revoke every code that is "issued" in the list, with one row of the log and one message to its holder for each.

    Coupons that come free go to standby. `by` is the operator, None for a command; `heard` is told how many are done.
    A code that was used or revoked since the look stays as it is. Raises Waits when another operator has to confirm
    the list, and Unchanged without a reason or, for a list that has to be confirmed, with too many codes: nothing is
    changed then; SQLAlchemyError or redis.RedisError in the middle: what was revoked stays so, and a repeat does the
    rest.
    """
    reason, codes = told_reason(reason), _by_coupon(listed)
    if codes and rule.is_on():  # asked here too, so that no lock is held for nothing
        _propose(codes, by, reason)
    return _revoke_codes(codes, by, reason, heard)


def _propose(codes: Mapping[int, Sequence[str]], by: int | None, reason: str) -> None:
    """Have the list wait. It names the issues: a code that is given to somebody else meanwhile is none of them."""
    ids = _ids_of([code for of_coupon in codes.values() for code in of_coupon])
    if len(ids) > MOST_PROPOSED:
        raise Unchanged("too_many")
    with locked_coupon(min(codes)) as lock:
        _second_operator(lock, ids, by, reason, confirms=None)


def _second_operator(
    lock: CouponLock, ids: Sequence[int], by: int | None, reason: str | None, *, confirms: int | None
) -> None:
    """Let a list go on that was confirmed, or have it wait, under the lock of one of its coupons."""
    seen = seen_of(standing(ids, lock.connection))
    facts: dict[str, Any] = {"arguments": {"issues": list(ids)}, "told": {"codes": len(ids)}, "seen": seen}
    deed = Deed(
        verb="revoke", roles=RIGHTS[CHANGE], coupon=lock.coupon.id, reason=reason, whole=False, **facts
    )
    second_person(lock.connection, deed, by=by, confirms=confirms, commit=lock.commit)


def standing(ids: Sequence[int], connection: Connection) -> list[Row[Any]]:
    """Return id, code and coupon of those issues that can still be revoked, in the order of their ids."""
    found: list[Row[Any]] = []
    for some in _parts(ids, LOOKED_UP):
        unused = (CouponIssue.id.in_(some), CouponIssue.used_at.is_(None))
        query: Any = select(CouponIssue.id, CouponIssue.code, CouponIssue.coupon_id)
        found += connection.execute(query.where(*unused)).all()
    return sorted(found, key=lambda row: row.id)


def seen_of(issues: Sequence[Row[Any]]) -> str:
    """Return a digest of a list: a code of it that is used or revoked meanwhile changes it."""
    return sha256(" ".join(str(issue.id) for issue in issues).encode()).hexdigest()


def _ids_of(codes: Sequence[str]) -> list[int]:
    with db.engine.connect() as connection:
        query = (
            select(CouponIssue.id).where(CouponIssue.code.in_(some)) for some in _parts(codes, LOOKED_UP)
        )
        return sorted(number for each in query for number in connection.scalars(each))


def confirm_list(row: Row[Any], *, by: int) -> Revoked:
    """Confirm the proposal of a list, and revoke its codes. Raises ProposalRefused, and then nothing was changed.

    Whoever dies, or raises SQLAlchemyError or redis.RedisError, after the proposal is confirmed leaves it without the
    time at which it was done: `finish_list` does the rest.
    """
    with locked_coupon(row.coupon_id) as lock:
        _second_operator(lock, arguments_of(row)["issues"], by, row.reason, confirms=row.id)
        lock.commit()
    return finish_list(row, by=by)


def finish_list(row: Row[Any], *, by: int) -> Revoked:
    """Revoke what still stands of a list that was confirmed, and note when it was done. A repeat changes nothing.

    Raises as `confirm_list` does.
    """
    codes: dict[int, list[str]] = {}
    with db.engine.connect() as connection:
        for issue in standing(arguments_of(row)["issues"], connection):
            codes.setdefault(issue.coupon_id, []).append(issue.code)
    both = {"proposal": row.id, "asked_by": row.made_by}
    done = _revoke_codes(codes, by, row.reason or "", both=both)
    with db.engine.begin() as connection:
        undone = update(Proposal).where(Proposal.id == row.id, Proposal.done_at.is_(None))
        connection.execute(undone.values(done_at=utcnow()))
    return done


def _by_coupon(listed: Sequence[Listed]) -> dict[int, list[str]]:
    codes: dict[int, list[str]] = {}
    for each in listed:
        if each.verdict == "issued":
            codes.setdefault(each.coupon_id, []).append(each.code)
    return codes


def _revoke_codes(
    codes: Mapping[int, Sequence[str]],
    by: int | None,
    reason: str,
    heard: Callable[[int], None] = lambda _done: None,
    both: Mapping[str, Any] | None = None,
) -> Revoked:
    count = kept = 0
    for coupon_id, of_coupon in codes.items():
        for some in _parts(of_coupon, AT_ONCE):
            moved = _revoke(coupon_id, some, by, reason, both)
            count, kept = count + moved, kept + len(some) - moved
            heard(count)
    return Revoked(count=count, kept=kept)


def _revoke(
    coupon_id: int, codes: Sequence[str], by: int | None, reason: str, both: Mapping[str, Any] | None
) -> int:
    """Revoke some codes of one coupon in one transaction, tell Redis, and return how many it were."""
    moved: list[str] = []
    with locked_coupon(coupon_id) as lock:
        for code in codes:
            try:
                moved += [code] if move_issue(lock, code, by, reason, both) else []
            except Unchanged:
                continue
        lock.commit()
    try:
        _tell(coupon_id, moved)
    except (redis.RedisError, Refused) as error:
        swallow(
            "revocations not told",
            error,
            "they are committed, and the sweeper tells Redis",
            coupon_id=coupon_id,
        )
    return len(moved)


def _tell(coupon_id: int, codes: Sequence[str]) -> None:
    with db.engine.connect() as connection:
        rows = connection.execute(select(Revocation).where(Revocation.code.in_(codes))).all()
    for row in rows:
        publishing.publish_revocation(row)
    publishing.publish(coupon_id)


def _parts(whole: Sequence[T], most: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(whole), most):
        yield whole[start : start + most]
