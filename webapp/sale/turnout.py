"""The turnout: how many pages poll, which clicks are refused, and who was told what was decided.

A poll and a click write nothing for it. Each process counts in memory, and a thread of it (a greenlet under gevent)
tells Redis once a second, as long as there is something to tell. A process that dies takes its last second with it.
"""

import secrets
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import islice

import redis
from flask import Flask, current_app

from webapp.line.watching import tell_shown, tell_turnout
from webapp.stores.swallowed import swallow

TELL_S = 1.0
TICK_S = 0.1
"""How exactly it is known until when a page keeps quiet."""
MOST_SHOWN = 250
"""Notes in one call: its script takes Redis half a millisecond."""


def init_app(app: Flask) -> None:
    app.extensions["turnout"] = Turnout(app)


def turnout() -> "Turnout":
    """Return what this process counts."""
    counted: Turnout = current_app.extensions["turnout"]
    return counted


@dataclass
class _Counted:
    """What one process has seen of one coupon since it told last, and the pages that will poll again.

    A page counts from its poll until it was told to poll again, so as many count at any time as there are pages.
    `until` counts them by the tick at which that is; `tickets` those alone that ask for a ticket of their own. `sent`
    are refused clicks that Redis was told of, for the `times`-th time, and has not confirmed. `shown`: when somebody
    was told what was decided, by time.monotonic(), until Redis is told of it.
    """

    polls: int = 0
    until: Counter[int] = field(default_factory=Counter)
    tickets: Counter[int] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    sent: Counter[str] = field(default_factory=Counter)
    shown: dict[int, float] = field(default_factory=dict)
    times: int = 0

    @property
    def has_news(self) -> bool:
        """Whether there is anything to tell beside the notes."""
        return bool(self.polls or self.until or self.tickets or self.refused)

    def to_send(self, times: int) -> Counter[str]:
        """Return the refused clicks to tell of: those of the last time once more, unless Redis has heard of them."""
        if not self.sent:
            self.sent, self.refused, self.times = self.refused, Counter(), times
        return self.sent

    def pages(self, now: int) -> int:
        """Return how many pages poll now, and forget those whose time has passed."""
        for counter in (self.until, self.tickets):
            for tick in [tick for tick in list(counter) if tick <= now]:  # requests count meanwhile
                del counter[tick]
        # Behind a cache the public polls do not come here, but those for tickets do.
        return max(self.until.total(), self.tickets.total())


class Turnout:
    """What one web process counts of each coupon."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.process = ""
        self.times = 0
        self.counted: defaultdict[int, _Counted] = defaultdict(_Counted)
        self.failing = self.is_telling = False
        self.turn = threading.Lock()
        self.stopping = threading.Event()
        self.teller: threading.Thread | None = None

    def polled(self, coupon_id: int, next_ms: int) -> None:
        """Count a poll of the public numbers: each page asks for them once, and then again in `next_ms`."""
        counted = self.counted[coupon_id]
        counted.polls += 1
        counted.until[_tick(next_ms)] += 1
        self._begin()

    def asked_for_ticket(self, coupon_id: int, next_ms: int, public_ms: int | None) -> None:
        """Count a poll for a ticket. Its page obeys this answer, and not the public one that it heard with it."""
        counted, until = self.counted[coupon_id], _tick(next_ms)
        counted.polls += 1
        counted.tickets[until] += 1
        if public_ms is not None and public_ms != next_ms:
            counted.until[until] += 1
            counted.until[_tick(public_ms)] -= 1
        self._begin()

    def refused(self, coupon_id: int, why: str) -> None:
        """Count a click on a coupon that there is, and that got no number."""
        self.counted[coupon_id].refused[why] += 1
        self._begin()

    def shown(self, coupon_id: int, user_id: int) -> None:
        """Note that somebody was told what was decided for them; what they are told again changes nothing.

        A process that dies takes the notes of its last second with it.
        """
        self.counted[coupon_id].shown.setdefault(user_id, time.monotonic())
        self._begin()

    def stop(self) -> None:
        """Tell no more, and return when nothing is told any more."""
        self.stopping.set()
        if self.teller is not None:
            self.teller.join()

    def tell(self) -> None:
        """Tell Redis what was counted since the last time. What a line does not hear of now, it hears of later.

        Raises redis.RedisError, unless other lines may be told although one is not.
        """
        self.times += 1
        for coupon_id, counted in list(self.counted.items()):
            try:
                self._tell_of(coupon_id, counted)
            except redis.RedisError as error:
                if not self.app.extensions["line"].is_apart(error):
                    raise

    def _tell_of(self, coupon_id: int, counted: _Counted) -> None:
        if counted.has_news or counted.sent:
            self._tell_turnout(coupon_id, counted)
        self._tell_shown(coupon_id, counted.shown)
        if not (counted.has_news or counted.shown):
            self.counted.pop(coupon_id, None)

    def _tell_turnout(self, coupon_id: int, counted: _Counted) -> None:
        polls, refused = counted.polls, counted.to_send(self.times)
        told = tell_turnout(
            self.app.extensions["line"],
            coupon_id,
            process=self.process,
            times=counted.times,
            pages=counted.pages(_tick(0)),
            polls=polls,
            refused=refused,
        )
        counted.polls -= polls  # others may have polled meanwhile
        if told:
            counted.sent = Counter()

    def _tell_shown(self, coupon_id: int, shown: dict[int, float]) -> None:
        for _call in range(0, len(shown), MOST_SHOWN):
            now, people = time.monotonic(), list(islice(shown, MOST_SHOWN))
            known_ms = {user_id: int((now - shown[user_id]) * 1000) for user_id in people}
            tell_shown(self.app.extensions["line"], coupon_id, known_ms)
            for user_id in people:
                del shown[user_id]

    def _begin(self) -> None:
        if self.is_telling:
            return
        with self.turn:
            if self.is_telling or self.stopping.is_set():
                return
            self.is_telling = True
            self.process = self.process or secrets.token_hex(4)  # not before the fork
            self.teller = threading.Thread(target=self._tell_on, name="turnout", daemon=True)
            self.teller.start()

    def _tell_on(self) -> None:
        try:
            while not self.stopping.wait(TELL_S) and self.counted:
                self._tell_once()
        finally:
            self.is_telling = False

    def _tell_once(self) -> None:
        try:
            self.tell()
            self.failing = False
        except redis.RedisError as error:
            swallow("turnout not told", error, "the next second tells it", again=self.failing)
            self.failing = True


def _tick(in_ms: int) -> int:
    return int((time.monotonic() + in_ms / 1000) / TICK_S)
