"""The text of a result, as Redis keeps it for each user. `lua/settle_batch.lua` knows it too."""

import re
from typing import NamedTuple

# Lone surrogates stand for bytes that are no UTF-8 (see `webapp.stores.init_stores`): those are malformed.
RESULT = re.compile(r"(issued|rejected):(\d{1,16}):([^\ud800-\udfff]*)", re.DOTALL)
REVOKED = "revoked: "
"""Begins the reason of a rejection when the coupon was issued and then revoked."""


def revoked_reason(reason: str) -> str:
    return f"{REVOKED}{reason}"


def issued_result(number: int, code: str) -> str:
    return f"issued:{number}:{code}"


def rejected_result(number: int | None, reason: str) -> str:
    return f"rejected:{number}:{reason}"


class Outcome(NamedTuple):
    """A result, read: a coupon with its code, or a rejection with its reason."""

    issued: bool
    number: int
    detail: str


def outcome_of(result: str) -> Outcome:
    """Read a result that `issued_result` or `rejected_result` wrote. Raises ValueError."""
    kind, number, detail = result.split(":", 2)
    return Outcome(kind == "issued", int(number), detail)
