"""The stories of what operators bring, a list of people or a pool of codes, and of what becomes of codes."""

from typing import Any

from hypothesis import strategies as st

from tests.simulation.deeds import HOW_A_LIST_CHANGES, OPERATOR, SAYS_WHEN
from tests.simulation.rest import TO_THE_END
from tests.simulation.steps import SOME, USERS, WHICH, story
from tests.simulation.stories import CHOSEN, LOSSES, MOST, StoriesOfTheLine
from tests.simulation.two_people import TwoPeople
from tests.simulation.waves import Waves


class Stories(TwoPeople, Waves, StoriesOfTheLine):
    """The machine with all of its stories."""

    @story(
        first=MOST,
        loss=st.sampled_from(
            [None, None, "Redis loses the list", "a piece of the list in Redis is left", *LOSSES]
        ),
        how=st.sampled_from(HOW_A_LIST_CHANGES),
        user=USERS,
        others=SOME,
        again=st.booleans(),
        then=MOST,
    )
    def the_list_changes(
        self,
        first: list[int],
        loss: str | None,
        how: tuple[str, int | str],
        again: bool,
        then: list[int],
        **whom: Any,
    ) -> None:
        """Some are invited and press; the list changes, once or twice, or is lost; Redis may hear of it late."""
        begins = {"deed": "brings a list of {others}", "user": 1, "others": first, "cut": TO_THE_END}
        self.play("the_list", begins)
        self.press(first[:2])
        begun = list(self.actors)
        self.play("the_list", whom | dict(zip(("deed", "cut"), how, strict=True)))
        if again:
            self.play("the_list", begins | {"deed": "takes user {user} off the list", "user": first[0]})
        if loss:
            self.lose_the_line(loss)
        self.press(then)
        self.wake(begun)
        self.play("sweep_lists", {"cut": TO_THE_END})
        self.press(then)
        self.work_all()

    @story(
        first=MOST,
        deed=st.sampled_from(["revoke", "raise", "serve", "loss", "restart"]),
        chosen=CHOSEN,
        count=st.sampled_from([1, 2]),
        cut=st.sampled_from([TO_THE_END, "the row lock", "the commit", "publish.lua"]),
        then=SOME,
    )
    def the_pool_runs_dry(
        self,
        first: list[int],
        deed: str,
        chosen: dict[str, Any],
        then: list[int],
        **more: Any,
    ) -> None:
        """The codes go, something happens, and an operator adds some; Redis may hear of it late."""
        self.play("the_pool", {"deed": "adds {count} codes", "count": 2, "cut": TO_THE_END})
        self.press(first)
        self.work_all()
        self.meanwhile(deed, chosen)
        begun = list(self.actors)
        self.play("the_pool", {"deed": "adds {count} codes"} | more)
        self.press(then)
        self.work_all()
        self.wake(begun, dies=not chosen["wakes"])

    @story(
        first=MOST,
        pause=st.sampled_from([each for each in OPERATOR if each.startswith("pauses")]),
        then=SOME,
        ms=st.sampled_from([0, 400, 3000, 5000]),
        again=st.booleans(),
        resume=st.sampled_from([each for each in OPERATOR if each.startswith("resumes")]),
        cut=st.sampled_from([TO_THE_END, TO_THE_END, "the row lock", "the commit", "publish.lua"]),
    )
    def the_sale_is_paused(
        self, first: list[int], pause: str, then: list[int], ms: int, again: bool, **resumed: Any
    ) -> None:
        """Some press, an operator pauses, others press, and it goes on after a while; Redis may hear of it late."""
        self.press(first)
        self.play("change", {"change": pause, "cut": TO_THE_END})
        self.press(then)
        self.pass_ms(ms)
        if again:
            self.play("change", {"change": SAYS_WHEN, "cut": TO_THE_END})
        begun = list(self.actors)
        self.play("change", {"change": resumed["resume"], "cut": resumed["cut"]})
        self.pass_ms(ms)
        self.wake(begun)
        self.work_all()

    @story(which=WHICH, again=st.booleans())
    def a_code_is_used(self, which: int, again: bool) -> None:
        """A till uses a code, and an operator takes it back all the same."""
        self.play("use", {"which": which})
        if again:
            self.play("revoke", {"which": which, "cut": TO_THE_END})
