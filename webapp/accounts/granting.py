"""Giving rights to somebody, while two people decide that: by which way it goes on or waits."""

from collections.abc import Callable
from typing import Any

from webapp.accounts.owners import locked_owners
from webapp.proposals.rule import Deed, ProposalRefused, second_person
from webapp.stores.sql import db


def second_owner(
    deed: Deed, *, by: int | None, confirms: int | None, commit: Callable[[], None] | None = None
) -> dict[str, Any]:
    """Let a deed of the session's transaction go on, or have it wait, as `second_person` does.

    `commit` commits the session, unless the session alone does. A command gives the first owner the role alone, as long
    as there is nobody who could confirm it. Raises Waits; and ProposalRefused, which rolls the session back.
    """
    if confirms is None and by is None and not locked_owners():
        return {}
    connection, commit = db.session.connection(), commit or db.session.commit
    try:
        return second_person(connection, deed, by=by, confirms=confirms, commit=commit)
    except ProposalRefused:
        db.session.rollback()
        raise
