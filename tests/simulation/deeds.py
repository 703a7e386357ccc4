"""What the actors do: the product's own verbs, as its pages, commands and jobs call them."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any

import redis
from flask import current_app
from sqlalchemy.exc import SQLAlchemyError

from tests.simulation.actors import Actor
from tests.simulation.world import COUPON
from webapp.accounts.sessions import delete_account, end_sessions
from webapp.models import User, utcnow
from webapp.sale import claims, held, lists, publishing, redeeming, uploads
from webapp.sale.anonymising import anonymise
from webapp.sale.coupons import InvalidField, change_coupon
from webapp.sale.outcomes import Refused, Ticket
from webapp.sale.people_file import PEOPLE_FILE
from webapp.stores.sql import db
from webapp.web.pages import tickets

if TYPE_CHECKING:
    from tests.simulation.world import World

Work = Callable[[], Any]
ASK = {"click", "click elsewhere", "poll"}
"""The actors that end with an answer to a person."""
EXPECTED = (redis.RedisError, SQLAlchemyError, Refused, InvalidField, redeeming.Unchanged, LookupError)
"""What the product's verbs say that they raise."""
LATER = timedelta(seconds=300)


def click(user: int) -> Work:
    return lambda: _with_receipt(user, claims.claim(COUPON, user))


def poll(user: int, receipt: str) -> Work:
    """Ask as a page does; the receipt travels in the header of the request."""

    def ask() -> tuple[Ticket, str | None]:
        app: Any = current_app
        with app.test_request_context(headers={tickets.RECEIPT_HEADER: receipt}):
            return _with_receipt(user, tickets.ticket_of(COUPON, user))

    return ask


def load(user: int, receipt: str) -> Work:
    """Load the page, which has SQL confirm what Redis tells."""

    def ask() -> tuple[Ticket, str | None]:
        ticket, sealed = poll(user, receipt)()
        return held.confirmed(user, COUPON, ticket)[0], sealed

    return ask


def _with_receipt(user: int, ticket: Ticket) -> tuple[Ticket, str | None]:
    return ticket, tickets.receipt_for(COUPON, user, ticket)


def heard(actor: Actor) -> str:
    """Say what somebody has heard."""
    if isinstance(actor.error, Refused):
        return f'hears "{actor.error.code}"'
    if actor.error is not None:
        return 'hears "busy"'
    ticket = actor.result[0]
    number = f" number {ticket.number}" if ticket.number is not None else ""
    return f'hears "{ticket.state}"{number}'


CHANGES = {
    "raises the quota by one": lambda row, now: {"total_quantity": (row.quota or 0) + 1},
    "raises the quota by two": lambda row, now: {"total_quantity": (row.quota or 0) + 2},
    "lowers the quota to what is issued": lambda row, now: {"total_quantity": row.issued},
    "offers two places in standby": lambda row, now: {"standby_limit": 2},
    "offers no place in standby": lambda row, now: {"standby_limit": 0},
    "pauses the coupon": lambda row, now: {"step": "pause"},
    "resumes the coupon": lambda row, now: {"step": "resume"},
    "closes the coupon": lambda row, now: {"step": "close"},
    "ends it now": lambda row, now: {"issue_end_at": now},
    "lets it end later": lambda row, now: {"issue_end_at": now + LATER},
    "lets it start later": lambda row, now: {"issue_start_at": now + timedelta(seconds=6)},
}


def change(name: str, world: "World") -> Work:
    now = datetime.fromtimestamp(world.now_ms / 1000, UTC)
    fields: dict[str, Any] = CHANGES[name](world.books().row, now)
    return lambda: change_coupon(COUPON, **fields)


LISTS = {
    "puts user {user} on the list": lambda user, _others: (
        lambda: lists.add_person(COUPON, email(user), by=None)
    ),
    "takes user {user} off the list": lambda user, _others: (
        lambda: lists.remove_person(COUPON, email(user), by=None)
    ),
    "opens it to everybody": lambda _user, _others: lambda: lists.set_audience(COUPON, "everybody", by=None),
    "makes it for the list alone": lambda _user, _others: lambda: lists.set_audience(COUPON, "list", by=None),
    "brings a list of {others}": lambda _user, others: lambda: bring(others, replace=False),
    "replaces the list by {others}": lambda _user, others: lambda: bring(others, replace=True),
}
"""What operators do to the list, in words, with a user or with others."""


def email(user: int) -> str:
    return f"{user}@example.com"


def bring(people: list[int], *, replace: bool) -> None:
    """Bring a file with these people, and have it count."""
    upload = uploads.begin(PEOPLE_FILE, COUPON, "list.csv", by=None)
    uploads.read(upload, PEOPLE_FILE, BytesIO("\n".join(map(email, people)).encode()))
    with suppress(lists.NotCounted):  # a file of nobody is refused
        lists.count_people(upload, replace=replace, by=None)


def revoke(code: str) -> Work:
    return lambda: redeeming.revoke(code, None, "returned")


def use(code: str) -> Work:
    return lambda: redeeming.use(code, None)


def reconcile() -> None:
    publishing.reconcile(COUPON)


def _block(user: int) -> None:
    end_sessions(user, blocked_at=utcnow())


def _anonymise(user: int) -> None:
    if account := db.session.get(User, user):
        anonymise(account)


ACCOUNTS: dict[str, Callable[[int], Work]] = {
    "block": lambda user: lambda: _block(user),
    "unblock": lambda user: lambda: end_sessions(user, blocked_at=None),
    "delete": lambda user: lambda: delete_account(user),
    "anonymise": lambda user: lambda: _anonymise(user),
}
