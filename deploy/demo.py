"""Demo data of a local installation: two accounts, a coupon that is open and one that opens soon.

`make run` refreshes it at every start, on the embedded stores only. The passwords are drawn at the first start and are
kept in VAR_DIR/demo.json alone.
"""

import json
import secrets
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from flask import current_app
from sqlalchemy import select

from webapp.accounts.passwords import hash_password
from webapp.accounts.sessions import end_sessions
from webapp.models import LIVE, OWNER, USER, Coupon, User, utcnow
from webapp.sale.coupons import create_coupon
from webapp.stores.sql import db

OPENS_IN = timedelta(minutes=2)
LASTS = timedelta(hours=1)
STILL_OPEN_FOR = timedelta(minutes=10)
ACCOUNTS = {"demo@example.com": ("데모", USER), "operator@example.com": ("운영자", OWNER)}
OFFER_NOW: dict[str, Any] = {
    "title": "첫 구매 5,000원 할인",
    "total_quantity": 100,
    "discount_amount": 5000,
    "min_available_amount": 20_000,
}
OFFER_SOON: dict[str, Any] = {
    "title": "선착순 10,000원 할인",
    "total_quantity": 20,
    "discount_amount": 10_000,
    "min_available_amount": 30_000,
}


def refresh() -> None:
    """Add missing accounts and coupons, inside an app context. A repeat adds nothing while the coupons last."""
    path = Path(current_app.config["VAR_DIR"]) / "demo.json"
    known = json.loads(path.read_text()) if path.exists() else {"accounts": [], "coupons": []}
    passwords = {account["email"]: account["password"] for account in known["accounts"]}
    drawn = {email: secrets.token_urlsafe(9) for email in ACCOUNTS if email not in passwords}
    accounts = [{"email": email, "password": password} for email, password in (passwords | drawn).items()]
    # Kept before they are used: a crash must not leave accounts whose passwords nobody knows.
    _keep(path, {"accounts": accounts, "coupons": known["coupons"]})
    for account in accounts:
        _ensure(**account, changed=account["email"] in drawn)
    _keep(path, {"accounts": accounts, "coupons": known["coupons"] + _missing_coupons(known["coupons"])})


def _ensure(email: str, password: str, *, changed: bool) -> None:
    """Create the account, or give it the new password if demo.json with the old one was lost."""
    name, role = ACCOUNTS[email]
    user = db.session.scalar(select(User).where(User.email == email))
    if user is None:
        db.session.add(User(email=email, name=name, role=role, password_hash=hash_password(password)))
    elif changed:
        end_sessions(user.id, password_hash=hash_password(password))
    db.session.commit()


def _missing_coupons(ids: list[int]) -> list[int]:
    now = utcnow()
    live = db.session.scalars(select(Coupon).where(Coupon.id.in_(ids), Coupon.status == LIVE)).all()
    created = []
    if not any(_open(coupon, now) for coupon in live):
        created.append(create_coupon(**OFFER_NOW, issue_start_at=now, issue_end_at=now + LASTS))
    if not any(coupon.issue_start_at > now for coupon in live):
        start = now + OPENS_IN
        created.append(create_coupon(**OFFER_SOON, issue_start_at=start, issue_end_at=start + LASTS))
    return created


def _open(coupon: Coupon, now: datetime) -> bool:
    return coupon.issue_start_at <= now < coupon.issue_end_at - STILL_OPEN_FOR and not coupon.sold_out


def _keep(path: Path, demo: dict[str, object]) -> None:
    draft = path.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(demo, indent=2, ensure_ascii=False))
    draft.replace(path)
