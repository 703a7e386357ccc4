"""The other wave of the campaign: it gives and takes back coupons, and the line of ours hears of it."""

from hypothesis import strategies as st

from tests.simulation import deeds
from tests.simulation.machine import Cut, Simulation, has_room
from tests.simulation.rest import TO_THE_END
from tests.simulation.steps import CUTS, SOME, USERS, WHICH, step, story

LOSSES = (
    None,
    None,
    "Redis is wiped",
    "Redis starts again with its file",
    "Redis loses who has one of another wave",
)
HEARD = st.sampled_from([TO_THE_END, TO_THE_END, "write_elsewhere.lua", 0])
"""How far the sweeper comes; 0: it does not come at all."""


def is_a_wave(self: Simulation) -> bool:
    return self.promises.books.row.one_each and has_room(self)


def has_given(self: Simulation) -> bool:
    return bool(self.promises.books.elsewhere) and has_room(self)


class Waves(Simulation):
    """The machine with another wave."""

    @step(when=is_a_wave, user=USERS, cut=CUTS)
    def another_wave_gives(self, user: int, cut: Cut) -> None:
        name = f"another wave gives user {user} a coupon"
        self.begin(name, deeds.give_elsewhere(user), cut, kind="operator")

    @step(when=has_given, which=WHICH, cut=CUTS)
    def another_wave_takes_back(self, which: int, cut: Cut) -> None:
        users = sorted(self.promises.books.elsewhere)
        user = users[which % len(users)]
        name = f"the coupon that user {user} has of another wave is revoked"
        self.begin(name, deeds.take_back_elsewhere(user), cut, kind="operator")

    @story(
        waits=st.booleans(),
        user=USERS,
        others=SOME,
        heard=HEARD,
        loss=st.sampled_from(LOSSES),
        taken_back=st.booleans(),
        heard_again=HEARD,
    )
    def another_wave_is_on(
        self,
        waits: bool,
        user: int,
        others: list[int],
        heard: Cut,
        loss: str | None,
        taken_back: bool,
        heard_again: Cut,
    ) -> None:
        """Somebody gets one of another wave, before or after pressing here; the line hears of it, or does not."""
        to_the_end = {"cut": TO_THE_END}
        if waits:
            self.play("click", {"user": user} | to_the_end)
        self.play("another_wave_gives", {"user": user} | to_the_end)
        self.hear(heard)
        if loss:
            self.play("redis_breaks", {"fault": loss})
            self.play("sweep", to_the_end)
        if taken_back:
            self.play("another_wave_takes_back", {"which": 0} | to_the_end)
        self.hear(heard_again)
        for who in [*others, user]:
            self.play("click", {"user": who} | to_the_end)
        while self.world.jobs.waiting and has_room(self):
            self.play("work", to_the_end)

    def hear(self, cut: Cut) -> None:
        """The sweeper comes, and may sleep before it tells the line."""
        if cut:
            self.play("sweep_lists", {"cut": cut})
