"""The actors: the product's own code, each run in a greenlet that stops wherever it would cross to a store."""

from collections.abc import Callable
from enum import Enum
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet


class Crossing(Enum):
    """What becomes of one command on its way to a store."""

    GOES = "goes"
    REFUSED = "refused"
    REPLY_LOST = "reply lost"


class Actor(greenlet):
    """One run of the product's code. Before each crossing to a store it stops until the machine lets it go on."""

    def __init__(
        self, name: str, work: Callable[[], Any], *, kind: str, began: int, about: Any = None
    ) -> None:
        super().__init__(self._work)
        self.name, self.work, self.kind, self.about = name, work, kind, about
        self.began = began
        """The number of the event with which it began."""
        self.before = ""
        """The crossing before which it stands."""
        self.crossings = 0
        self.wants_lock = self.session_lost = self.died = False
        self.seat: Any = None
        """Its seat among those who travel together, while it waits for its turn; `asks` says before which script."""
        self.asks = ""
        self.result: Any = None
        self.error: Exception | None = None
        self.read: Any = None
        """What it saw of the line when it last read its head, and when."""
        self.trusted = self.known = False
        """Whether the gate was to be trusted, and knew the user, when it last asked the line about them."""
        self.invited = False
        """Whether SQL says that the coupon is for the user, and the gate has heard of all changes, when it asked."""
        self.free = False
        """Whether they have none of another wave, and the line has heard of all that happened there, when it asked."""
        self.showed = 0
        """The number on the receipt that it brings."""

    def _work(self) -> None:
        try:
            self.result = self.work()
        except Exception as error:
            self.error = error

    @property
    def over(self) -> bool:
        return self.dead

    @property
    def waits_for_turn(self) -> bool:
        return self.seat is not None and not self.seat.come.is_set()

    def cross(self, crossing: Crossing) -> None:
        """Cross to the store before which it stands, and go on to the next crossing or to the end."""
        self.wants_lock = False
        self.switch(crossing)

    def die(self) -> None:
        """End at once, as a killed process does: nothing more reaches a store, and SQL rolls back."""
        self.died = True
        self.throw(GreenletExit)


def running() -> Actor | None:
    """Return the actor whose code runs now; None while the machine itself does."""
    current = getcurrent()
    return current if isinstance(current, Actor) else None


def stop_before(what: str, *, wants_lock: bool = False) -> Crossing:
    """Stop the running actor before a crossing, and return what becomes of it."""
    actor = running()
    if actor is None:
        return Crossing.GOES
    if actor.died:
        raise GreenletExit
    actor.before, actor.wants_lock = what, wants_lock
    crossing: Crossing = actor.parent.switch()
    return crossing
