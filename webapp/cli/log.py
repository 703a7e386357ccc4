"""The command that prints the log of operators."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click
from flask.cli import with_appcontext
from sqlalchemy import Row

from webapp.accounts.names import account_of, names_of
from webapp.cli.base import ID, Command, Moment, shown_moment
from webapp.log.reading import Filter, pages


@click.command("log", cls=Command)
@click.option("--coupon", "coupon_id", type=ID, help="Only decisions about this coupon.")
@click.option("--actor", metavar="EMAIL", help="Only decisions of this operator.")
@click.option(
    "--since", type=Moment(), help="Only decisions from this time on; a date alone is its midnight."
)
@with_appcontext
def log(coupon_id: int | None, actor: str | None, since: datetime | None) -> None:
    """Print who decided what, the oldest first: number, time, who, from where, verb, subject, before and after."""
    coupons = None if coupon_id is None else (coupon_id,)
    asked = Filter(coupons=coupons, actor=None if actor is None else _account(actor), since=since)
    for rows in pages(asked):
        names = names_of(row.actor_id for row in rows)
        for row in rows:
            click.echo(_line(row, names))


def _account(typed: str) -> int:
    found = account_of(typed)
    if found is None:
        raise click.ClickException(f"there is no account {typed}")
    return found


def _line(row: Row[Any], names: Mapping[int, str]) -> str:
    subject = [
        f"{word} {number}" for word, number in (("coupon", row.coupon_id), ("user", row.user_id)) if number
    ]
    change = f"{row.before or '{}'} -> {row.after or '{}'}" if row.before or row.after else ""
    reason = f"({row.reason})" if row.reason else ""
    who = names.get(row.actor_id, f"user {row.actor_id}") if row.actor_id else f"a {row.origin}"
    parts = (f"{row.id}", shown_moment(row.at), who, row.address, f"{row.verb}:", *subject, change, reason)
    return " ".join(part for part in parts if part)
