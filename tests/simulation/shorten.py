"""Shortening: a history is played again without one part after the other, as long as it breaks the promise."""

from typing import Any

from tests.simulation.promises import Violation
from tests.simulation.rest import TO_THE_END
from tests.simulation.stories_of_the_sale import Stories

Script = list[tuple[str, dict[str, Any]]]


def play(script: Script) -> Violation | None:
    """Play a script without Hypothesis, from the coupon to the rest; return the violation that it ends in."""
    machine = Stories()
    try:
        (_, coupon), *steps = script
        machine.coupon(**coupon)
        for name, arguments in steps:
            machine.play(name, arguments)
    except Violation as violation:
        return violation
    finally:
        violation_at_rest = _end(machine)
    return violation_at_rest


def _end(machine: Stories) -> Violation | None:
    try:
        machine.teardown()
    except Violation as violation:
        return violation
    return None


def shortened(found: Violation) -> Violation:
    """Return the same kind of violation with the shortest history that is found."""
    size = len(found.script) // 2
    while size:
        shorter = _without(found, size)
        if shorter is None:
            size //= 2
        else:
            found = shorter
            size = min(size, len(found.script) // 2)
    return _plainer(found)


def _without(found: Violation, size: int) -> Violation | None:
    """Leave out so many steps at a time, the last first; the coupon stays."""
    best = None
    end = len(found.script)
    while end - size >= 1:
        script = found.script[: end - size] + found.script[end:]
        if (again := play(script)) and again.kind == found.kind:
            best = found = again
            end = min(end, len(found.script) + 1)
        end -= size
    return best


def _plainer(found: Violation) -> Violation:
    """Let actors run to their ends where nothing depends on their stops."""
    for at, (name, chosen) in enumerate(found.script):
        if chosen.get("cut", TO_THE_END) == TO_THE_END or at >= len(found.script):
            continue
        script = [*found.script[:at], (name, chosen | {"cut": TO_THE_END}), *found.script[at + 1 :]]
        if (again := play(script)) and again.kind == found.kind and len(again.script) == len(found.script):
            found = again
    return found
