"""What a rule of the machine is: a step that a script keeps, or a story of several; and what they choose from."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.simulation.rest import DAY_MS, TO_THE_END
from tests.simulation.world import PEOPLE

BEFORE = (
    "the row lock",
    "read_head.lua",
    "the commit",
    "settle_batch.lua",
    "move_to_standby.lua",
    "publish.lua",
    "replace_results.lua",
    "begin_epoch.lua",
    "open_epoch.lua",
    "restore_ticket.lua",
    "revoke.lua",
    "write_members.lua",
    "mark_members.lua",
    "write_elsewhere.lua",
)
"""The crossings before which it matters most that somebody stops."""
CUTS = st.sampled_from([TO_THE_END] * 16 + [*range(8), *BEFORE])
"""Where an actor stops: nowhere, mostly; after so many crossings, or before a certain one."""
USERS = st.sampled_from(list(PEOPLE))
SOME = st.lists(USERS, max_size=4, unique=True)
WHICH = st.integers(0, 3)
SPANS = st.sampled_from([1000] * 4 + [5000] * 3 + [100, 3000, 12_000, 35_000, 35_000, 200_000, 8 * DAY_MS])

Method = Callable[..., None]
STEPS: dict[str, tuple[Method, Callable[[Any], bool]]] = {}


def step(*, when: Callable[[Any], bool] = bool, **choices: Any) -> Callable[[Method], Method]:
    """Make a method a rule that can be chosen `when`; what was chosen is kept, so that it can be played again."""

    def decorate(method: Method) -> Method:
        STEPS[method.__name__] = method, when

        @wraps(method)
        def chosen(self: Any, **arguments: Any) -> None:
            self.play(method.__name__, arguments)

        return precondition(when)(rule(**choices)(chosen))  # type: ignore[no-any-return, no-untyped-call]

    return decorate


def story(*, when: Callable[[Any], bool] = bool, **choices: Any) -> Callable[[Method], Method]:
    """Make a method a rule that plays several steps; the script keeps the steps, and knows nothing of the story."""

    def decorate(method: Method) -> Method:
        return precondition(when)(rule(**choices)(method))  # type: ignore[no-any-return, no-untyped-call]

    return decorate
