"""Anonymising: every text that names a person goes for good, and every row that keeps the order stays."""

import re

from sqlalchemy import select

from webapp.accounts.passwords import UNUSABLE
from webapp.accounts.sessions import end_sessions
from webapp.log import Entry
from webapp.models import USER, LineEvent, Proposal, Revocation, User, utcnow
from webapp.sale import publishing
from webapp.sale.membership import forget
from webapp.stores.sql import db
from webapp.values.emails import NOWHERE

GONE = "—"
"""Stands in a reason where the person was named."""


def anonymise(user: User, *, by: int | None) -> None:
    """Take address, name and password from an account, block it, and end its sessions. A repeat changes nothing.

    `by` is the operator, None for a command. Its coupons and its places in line stay. Admission rejects a waiting
    ticket, as that of any blocked account. Raises RoleRefused for the last owner, and redis.RedisError when SQL is done
    and Redis still holds a reason that names the person: repeat it then.
    """
    nobody = f"anonymised-{user.id}"
    address = f"{nobody}@{NOWHERE}"
    if user.email != address:
        _forget_in_reasons(user)
        forget(db.session.connection(), user.email)
        removed = {"email": address, "name": nobody, "password_hash": UNUSABLE, "role": USER}
        entry = Entry(verb="anonymise", by=by, user=user.id)
        end_sessions(user.id, entry=entry, **removed, blocked_at=user.blocked_at or utcnow())
    for coupon_id in db.session.scalars(select(Revocation.coupon_id).where(Revocation.user_id == user.id)):
        publishing.reconcile(coupon_id)


def _forget_in_reasons(user: User) -> None:
    words = [re.escape(word) for word in (user.email, user.name) if len(word) > 1]
    named = re.compile("|".join(words), re.IGNORECASE)
    revocations = db.session.scalars(select(Revocation).where(Revocation.user_id == user.id))
    events = db.session.scalars(select(LineEvent).where(LineEvent.user_id == user.id))
    # A proposal names no people: each reason is looked at, and there are as few as lists of codes.
    lists = db.session.scalars(select(Proposal).where(Proposal.reason.is_not(None)))
    for row in (*revocations, *events, *lists):
        row.reason = named.sub(GONE, row.reason)
