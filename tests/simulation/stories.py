"""The stories: steps that belong together in life, so that the machine meets what follows from them often enough.

A story plays plain steps one after the other. The script keeps those, so that shortening leaves out what matters not.
Each story leaves most of its choices open.
"""

from typing import Any

from hypothesis import strategies as st

from tests.simulation.actors import Actor
from tests.simulation.deeds import OPERATOR
from tests.simulation.machine import Simulation
from tests.simulation.rest import DAY_MS, TO_THE_END
from tests.simulation.steps import BEFORE, SOME, USERS, WHICH, story
from tests.simulation.world import LOCK_KEPT_MS

LOSSES = (
    "Redis is wiped",
    "Redis starts again and is empty",
    "Redis starts again with its file",
    "Redis fails over to the replica",
)
MOST = st.lists(USERS, min_size=2, unique=True)
TOGETHER = st.lists(USERS, min_size=2, max_size=4)
"""Who presses while a call is away; the same one may press twice."""
PAGES = st.one_of(st.none(), SOME)
"""Whose pages ask with their receipts; None: all that have one."""
WORKS = st.sampled_from(["never", "at once", "soon", "settle_batch.lua", "settle_batch.lua", "the commit"])
"""When a worker comes, or before what it sleeps while pages ask."""
CHANGE = st.sampled_from(OPERATOR)
RAISE = st.sampled_from(["raises the quota by one", "raises the quota by two"])
MOSTLY = st.sampled_from([True, True, False])
CHOSEN = st.fixed_dictionaries(
    {"which": WHICH, "change": CHANGE, "raise": RAISE, "loss": st.sampled_from(LOSSES), "wakes": MOSTLY}
)
"""What is chosen for the deeds of others."""
SLEEPERS = st.sampled_from(
    [("work", "settle_batch.lua")] * 4
    + [("work", "move_to_standby.lua")] * 2
    + [("work", "read_head.lua"), ("work", "the commit"), ("work", "the row lock")]
    + [("revoke", "revoke.lua"), ("revoke", "settle_batch.lua"), ("change", "publish.lua")]
    + [("sweep", "publish.lua"), ("reconcile", "publish.lua")]
    + [("reconcile", "replace_results.lua"), ("reconcile", "HSCAN")] * 2
)
"""Who falls asleep, and before what: mostly after a commit, or with something in mind that may not hold any more."""
MAKERS = st.sampled_from(
    [("poll", "restore_ticket.lua")] * 4
    + [("sweep", "begin_epoch.lua"), ("sweep", "open_epoch.lua"), ("sweep", "open_epoch.lua")]
    + [
        ("reconcile", "begin_epoch.lua"),
        ("reconcile", "replace_results.lua"),
        ("reconcile", "open_epoch.lua"),
    ]
)
"""Who falls asleep over a line that was lost: those who make its gate anew, and pages with receipts."""
DEEDS = ["revoke"] * 3 + ["raise"] * 2 + ["change"] + ["ask", "serve", "sweep"] * 2 + ["restart", "loss"]
DEEDS_AFTER_A_LOSS = ["restart"] * 3 + ["serve"] * 3 + ["loss", "ask", "sweep", "revoke", "raise"]
LOSS = st.sampled_from([*LOSSES, *LOSSES[:2]])


def some_of(deeds: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(deeds), min_size=1, max_size=3)


class StoriesOfTheLine(Simulation):
    """The machine with the stories of its line."""

    # What they are made of

    def press(self, people: list[int]) -> None:
        for user in people:
            self.play("click", {"user": user, "cut": TO_THE_END})

    def press_elsewhere(self, people: list[int]) -> None:
        for user in people:
            self.play("click_elsewhere", {"user": user})

    def ask(self, people: list[int]) -> None:
        for user in people:
            self.play("poll", {"user": user, "cut": TO_THE_END})

    def work_all(self) -> None:
        while self.world.jobs.waiting and len(self.actors) < 4:
            self.play("work", {"cut": TO_THE_END})

    def pass_ms(self, ms: int) -> None:
        self.play("time_passes", {"ms": ms})

    def serve(self) -> None:
        """The sweeper sweeps, pages show their receipts, and workers take every job."""
        self.play("sweep", {"cut": TO_THE_END})
        self.ask(self.with_receipts())
        self.pass_ms(5000)
        self.play("sweep", {"cut": TO_THE_END})
        self.work_all()

    def lose_the_line(self, loss: str) -> None:
        self.play("redis_breaks", {"fault": loss})

    def wake(self, begun: list[Actor], *, dies: bool = False) -> None:
        """Let those go on, or die, that had not begun by then."""
        for actor in [actor for actor in self.actors if actor not in begun]:
            which = {"which": self.actors.index(actor)}
            self.play("die", which) if dies else self.play("go_on", which | {"cut": TO_THE_END})

    def with_receipts(self) -> list[int]:
        return [user for user, person in self.promises.people.items() if person.receipt]

    def meanwhile(self, deed: str, chosen: dict[str, Any]) -> None:
        if deed == "revoke":
            self.play("revoke", {"which": chosen["which"], "cut": TO_THE_END})
        elif deed in ("raise", "change"):
            self.play("change", {"change": chosen[deed], "cut": TO_THE_END})
        elif deed == "ask":
            self.ask(self.with_receipts())
        elif deed == "serve":
            self.serve()
        elif deed == "sweep":
            self.play("sweep", {"cut": TO_THE_END})
        else:
            self.lose_the_line(LOSSES[2] if deed == "restart" else chosen["loss"])

    # Stories

    @story(people=MOST)
    def rush(self, people: list[int]) -> None:
        """Many press at once."""
        self.press(people)

    @story(people=TOGETHER, deeds=some_of(DEEDS), chosen=CHOSEN, waits=MOSTLY, dies=MOSTLY)
    def many_press_while_a_call_is_away(
        self, people: list[int], deeds: list[str], chosen: dict[str, Any], *, waits: bool, dies: bool
    ) -> None:
        """The first call is on its way for long; who presses meanwhile, the last one twice, travels with the next."""
        first, *others = people
        begun = list(self.actors)
        self.play("click", {"user": first, "cut": 0})
        self.press([*others, others[-1]])
        if waits:
            self.meanwhile(deeds[0], chosen)
        self.wake(begun, dies=not dies)

    @story(edge=st.sampled_from(["opens_at", "closes_at"]), people=SOME)
    def the_edge_comes(self, edge: str, people: list[int]) -> None:
        """Time passes until the very millisecond at which the period begins or ends; some press then."""
        ms = int(self.promises.seen.gate.get(edge, 0)) - self.world.redis_ms
        if 0 < ms <= DAY_MS:
            self.pass_ms(ms)
            self.press(people)

    @story(sleeper=SLEEPERS, deeds=some_of(DEEDS), people=MOST, chosen=CHOSEN, lock_lost=st.booleans())
    def somebody_sleeps(self, sleeper: tuple[str, str], people: list[int], **others: Any) -> None:
        """Somebody stops in the middle of something, and others do theirs meanwhile."""
        if sleeper[0] == "work" and not self.world.jobs.waiting:
            self.press(people)
        self.sleep(sleeper, **others)

    @story(
        loss=LOSS,
        people=SOME,
        maker=MAKERS,
        deeds=some_of(DEEDS_AFTER_A_LOSS),
        chosen=CHOSEN,
        lock_lost=st.booleans(),
    )
    def somebody_sleeps_after_a_loss(
        self, loss: str, people: list[int], maker: tuple[str, str], **others: Any
    ) -> None:
        """Redis has lost the line, and somebody sleeps who has to do with its new gate."""
        self.press(people)
        self.lose_the_line(loss)
        self.sleep(maker, **others)

    def sleep(
        self, sleeper: tuple[str, str], deeds: list[str], chosen: dict[str, Any], *, lock_lost: bool
    ) -> None:
        """Somebody sleeps before a crossing, and may die of it. Whoever holds the lock may lose it meanwhile."""
        name, before = sleeper
        books = self.promises.books
        users = [user for user in self.with_receipts() if user not in {**books.issues, **books.rejected}] or [
            1
        ]
        arguments = {
            "poll": {"user": users[chosen["which"] % len(users)]},
            "change": {"change": chosen["raise"]},
            "revoke": {"which": chosen["which"]},
        }.get(name, {})
        begun = list(self.actors)
        self.play(name, arguments | {"cut": before})
        if lock_lost and self.world.lock_holder is not None:
            self.pass_ms(LOCK_KEPT_MS)
        if len(self.actors) > len(begun):
            for deed in deeds:
                self.meanwhile(deed, chosen)
        self.wake(begun, dies=not chosen["wakes"])

    @story(
        loss=LOSS,
        first=SOME,
        elsewhere=PAGES,
        pages=PAGES,
        works=WORKS,
        waits=st.booleans(),
    )
    def the_line_is_lost(
        self,
        loss: str,
        first: list[int],
        elsewhere: list[int] | None,
        pages: list[int] | None,
        works: str,
        waits: bool,
    ) -> None:
        """Redis loses the line; some press without their receipts, and pages ask with theirs."""
        self.press(first)
        self.lose_the_line(loss)
        if works == "at once":
            self.work_all()
        self.press_elsewhere(self.with_receipts() if elsewhere is None else elsewhere)
        if works == "soon":
            self.work_all()
        if waits or works in BEFORE:
            self.pass_ms(5000)
            self.play("sweep", {"cut": TO_THE_END})
        begun = list(self.actors)
        if works in BEFORE:
            self.play("work", {"cut": works})
        self.ask(self.with_receipts() if pages is None else pages)
        self.wake(begun)

    @story(
        first=MOST,
        lost=MOSTLY,
        elsewhere=SOME,
        pages=PAGES,
        works=st.sampled_from([False, False, True]),
        quota=RAISE,
        unheard=st.booleans(),
    )
    def the_quota_falls_and_rises(
        self,
        first: list[int],
        lost: bool,
        elsewhere: list[int],
        pages: list[int] | None,
        works: bool,
        quota: str,
        unheard: bool,
    ) -> None:
        """An operator lowers the quota, pages ask, and the operator raises it; Redis may hear of that late."""
        self.press(first)
        if lost:
            self.lose_the_line("Redis is wiped")
            self.press_elsewhere(elsewhere)
        self.play("change", {"change": "lowers the quota to what is issued", "cut": TO_THE_END})
        self.ask(self.with_receipts() if pages is None else pages)
        if works:
            self.pass_ms(5000)
            self.work_all()
        begun = list(self.actors)
        self.play("change", {"change": quota, "cut": "publish.lua" if unheard else TO_THE_END})
        self.pass_ms(5000)
        self.work_all()
        self.wake(begun)

    @story(loss=st.sampled_from([None, *LOSSES[:3]]), people=MOST, jobs_lost=st.booleans())
    def the_clock_was_wrong(self, loss: str | None, people: list[int], jobs_lost: bool) -> None:
        """The clock of Redis runs ten minutes ahead for a while, in which it may lose the line."""
        self.play("redis_breaks", {"fault": "the clock of Redis steps forward by 10 minutes"})
        if loss:
            self.lose_the_line(loss)
        self.press(people)
        while jobs_lost and self.world.jobs.waiting:
            self.play("the_queue_breaks", {"fault": "a job in the queue is lost"})
        self.play("redis_breaks", {"fault": "the clock of Redis steps back by 10 minutes"})
        self.play("sweep", {"cut": TO_THE_END})

    @story(
        people=MOST, deed=st.sampled_from(["revoke", "revoke", "change", "raise"]), which=WHICH, change=CHANGE
    )
    def a_replica_falls_behind(self, people: list[int], deed: str, which: int, change: str) -> None:
        """A replica hears nothing of what is decided, and takes over."""
        self.press(people)
        self.play("redis_breaks", {"fault": "a replica of Redis hears nothing from now on"})
        self.serve()
        self.meanwhile(deed, {"which": which, "change": change, "raise": "raises the quota by one"})
        self.lose_the_line("Redis fails over to the replica")
        self.serve()

    @story(forgotten=MOSTLY, people=MOST, wiped=MOSTLY, then=MOST, pages=PAGES)
    def everything_goes_back(
        self, forgotten: bool, people: list[int], wiped: bool, then: list[int], pages: list[int] | None
    ) -> None:
        """SQL is put back to before some numbers and coupons were given; Redis may have lost the line as well."""
        self.play("sql_breaks", {"fault": "is backed up"})
        if forgotten:
            self.lose_the_line("Redis is wiped")
        self.press(people)
        self.work_all()
        if wiped:
            self.lose_the_line("Redis is wiped")
        self.play("sql_breaks", {"fault": "is put back"})
        self.press_elsewhere(then)
        self.ask(self.with_receipts() if pages is None else pages)

    @story(
        change=st.sampled_from([*["pauses the coupon"] * 3, *OPERATOR]),
        user=USERS,
        people=MOST,
        blocks=st.booleans(),
    )
    def they_change_their_minds(self, change: str, user: int, people: list[int], blocks: bool) -> None:
        """People wait, an operator changes the coupon or blocks one of them, and workers take every job."""
        self.press(people)
        if blocks:
            self.play("account", {"user": user, "deed": "block", "cut": TO_THE_END})
        else:
            self.play("change", {"change": change, "cut": TO_THE_END})
        self.work_all()
