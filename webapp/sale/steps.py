"""The steps of a coupon's status, and the names that its changes have in the log."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from webapp.models import CLOSED, DRAFT, LIVE, PAUSED

Step: TypeAlias = tuple[tuple[str, ...], str]
"""The statuses from which it can be taken, and the status after it."""
STEPS: dict[str, Step] = {
    "publish": ((DRAFT,), LIVE),
    "pause": ((LIVE,), PAUSED),
    "resume": ((PAUSED, CLOSED), LIVE),
    "close": ((LIVE, PAUSED), CLOSED),
}
"""Every change of status, by name. No step hides a published coupon again."""


def steps_from(status: str) -> list[str]:
    """Return the steps that a coupon of that status can take."""
    return [step for step, (before, _after) in STEPS.items() if status in before]


def verb_of(status: str, changed: Mapping[str, Any]) -> str:
    """Return the step that a change of a coupon with that status is, or what else the change is."""
    if "status" in changed:
        return next(name for name in steps_from(status) if STEPS[name][1] == changed["status"])
    return "change quota" if changed.keys() == {"total_quantity"} else "change coupon"
