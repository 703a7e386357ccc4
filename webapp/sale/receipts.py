"""Receipts: the signed proof of a ticket that the browser holds, and that of a click that got none."""

import base64
import hashlib
import hmac
from dataclasses import dataclass

SIGNATURE_BYTES = 16
MOST_DIGITS = 16


@dataclass(frozen=True)
class Receipt:
    coupon_id: int
    user_id: int
    number: int
    epoch: int


@dataclass(frozen=True)
class Refusal:
    """A click that got no number, and the state of the line at that time. `code` is sold_out or closed.

    Times are epoch ms by the line's clock: when the click arrived, when the coupons had gone or the period had ended,
    and when the last number that was issued a coupon had arrived. `issued` coupons had been given out, and `waiting`
    people were in standby. A fact that was not known at that time is None.
    """

    code: str
    coupon_id: int
    user_id: int
    arrived_ms: int
    ended_ms: int | None
    last_issued: int | None
    last_arrived_ms: int | None
    issued: int | None
    waiting: int | None

    @property
    def before(self) -> int | None:
        """How many people had come before, and hold a coupon or stand in line for one."""
        return None if self.issued is None or self.waiting is None else self.issued + self.waiting


def sign(key: str, receipt: Receipt) -> str:
    """Return the receipt as text: `coupon.user.number.epoch.signature`, HMAC-SHA-256 cut to 128 bits."""
    facts = f"{receipt.coupon_id}.{receipt.user_id}.{receipt.number}.{receipt.epoch}"
    return f"{facts}.{_signature(key, b'receipt.', facts)}"


def read(key: str, text: str) -> Receipt | None:
    """Return the receipt that the text proves, or None when it is not one of ours, unaltered."""
    facts = _facts(key, b"receipt.", text)
    return Receipt(*map(int, facts)) if facts else None


def number_in(text: str) -> int:
    """Return the number that a text claims to prove, 0 for none; its signature is not looked at."""
    number = text.split(".")[2:3]
    return int(number[0]) if number and number[0].isdecimal() and len(number[0]) <= MOST_DIGITS else 0


def sign_refusal(key: str, refusal: Refusal) -> str:
    """Return the refusal as text: its fields with dots between, empty for None, and the signature.

    The signed text begins with another word than a ticket's receipt, so that neither passes for the other.
    """
    # Its fields stand in the order of their declaration; dataclasses.astuple copies deeply, and thousands ask at once.
    facts = ".".join("" if fact is None else str(fact) for fact in vars(refusal).values())
    return f"{facts}.{_signature(key, b'refusal.', facts)}"


def read_refusal(key: str, text: str) -> Refusal | None:
    """Return the refusal that the text proves, or None when it is not one of ours, unaltered."""
    facts = _facts(key, b"refusal.", text)
    if not facts:
        return None
    code, coupon_id, user_id, arrived_ms, *known = facts
    return Refusal(
        code, int(coupon_id), int(user_id), int(arrived_ms), *(int(fact) if fact else None for fact in known)
    )


def _facts(key: str, kind: bytes, text: str) -> list[str] | None:
    facts, _, signature = text.rpartition(".")
    if not hmac.compare_digest(signature.encode(errors="replace"), _signature(key, kind, facts).encode()):
        return None
    return facts.split(".")


def _signature(key: str, kind: bytes, facts: str) -> str:
    digest = hmac.digest(key.encode(), kind + facts.encode(errors="replace"), hashlib.sha256)
    return base64.urlsafe_b64encode(digest[:SIGNATURE_BYTES]).rstrip(b"=").decode()
