"""The machine: its rules begin actors, let them go on, kill them, and break the stores; Hypothesis chooses."""

from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize

from jobs import admission as job
from jobs import sweeper
from tests.simulation import deeds, faults
from tests.simulation.actors import Actor, Crossing
from tests.simulation.answers import after_a_sweep, after_a_sweep_of_lists, wrong_answers
from tests.simulation.promises import Person, Promises, Violation
from tests.simulation.rest import TO_THE_END, come_to_rest
from tests.simulation.steps import CUTS, SOME, SPANS, STEPS, USERS, WHICH, step
from tests.simulation.words import WORDS, span
from tests.simulation.world import COUPON, PEOPLE, World

MOST_ACTORS = 4
MOST_CROSSINGS = 400
"""No actor needs as many."""


Cut = int | str
"""How many crossings an actor makes before it stops, or the crossing before which it does."""


def has_room(self: "Simulation") -> bool:
    return len(self.actors) < MOST_ACTORS


class Simulation(RuleBasedStateMachine):
    """One run of the simulated world. Each rule is one step, and one event of the history."""

    world: ClassVar[World]
    steps: ClassVar[int] = 0
    """Steps of all runs of this process together."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[str] = []
        self.actors: list[Actor] = []
        self.script: list[tuple[str, dict[str, Any]]] = []
        self.whole_steps = 0
        """How many of them have come to their end."""
        self.to_ring: list[Actor] = []
        """Those whose call has set the bell, until one of them rings."""

    def play(self, name: str, arguments: dict[str, Any]) -> None:
        """Take a step that the script keeps, if it can be taken now."""
        method, when = STEPS[name]
        if when(self):
            self.script.append((name, arguments))
            method(self, **arguments)
            self.whole_steps = len(self.script)
            Simulation.steps += 1

    def do(self, name: str, **arguments: Any) -> None:
        """Take a step that belongs to another one, or to the end."""
        STEPS[name][0](self, **arguments)

    # What happens

    def tell(self, text: str) -> None:
        self.history.append(text)

    def judge(self, actor: Actor | None = None, crossed: str = "", *, lost: bool = False) -> None:
        for wrong in self.promises.judge(actor, crossed, event=len(self.history), lost=lost):
            self.broken(wrong)

    def begin(self, name: str, work: Callable[[], Any], cut: Cut, *, kind: str, about: Any = None) -> Actor:
        """Begin an actor, and let it make so many crossings."""
        self.tell(name)
        actor = Actor(name, self.in_app(work), kind=kind, began=len(self.history), about=about)
        if kind in deeds.ASK:
            person = self.promises.people[about]
            actor.showed = person.number if kind == "poll" and person.receipt else 0
        self.actors.append(actor)
        actor.switch()
        self.go_on_with(actor, cut)
        return actor

    def in_app(self, work: Callable[[], Any]) -> Callable[[], Any]:
        def work_in_app() -> Any:
            with self.world.app.app_context():
                return work()

        return work_in_app

    def go_on_with(self, actor: Actor, cut: Cut = TO_THE_END) -> None:
        crossed = 0
        while cut not in (crossed, actor.before) and not actor.over and self.world.is_free_for(actor):
            self.cross(actor, Crossing.GOES)
            crossed += 1
        self.finish(actor)

    def cross(self, actor: Actor, crossing: Crossing) -> None:
        before = actor.before
        if before in ("claim.lua", "read_standing.lua", "restore_ticket.lua"):
            self.promises.asking = [user for _, user in sorted(self.world.asking.items())]
            for each in [actor, *(other for other in self.actors if other.waits_for_turn)]:
                if each is actor or each.asks == before:
                    self.note_what_is_known(each)
        if before == "read_head.lua":
            under_lock = self.world.lock_holder is actor
            actor.read = (self.promises.seen, self.world.now_ms) if under_lock else None
        actor.crossings += 1
        if actor.crossings > MOST_CROSSINGS:
            self.broken(f"P6: {actor.name}, and comes to no end")
        self.world.ran, bell = False, self.promises.seen.bell_until
        travel = [actor, *(other for other in self.actors if other.waits_for_turn and other.asks == before)]
        actor.cross(crossing)
        self.judge(actor, before if self.world.ran else "")
        if before == "the queue" and actor in self.to_ring:
            self.to_ring = []
        if before == "claim.lua" and crossing is Crossing.GOES and self.promises.seen.bell_until > bell:
            self.to_ring = [each for each in travel if each.about in self.world.pressed]

    def note_what_is_known(self, actor: Actor) -> None:
        """Note what the line knows as it is asked for this actor, alone or with others."""
        seen, books = self.promises.seen, self.promises.books
        actor.trusted, actor.known = seen.trusted, actor.about in {**seen.places, **seen.results}
        told = seen.gate.get("audience") == books.audience
        actor.invited = told and books.may(actor.about)
        actor.free = seen.has_heard(books) and actor.about not in books.elsewhere

    def finish(self, actor: Actor) -> None:
        """Judge what has come out of an actor that is over; say before what another one has stopped."""
        if not actor.over:
            self.history[-1] += f"; stops before {WORDS.get(actor.before, actor.before)}"
            return
        self.actors.remove(actor)
        self.world.give_lock_back(actor, committed=False)
        if actor in self.to_ring:
            self.to_ring = (
                [] if actor.died or actor.error else [each for each in self.to_ring if each is not actor]
            )
            if not self.to_ring and not (actor.died or actor.error):
                self.broken("P6: the bell is set, and nobody of those who pressed has rung")
        if actor.died:
            return
        if actor.error is not None and not isinstance(actor.error, deeds.EXPECTED):
            self.broken(f"{actor.name}: {actor.error!r}")
        if actor.kind in deeds.ASK:
            self.history[-1] += f"; {deeds.heard(actor)}"
            for wrong in wrong_answers(self.promises, actor, event=len(self.history)):
                self.broken(wrong)
        elif actor.error is not None:
            self.history[-1] += f"; ends with {type(actor.error).__name__}: {str(actor.error)[:60]}"
        self.judge_a_sweep(actor)

    def judge_a_sweep(self, actor: Actor) -> None:
        """Judge what stands after somebody has looked after everything, and nothing has come between."""
        judges = {"sweeper": after_a_sweep, "lists": after_a_sweep_of_lists}
        if actor.error is None and actor.began == len(self.history) and actor.kind in judges:
            for wrong in judges[actor.kind](self.promises):
                self.broken(wrong)
        if actor.kind == "reconcile" and actor.error is None:
            self.promises.in_doubt_until = min(self.promises.in_doubt_until, len(self.history))

    # The beginning

    @initialize(
        quota=st.sampled_from([1, 2, 2, 3, 3, 4, 0, None]),
        opens_in_s=st.sampled_from([-10, -10, 3]),
        closes_in_s=st.sampled_from([600, 600, 20]),
        first=st.one_of(SOME, st.lists(USERS, min_size=3, unique=True)),
        standby=st.sampled_from([0, 2, 4]),
        waves=st.booleans(),
        pool=st.sampled_from([None, None, None, 1, 2, 3]),
        two=st.booleans(),
    )
    def coupon(self, **chosen: Any) -> None:
        self.script.append(("coupon", chosen))
        self.write_the_coupon(**chosen)
        self.whole_steps = 1

    def write_the_coupon(self, first: list[int], **offer: Any) -> None:
        """Write the coupon; some people press the button at once."""
        self.world.begin(**offer)
        people = {user: Person() for user in PEOPLE}
        self.promises = Promises(self.world, self.world.seen(), self.world.books(), people)
        opens = "has opened" if offer["opens_in_s"] < 0 else f"opens in {offer['opens_in_s']} s"
        quota = "unlimited" if offer["quota"] is None else offer["quota"]
        codes = "codes of ours" if offer["pool"] is None else f"{offer['pool']} codes of its own"
        amounts = f"quota {quota}, {codes} and {offer['standby']} places in standby"
        what = "wave" if offer["waves"] else "coupon"
        by = ", for which two people decide," if offer.get("two") else ""
        self.tell(f"a {what} with {amounts}{by} {opens}, and ends in {offer['closes_in_s']} s")
        for user in first:
            self.do("click", user=user, cut=TO_THE_END)

    # People

    @step(when=has_room, user=USERS, cut=CUTS)
    def click(self, user: int, cut: Cut) -> None:
        self.begin(f"user {user} presses the button", deeds.click(user), cut, kind="click", about=user)

    @step(when=has_room, user=USERS)
    def click_elsewhere(self, user: int) -> None:
        name = f"user {user} presses the button on a device that keeps no receipt"
        self.begin(name, deeds.click(user), TO_THE_END, kind="click elsewhere", about=user)

    @step(when=has_room, user=USERS, cut=CUTS)
    def poll(self, user: int, cut: Cut) -> None:
        receipt = self.promises.people[user].receipt
        words = "with its receipt" if receipt else "without a receipt"
        self.begin(
            f"the page of user {user} asks {words}", deeds.poll(user, receipt), cut, kind="poll", about=user
        )

    @step(when=has_room, user=USERS, cut=CUTS)
    def load(self, user: int, cut: Cut) -> None:
        receipt = self.promises.people[user].receipt
        self.begin(f"user {user} loads the page", deeds.load(user, receipt), cut, kind="poll", about=user)

    # Workers and the sweeper

    @step(when=lambda self: bool(self.world.jobs.waiting) and has_room(self), cut=CUTS)
    def work(self, cut: Cut) -> None:
        self.world.jobs.waiting.pop(0)
        self.begin("a worker takes a job", lambda: job.admit(COUPON), cut, kind="worker")

    @step(when=has_room, cut=CUTS)
    def sweep(self, cut: Cut) -> None:
        self.begin("the sweeper sweeps", sweeper.sweep, cut, kind="sweeper")

    @step(when=has_room, cut=CUTS)
    def sweep_lists(self, cut: Cut) -> None:
        self.begin("the sweeper looks after the lists", sweeper.sweep_lists, cut, kind="lists")

    # Operators

    @step(when=has_room, change=st.sampled_from(deeds.OPERATOR), cut=CUTS)
    def change(self, change: str, cut: Cut) -> None:
        work = deeds.change(change, self.world)
        self.begin(f"an operator {change}", work, cut, kind="operator")

    @step(when=lambda self: bool(self.promises.books.issues) and has_room(self), which=WHICH, cut=CUTS)
    def revoke(self, which: int, cut: Cut) -> None:
        user, code = self.a_code(which)
        self.begin(f"an operator revokes the code of user {user}", deeds.revoke(code), cut, kind="operator")

    @step(when=lambda self: bool(self.promises.books.issues) and has_room(self), which=WHICH)
    def use(self, which: int) -> None:
        user, code = self.a_code(which)
        self.begin(f"a till uses the code of user {user}", deeds.use(code), TO_THE_END, kind="operator")

    @step(when=has_room, user=USERS, deed=st.sampled_from(sorted(deeds.ACCOUNTS)), cut=CUTS)
    def account(self, user: int, deed: str, cut: Cut) -> None:
        self.begin(f"an operator {deed}s user {user}", deeds.ACCOUNTS[deed](user), cut, kind="operator")

    @step(when=has_room, deed=st.sampled_from(sorted(deeds.LISTS)), user=USERS, others=SOME, cut=CUTS)
    def the_list(self, deed: str, user: int, others: list[int], cut: Cut) -> None:
        words = deed.format(user=user, others=others)
        self.begin(f"an operator {words}", deeds.LISTS[deed](user, others), cut, kind="operator")

    @step(when=has_room, deed=st.sampled_from(sorted(deeds.POOL)), count=st.sampled_from([1, 2]), cut=CUTS)
    def the_pool(self, deed: str, count: int, cut: Cut) -> None:
        work = deeds.POOL[deed](self.world.new_codes(count))
        self.begin(f"an operator {deed.format(count=count)}", work, cut, kind="operator")

    @step(when=has_room, cut=CUTS)
    def reconcile(self, cut: Cut) -> None:
        self.begin("an operator reconciles", deeds.reconcile, cut, kind="reconcile")

    # Actors that stopped

    @step(when=lambda self: bool(self.actors), which=WHICH, cut=CUTS)
    def go_on(self, which: int, cut: Cut) -> None:
        actor = self.actor(which)
        self.tell(f"({actor.name}) goes on")
        self.go_on_with(actor, cut)

    @step(when=lambda self: bool(self.actors), which=WHICH)
    def die(self, which: int) -> None:
        actor = self.actor(which)
        self.tell(f"({actor.name}) dies")
        actor.die()
        self.judge(actor)
        self.finish(actor)

    @step(
        when=lambda self: bool(self.actors),
        which=WHICH,
        crossing=st.sampled_from([Crossing.REPLY_LOST, Crossing.REFUSED]),
        cut=CUTS,
    )
    def fail(self, which: int, crossing: Crossing, cut: Cut) -> None:
        actor = self.actor(which)
        if crossing is Crossing.REPLY_LOST and not self.world.is_free_for(actor):
            crossing = Crossing.REFUSED
        self.tell(f"({actor.name}) {WORDS.get(actor.before, actor.before)}: {crossing.value}")
        self.cross(actor, crossing)
        self.go_on_with(actor, cut)

    @step(when=lambda self: bool(self.actors))
    def deploy(self) -> None:
        self.tell("a deploy: every process ends, wherever it is")
        self.end_all()
        self.judge()

    def end_all(self) -> None:
        self.world.processes_end()
        for actor in list(self.actors):
            actor.die()
            self.finish(actor)

    def actor(self, which: int) -> Actor:
        return self.actors[which % len(self.actors)]

    def a_code(self, which: int) -> tuple[int, str]:
        issues = sorted(self.promises.books.issues.items())
        user, issue = issues[which % len(issues)]
        return user, issue.code

    # Time, and what breaks

    @step(ms=SPANS)
    def time_passes(self, ms: int) -> None:
        back = self.world.pass_time(ms)
        self.tell(f"{span(ms)} pass" + "".join(f"; {store} answers again" for store in back))
        self.judge()

    @step(fault=st.sampled_from(sorted(faults.OF_REDIS)))
    def redis_breaks(self, fault: str) -> None:
        self.tell(fault)
        lost = faults.OF_REDIS[fault](self.world)
        self.judge(lost=lost)

    @step(fault=st.sampled_from(sorted(faults.OF_THE_QUEUE)))
    def the_queue_breaks(self, fault: str) -> None:
        self.tell(fault)
        faults.OF_THE_QUEUE[fault](self.world)

    @step(fault=st.sampled_from(["answers no more", "is backed up", "is put back"]))
    def sql_breaks(self, fault: str) -> None:
        self.tell(f"SQL {fault}")
        if fault == "is backed up":
            self.world.back_sql_up()
        elif fault == "is put back" and self.world.backup:
            self.put_sql_back()
        else:
            self.world.sql_away = True

    def put_sql_back(self) -> None:
        self.history[-1] = "everything is stopped, SQL is put back to its backup"
        self.end_all()
        self.world.put_sql_back()
        self.promises.forget_what_sql_forgot(self.world.books())
        self.world.redis_away = self.world.sql_away = False
        self.do("reconcile", cut=TO_THE_END)
        self.history[-1] += ", and everything starts again"

    # The end

    def teardown(self) -> None:
        """After the last step everything comes to rest; after a violation everything just ends."""
        try:
            if self.script and self.whole_steps == len(self.script):
                for wrong in come_to_rest(self):
                    self.broken(wrong)
        finally:
            for actor in list(self.actors):
                actor.die()

    def broken(self, wrong: str) -> None:
        raise Violation(wrong, self.history, self.script)
