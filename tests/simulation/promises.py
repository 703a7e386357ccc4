"""The promises, judged after every step: what the stores say now, against what they said before."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from tests.simulation.actors import Actor
from tests.simulation.of_two import Policy, new_subjects, wrongs_of_two
from tests.simulation.pauses import as_told, of_a_pause
from tests.simulation.reading import Books, Issue, Seen
from webapp.line.results import REVOKED
from webapp.sale.eligibility import OTHER_WAVE

if TYPE_CHECKING:
    from tests.simulation.world import World

GRACE_MS = 4000
GIVES_NUMBERS = ("live", "paused")


class Violation(AssertionError):
    """A promise is broken: `wrong` says which, the history is for people, the script for playing it again."""

    def __init__(self, wrong: str, history: list[str], script: list[tuple[str, dict[str, Any]]]) -> None:
        super().__init__(wrong)
        self.wrong, self.history, self.script = wrong, history, script

    @property
    def kind(self) -> str:
        """What it is about, whoever and whatever number it befalls."""
        return re.sub(r"\d+", "N", self.wrong)

    def __str__(self) -> str:
        return "\n".join([self.wrong, *(f"{at:3}. {text}" for at, text in enumerate(self.history, 1))])


@dataclass
class Person:
    """What one browser keeps and has shown."""

    receipt: str = ""
    number: int = 0
    epoch: int = 0
    since: int = 0
    """The event at which the receipt came."""
    code: str = ""
    """The code that was shown, until it is known to be revoked."""
    shown: int = 0
    """The event at which it was shown."""


@dataclass
class Promises:
    """The model: what is known and promised. Each check yields the sentences that are wrong."""

    world: "World"
    seen: Seen
    books: Books
    people: dict[int, Person]
    owners: dict[int, int] = field(default_factory=dict)
    """Whose each number is."""
    opened: set[int] = field(default_factory=set)
    opened_at: tuple[int, int] = (0, 0)
    """When the running epoch was opened, and how far Redis's clock was ahead then."""
    given: set[str] = field(default_factory=set)
    """The codes that somebody got, also those that were revoked."""
    told: dict[str, int] = field(default_factory=dict)
    """The event at which Redis knew that a code was revoked."""
    sql_was_put_back: bool = False
    subjects: dict[int, Policy] = field(default_factory=dict)
    """What each proposal has seen of the coupon."""
    asking: list[int] = field(default_factory=list)
    """Who asked the line when it was asked last, in the order in which they came."""
    in_doubt_until: float = 0
    """The event up to which Redis told of an SQL that is no more: nothing is promised until somebody has reconciled."""

    def judge(self, actor: Actor | None, crossed: str, *, event: int, lost: bool = False) -> Iterator[str]:
        """Yield what is wrong about the way from the last state of the stores to the present one.

        `lost`: a fault has just taken something from a store.
        """
        old, now = (self.seen, self.books), (self.world.seen(), self.world.books())
        self.seen, self.books = now
        yield from self._wrongs(actor, crossed, *old, *now, lost=lost)
        self._remember(*now, event)

    def forget_what_sql_forgot(self, books: Books) -> None:
        """SQL was put back: what was shown since then is gone, as the operators were told."""
        self.books, self.sql_was_put_back, self.in_doubt_until = books, True, inf
        self.opened, self.told, self.subjects = set(), {}, {}
        codes = {issue.code for issue in books.issues.values()}
        self.given = codes | books.revoked.keys()
        for person in self.people.values():
            person.code = person.code if person.code in codes else ""

    def _wrongs(
        self,
        actor: Actor | None,
        crossed: str,
        was: Seen,
        had: Books,
        seen: Seen,
        books: Books,
        *,
        lost: bool,
    ) -> Iterator[str]:
        yield from sums(books)
        if self.in_doubt_until == inf or lost:
            return
        if books is not had:
            yield from self._new_issues(actor, had, books)
            yield from new_events(had, books)
            yield from backwards_in_sql(had, books)
            yield from of_a_pause(
                actor, had, books, since_ms=self.world.lock_taken_ms, now_ms=self.world.now_ms
            )
            if self.world.two:
                times = {"since_ms": self.world.lock_taken_ms, "now_ms": self.world.now_ms}
                yield from wrongs_of_two(had, books, self.subjects, **times)
        yield from as_told(seen, books)
        yield from self._places(crossed, actor, was, seen, books)
        yield from new_results(was, seen, books)
        yield from backwards(was, seen)
        if seen.trusted and (not was.trusted or seen.epoch != was.epoch):
            yield from self._opening(was, seen, books)
        if seen.trusted and seen.epoch != books.row.epoch:
            yield f"P10: epoch {seen.epoch} gives numbers, and SQL knows of epoch {books.row.epoch}"
        if crossed == "begin_epoch.lua" and was.trusted and seen.gate != was.gate:
            yield f"P10: epoch {was.epoch} is open, and its gate is made once more"
        if seen.trusted and seen.gate["sold_out"] == "0" and seen.standby:
            yield f"P6: {sorted(seen.standby)} stand in standby, and the line gives numbers to others"

    def _remember(self, seen: Seen, books: Books, event: int) -> None:
        self.given.update(issue.code for issue in books.issues.values())
        self.subjects = new_subjects(self.subjects, books)
        for user, number in seen.places.items():
            self.owners[number] = user
        for code, user in books.revoked.items():
            if not seen.results.get(user, "").startswith("issued"):
                self.told.setdefault(code, event)

    def _new_issues(self, actor: Actor | None, had: Books, books: Books) -> Iterator[str]:
        """An issue is of somebody who may, in the order of the line that was read under the lock."""
        fresh = {user: books.issues[user] for user in books.issues.keys() - had.issues.keys()}
        if not fresh:
            return
        for user, issue in fresh.items():
            if user in books.blocked:
                yield f"P4: user {user} is blocked and got a coupon"
            if user in books.elsewhere:
                yield f"P2: user {user} has one of another wave, and got a coupon"
            if not books.may(user):
                yield f"P4: the coupon is for others than user {user}, who got one"
            if user in had.rejected:
                yield f"P7: user {user} was refused ({had.rejected[user].reason}) and got a coupon all the same"
            if self.owners.get(issue.number) != user:
                yield f"P4: number {issue.number} was never given to user {user}, who got a coupon for it"
        for code in sorted({issue.code for issue in fresh.values()} & self.given):
            yield f"P2: code {code} is given a second time"
        yield from wrong_codes(had, books, sorted(fresh.values()))
        if books.row.status in ("paused", "draft"):
            yield f"the coupon is {books.row.status}, and {len(fresh)} were issued"
        yield from self._order(actor, max(issue.number for issue in fresh.values()), books)

    def _order(self, actor: Actor | None, highest: int, books: Books) -> Iterator[str]:
        """Everybody before the highest number was decided too, and the receipts of a lost line were awaited."""
        if actor is None or actor.read is None:
            yield "coupons were issued by somebody who has not read the line under the lock"
            return
        line, read_ms = actor.read
        if not line.trusted:
            yield "P10: coupons were issued to the line of a gate that is not to be trusted"
        for user, number in line.places.items():
            if number < highest and not books.decided(user, number) and user not in books.rejected:
                yield f"P4: number {highest} got a coupon before number {number}, user {user}"
        opened_ms, leaps = self.opened_at
        waited = read_ms - opened_ms
        # By a clock that leapt the wait was over; one that was put back makes no wait shorter.
        if line.epoch > 1 and waited < GRACE_MS and leaps == self.world.leaps:
            yield f"P5: admission waited {waited} ms for the receipts of a line that was lost"

    def _places(
        self, crossed: str, actor: Actor | None, was: Seen, seen: Seen, books: Books
    ) -> Iterator[str]:
        """A place goes only when it is decided, comes only by a click or a receipt, and has one owner."""
        for user, number in was.places.items():
            now = seen.places.get(user)
            if now is None:
                yield from gone(crossed, user, number, books)
            elif now > number:
                yield f"P5: user {user} had number {number} and has {now}"
        for user in seen.line.keys() & seen.standby.keys():
            yield f"user {user} stands in line and in standby"
        if len(set(seen.places.values())) < len(seen.places):
            yield f"P9: a number has two owners: {seen.places}"
        if crossed == "claim.lua":
            yield from self._new_numbers(was, seen)
        for user, number in seen.places.items():
            if self.owners.get(number, user) != user and not self.sql_was_put_back:
                yield f"P9: number {number} is of user {self.owners[number]} and of user {user}"
            if user not in was.places:
                yield from self._new_place(crossed, user, number, was, books)

    def _new_numbers(self, was: Seen, seen: Seen) -> Iterator[str]:
        """Those who pressed and may have a number got the next ones, in the order in which they came."""
        pressed, now_ms = list(dict.fromkeys(self.world.pressed)), self.world.redis_ms
        new = sorted(seen.places.keys() - was.places.keys(), key=lambda user: seen.places[user])
        for number, user in enumerate(new, was.last + 1):
            if user not in pressed:
                yield f"user {user} got number {seen.places[user]} by the press of {pressed}"
            if seen.places[user] != number:
                yield f"P4: user {user} got number {seen.places[user]} after number {number - 1}"
        came = [user for user in dict.fromkeys(self.asking) if user in new]
        if came != [user for user in new if user in came]:
            yield f"P4: {came} pressed in this order, and got their numbers in the order {new}"
        for position, user in enumerate(pressed):
            given = sum(other in new for other in pressed[:position])
            why = why_no_number(was, user, now_ms, given)
            if user in new and why:
                yield f"user {user} got number {seen.places[user]}, although {why}"
            if user not in seen.places and not why:
                yield f"user {user} pressed while the line gave numbers, and got none"

    def _new_place(self, crossed: str, user: int, number: int, was: Seen, books: Books) -> Iterator[str]:
        if crossed == "claim.lua":
            if (user in self.seen.standby) != (was.gate["sold_out"] == "1"):
                yield f"P4: user {user} pressed, and stands in the wrong one of line and standby"
        elif crossed == "restore_ticket.lua":
            if self.owners.get(number) != user and not self.sql_was_put_back:
                yield f"P5: number {number} was restored for user {user}, who never had it"
            if user in was.results:
                yield f"P7: user {user} was decided, and a receipt gives number {number} to wait with"
        else:
            yield f"user {user} got number {number} by {crossed}"
        if crossed == "claim.lua" and user in books.issues:
            yield f"P7: user {user} holds the coupon and got number {number} to wait with"
        if crossed == "claim.lua" and user in books.rejected:
            yield f"P7: user {user} was refused for good and got number {number} to wait with"

    def _opening(self, was: Seen, seen: Seen, books: Books) -> Iterator[str]:
        """An epoch is a new one, SQL knows it before it gives numbers, and it knows all that SQL has decided."""
        if was.gate.get("begun") != seen.run:
            yield f"P10: epoch {seen.epoch} is opened, and was not begun in this run of Redis"
        floor, known = int(seen.gate.get("floor", 0)), max(self.owners, default=0)
        if floor < known and not self.sql_was_put_back:
            yield f"P9: epoch {seen.epoch} counts from {floor}, and number {known} was given"
        self.opened_at = (self.world.now_ms, self.world.leaps)
        if seen.epoch in self.opened:
            yield f"P5: epoch {seen.epoch} is opened a second time"
        self.opened.add(seen.epoch)
        if seen.epoch > 1 and not any(e.kind == "epoch" and e.epoch == seen.epoch for e in books.events):
            yield f"epoch {seen.epoch} is open, and no event says why it began"
        for user in (books.issues.keys() | books.rejected.keys()) - seen.results.keys():
            yield f"P7: epoch {seen.epoch} is open and does not know how user {user} was decided"


def wrong_codes(had: Books, books: Books, fresh: list[Issue]) -> Iterator[str]:
    """A pool gives its next codes, in the order of the tickets."""
    codes = [issue.code for issue in fresh]
    if had.row.pool_left is not None and codes != (due := had.codes_left[: len(codes)]):
        yield f"P4: the next codes of the pool are {due}, and {codes} were given"


def backwards_in_sql(had: Books, books: Books) -> Iterator[str]:
    """Every change of the coupon raises its revision, its numbers only rise, and what was used stays."""
    if books.row != had.row and books.row.revision <= had.row.revision:
        yield f"the coupon was changed, and its revision stays {books.row.revision}"
    if had.row.pool_left is not None and books.row.pool_left is None and books.row.status != "draft":
        yield "a coupon with a pool has its codes drawn by us from now on"
    if books.row.epoch < had.row.epoch or books.row.last < had.row.last:
        yield f"SQL knew of number {had.row.last} of epoch {had.row.epoch}, and has forgotten it"
    for code in books.revoked.keys() & had.used:
        yield f"P7: the code of user {books.revoked[code]} was used at a till, and is revoked"


def sums(books: Books) -> Iterator[str]:
    row = books.row
    if row.quota is not None and len(books.issues) > row.quota:
        yield f"P1: {len(books.issues)} issued of {row.quota}"
    if row.issued != len(books.issues):
        yield f"P1: the coupon counts {row.issued} issued, and there are {len(books.issues)}"
    if both := books.elsewhere & books.issues.keys():
        yield f"P2: {sorted(both)} hold one of two waves"
    if books.doubles:
        yield "P2: somebody holds the coupon twice"
    if row.pool_left is not None:
        if row.pool_left != len(books.codes_left):
            yield f"the pool counts {row.pool_left} codes, and {len(books.codes_left)} are left"
        for user in sorted(books.issues):
            if books.issues[user].code not in {code for _, _, code in books.pool}:
                yield f"the code of user {user} was never in the pool"


def why_no_number(gate: Seen, user: int, now_ms: int, given: int) -> str:
    """Return why a click must get no new number, "" when it must get one: what claim.lua has to say, in Python.

    So many numbers were `given` in the same call to those who came before.
    """
    fields = gate.gate
    if not gate.trusted:
        return "no epoch is open in this run of Redis"
    if user in gate.results:
        return "it was decided"
    if user in gate.places:
        return "there was a ticket already"
    if fields["status"] not in GIVES_NUMBERS:
        return f"the coupon is {fields['status']}"
    if now_ms < int(fields["opens_at"]):
        return "P8: it has not opened"
    if now_ms >= int(fields["closes_at"]):
        return "P8: it is over"
    if why := why_not_for(gate, user):
        return why
    full = gate.crowd + given >= int(fields.get("standby_limit", 0))
    if fields["sold_out"] == "1" and full:
        return "it is sold out"
    return "the line says that they have one of another wave" if user in gate.refused else ""


def why_not_for(gate: Seen, user: int) -> str:
    """Return why the list in Redis lets nobody, or not this user, have a number."""
    if not gate.gate["audience"]:
        return ""
    if not gate.list_is_whole:
        return "Redis does not know the list"
    return "" if user in gate.listed else "the list has others"


def gone(crossed: str, user: int, number: int, books: Books) -> Iterator[str]:
    """A place goes only when it is decided. A batch settles the very numbers that it has decided."""
    if not books.decided(user, number) and user not in books.rejected:
        yield f"P5: the ticket of user {user}, number {number}, is gone"
    if crossed == "settle_batch.lua" and not books.has_a_row(number):
        yield f"P4: number {number} of user {user} has left the line, and no row says why"


def new_events(had: Books, books: Books) -> Iterator[str]:
    """A rejection has a reason that is true, and is written once."""
    fresh = books.events[len(had.events) :]
    for event in fresh:
        if event in had.events:
            yield f"P3: {event.kind} of number {event.number} is written twice"
        able = event.user in books.people and event.user not in books.blocked
        elsewhere = event.user in books.elsewhere
        may = able and books.may(event.user or 0) and not elsewhere
        if event.kind == "rejected" and event.reason == OTHER_WAVE and not elsewhere:
            yield f"P4: user {event.user} was rejected ({event.reason}), and has none"
        if event.kind == "rejected" and may and not event.reason.startswith(REVOKED):
            yield f"P4: user {event.user} was rejected ({event.reason}), and may have the coupon"
        has = event.user in books.issues or event.user in books.rejected
        if event.kind == "already" and not has and event.reason != "moved to a lower number":
            yield f"P4: number {event.number} was skipped because user {event.user} holds the coupon: not true"


def new_results(was: Seen, seen: Seen, books: Books) -> Iterator[str]:
    """A result is written after SQL's commit, and "issued" is taken back only by a revocation."""
    for user, result in seen.results.items():
        before = was.results.get(user, "")
        if result == before:
            continue
        kind, _, detail = result.split(":", 2)
        issue = books.issues.get(user)
        if kind == "issued" and detail not in books.revoked and (issue is None or issue.code != detail):
            yield f"P7: Redis says that user {user} has a coupon, and SQL does not"
        if kind == "issued" and seen.trusted and detail in books.revoked:
            yield f"P7: a coupon that was revoked is shown to user {user}"
        if kind == "issued" and before.startswith("rejected"):
            yield f"P7: a coupon that was taken from user {user} is shown again"
        if kind == "rejected" and issue is not None:
            yield f"P7: user {user} holds the coupon, and Redis says rejected"
        if kind == "rejected" and user not in books.rejected:
            yield f"P4: Redis says that user {user} was rejected, and SQL knows no reason"
    for user in was.results.keys() - seen.results.keys():
        if user in books.issues or user in books.rejected:
            yield f"P7: Redis forgot how user {user} was decided"


def backwards(was: Seen, seen: Seen) -> Iterator[str]:
    """Within an epoch the counter, "now serving" and the revision only rise."""
    if not (was.trusted and seen.trusted):
        return
    if seen.epoch < was.epoch:
        yield f"P4: epoch {was.epoch} is followed by epoch {seen.epoch}"
    if seen.epoch == was.epoch:
        for name in ("last", "serving", "revision"):
            if int(seen.gate[name]) < int(was.gate[name]):
                yield f"{name} went back from {was.gate[name]} to {seen.gate[name]}"
    if int(seen.gate["serving"]) > seen.last:
        yield f"number {seen.gate['serving']} is served, and {seen.last} is the last that was given"
