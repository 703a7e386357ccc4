"""Reading the proposals: the open ones, those that were decided, and what they ask for."""

import json
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select

from webapp.models import Proposal, utcnow
from webapp.stores.sql import db

MOMENTS = frozenset({"issue_start_at", "issue_end_at", "valid_until"})
"""The arguments that are times."""


def open_proposals(coupon_id: int | None = None) -> list[Row[Any]]:
    """Return the proposals that can still be confirmed, of one coupon or all, the oldest first."""
    still = [Proposal.expires_at > utcnow(), Proposal.decision.is_(None)]
    if coupon_id is not None:
        still.append(Proposal.coupon_id == coupon_id)
    return _rows(select(Proposal.__table__).where(*still).order_by(Proposal.id))


def past_proposals(most: int) -> list[Row[Any]]:
    """Return those that were decided or have expired, the newest first, `most` at most. Raises SQLAlchemyError."""
    past = Proposal.decision.is_not(None) | (Proposal.expires_at <= utcnow())
    return _rows(select(Proposal.__table__).where(past).order_by(Proposal.id.desc()).limit(most))


def proposal_by_id(proposal_id: int) -> Row[Any] | None:
    found = _rows(select(Proposal.__table__).where(Proposal.id == proposal_id))
    return found[0] if found else None


def arguments_of(row: Row[Any]) -> dict[str, Any]:
    """Return what a proposal asks for, with times as times."""
    told: dict[str, Any] = json.loads(row.arguments)
    return {
        name: datetime.fromisoformat(value) if name in MOMENTS and value is not None else value
        for name, value in told.items()
    }


def _rows(query: Any) -> list[Row[Any]]:
    with db.engine.connect() as connection:
        return list(connection.execute(query))
