"""The commands for roles and invitations."""

import click
from flask.cli import with_appcontext

from webapp.accounts import invitations
from webapp.accounts.roles import give_role, team
from webapp.cli.base import ID, ROLE, Group, Role, shown_moment
from webapp.cli.users import account
from webapp.models import OWNER, USER
from webapp.proposals.rule import Waits

JOIN = "/join?key="


def add_to(users: Group) -> None:
    for command in (change_role, promote_user, demote_user, list_team, invite, withdraw):
        users.add_command(command)


@click.command("role")
@click.argument("email")
@click.argument("role", type=ROLE)
@with_appcontext
def change_role(email: str, role: str) -> None:
    """Give an account a role, or none, and end its sessions. The last owner stays one. A repeat changes nothing."""
    _give(email, role)


@click.command("promote")
@click.argument("email")
@with_appcontext
def promote_user(email: str) -> None:
    """Make an owner, who may do everything: the same as `user role EMAIL owner`."""
    _give(email, OWNER)


@click.command("demote")
@click.argument("email")
@with_appcontext
def demote_user(email: str) -> None:
    """Take the role away, whichever it is: the same as `user role EMAIL none`."""
    _give(email, USER)


@click.command("team")
@with_appcontext
def list_team() -> None:
    """List the accounts with a role, and the invitations that can still be taken."""
    for user in team():
        click.echo(f"{user.role}  {user.email}{'  blocked' if user.blocked_at else ''}")
    for each in invitations.open_invitations():
        click.echo(
            f"{each.role}  invitation {each.id} until {shown_moment(each.expires_at)}  {each.label}".rstrip()
        )


@click.command("invite")
@click.argument("role", type=Role())
@click.option("--for", "label", default="", help="For whom it is, as the list of invitations shows it.")
@with_appcontext
def invite(role: str, label: str) -> None:
    """Print the link of a new invitation, which gives whoever takes it the role, once and within 7 days.

    It is printed only now: put the address of the site in front of it. While two people decide, it
    opens nothing until an owner has confirmed it.
    """
    key = invitations.new_key()
    try:
        invitations.invite(role, by=None, label=label, key=key)
    except Waits:
        click.echo(f"{JOIN}{key}")  # also while it waits: it is told only now
        raise
    click.echo(f"{JOIN}{key}")


@click.command("withdraw")
@click.argument("invitation", type=ID)
@with_appcontext
def withdraw(invitation: int) -> None:
    """Have the link of an invitation open nothing any more."""
    if not invitations.withdraw(invitation, by=None):
        raise click.ClickException(f"invitation {invitation} was taken or withdrawn, or there is none")
    click.echo(f"invitation {invitation} withdrawn")


def _give(email: str, role: str) -> None:
    user = account(email)
    give_role(user.id, role, by=None)
    click.echo(f"{role} {user.email}")
