"""Group commit: what many ask of one line at the same moment travels to Redis in one call.

Everybody presses the button in the same second. One call for each click would cost Redis and this process several times
as much as the click itself. So whoever comes while a call of the coupon is away goes with the next one. No timer holds
anybody back: whoever finds no call away sends at once, alone.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import redis

Answer = TypeVar("Answer")

MOST = 128
"""The most who travel in one call: its script stays below a millisecond, so that nobody else waits longer for Redis
(`make bench ARGS=claims`)."""
TURN_S = 0.4
"""How long somebody waits for the call before to come back, and then goes alone: as long as for a free connection."""


class _Seat:
    """One user who asks. `batch`: those whom this one leads."""

    __slots__ = ("answer", "batch", "come", "error", "user_id")

    def __init__(self, user_id: int) -> None:
        self.user_id = user_id
        self.come = threading.Event()
        self.batch: list[_Seat] = []
        self.answer: object = None
        self.error: BaseException | None = None


def wait_for_turn(seat: _Seat) -> bool:
    """Wait until the seat has its answer, or leads a batch; return False when that takes too long."""
    return seat.come.wait(TURN_S)


class Together(Generic[Answer]):
    """One kind of question. `call` asks it for several users of a coupon at once, and answers in their order.

    Whoever comes while no call is away leads: they send at once, and are free as soon as they are answered. The first
    of those who came meanwhile leads the next call. An error is everybody's of that call, and nobody else's.
    """

    def __init__(self, call: Callable[[int, list[int]], list[Answer]]) -> None:
        self._call = call
        self._order = threading.Lock()
        self._gathering: dict[int, list[_Seat]] = {}
        """By coupon, who goes with the next call; only while a call of the coupon is away."""

    def ask(self, coupon_id: int, user_id: int) -> Answer:
        """Return the answer for the user. It takes TURN_S more than a call at most; raises what the call raises."""
        seat = _Seat(user_id)
        if not self._leads(coupon_id, seat) and not self._has_come(coupon_id, seat):
            return self._call(coupon_id, [user_id])[0]
        if seat.batch:
            self._travel(coupon_id, seat.batch)
        if seat.error is not None:
            raise seat.error
        return seat.answer  # type: ignore[return-value]

    def _leads(self, coupon_id: int, seat: _Seat) -> bool:
        with self._order:
            gathering = self._gathering.get(coupon_id)
            if gathering is not None:
                gathering.append(seat)
                return False
            self._gathering[coupon_id] = []
            seat.batch = [seat]
            return True

    def _has_come(self, coupon_id: int, seat: _Seat) -> bool:
        """Wait for the answer, or for the lead; return False when the seat has left, to go alone."""
        try:
            while not wait_for_turn(seat):
                if self._leave(coupon_id, seat):
                    return False
        except BaseException:
            # The request was broken off: nobody may wait for it to lead, now or later.
            seat.come.set()
            if not self._leave(coupon_id, seat) and seat.batch:
                self._hand_over(coupon_id, seat.batch[1:])
            raise
        return True

    def _leave(self, coupon_id: int, seat: _Seat) -> bool:
        """Leave those who go with the next call; return False when it has begun."""
        with self._order:
            gathering = self._gathering.get(coupon_id, [])
            if seat not in gathering:
                return False
            gathering.remove(seat)
            return True

    def _travel(self, coupon_id: int, batch: list[_Seat]) -> None:
        leader, *others = batch
        try:
            answers = self._call(coupon_id, [seat.user_id for seat in batch])
            for seat, answer in zip(batch, answers, strict=True):
                seat.answer = answer
        except Exception as error:
            for seat in batch:
                seat.error = error
        except BaseException as error:
            # The leader's own end is not that of the others.
            leader.error = error
            for seat in others:
                seat.error = redis.ConnectionError("the call was broken off")
        finally:
            self._hand_over(coupon_id)
            for seat in others:
                seat.come.set()

    def _hand_over(self, coupon_id: int, left: Sequence[_Seat] = ()) -> None:
        """Give the lead to the first who waits: of those `left` by their leader, and then of those who came later."""
        with self._order:
            waiting = [seat for seat in left if not seat.come.is_set()] + self._gathering[coupon_id]
            batch, self._gathering[coupon_id] = waiting[:MOST], waiting[MOST:]
            if not batch:
                del self._gathering[coupon_id]
                return
            batch[0].batch = batch
        batch[0].come.set()
