"""What the live board reads of one coupon's line, and what the web processes tell it of the people who look on."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from webapp.line.keys import BUCKET_MS
from webapp.line.line import Line
from webapp.line.reading import gate_from
from webapp.line.types import Gate
from webapp.stores.malformed import ERRORS, is_malformed
from webapp.stores.script_redis import Lines

FRESH_MS = 5000
"""How long the word of a web process counts. Each tells once a second as long as pages poll it."""
NOTE = re.compile(r"(\d{1,15}):(\d{1,15})")


@dataclass(frozen=True)
class Watched:
    """A line at one instant, as the live board shows it.

    `oldest_ms`: how long the first ticket in line has waited, None where nobody waits or its arrival is not known.
    `results`: how many people have a result in Redis. `pages` that poll, about, and `polls` a second: as far as polls
    reach our web processes. `refused`: clicks that got no number, by the code of the refusal.
    """

    gate: Gate
    oldest_ms: int | None
    results: int
    pages: int
    polls: int
    refused: dict[str, int]

    @property
    def given(self) -> int:
        """How many numbers this epoch has given."""
        return self.gate.last - self.gate.floor


def watch(connections: Lines, coupon_id: int) -> Watched | None:
    """Return the line as it stands; None when no epoch is open, or its data are malformed. One round trip.

    Nothing is changed. Raises redis.RedisError.
    """
    line = Line(connections, coupon_id)
    keys = [*line.policy_keys, line.turnout_key, line.refused_key]
    try:
        reply = line.redis.run_script("read_board", keys, [BUCKET_MS, FRESH_MS])
        *of_gate, oldest_ms, results, pages, polls, flat = reply
        gate = gate_from(*of_gate)
        refused = {why: int(clicks) for why, clicks in zip(flat[::2], flat[1::2], strict=True)}
    except ERRORS as error:
        if not is_malformed(error):
            raise
        return None
    oldest = None if oldest_ms < 0 else oldest_ms
    return Watched(gate, oldest, results, pages, polls, refused) if gate.opened else None


def tell_turnout(
    connections: Lines,
    coupon_id: int,
    *,
    process: str,
    times: int,
    pages: int,
    polls: int,
    refused: Mapping[str, int],
) -> bool:
    """Tell what one web process saw since it told last, for the `times`-th time; return False when there is no gate.

    A repeat adds nothing. One round trip. Raises redis.RedisError.
    """
    line = Line(connections, coupon_id)
    keys = [line.gate_key, line.turnout_key, line.refused_key]
    clicks = [part for pair in refused.items() for part in pair]
    args = [process, times, pages, polls, FRESH_MS, *clicks]
    return bool(line.redis.run_script("tell_turnout", keys, args))


class Shown(NamedTuple):
    """When a page first told somebody what was decided, in ms since 1970, and in which epoch that was noted."""

    epoch: int
    at_ms: int


def tell_shown(connections: Lines, coupon_id: int, known_ms: Mapping[int, int]) -> int:
    """Note who was told what was decided, with for how many ms they have known it; return how many notes are new.

    Whoever has a note keeps it, so a repeat changes nothing. It is one round trip, for 1,000 people at most. Raises
    redis.RedisError.
    """
    line = Line(connections, coupon_id)
    people = [part for pair in known_ms.items() for part in pair]
    return int(line.redis.run_script("tell_shown", [line.gate_key, line.shown_key], people))


def shown(line: Line, user_id: int) -> Shown | None:
    """Return the note of that user; None where there is none, or none that can be read. Raises redis.RedisError."""
    note: Any = line.redis.hget(line.shown_key, str(user_id))
    found = NOTE.fullmatch(note or "")
    return Shown(int(found[1]), int(found[2])) if found else None
