"""The commands for accounts."""

import re
import sys

import click
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from webapp.accounts import blocking
from webapp.accounts.passwords import (
    LEAST_LENGTH,
    MOST_LENGTH,
    hash_password,
    is_guessed,
    normalised_password,
    personal_words,
)
from webapp.accounts.roles import give_role
from webapp.accounts.sessions import delete_account, end_sessions
from webapp.cli.base import ROLE, Group
from webapp.log import Entry, record
from webapp.models import NAME_LENGTH, OWNER, USER, User
from webapp.proposals import rule
from webapp.sale import membership
from webapp.sale.anonymising import anonymise
from webapp.sale.members import tell_account
from webapp.stores.sql import db
from webapp.values.emails import EMAIL_LENGTH, normalised_email
from webapp.values.texts import one_line

EMAIL = re.compile(r"[^@\s]+@[^@\s]+")

users = Group("user", help="Accounts.")


@users.command("create")
@click.argument("email")
@click.option("--name", help="Shown to the user; by default what stands before the @.")
@click.option("--admin", is_flag=True, help="The same as --role owner.")
@click.option(
    "--role", type=ROLE, default=USER, help="What the account may do in /admin/; by default nothing."
)
def create_user(email: str, name: str | None, admin: bool, role: str) -> None:
    """Create an account. The password is asked for, or read from stdin when that is not a terminal."""
    email = _new_email(email)
    name = (one_line(name) or email.partition("@")[0])[:NAME_LENGTH]
    role, password_hash = OWNER if admin else role, hash_password(_read_password(email, name))
    now = USER if rule.is_on() else role  # two people give a role: it is asked for below
    user = User(email=email, name=name, password_hash=password_hash, role=now)
    db.session.add(user)
    try:
        db.session.flush()
        record(db.session.connection(), "create account", by=None, user=user.id, after={"role": now})
        db.session.commit()
    # Another process may have taken the address since it was checked.
    except IntegrityError as error:
        raise click.ClickException(f"{email} has an account already") from error
    tell_account(user.id)
    click.echo(f"{now} {email} created")
    if role != now and give_role(user.id, role, by=None):
        click.echo(f"{role} {email}")


@users.command("password")
@click.argument("email")
def change_password(email: str) -> None:
    """Give an account a new password, asked for or read from stdin, and end its sessions."""
    user = account(email)
    entry = Entry(verb="set password", by=None, user=user.id)
    end_sessions(user.id, entry=entry, password_hash=hash_password(_read_password(user.email, user.name)))
    click.echo(f"{email} has a new password and is signed out everywhere")


@users.command("rename")
@click.argument("email")
@click.argument("new", metavar="NEW")
def rename_user(email: str, new: str) -> None:
    """Give an account another address, or another name: what holds an @ is an address."""
    user = account(email)
    if "@" in normalised_email(new):
        before, user.email = user.email, _new_email(new, user)
        db.session.flush()
        membership.move(db.session.connection(), before, user.email)
    else:
        user.name = one_line(new)[:NAME_LENGTH] or user.name
    db.session.flush()
    record(db.session.connection(), "rename account", by=None, user=user.id)
    db.session.commit()
    tell_account(user.id)
    click.echo(f"{user.email} is the account of {user.name}")


@users.command("block")
@click.argument("email")
def block_user(email: str) -> None:
    """End the sessions of an account and take it out of every line when its turn comes. A repeat changes nothing."""
    user = account(email)
    blocking.block(user.id, by=None)
    click.echo(f"{user.email} blocked")


@users.command("unblock")
@click.argument("email")
def unblock_user(email: str) -> None:
    """Let a blocked account sign in again. A ticket that was rejected meanwhile stays rejected."""
    user = account(email)
    blocking.unblock(user.id, by=None)
    click.echo(f"{user.email} unblocked")


@users.command("delete")
@click.argument("email")
def delete_user(email: str) -> None:
    """Delete an account that holds no coupons; its waiting tickets are skipped when their turn comes."""
    user = account(email)
    try:
        delete_account(user.id, by=None)
    # The foreign key of an issue keeps its account, so that every row still has a holder.
    except IntegrityError as error:
        raise click.ClickException(
            f"{email} holds coupons and cannot be deleted; use: user block {email}, or user anonymise {email}"
        ) from error
    click.echo(f"{email} deleted")


@users.command("anonymise")
@click.argument("email")
def anonymise_user(email: str) -> None:
    """Remove what names a person, for good: address, name and password, and both where a reason names them.

    The account stays, blocked, with its coupons and its places in the order; its codes can still be used. A repeat
    changes nothing.
    """
    user = account(email)
    anonymise(user, by=None)
    click.echo(f"account {user.id} is {user.email} now")


def _new_email(typed: str, owner: User | None = None) -> str:
    """Return the one spelling of an address; refuse an address that another account has."""
    email = normalised_email(typed)
    if not EMAIL.fullmatch(email) or len(email) > EMAIL_LENGTH:
        raise click.ClickException(f"{email!r} is not an e-mail address")
    taken = db.session.scalar(select(User.id).where(User.email == email))
    if taken is not None and (owner is None or taken != owner.id):
        raise click.ClickException(f"{email} has an account already")
    return email


def _read_password(email: str, name: str) -> str:
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    length = len(normalised_password(password))
    if not LEAST_LENGTH <= length <= MOST_LENGTH:
        raise click.ClickException(
            f"the password needs {LEAST_LENGTH} to {MOST_LENGTH} characters, this one has {length}"
        )
    if is_guessed(password, *personal_words(email, name)):
        raise click.ClickException("this is one of the first passwords that are guessed; choose another")
    return str(password)


def account(email: str) -> User:
    """Return the account of an address. Raises ClickException when there is none."""
    user = db.session.scalar(select(User).where(User.email == email))
    if user is None:
        raise click.ClickException(f"there is no account {email}")
    return user
