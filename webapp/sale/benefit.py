"""What a coupon gives its holder: an amount off, a percentage off, a gift, or what its words say."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from flask_babel import LazyString
from flask_babel import lazy_gettext as _

from webapp.models import AMOUNT, BENEFIT_LENGTH, GIFT, PERCENT, WORDS, Coupon, CouponRow
from webapp.values.amounts import MOST

Message: TypeAlias = str | LazyString

NOTHING: dict[str, Any] = {
    "discount_amount": 0,
    "discount_percent": 0,
    "discount_cap": None,
    "benefit_words": "",
    "benefit_words_en": "",
}
"""The fields of all benefits, each with the value that gives nothing."""
FIELDS_OF: dict[str, frozenset[str]] = {
    AMOUNT: frozenset({"discount_amount"}),
    PERCENT: frozenset({"discount_percent", "discount_cap"}),
    GIFT: frozenset({"benefit_words", "benefit_words_en"}),
    WORDS: frozenset({"benefit_words", "benefit_words_en"}),
}
NO_WORSE: dict[str, Callable[[Any, Any], bool]] = {
    # Nobody can say which of two kinds is worth more, or which of two texts.
    "benefit": lambda now, then: bool(now == then),
    "discount_amount": lambda now, then: then >= now,
    "discount_percent": lambda now, then: then >= now,
    "discount_cap": lambda now, then: then is None or (now is not None and then >= now),
    "benefit_words": lambda now, then: bool(now == then),
    "benefit_words_en": lambda now, then: now in ("", then),
}
"""The fields of the benefit, each with the test that a change takes nothing away from its holder."""


@dataclass(frozen=True, kw_only=True)
class Worth:
    """What a coupon is called and what it gives, as pages show it; the names of its fields are those of `coupons`."""

    title: str
    title_en: str
    benefit: str
    discount_amount: int
    discount_percent: int
    discount_cap: int | None
    benefit_words: str
    benefit_words_en: str


WORTH = tuple(getattr(Coupon, name) for name in Worth.__dataclass_fields__)
"""The columns of a Worth, for queries."""


def worth_of(coupon: Coupon | CouponRow) -> dict[str, Any]:
    """Return the fields of a Worth by name."""
    return {name: getattr(coupon, name) for name in Worth.__dataclass_fields__}


def most_worth(coupon: Coupon | CouponRow) -> int | None:
    """Return the most that one coupon can cost, in won; None where nobody can say: no cap, a gift, words."""
    return {AMOUNT: coupon.discount_amount, PERCENT: coupon.discount_cap}.get(coupon.benefit)


def cleared(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that say nothing with this kind of benefit, each with the value that gives nothing."""
    own = FIELDS_OF.get(values["benefit"], frozenset())
    return {name: nothing for name, nothing in NOTHING.items() if name not in own}


def wrong_benefit(values: Mapping[str, Any]) -> tuple[str, Message] | None:
    """Return the field that does not say what the coupon gives, of those of the chosen kind, and why; None for none."""
    kind, percent, cap = values["benefit"], values["discount_percent"], values["discount_cap"]
    if kind not in FIELDS_OF:
        return "benefit", _("Choose what the coupon gives.")
    if kind == PERCENT and not 1 <= percent <= 100:
        return "discount_percent", _("Give a whole number from 1 to 100.")
    if kind == PERCENT and cap is not None and not 1 <= cap <= MOST:
        return "discount_cap", _("Give an amount of at least 1, or leave it empty for no cap.")
    return _wrong_words(values) if kind in (GIFT, WORDS) else None


def _wrong_words(values: Mapping[str, Any]) -> tuple[str, Message] | None:
    if not values["benefit_words"]:
        return "benefit_words", _("Write what people get.")
    long = (name for name in ("benefit_words", "benefit_words_en") if len(values[name]) > BENEFIT_LENGTH)
    too_long = _("Write %(most)s characters at most.", most=BENEFIT_LENGTH)
    return next(((name, too_long) for name in long), None)


def broken_promise(coupon: CouponRow, name: str) -> Message | None:
    """Return why a field of the benefit cannot become worse, with the promised value; None for another field."""
    now = getattr(coupon, name)
    if name == "benefit":
        return _("Another kind of benefit was promised; it stays.")
    if name in ("benefit_words", "benefit_words_en"):
        return _("“%(now)s” was promised; these words stay.", now=now)
    if name == "discount_percent":
        return _("A discount of %(now)s%% was promised; it cannot be less.", now=now)
    if name == "discount_cap":
        return _no_lower_cap(now)
    if name == "discount_amount":
        return _("A discount of %(now)s won was promised; it cannot be less.", now=f"{now:,}")
    return None


def _no_lower_cap(now: int | None) -> Message:
    if now is None:
        return _("It was promised without a cap; it cannot get one now.")
    return _("A cap of %(now)s won was promised; it cannot be less.", now=f"{now:,}")
