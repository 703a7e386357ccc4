"""Reading the texts of a line: as they were written, or told apart as malformed."""

from collections.abc import Iterable, Iterator
from typing import Any

from webapp.line.keys import BUCKET_MS, MOST_NUMBER
from webapp.line.types import Claimed, Gate, Policy, Reply, Standing, Waiting


def raw(text: str) -> bytes:
    """Return the bytes that Redis holds for a text that was read from it, also if they are no UTF-8."""
    return text.encode(errors="surrogateescape")


def printable(text: str) -> str:
    """Return the text with an escape for every byte that is no UTF-8."""
    return text.encode(errors="backslashreplace").decode()


def is_below(number: int, last: str) -> bool:
    return last.isdecimal() and number <= int(last)


def told_apart(pairs: Iterable[tuple[str, float]]) -> tuple[list[Waiting], list[str]]:
    """Return the tickets, and the members whose scores are no numbers of tickets."""
    tickets, malformed = [], []
    for member, score in pairs:
        number = float(score)  # a sorted set takes fractions and infinities, too
        if number.is_integer() and 0 <= number < MOST_NUMBER:
            tickets.append(Waiting(member, int(number)))
        else:
            malformed.append(member)
    return tickets, malformed


def claims_from(reply: list[Any]) -> list[Claimed]:
    """Return what claim.lua says of each user. Raises ValueError when it cannot be read."""
    epoch, now_ms, ring, *flat = reply
    return [
        Claimed(Reply(answer), epoch, number, ahead, ring == position, now_ms, result)
        for position, (answer, number, ahead, result) in enumerate(_by_four(flat), 1)
    ]


def standings_from(reply: list[Any]) -> list[Standing]:
    """Return what read_standing.lua says of each user. Raises ValueError when it cannot be read."""
    epoch, *flat = reply
    return [Standing(Reply(answer), epoch, *rest) for answer, *rest in _by_four(flat)]


def _by_four(flat: list[Any]) -> Iterator[tuple[Any, ...]]:
    return zip(*(flat[first::4] for first in range(4)), strict=True)


def gate_from(now_ms: int, run_id: str, waiting: int, in_standby: int, flat: list[str]) -> Gate:
    """Return the gate from the reply of read_gate.lua. Raises KeyError or ValueError when a field cannot be read."""
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    return Gate(
        policy=_policy_from(fields),
        epoch=int(fields["epoch"]),
        last=int(fields["last"]),
        now_serving=int(fields["serving"]),
        sold_out=fields["sold_out"] == "1",
        sold_out_at_ms=_number(fields, "sold_out_at"),
        floor=int(fields["floor"]),
        opened=fields.get("run_id") == run_id,
        mark=_number(fields, "mark") if fields.get("begun") == run_id else None,
        was_opened="begun" not in fields,
        doubted=not fields.keys() & {"begun", "run_id"},
        first_opens_at_ms=_number(fields, "first_opens_at"),
        last_closes_at_ms=_number(fields, "last_closes_at"),
        grace_from_ms=_number(fields, "grace_from"),
        grace_until_ms=_number(fields, "grace_until"),
        waiting=waiting,
        in_standby=in_standby,
        now_ms=now_ms,
        ahead_ms=max(0, _latest_ms(fields) - now_ms),
    )


def _latest_ms(fields: dict[str, str]) -> int:
    """Return the latest instant at which something happened at this gate, by the clock of then."""
    happened = (int(fields.get(name, 0)) for name in ("grace_from", "sold_out_at"))
    return max(*happened, int(fields.get("arrived", 0)) * BUCKET_MS)


def _policy_from(fields: dict[str, str]) -> Policy:
    return Policy(
        revision=int(fields["revision"]),
        status=fields["status"],
        quota=int(fields["quota"]) if fields["quota"] else None,
        issued=int(fields["issued"]),
        opens_at_ms=int(fields["opens_at"]),
        closes_at_ms=int(fields["closes_at"]),
        standby_limit=int(fields.get("standby_limit", 0)),
        audience=fields.get("audience", "missing"),
        pause=fields.get("pause", ""),
    )


def _number(fields: dict[str, str], name: str) -> int | None:
    return int(fields[name]) if fields.get(name) else None
