"""One rehearsed drop: its figures as they are seen."""

import json
from dataclasses import dataclass, field
from typing import Any

from jobs.rehearsal.crowd import Crowd
from jobs.rehearsal.load import Answer

ROWS_EVERY_S = 0.02
"""How often SQL is asked for the highest row: the resolution of "click to row"."""


@dataclass
class Drop:
    """One rehearsal: its crowd and the answers. Lists are in the order of the crowd; times are perf_counter()."""

    coupon_id: int
    quota: int | None
    crowd: Crowd
    address: tuple[str, int]
    claims: list[Answer | None] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    rows: list[tuple[float, int]] = field(default_factory=list)
    opened: float = 0.0
    all_known: float = 0.0

    @property
    def expected(self) -> int:
        """How many people get a coupon when everything is right."""
        people = len(self.crowd.user_ids)
        return people if self.quota is None else min(people, self.quota)

    @property
    def numbers(self) -> dict[int, int]:
        """The number in the answer to each claim, by user id."""
        return {
            user_id: json.loads(claim.body)["number"]
            for user_id, claim in zip(self.crowd.user_ids, self.claims, strict=True)
            if claim is not None and claim.status == 200
        }


@dataclass(frozen=True)
class Outcome:
    """The verdict of a rehearsal: whether all was exact, its figures and checks line by line, and some by name."""

    ok: bool
    lines: list[str]
    summary: dict[str, Any] = field(default_factory=dict)
