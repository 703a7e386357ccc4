"""The drift between the stores: how many people Redis tells something else than SQL has decided."""

import time
from collections import deque
from dataclasses import dataclass, field

from sqlalchemy import func, select

from webapp.line.results import REVOKED
from webapp.line.watching import Watched
from webapp.models import Coupon, LineEvent
from webapp.stores.sql import db

SETTLED_S = 3.0
"""Within so long after its commit a batch is settled: only what is older has to stand in Redis."""
REST = 20
"""After a question to SQL so many times as long goes by before the next one."""


@dataclass
class Drift:
    """Compares the number of results in Redis with that of the decisions in SQL, look by look, for one coupon.

    `rejected` counts the numbers without a coupon by the reason. `apart` is the drift: 0 where Redis knows what SQL
    knew in the last SETTLED_S; None where the results have left Redis, or as long as a batch may be on its way.
    """

    rejected: dict[str, int] = field(default_factory=dict)
    apart: int | None = None
    decided: deque[tuple[float, int]] = field(default_factory=deque)
    next_at: float = 0.0

    def look(self, coupon: Coupon, seen: Watched | None) -> None:
        """Look once more. `seen` was read before the row of `coupon`. Raises SQLAlchemyError."""
        began = time.monotonic()
        if began < self.next_at:
            return
        self.rejected, people = _rejections(coupon.id)
        now = time.monotonic()
        self.next_at = now + REST * (now - began)
        self.decided.append((now, coupon.issued_quantity + people))
        # One that is older is kept: Redis has heard of all that it counts.
        while len(self.decided) > 1 and self.decided[1][0] < now - SETTLED_S:
            self.decided.popleft()
        self.apart = None if seen is None or seen.gate.results_gone else self._apart(seen.results, now)

    def _apart(self, results: int, now: float) -> int | None:
        counts = [count for _at, count in self.decided]
        apart = max(min(counts) - results, results - max(counts), 0)
        return apart if apart == 0 or self.decided[0][0] < now - SETTLED_S else None


def _rejections(coupon_id: int) -> tuple[dict[str, int], int]:
    """Return how many numbers were rejected by the reason, and how many people these were of."""
    of_coupon = (LineEvent.coupon_id == coupon_id, LineEvent.kind == "rejected")
    counts = select(LineEvent.reason, func.count(), func.count(LineEvent.user_id.distinct()))
    rejected: dict[str, int] = {}
    people = 0
    with db.engine.connect() as connection:
        for reason, numbers, users in connection.execute(counts.where(*of_coupon).group_by(LineEvent.reason)):
            # The reason of a revocation is what an operator has typed.
            kind = "revoked" if reason.startswith(REVOKED) else reason
            rejected[kind] = rejected.get(kind, 0) + numbers
            people += users
    return rejected, people
