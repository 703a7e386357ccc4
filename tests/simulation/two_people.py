"""Two operators: one asks for what two have to decide, and another one confirms or declines it, in time or too late."""

from hypothesis import strategies as st

from tests.simulation import deeds
from tests.simulation.actors import Actor
from tests.simulation.machine import Cut, Simulation, has_room
from tests.simulation.rest import TO_THE_END
from tests.simulation.steps import CUTS, SOME, WHICH, step, story
from tests.simulation.world import OPERATORS

WHO = st.sampled_from(OPERATORS)
ASKED = st.sampled_from([each for each in deeds.CHANGES if each.startswith(deeds.WAIT)])
OTHER = st.sampled_from(
    [
        *("offers two places in standby", "offers two places in standby", "offers no place in standby"),
        *("pauses the coupon", "pauses the coupon", "resumes the coupon"),
        *("lowers the quota to what is issued", "lets it end later"),
    ]
)
"""What an operator does alone, and changes what a proposal has seen."""
HOW = st.sampled_from(["confirm"] * 5 + ["decline", "withdraw"])
DECIDES = st.lists(st.tuples(WHO, HOW), min_size=1, max_size=3)
HELD = st.sampled_from([TO_THE_END, TO_THE_END, "the row lock", "the commit", "publish.lua"])


def has_two(self: Simulation) -> bool:
    return self.world.two and has_room(self)


def has_proposals(self: Simulation) -> bool:
    return bool(self.promises.books.proposals) and has_room(self)


class TwoPeople(Simulation):
    """The machine with operators who decide by two."""

    @step(when=has_two, who=WHO, change=st.sampled_from(sorted(deeds.CHANGES)), cut=CUTS)
    def operator_asks(self, who: int, change: str, cut: Cut) -> None:
        work = deeds.change(change, self.world, by=who)
        self.begin(f"operator {who} {change}", work, cut, kind="operator")

    @step(when=has_proposals, who=WHO, which=WHICH, how=st.sampled_from(sorted(deeds.DECISIONS)), cut=CUTS)
    def operator_decides(self, who: int, which: int, how: str, cut: Cut) -> None:
        """The newest ones are decided first; old ones, and those that were decided, are tried as well."""
        newest = sorted(self.promises.books.proposals, reverse=True)
        proposal = newest[which % len(newest)]
        work = deeds.DECISIONS[how](proposal, who)
        self.begin(f"operator {who} {how}s proposal {proposal}", work, cut, kind="operator")

    @step(when=has_two, who=WHO)
    def operator_loses_the_role(self, who: int) -> None:
        self.begin(f"operator {who} becomes a viewer", deeds.take_the_role(who), TO_THE_END, kind="operator")

    @story(when=has_two, first=SOME, change=ASKED, decides=DECIDES, cut=HELD)
    def two_people_decide(
        self, first: list[int], change: str, decides: list[tuple[int, str]], cut: Cut
    ) -> None:
        """One asks while people press; another one decides, perhaps not to the end, and somebody tries once more."""
        begun = list(self.actors)
        self.press_and_ask(first, change)
        for who, how in decides:
            self.play("operator_decides", {"who": who, "which": 0, "how": how, "cut": cut})
            cut = TO_THE_END
        self.wake_and_work(begun)

    @story(when=has_two, first=SOME, change=ASKED, other=OTHER, late=st.booleans())
    def what_was_seen_changes(self, first: list[int], change: str, other: str, late: bool) -> None:
        """A third one changes the coupon before it is confirmed, or before who confirms it has the lock."""
        begun = list(self.actors)
        self.press_and_ask(first, change)
        confirms = {"who": OPERATORS[1], "which": 0, "how": "confirm"}
        if late:
            self.play("operator_decides", confirms | {"cut": "the row lock"})
        self.play("operator_asks", {"who": OPERATORS[2], "change": other, "cut": TO_THE_END})
        if not late:
            self.play("operator_decides", confirms | {"cut": TO_THE_END})
        self.wake_and_work(begun)

    @story(
        when=has_two,
        first=SOME,
        change=ASKED,
        age_ms=st.sampled_from([1000, 1_799_000, 1_800_000, 1_900_000]),
        decides=DECIDES,
    )
    def a_proposal_ages(
        self, first: list[int], change: str, age_ms: int, decides: list[tuple[int, str]]
    ) -> None:
        """Thirty minutes are too long."""
        begun = list(self.actors)
        self.press_and_ask(first, change)
        self.play("time_passes", {"ms": age_ms})
        for who, how in decides:
            self.play("operator_decides", {"who": who, "which": 0, "how": how, "cut": TO_THE_END})
        self.wake_and_work(begun)

    @story(when=has_two, change=ASKED, loses=st.sampled_from([None, *OPERATORS[:2]]), how=HOW)
    def somebody_decides_alone(self, change: str, loses: int | None, how: str) -> None:
        """Who has asked decides, and another one confirms it after that; one of them may have lost the role."""
        begun = list(self.actors)
        self.press_and_ask([], change)
        if loses:
            self.play("operator_loses_the_role", {"who": loses})
        for who, does in ((OPERATORS[0], how), (OPERATORS[1], "confirm")):
            self.play("operator_decides", {"who": who, "which": 0, "how": does, "cut": TO_THE_END})
        self.wake_and_work(begun)

    def press_and_ask(self, people: list[int], change: str) -> None:
        """The first of the operators asks: they differ in nothing but their names."""
        for user in people:
            self.play("click", {"user": user, "cut": TO_THE_END})
        self.play("operator_asks", {"who": OPERATORS[0], "change": change, "cut": TO_THE_END})

    def wake_and_work(self, begun: list[Actor]) -> None:
        for actor in [actor for actor in self.actors if actor not in begun]:
            self.play("go_on", {"which": self.actors.index(actor), "cut": TO_THE_END})
        while self.world.jobs.waiting and has_room(self):
            self.play("work", {"cut": TO_THE_END})
