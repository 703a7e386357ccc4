"""Reading the texts of a line: as they were written, or told apart as malformed."""

from collections.abc import Iterable

from webapp.line.keys import MOST_NUMBER
from webapp.line.types import Gate, Policy, Waiting


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


def gate_from(fields: dict[str, str], waiting: int, now_ms: int) -> Gate:
    """Return the gate from its hash. Raises KeyError or ValueError when a field is missing or malformed."""
    policy = Policy(
        revision=int(fields["revision"]),
        status=fields["status"],
        quota=int(fields["quota"]) if fields["quota"] else None,
        issued=int(fields["issued"]),
        opens_at_ms=int(fields["opens_at"]),
        closes_at_ms=int(fields["closes_at"]),
    )
    return Gate(
        policy=policy,
        epoch=int(fields["epoch"]),
        last=int(fields["last"]),
        now_serving=int(fields["serving"]),
        sold_out=fields["sold_out"] == "1",
        sold_out_at_ms=_number(fields, "sold_out_at"),
        floor=int(fields["floor"]),
        was_opened="begun" not in fields,
        doubted=not fields.keys() & {"begun", "run_id"},
        first_opens_at_ms=_number(fields, "first_opens_at"),
        last_closes_at_ms=_number(fields, "last_closes_at"),
        grace_from_ms=_number(fields, "grace_from"),
        grace_until_ms=_number(fields, "grace_until"),
        waiting=waiting,
        now_ms=now_ms,
    )


def _number(fields: dict[str, str], name: str) -> int | None:
    return int(fields[name]) if fields.get(name) else None
