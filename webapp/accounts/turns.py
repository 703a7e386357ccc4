"""A few places for many callers: the callers of one crowd wait for each other, and the crowds take turns."""

import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager


class NoPlace(Exception):
    """No place came free in time."""


class CrowdTooLarge(NoPlace):
    """So many callers of the same crowd wait already that another would wait in vain."""


class Turns:
    """Places that crowds take in turn. One crowd has at most half of them, and a line of `most_waiting` callers."""

    def __init__(self, places: int, *, most_waiting: int) -> None:
        self.free, self.each, self.most_waiting = places, max(1, places // 2), most_waiting
        self.taken: Counter[str] = Counter()
        self.waiting: dict[str, deque[threading.Event]] = {}
        self.lock = threading.Lock()

    @contextmanager
    def place(self, crowd: str, wait_s: float) -> Iterator[None]:
        """Hold a place. Raises NoPlace when none comes free within `wait_s`, and CrowdTooLarge at once."""
        come = threading.Event()
        with self.lock:
            if len(self.waiting.get(crowd, ())) >= self.most_waiting:
                raise CrowdTooLarge
            self.waiting.setdefault(crowd, deque()).append(come)
            self._call()
        if not come.wait(wait_s):
            self._leave(crowd, come)
        try:
            yield
        finally:
            with self.lock:
                self.free += 1
                self.taken -= Counter([crowd])
                self._call()

    def _leave(self, crowd: str, come: threading.Event) -> None:
        with self.lock:
            # A place that was given just after the time was up is taken all the same.
            if not come.is_set():
                self._take_out(crowd, come)
                raise NoPlace

    def _call(self) -> None:
        """Give the free places to the first caller of each crowd; the crowd that was served longest ago comes first."""
        while self.free:
            crowd = next((crowd for crowd in self.waiting if self.taken[crowd] < self.each), None)
            if crowd is None:
                return
            come = self.waiting[crowd][0]
            self._take_out(crowd, come)
            self.free -= 1
            self.taken[crowd] += 1
            come.set()

    def _take_out(self, crowd: str, come: threading.Event) -> None:
        """Remove a caller from the line of its crowd, and make that crowd the last to be served."""
        line = self.waiting.pop(crowd)
        line.remove(come)
        if line:
            self.waiting[crowd] = line
