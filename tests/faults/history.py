"""What people sent, were answered and were shown, compared with SQL and Redis: the invariants I1 to I7.

I1  issued <= quota, and the count on the coupon is the number of rows
I2  nobody holds a coupon twice
I3  the lowest eligible tickets won
I4  every answered ticket has a result, or its owner was told that it was lost
I5  the results are there within 10 s after all parts are healthy
I6  what is shown is what SQL says, and "issued" is never followed by anything else
I7  a repeated claim gives the same ticket
"""

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from jobs.rehearsal.crowd import Crowd, signed_in
from jobs.rehearsal.load import CONNECTIONS, Answer, Try, send_all
from tests.faults.site import Running
from webapp.models import Coupon, CouponIssue, LineEvent
from webapp.sale import audit
from webapp.stores.sql import db

FINAL = frozenset({"issued", "sold_out", "rejected", "lost", "none"})
REFUSALS = (409, 410)
SETTLES_S = 10.0
ASKED_S = 20.0


class Broken(AssertionError):
    """An invariant does not hold; the message begins with its name."""


class Drive(threading.Thread):
    """Claims on their way, while the test breaks something."""

    def __init__(
        self, history: "History", indices: Sequence[int], *, spread_s: float, within_s: float
    ) -> None:
        super().__init__(daemon=True)
        self.history, self.indices, self.spread_s, self.within_s = history, list(indices), spread_s, within_s
        self.answers: list[Answer | None] = []
        self.answered = 0
        self.start()

    def run(self) -> None:
        history = self.history
        requests = [history.crowd.claim(history.coupon_id, index) for index in self.indices]
        self.answers = send_all(
            history.address,
            requests,
            on_answer=self._note,
            on_try=history.note_try,
            spread_s=self.spread_s,
            within_s=self.within_s,
            connections=history.connections,
        )
        history.unanswered += self.answers.count(None)

    def _note(self, place: int, answer: Answer) -> None:
        self.answered += 1
        self.history.note(self.indices[place], answer)

    def end(self) -> None:
        """Wait for the last answer, and keep the parts of the site running meanwhile."""
        assert self.history.site.wait(lambda: not self.is_alive(), within_s=self.within_s + 5)


class History:
    """One coupon's people: what each was answered and shown. Users are known by their place in the crowd."""

    connections = CONNECTIONS
    """How many claims are on their way at a time, at most."""

    def __init__(self, site: Running, coupon_id: int, users: Sequence[int]) -> None:
        self.site, self.coupon_id = site, coupon_id
        self.address = site.address
        self.crowd: Crowd = signed_in(site.app, users, site.address[0])
        self.numbers: dict[int, list[int]] = defaultdict(list)
        self.receipts: dict[int, str] = {}
        self.shown: dict[int, list[tuple[str, str | None]]] = defaultdict(list)
        self.refused: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.slowest_s = self.longest_lost_s = 0.0
        self.slowest = ""
        self.claims, self.begun = 0, time.monotonic()
        self.unanswered = 0
        self.odd: list[str] = []
        self.ineligible: set[int] = set()

    # What happens

    def drive(
        self, indices: Sequence[int] | None = None, *, spread_s: float = 0.0, within_s: float = 60.0
    ) -> Drive:
        """Start to send claims, one for each of the people, and go on; `Drive.end` waits for the answers."""
        people = range(len(self.crowd.user_ids)) if indices is None else indices
        return Drive(self, people, spread_s=spread_s, within_s=within_s)

    def claim(self, indices: Sequence[int] | None = None, **options: float) -> Drive:
        drive = self.drive(indices, **options)
        drive.end()
        return drive

    def note(self, index: int, answer: Answer) -> None:
        """Keep the answer to a claim."""
        self.claims += 1
        if answer.status == 200:
            self._note_ticket(index, json.loads(answer.body))
        elif answer.status in REFUSALS:
            self.refused[json.loads(answer.body)["code"]] += 1
        else:
            self.odd.append(f"{answer.status} {answer.body[:200]!r}")

    def note_try(self, seen: Try) -> None:
        self.statuses[seen.status] += 1
        if seen.status:
            if seen.seconds > self.slowest_s:
                self.slowest_s = seen.seconds
                self.slowest = (
                    f"{seen.status} after {seen.seconds:.2f} s, at {time.monotonic() - self.begun:.1f} s"
                )
        else:
            self.longest_lost_s = max(self.longest_lost_s, seen.seconds)

    def _note_ticket(self, index: int, ticket: dict[str, object]) -> None:
        if isinstance(number := ticket["number"], int):
            self.numbers[index].append(number)
            self.receipts[index] = str(ticket["receipt"])
        self.shown[index].append((str(ticket["state"]), ticket["code"]))  # type: ignore[arg-type]

    def poll(self, indices: Sequence[int] | None = None, *, spread_s: float = 0.0) -> list[str]:
        """Have every page ask for its ticket, with the receipt that it holds, and return the states."""
        people = list(range(len(self.crowd.user_ids))) if indices is None else list(indices)
        requests = [self._poll_request(index) for index in people]
        answers = send_all(self.address, requests, spread_s=spread_s, within_s=ASKED_S)
        for index, answer in zip(people, answers, strict=True):
            if answer is not None and answer.status == 200:
                self._note_ticket(index, json.loads(answer.body))
        return [self.shown[index][-1][0] if self.shown[index] else "unanswered" for index in people]

    def _poll_request(self, index: int) -> bytes:
        request = self.crowd.get(f"/coupons/{self.coupon_id}/ticket", index)
        receipt = f"X-Ticket-Receipt: {self.receipts.get(index, '')}\r\n\r\n".encode()
        return request.removesuffix(b"\r\n") + receipt

    # What must hold

    def check(self, *, lost: bool = False, within_s: float = SETTLES_S) -> None:
        """Wait for the results and compare everything. `lost`: Redis lost data, and people may have been told so."""
        self.check_settled(within_s)
        self.check_repeats()
        states = self.poll()
        self.check_rows()
        self.check_order()
        self.check_told(states, lost=lost)
        report = audit.run(self.coupon_id)
        if not report.ok:
            raise Broken("audit: " + "; ".join(str(check) for check in report.checks if not check.ok))

    def check_settled(self, within_s: float = SETTLES_S) -> None:
        """I5: nobody with a ticket is left waiting."""
        waited_for = list(self.numbers)

        def settled() -> bool:
            waited_for[:] = [index for index in waited_for if self.shown[index][-1][0] not in FINAL]
            self.poll(waited_for)
            return all(self.shown[index][-1][0] in FINAL for index in waited_for)

        self.poll(waited_for)
        if not self.site.wait(settled, within_s=within_s):
            states = Counter(self.shown[index][-1][0] for index in waited_for)
            raise Broken(f"I5: not settled within {within_s:g} s: {dict(states)}\n{self.site.said()}")

    def check_repeats(self) -> None:
        """I7: whoever has a ticket presses again, and has the same."""
        self.claim(list(self.numbers))
        changed = {index: numbers for index, numbers in self.numbers.items() if len(set(numbers)) != 1}
        if changed:
            raise Broken(
                f"I7: {len(changed)} people were told other numbers, e.g. {list(changed.items())[:3]}"
            )
        held = Counter(numbers[0] for numbers in self.numbers.values())
        twice = [number for number, count in held.items() if count > 1]
        if twice:
            raise Broken(f"I7: numbers of more than one: {twice[:5]}")

    def check_rows(self) -> None:
        """I1 and I2."""
        coupon, rows = self._coupon(), self.rows()
        if coupon.issued_quantity != len(rows):
            raise Broken(f"I1: the coupon counts {coupon.issued_quantity}, there are {len(rows)} rows")
        if coupon.total_quantity is not None and len(rows) > coupon.total_quantity:
            raise Broken(f"I1: {len(rows)} issued of {coupon.total_quantity}")
        twice = [user for user, count in Counter(user for user, _, _ in rows).items() if count > 1]
        if twice:
            raise Broken(f"I2: users with two coupons: {twice[:5]}")

    def check_order(self) -> None:
        """I3: those with the lowest numbers have the coupons, except who may not."""
        winners = {number for _, number, _ in self.rows()}
        eligible = sorted(
            numbers[0] for index, numbers in self.numbers.items() if index not in self.ineligible
        )
        if winners != (expected := set(eligible[: len(winners)])):
            early, late = sorted(expected - winners)[:5], sorted(winners - expected)[:5]
            raise Broken(f"I3: {early} were passed over, {late} have coupons")
        quota = self._coupon().total_quantity
        if quota is not None and len(winners) < min(quota, len(eligible)):
            raise Broken(f"I3: {len(winners)} issued, {quota} coupons for {len(eligible)} people")

    def check_told(self, states: list[str], *, lost: bool) -> None:
        """I4 and I6."""
        codes = {user: code for user, _, code in self.rows()}
        for index, state in enumerate(states):
            self._check_shown(index, codes.get(self.crowd.user_ids[index]))
            if state in ("none", "lost", "unanswered") and index in self.numbers and not lost:
                raise Broken(f"I4: somebody with number {self.numbers[index][0]} is told {state}")
        if self.odd:
            raise Broken(
                f"I4: {len(self.odd)} answers that nobody understands, e.g. {self.odd[0]}\n{self.site.said()}"
            )
        if self.unanswered:
            raise Broken(f"I4: {self.unanswered} claims were never answered")

    def _check_shown(self, index: int, code: str | None) -> None:
        shown = self.shown[index]
        last = shown[-1] if shown else ("unanswered", None)
        if (last[0] == "issued") != (code is not None) or (code is not None and last[1] != code):
            raise Broken(f"I6: SQL says {code}, the page {last}")
        issued = [place for place, (state, _) in enumerate(shown) if state == "issued"]
        if issued and any(state != "issued" for state, _ in shown[issued[0] :]):
            raise Broken(f"I6: issued was taken back: {shown}")

    # What SQL says

    def _coupon(self) -> Any:
        with db.engine.connect() as connection:
            return connection.execute(select(Coupon).where(Coupon.id == self.coupon_id)).one()

    def rows(self) -> list[tuple[int, int, str]]:
        """Return user, number and code of every issue, in order of number."""
        columns = (CouponIssue.user_id, CouponIssue.ticket_number, CouponIssue.code)
        query = select(*columns).where(CouponIssue.coupon_id == self.coupon_id)
        with db.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(query.order_by(CouponIssue.ticket_number))]

    def events(self, kind: str) -> Sequence[Any]:
        query = select(LineEvent).where(LineEvent.coupon_id == self.coupon_id, LineEvent.kind == kind)
        with db.engine.connect() as connection:
            return connection.execute(query).all()
