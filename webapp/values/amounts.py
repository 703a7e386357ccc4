"""Amounts and quantities as operators type them."""

import re

from webapp.values.texts import figures

MOST = 1_000_000_000_000
"""The largest quantity or amount; a larger one is taken for a mistake."""
AMOUNT = re.compile(r"[0-9]{1,13}|[1-9][0-9]{0,2}(,[0-9]{3}){1,4}")


def read_amount(text: str) -> int:
    """Return the whole number that a text names, with or without commas between groups of three digits.

    Raises ValueError for every other text. A sign, a point, a unit or another separator may each mean another number.
    """
    typed = figures(text)
    if not AMOUNT.fullmatch(typed):
        raise ValueError(f"{text[:50]!r} is not a whole number such as 5000 or 5,000")
    return int(typed.replace(",", ""))
