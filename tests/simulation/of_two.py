"""What is promised of what two people decide: judged at every commit, by the rows and not by the product's own rule."""

import json
from collections.abc import Iterator, Mapping
from math import inf

from tests.simulation.pauses import ms_of
from tests.simulation.reading import Books, Proposed, Row

WITHIN_MS = 30 * 60 * 1000
MAY = ("operator", "owner")
ON_SALE = ("live", "paused")
ABOUT_PROPOSALS = ("propose", "confirm", "decline", "withdraw")
Policy = tuple[object, ...]


def policy(row: Row) -> Policy:
    """What operators decide about a coupon, as far as the simulation reads it."""
    of_the_pause = (row.pause_template, row.paused_at, row.promised_at)
    return (row.status, row.quota, row.standby, row.version, row.opens_at, row.ends_at, *of_the_pause)


def new_subjects(had: Mapping[int, Policy], books: Books) -> dict[int, Policy]:
    """Return what each proposal has seen: the coupon as it stood when the proposal came."""
    return {which: had.get(which, policy(books.row)) for which in books.proposals}


def wrongs_of_two(
    had: Books, books: Books, subjects: Mapping[int, Policy], *, since_ms: int, now_ms: int
) -> Iterator[str]:
    """Judge one commit: nothing that waits happens alone, and a proposal acts once, in time, on what it has seen.

    `subjects` says what each proposal has seen; the lock was taken at `since_ms`.
    """
    confirmed = []
    for which, each in books.proposals.items():
        before = had.proposals.get(which)
        if before is None and policy(had.row) != policy(books.row):
            yield f"two people: proposal {which} waits, and what it asks for was done"
        if before and before.decision and before[-2:] != each[-2:]:
            yield f"two people: proposal {which} was {before.decision}, and is {each.decision} by {each.by}"
        if each.decision == "confirmed" and (before is None or before.decision != "confirmed"):
            confirmed.append(which)
            yield from _wrongly_confirmed(which, each, had, subjects, since_ms)
            yield from _wrongly_done(which, each, books)
    if not confirmed and (what := needs_two(had.row, books.row, now_ms)):
        yield f"two people: {what}, and nobody has confirmed it"
    yield from _wrongly_told(had, books, confirmed)


def needs_two(was: Row, row: Row, now_ms: int) -> str:
    """Return what of a change waits for a second person, "" for nothing."""
    if was.status == "draft":
        return ""
    if row.status == "closed" and was.status != "closed":
        return "the coupon is closed"
    if _most(row) > _most(was):
        return f"{_most(row)} coupons are decided after {_most(was)}"
    ended, ends = ms_of(was.ends_at), ms_of(row.ends_at)
    return "the sale ends earlier" if was.status in ON_SALE and now_ms < ended and ends < ended else ""


def _most(row: Row) -> float:
    if row.quota is not None:
        return row.quota
    return inf if row.pool_left is None else row.issued + row.pool_left


def _wrongly_confirmed(
    which: int, each: Proposed, had: Books, subjects: Mapping[int, Policy], since_ms: int
) -> Iterator[str]:
    if each.by is None or each.by == each.made_by:
        yield f"two people: proposal {which} is of {each.made_by}, who has confirmed it alone"
    for who in (each.by, each.made_by):
        if who is not None and had.roles.get(who) not in MAY:
            yield f"two people: proposal {which} is done, and {who} is {had.roles.get(who)}"
    age_ms = since_ms - ms_of(each.made_at)
    if age_ms >= WITHIN_MS:
        yield f"two people: proposal {which} is confirmed after {age_ms} ms"
    if which in subjects and subjects[which] != policy(had.row):
        yield f"two people: proposal {which} has seen {subjects[which]}, and changes {policy(had.row)}"


def _wrongly_done(which: int, each: Proposed, books: Books) -> Iterator[str]:
    asked, row = json.loads(each.arguments), books.row
    stands = {"total_quantity": row.quota, "status": row.status, "issue_end_at": row.ends_at}
    for name in stands.keys() & asked.keys():
        value, now = asked[name], stands[name]
        if (ms_of(value) != ms_of(now)) if name == "issue_end_at" else value != now:
            yield f"two people: proposal {which} is confirmed, and its {name} {value} is {now}"


def _wrongly_told(had: Books, books: Books, confirmed: list[int]) -> Iterator[str]:
    """The log has a row of each proposal, of each decision and of each deed, and every deed names its proposal."""
    fresh = books.log[len(had.log) :]
    made = books.proposals.keys() - had.proposals.keys()
    told = {verb: [each for each in fresh if each.verb == verb] for verb in ("propose", "confirm")}
    for verb, which in (("propose", sorted(made)), ("confirm", sorted(confirmed))):
        if sorted(each.proposal for each in told[verb]) != which:
            yield f"two people: the log tells of {told[verb]}, and {which} are what somebody did {verb}"
    for which in confirmed:
        each = books.proposals[which]
        deeds = [row for row in fresh if row.verb == each.verb]
        if [row[1:] for row in deeds] != [(each.by, which, each.made_by)]:
            yield f"two people: proposal {which} of {each.made_by} was done by {each.by}, and the log tells {deeds}"
    for row in fresh:
        if row.proposal and row.verb not in ABOUT_PROPOSALS and row.proposal not in confirmed:
            yield f"two people: proposal {row.proposal} acts once more"
