"""The places of a line in the order of their numbers: who waits, and who stands in standby."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from webapp.line.keys import BUCKET_MS
from webapp.line.line import READ_CHUNK, Line
from webapp.line.reading import told_apart

Scored = Sequence[tuple[str, float]]


class Place(NamedTuple):
    """The ticket of somebody who waits, or stands in standby: nobody has settled it."""

    number: int
    user_id: int
    in_standby: bool


def places_of(line: Line, most: int = READ_CHUNK) -> Iterator[list[Place]]:
    """Yield all places by number, `most` of the line and of standby at a time.

    Both are read in one instant, so a ticket that moves from one to the other meanwhile is met once. Malformed ones,
    and numbers that their users gave up, are left out. Raises redis.RedisError.
    """
    after = "-inf"
    while True:
        with line.redis.pipeline(transaction=True) as pipe:
            for key in (line.line_key, line.standby_key):
                pipe.zrangebyscore(key, after, "+inf", start=0, num=most, withscores=True)
            waiting, standby = pipe.execute()
        # What one of them has behind its last score is not known yet, so the other counts up to there only.
        read_to = min((part[-1][1] for part in (waiting, standby) if len(part) == most), default=None)
        yield sorted([*_places(waiting, read_to, False), *_places(standby, read_to, True)])
        if read_to is None:
            return
        after = f"({read_to!r}"


def having_places(line: Line, user_ids: Sequence[int]) -> set[int]:
    """Return those of the users who wait, or stand in standby. Raises redis.RedisError."""
    if not user_ids:
        return set()
    members = [str(user_id) for user_id in user_ids]
    with line.redis.pipeline(transaction=True) as pipe:
        for key in (line.line_key, line.standby_key):
            pipe.zmscore(key, members)
        numbers = zip(*pipe.execute(), strict=True)
    return {user_id for user_id, found in zip(user_ids, numbers, strict=True) if set(found) != {None}}


def arrival_times(line: Line) -> list[tuple[int, int | None]]:
    """Return from which number on tickets were given at which ms since 1970, in order; None where nobody knows.

    A time is BUCKET_MS exact. Raises redis.RedisError.
    """
    buckets = line.redis.zscan_iter(line.arrivals_key, count=READ_CHUNK)
    times = ((int(number), int(name) * BUCKET_MS if name.isdecimal() else None) for name, number in buckets)
    return sorted(dict(times).items())


def _places(part: Scored, read_to: float | None, in_standby: bool) -> Iterator[Place]:
    known = part if read_to is None else [each for each in part if each[1] <= read_to]
    for ticket in told_apart(known)[0]:
        if ticket.member.isdecimal():
            yield Place(ticket.number, int(ticket.member), in_standby)
