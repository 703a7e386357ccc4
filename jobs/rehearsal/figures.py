"""The figures of a rehearsal, line by line."""

import json
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from jobs.rehearsal.drop import ROWS_EVERY_S, Drop
from jobs.rehearsal.load import Answer


def figures(drop: Drop) -> Iterator[str]:
    """Yield the lines that an operator reads."""
    good = [claim for claim in drop.claims if claim is not None and claim.status == 200]
    answered = [claim for claim in drop.claims if claim is not None]
    statuses = Counter(claim.status for claim in answered)
    yield (
        f"claims         {len(drop.claims)}; answers "
        + ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items()))
        + f"; tried again {sum(len(claim.tries) - 1 for claim in answered)}"
    )
    if not answered:
        return
    yield f"claims/s       {_rate(good, drop.opened)} with a ticket, {_rate(answered, drop.opened)} answered in all"
    yield f"click→answer   {_percentiles([claim.answered - claim.sent for claim in answered])}"
    yield f"click→row      {_percentiles(_row_delays(drop))} (rows are looked at every {ROWS_EVERY_S * 1000:.0f} ms)"
    decided = max(claim.answered for claim in answered)
    if drop.rows and drop.rows[-1][1]:
        final = next(at for at, number in drop.rows if number == drop.rows[-1][1])
        yield f"last row       {final - drop.opened:.2f} s after the opening"
        decided = max(decided, final)
    yield f"all decided    {decided - drop.opened:.2f} s after the opening: every claim answered, every row written"
    yield f"all known      {drop.all_known - drop.opened:.2f} s after the opening"


def summary(drop: Drop) -> dict[str, Any]:
    """Return the figures that an operator's page shows. `tickets_s` and `known_s` are seconds after the opening."""
    answered = [claim for claim in drop.claims if claim is not None]
    slowest = _picked([claim.answered - claim.sent for claim in answered]) if answered else None
    return {
        "people": len(drop.claims),
        "expected": drop.expected,
        "issued": sum(state == "issued" for state in drop.states),
        "unanswered": len(drop.claims) - len(answered),
        "answer_ms": slowest and round(slowest[-1] * 1000),
        "tickets_s": round(max((claim.answered for claim in answered), default=drop.opened) - drop.opened, 2),
        "known_s": round(drop.all_known - drop.opened, 2),
    }


def _rate(answers: Sequence[Answer], opened: float) -> str:
    if not answers:
        return "none"
    return f"{len(answers) / (max(answer.answered for answer in answers) - opened):,.0f}"


def _row_delays(drop: Drop) -> list[float]:
    """Return, for every issued ticket, the time from its click until its row was seen."""
    seen = [number for _, number in drop.rows]
    sent = {
        json.loads(claim.body)["number"]: claim.sent
        for claim in drop.claims
        if claim is not None and claim.status == 200
    }
    highest = seen[-1] if seen else 0
    return [
        drop.rows[bisect_left(seen, number)][0] - at
        for number, at in sent.items()
        if number is not None and number <= highest
    ]


def _percentiles(seconds: Sequence[float]) -> str:
    if not seconds:
        return "none"
    return "p50 {:.0f} ms, p95 {:.0f} ms, p99 {:.0f} ms".format(*(value * 1000 for value in _picked(seconds)))


def _picked(seconds: Sequence[float]) -> list[float]:
    """Return the median, and what 95 % and 99 % are not above."""
    ordered = sorted(seconds)
    return [
        ordered[min(len(ordered) - 1, math.ceil(len(ordered) * share) - 1)] for share in (0.5, 0.95, 0.99)
    ]
