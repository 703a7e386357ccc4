"""The commands for proposals. A command confirms none: whoever confirms signs in on the console."""

import click
from flask.cli import with_appcontext

from webapp.accounts.names import names_of
from webapp.cli.base import ID, Group, shown_moment
from webapp.proposals.reading import open_proposals
from webapp.sale.confirming import withdraw_proposal

proposals = Group("proposal", help="What waits for a second person to confirm it, on /admin/proposals.")


@proposals.command("list")
@with_appcontext
def list_proposals() -> None:
    """List the open proposals: id, until when, who made it, verb, subject, and what it asks for."""
    rows = open_proposals()
    names = names_of(row.made_by for row in rows)
    for row in rows:
        who = "a command" if row.made_by is None else names.get(row.made_by, f"user {row.made_by}")
        subject = [f"{word} {at}" for word, at in (("coupon", row.coupon_id), ("user", row.user_id)) if at]
        until = f"until {shown_moment(row.expires_at)}"
        click.echo("  ".join([str(row.id), until, who, row.verb, *subject, row.arguments[:SHOWN]]))


@proposals.command("withdraw")
@click.argument("proposal", type=ID)
@with_appcontext
def withdraw(proposal: int) -> None:
    """Withdraw a proposal that a command has made."""
    withdraw_proposal(proposal, by=None)
    click.echo(f"proposal {proposal} withdrawn")


SHOWN = 200
"""Characters of what it asks for; a list of codes is longer."""
