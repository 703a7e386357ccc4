"""What the actors do: the product's own verbs, as its pages, commands and jobs call them."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any

import redis
from flask import current_app
from sqlalchemy import delete, insert, select
from sqlalchemy.exc import DBAPIError

from tests.simulation.actors import Actor
from tests.simulation.pauses import EXTENDS
from tests.simulation.reading import OTHER
from tests.simulation.rest import TO_THE_END
from tests.simulation.world import COUPON, OWNER
from webapp.accounts import blocking
from webapp.accounts.owners import RoleRefused
from webapp.accounts.roles import give_role
from webapp.accounts.sessions import delete_account
from webapp.models import VIEWER, CouponIssue, User, utcnow
from webapp.proposals.rule import ProposalRefused, Waits
from webapp.sale import claims, held, lists, pausing, pools, publishing, redeeming, uploads
from webapp.sale.anonymising import anonymise
from webapp.sale.confirming import confirm_proposal, decline_proposal, withdraw_proposal
from webapp.sale.coupons import InvalidField, change_coupon
from webapp.sale.locking import locked_coupon
from webapp.sale.outcomes import Refused, Ticket
from webapp.sale.pause_message import PauseMessage
from webapp.sale.people_file import PEOPLE_FILE
from webapp.sale.pool_file import POOL_FILE
from webapp.stores.sql import db
from webapp.web.pages import tickets

if TYPE_CHECKING:
    from tests.simulation.world import World

Work = Callable[[], Any]
ASK = {"click", "click elsewhere", "poll"}
"""The actors that end with an answer to a person."""
EXPECTED = (
    *(redis.RedisError, DBAPIError, Refused, InvalidField, redeeming.Unchanged, LookupError),
    *(Waits, ProposalRefused, RoleRefused),
)
"""What the product's verbs say that they raise."""
LATER = timedelta(seconds=300)
PROMISED = timedelta(seconds=4)


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

WAIT = ("raises the quota", "closes", "ends it")
"""How the changes begin that two people decide, where the rule is on."""
SAYS_WHEN = "pauses the coupon and says until when"
PAUSES: dict[str, Callable[[datetime], Any]] = {
    SAYS_WHEN: lambda now: pausing.pause(COUPON, PauseMessage("error", promised_at=now + PROMISED)),
    f"resumes the coupon {EXTENDS}": lambda _now: pausing.resume(COUPON, extend=True),
}
OPERATOR = sorted([*CHANGES, *PAUSES])
"""All that an operator does to the coupon, in words."""


def change(name: str, world: "World", by: int | None = None) -> Work:
    now = datetime.fromtimestamp(world.now_ms / 1000, UTC)
    if name in PAUSES:
        return lambda: PAUSES[name](now)
    fields: dict[str, Any] = CHANGES[name](world.books().row, now)
    return lambda: change_coupon(COUPON, by=by, **fields)


DECISIONS: dict[str, Callable[[int, int], Work]] = {
    "confirm": lambda which, who: lambda: confirm_proposal(which, by=who),
    "decline": lambda which, who: lambda: decline_proposal(which, by=who),
    "withdraw": lambda which, who: lambda: withdraw_proposal(which, by=who),
}
"""What operators do with a proposal."""


def take_the_role(who: int) -> Work:
    return lambda: give_role(who, VIEWER, by=OWNER)


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

HOW_A_LIST_CHANGES = [
    *((deed, cut) for deed in sorted(LISTS) for cut in (TO_THE_END, "publish.lua")),
    *[(deed, "mark_members.lua") for deed in sorted(LISTS) if "{user}" in deed] * 3,
    *[(deed, "write_members.lua") for deed in sorted(LISTS) if "{others}" in deed] * 3,
]
"""What operators do to the list, and before what they stop: half of it before Redis hears of the very people."""


def email(user: int) -> str:
    return f"{user}@example.com"


def bring(people: list[int], *, replace: bool) -> None:
    """Bring a file with these people, and have it count."""
    upload = uploads.begin(PEOPLE_FILE, COUPON, "list.csv", by=None)
    uploads.read(upload, PEOPLE_FILE, BytesIO("\n".join(map(email, people)).encode()))
    with suppress(lists.NotCounted):  # a file of nobody is refused
        lists.count_people(upload, replace=replace, by=None)


def give_elsewhere(user: int) -> Work:
    """Have the other wave give a user a coupon, as its admission does: not to who has one already."""

    def give() -> None:
        with locked_coupon(OTHER) as lock:
            place = {"campaign_id": COUPON, "user_id": user}
            held = [getattr(CouponIssue, name) == value for name, value in place.items()]
            if lock.connection.scalar(select(CouponIssue.id).where(*held)) is None:
                number = lock.coupon.revision
                issue = {
                    "coupon_id": OTHER,
                    "ticket_number": number,
                    "code": f"OTHER{number}",
                    "issued_at": utcnow(),
                }
                lock.connection.execute(insert(CouponIssue).values(**place, **issue, epoch=1))
                lock.commit()

    return give


def take_back_elsewhere(user: int) -> Work:
    def take_back() -> None:
        with locked_coupon(OTHER) as lock:
            theirs = (CouponIssue.coupon_id == OTHER, CouponIssue.user_id == user)
            lock.connection.execute(delete(CouponIssue).where(*theirs))
            lock.commit()

    return take_back


POOL = {
    "adds {count} codes": lambda codes: lambda: add_codes(codes),
    "takes the last file of codes out": lambda _codes: take_codes_out,
}
"""What operators do to the pool of codes, in words, with codes that were in no file before."""


def add_codes(codes: list[str]) -> None:
    """Bring a file with these codes, and have it count."""
    upload = uploads.begin(POOL_FILE, COUPON, "codes.csv", by=None)
    uploads.read(upload, POOL_FILE, BytesIO("".join(f"{code}\n" for code in codes).encode()))
    with suppress(lists.NotCounted):  # another file has taken its place
        pools.count_codes(upload, by=None)


def take_codes_out() -> None:
    if files := pools.files_of(COUPON):
        pools.withdraw_codes(files[-1].id, by=None)


def revoke(code: str) -> Work:
    return lambda: redeeming.revoke(code, None, "returned")


def use(code: str) -> Work:
    return lambda: redeeming.use(code, None)


def reconcile() -> None:
    publishing.reconcile(COUPON)


def _anonymise(user: int) -> None:
    if account := db.session.get(User, user):
        anonymise(account, by=None)


ACCOUNTS: dict[str, Callable[[int], Work]] = {
    "block": lambda user: lambda: blocking.block(user, by=None),
    "unblock": lambda user: lambda: blocking.unblock(user, by=None),
    "delete": lambda user: lambda: delete_account(user, by=None),
    "anonymise": lambda user: lambda: _anonymise(user),
}
