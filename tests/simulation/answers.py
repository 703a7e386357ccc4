"""What people were answered, against what may be said; and what stands once the sweeper has gone round."""

from collections.abc import Iterator
from math import inf

from tests.simulation.actors import Actor
from tests.simulation.promises import Person, Promises
from tests.simulation.world import START_MS
from webapp.line.keys import BELL_MS
from webapp.sale.elsewhere import NEAR
from webapp.sale.outcomes import Refused, Ticket, is_revoked

KNOWS_NOBODY = {"none", "not_open", "closed", "not_eligible", "other_wave"}
"""What nobody hears who has a place or a result."""
TELLS_OF_THE_LINE = {"waiting", "sold_out", "lost", *KNOWS_NOBODY}
"""What only a gate that is to be trusted may say."""
NEAR_MS = NEAR.total_seconds() * 1000
SWEPT_MS = 7 * 24 * 3600 * 1000
"""Every coupon is swept for so long, whatever its line holds."""


def wrong_answers(promises: Promises, actor: Actor, *, event: int) -> Iterator[str]:
    """Judge the answer that a click or a poll has got, and keep it as the browser does."""
    person, user, books = promises.people[actor.about], actor.about, promises.books
    refusal = actor.error.code if isinstance(actor.error, Refused) else ""
    said = refusal or (actor.result[0].state if actor.result else "")
    yield from _wrong_of_the_line(actor, said, refusal)
    if actor.result is None or actor.began <= promises.in_doubt_until:
        return
    ticket, receipt = actor.result
    if said == "lost" and not promises.sql_was_put_back:
        yield f"P5: the receipt of number {person.number} is refused"
    knew = person.code and person.shown < actor.began  # a later answer may have overtaken this one
    if said in ("waiting", "sold_out", "none") and knew and person.code not in books.revoked:
        yield f'P7: user {user} was shown a coupon and reads "{said}"'
    if said in ("waiting", "sold_out") and not promises.sql_was_put_back:
        yield from _wrong_number(actor, person, ticket)
    if said == "issued":
        yield from _wrong_issue(promises, actor, person, ticket, event)
    if said == "rejected":
        yield from _wrong_rejection(promises, user, person, ticket)
    if actor.kind != "click elsewhere" and receipt:
        person.receipt, person.since = receipt, event
        person.number, person.epoch = ticket.number or 0, ticket.epoch


def _wrong_of_the_line(actor: Actor, said: str, refusal: str) -> Iterator[str]:
    """A line that is not to be trusted says nothing; one that is knows whom it has, and for whom the coupon is."""
    user = actor.about
    if said in TELLS_OF_THE_LINE and not actor.trusted:
        yield f'P10: user {user} hears "{said}" of a gate that is not to be trusted'
    if refusal == "not_eligible" and actor.invited:
        yield f'P10: the coupon is for user {user}, who hears "{refusal}"'
    if refusal == "other_wave" and actor.free:
        yield f'P10: user {user} has none of another wave, and hears "{refusal}"'
    if actor.trusted and actor.known and (said in KNOWS_NOBODY or refusal == "sold_out"):
        yield f'P9: the line knows user {user}, who hears "{said}"'


def _wrong_number(actor: Actor, person: Person, ticket: Ticket) -> Iterator[str]:
    number = ticket.number or 0
    if person.since >= actor.began:
        return  # another answer has overtaken this one
    if person.receipt and person.epoch == ticket.epoch and number > person.number:
        yield f"P9: user {actor.about} had number {person.number} and reads {number}"
    if actor.showed and number > actor.showed:
        yield f"P5: user {actor.about} showed the receipt of number {actor.showed} and reads {number}"


def _wrong_issue(
    promises: Promises, actor: Actor, person: Person, ticket: Ticket, event: int
) -> Iterator[str]:
    user, code = actor.about, ticket.code or ""
    issue = promises.books.issues.get(user)
    held = issue is not None and issue.code == code
    told = promises.told.get(code)
    if not held and promises.books.revoked.get(code) != user and not promises.sql_was_put_back:
        yield f"P7: user {user} is shown a coupon that SQL does not know"
    if told is not None and told < actor.began:
        yield f"P7: user {user} is shown a coupon that was taken back before"
    if held and code != person.code:
        person.shown = event
    person.code = code if held else ""


def _wrong_rejection(promises: Promises, user: int, person: Person, ticket: Ticket) -> Iterator[str]:
    books = promises.books
    if is_revoked(ticket):
        if user not in books.revoked.values():
            yield f"P7: user {user} hears that the coupon was revoked, which nobody did"
    elif person.code and person.code not in books.revoked:
        yield f'P7: user {user} was shown a coupon and reads "rejected"'
    elif user not in books.rejected:
        yield f'P4: user {user} hears "{ticket.reason}", and SQL knows no reason'


def after_a_sweep_of_lists(promises: Promises) -> Iterator[str]:
    """Judge what stands after a sweep of the lists that nothing disturbed: a line that is published knows its list."""
    seen, books, world = promises.seen, promises.books, promises.world
    if promises.in_doubt_until == inf or world.now_ms - START_MS > SWEPT_MS or not seen.trusted:
        return
    yield from _after_hearing_of_other_waves(promises)
    if books.audience and seen.gate["audience"] == books.audience:
        able = books.people - books.blocked
        if not seen.list_is_whole:
            yield "P6: the sweeper has swept, and the line does not know its list"
        elif seen.listed & able != books.listed & able:
            yield f"P10: the sweeper has swept, and the line lets {sorted(seen.listed)} in, not {sorted(books.listed)}"


def _after_hearing_of_other_waves(promises: Promises) -> Iterator[str]:
    """A wave that people can claim now or soon refuses just those who have one of another wave."""
    seen, books, now_ms = promises.seen, promises.books, promises.world.now_ms
    period = (int(seen.gate["opens_at"]) - NEAR_MS, int(seen.gate["closes_at"]) + NEAR_MS)
    told = int(seen.gate["revision"]) == books.row.revision
    if books.row.one_each and told and period[0] < now_ms < period[1] and seen.refused != books.elsewhere:
        yield f"P10: the sweeper has swept, and the line refuses {sorted(seen.refused)}, not {sorted(books.elsewhere)}"


def after_a_sweep(promises: Promises) -> Iterator[str]:
    """Judge what stands after a sweep that nothing disturbed: Redis has heard of all that SQL has committed."""
    seen, books, world = promises.seen, promises.books, promises.world
    if promises.in_doubt_until == inf or world.now_ms - START_MS > SWEPT_MS:
        return
    if not seen.trusted:
        yield "P10: the sweeper has swept, and no epoch is open"
        return
    if int(seen.gate["revision"]) != books.row.revision:
        yield f"the sweeper has swept, and Redis knows revision {seen.gate['revision']} of {books.row.revision}"
    for code, user in books.revoked.items():
        if seen.results.get(user, "").endswith(f":{code}"):
            yield f"P7: the sweeper has swept, and Redis still shows user {user} a coupon that was revoked"
    awaited = int(seen.gate["grace_from"]) <= world.redis_ms < int(seen.gate["grace_until"])
    if seen.line and books.row.status != "paused" and not awaited:
        life_ms = seen.bell_until - world.redis_ms
        if not 0 < life_ms <= BELL_MS:
            yield f"P6: the sweeper has swept, {sorted(seen.line)} wait, and the bell is of no use"
