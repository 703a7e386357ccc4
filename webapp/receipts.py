"""Receipts: the signed proof of a ticket that the browser holds."""

import base64
import hashlib
import hmac
from dataclasses import dataclass

SIGNATURE_BYTES = 16


@dataclass(frozen=True)
class Receipt:
    coupon_id: int
    user_id: int
    number: int
    epoch: int


def sign(key: str, receipt: Receipt) -> str:
    """Return the receipt as text: `coupon.user.number.epoch.signature`, HMAC-SHA-256 cut to 128 bits."""
    facts = f"{receipt.coupon_id}.{receipt.user_id}.{receipt.number}.{receipt.epoch}"
    return f"{facts}.{_signature(key, facts)}"


def read(key: str, text: str) -> Receipt | None:
    """Return the receipt that the text proves, or None when it is not one of ours, unaltered."""
    facts, _, signature = text.rpartition(".")
    if not hmac.compare_digest(signature.encode(errors="replace"), _signature(key, facts).encode()):
        return None
    coupon_id, user_id, number, epoch = (int(fact) for fact in facts.split("."))
    return Receipt(coupon_id, user_id, number, epoch)


def _signature(key: str, facts: str) -> str:
    digest = hmac.digest(key.encode(), b"receipt." + facts.encode(errors="replace"), hashlib.sha256)
    return base64.urlsafe_b64encode(digest[:SIGNATURE_BYTES]).rstrip(b"=").decode()
