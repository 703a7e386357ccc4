"""What is the same for everybody is kept, and never more than so much of it."""

from typing import NamedTuple, TypeVar

from webapp.web.fast.requests import Headers

K = TypeVar("K")
V = TypeVar("V")
MOST_KEPT = 1000
"""Answers of one sort that a process keeps."""


class PageKey(NamedTuple):
    """All that a page before the start depends on; the language is the chosen one, never a header as it came."""

    coupon_id: int
    role: str
    language: str
    secure: bool


class Page(NamedTuple):
    """A page before the start, cut where each visitor's own token belongs."""

    fresh_until: float
    headers: Headers
    parts: list[bytes]


class Kept(dict[K, V]):
    """Answers by what they depend on. Where one more would be too many, all the others go."""

    def __setitem__(self, key: K, answer: V) -> None:
        if len(self) >= MOST_KEPT and key not in self:
            self.clear()
        super().__setitem__(key, answer)
