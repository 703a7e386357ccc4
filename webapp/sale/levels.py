"""What a check before going live can find."""

from dataclasses import dataclass

from webapp.sale.benefit import Message

OK, WARNING, BLOCKING = "ok", "warning", "blocking"

Found = tuple[str, Message]
"""What a check has found: OK, WARNING or BLOCKING, and why, in words for people."""


@dataclass(frozen=True)
class Finding:
    """What one check has found; `check` is its name in a form and in a command."""

    check: str
    title: Message
    level: str
    words: Message


def blocking(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.level == BLOCKING]


def warnings(found: list[Finding]) -> list[Finding]:
    return [finding for finding in found if finding.level == WARNING]
