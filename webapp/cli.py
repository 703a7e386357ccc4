"""The `flask` commands. Whatever goes wrong is one line on stderr and exit code 1."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click
import redis
from flask import Flask
from flask.cli import AppGroup, with_appcontext
from flask_babel import force_locale
from sqlalchemy import select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from werkzeug.utils import import_string

from webapp import capacity, issuing, redeeming
from webapp.accounts import personal_words
from webapp.amounts import MOST, read_amount
from webapp.anonymising import anonymise
from webapp.codes import grouped
from webapp.emails import EMAIL_LENGTH, normalised_email
from webapp.extensions import db
from webapp.issuing import Refused
from webapp.models import CLOSED, DRAFT, LIVE, OPERATOR, PAUSED, USER, Coupon, User, utcnow
from webapp.moments import SEOUL, read_moment
from webapp.passwords import LEAST_LENGTH, MOST_LENGTH, hash_password, is_guessed, normalised_password
from webapp.policy import PolicyError, change_coupon, coupon_by_id, create_coupon
from webapp.sessions import delete_account, end_sessions, fill_anew
from webapp.texts import one_line

EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
NAME_LENGTH = 100
SAVED = (
    "The change is saved, but Redis does not answer. It reaches the line within seconds of Redis coming back."
)
DEFAULT_PORT = "8000"


def init_app(app: Flask) -> None:
    for command in (users, coupons, audit, rehearse, reconcile, plan_capacity, Migrations("db")):
        app.cli.add_command(command)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what can go wrong outside this program into one line for people."""
    try:
        yield
    except PolicyError as error:
        with force_locale("en"):
            raise click.ClickException(f"{error.field}: {error}") from error
    except Refused as refused:
        raise click.ClickException(_REFUSALS.get(refused.code, refused.code)) from refused
    except UnicodeError as error:
        raise click.ClickException("what was typed is not valid text") from error
    except redis.RedisError as error:
        raise click.ClickException(f"Redis does not answer ({type(error).__name__})") from error
    except SQLAlchemyError as error:
        first_line = str(error).splitlines()[0]
        raise click.ClickException(
            f"SQL failed: {first_line} (for tables that are not up to date: `flask --app wsgi db upgrade`)"
        ) from error


class OneLineErrors:
    def invoke(self, ctx: click.Context) -> Any:
        with one_line_errors():
            return super().invoke(ctx)  # type: ignore[misc]


class Group(OneLineErrors, AppGroup):
    pass


class Command(OneLineErrors, click.Command):
    pass


class Migrations(click.Group):
    """Flask-Migrate's commands, imported when one of them is asked for: each web process is 11 MB smaller."""

    def __init__(self, name: str) -> None:
        super().__init__(name, help="The tables: bring them up to date, and look where they are.")

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        theirs = import_string("flask_migrate.cli.db")
        group = Group(self.name, params=theirs.params, callback=theirs.callback, commands=theirs.commands)
        return group.make_context(*args, **options)


class Moment(click.ParamType[datetime]):
    name = "ISO"

    def __init__(self, *, end: bool = False) -> None:
        self.end = end

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            return read_moment(value, end=self.end)
        except ValueError as error:
            self.fail(f"{value!r} is not a time such as 2026-12-01T10:00 ({error})", param, ctx)


class Whole(click.IntRange):
    """A whole number as people write it: Python itself takes 1_000 and digits of every script for one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value if isinstance(value, int) else read_amount(value), param, ctx)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Quota(click.ParamType[int | str]):
    name = "N|unlimited"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        return value if value == UNLIMITED else int(AMOUNT.convert(value, param, ctx))


UNLIMITED = "unlimited"
AMOUNT = Whole(0, MOST)
ID = Whole(1, 2**63 - 1)
_REFUSALS = {
    "not_found": "there is no such coupon, or it is a draft",
    "busy": "another process is rebuilding this line; try again in a moment",
}

_UNCHANGED = {
    "unknown": "there is no such code",
    "used": "this code is used, and stays as it is",
    "unused": "this code is not used",
    "late": "this code was used more than 10 minutes ago, and stays used",
    "no_reason": "give a reason",
}

users = Group("user", help="Accounts.")
coupons = Group(
    "coupon",
    help="Coupons. A time without an offset is Korean time (Asia/Seoul); Z and +09:00 are understood.",
)


@users.command("create")
@click.argument("email")
@click.option("--name", help="Shown to the user; by default what stands before the @.")
@click.option("--admin", is_flag=True, help="Make an operator, who may open /admin/.")
def create_user(email: str, name: str | None, admin: bool) -> None:
    """Create an account. The password is asked for, or read from stdin when that is not a terminal."""
    email = _new_email(email)
    name = (one_line(name) or email.partition("@")[0])[:NAME_LENGTH]
    role, password_hash = OPERATOR if admin else USER, hash_password(_read_password(email, name))
    db.session.add(User(email=email, name=name, password_hash=password_hash, role=role))
    try:
        db.session.commit()
    except IntegrityError as error:
        raise click.ClickException(f"{email} has an account already") from error
    click.echo(f"{role} {email} created")


@users.command("password")
@click.argument("email")
def change_password(email: str) -> None:
    """Give an account a new password, asked for or read from stdin, and end its sessions."""
    user = _user(email)
    end_sessions(user.id, password_hash=hash_password(_read_password(user.email, user.name)))
    click.echo(f"{email} has a new password and is signed out everywhere")


@users.command("rename")
@click.argument("email")
@click.argument("new", metavar="NEW")
def rename_user(email: str, new: str) -> None:
    """Give an account another address, or another name: what holds an @ is an address."""
    user = _user(email)
    if "@" in normalised_email(new):
        user.email = _new_email(new, user)
    else:
        user.name = one_line(new)[:NAME_LENGTH] or user.name
    db.session.commit()
    click.echo(f"{user.email} is the account of {user.name}")


@users.command("promote")
@click.argument("email")
def promote_user(email: str) -> None:
    """Make an operator. The account signs in anew, and then sees what operators see."""
    _change_role(email, OPERATOR)


@users.command("demote")
@click.argument("email")
def demote_user(email: str) -> None:
    """Make an operator a user like any other, and end the sessions. The last operator stays one."""
    _change_role(email, USER)


@users.command("block")
@click.argument("email")
def block_user(email: str) -> None:
    """End the sessions of an account and take it out of every line when its turn comes. A repeat changes nothing."""
    user = _user(email)
    if user.blocked_at is None:
        end_sessions(user.id, blocked_at=utcnow())
    click.echo(f"{user.email} blocked")


@users.command("unblock")
@click.argument("email")
def unblock_user(email: str) -> None:
    """Let a blocked account sign in again. A ticket that was rejected meanwhile stays rejected."""
    user = _user(email)
    user.blocked_at = None
    db.session.commit()
    click.echo(f"{user.email} unblocked")


@users.command("delete")
@click.argument("email")
def delete_user(email: str) -> None:
    """Delete an account that holds no coupons; its waiting tickets are skipped when their turn comes."""
    user = _user(email)
    _refuse_the_last_operator(user)
    try:
        delete_account(user.id)
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
    user = _user(email)
    _refuse_the_last_operator(user)
    anonymise(user)
    click.echo(f"account {user.id} is {user.email} now")


def _new_email(typed: str, owner: User | None = None) -> str:
    """Return the one spelling of an address that no other account has."""
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


def _change_role(email: str, role: str) -> None:
    user = _user(email)
    if user.role != role:
        if role != OPERATOR:
            _refuse_the_last_operator(user)
        end_sessions(user.id, role=role)
    click.echo(f"{role} {user.email}")


def _refuse_the_last_operator(user: User) -> None:
    """Refuse to leave nobody who may open /admin/; until the change is committed no other can come between."""
    db.session.execute(
        update(User).where(User.id == user.id).values(role=User.role)
    )  # locks on every database
    able = select(User.id).where(User.role == OPERATOR, User.blocked_at.is_(None)).with_for_update()
    if user.is_operator and db.session.scalars(able).all() == [user.id]:
        raise click.ClickException(f"{user.email} is the last operator; first: user promote EMAIL")


def _user(email: str) -> User:
    user = db.session.scalar(select(User).where(User.email == email))
    if user is None:
        raise click.ClickException(f"there is no account {email}")
    return user


@coupons.command("create")
@click.option("--title", required=True)
@click.option("--quota", type=AMOUNT, help="The most that may be issued; unlimited when left out.")
@click.option(
    "--opens-at",
    type=Moment(),
    required=True,
    help="The first instant of the period; a date alone is its midnight.",
)
@click.option(
    "--closes-at",
    type=Moment(end=True),
    required=True,
    help="The end of the period, which is not part of it; a date alone is the end of that day.",
)
@click.option("--discount", type=AMOUNT, default=0, help="Won.")
@click.option("--min-amount", type=AMOUNT, default=0, help="The least purchase it is good for, in won.")
@click.option(
    "--valid-until",
    type=Moment(end=True),
    help="Until when an issued coupon can be used; a date alone is the end of that day.",
)
@click.option("--draft", is_flag=True, help="Do not show it yet; `coupon resume` publishes it.")
def create(
    title: str,
    quota: int | None,
    opens_at: datetime,
    closes_at: datetime,
    discount: int,
    min_amount: int,
    valid_until: datetime | None,
    draft: bool,
) -> None:
    """Create a coupon and print its id, and nothing else."""
    # A draft first: its id is known, and printed, whether or not Redis answers when it is published.
    coupon_id = create_coupon(
        title=title,
        total_quantity=quota,
        issue_start_at=opens_at,
        issue_end_at=closes_at,
        discount_amount=discount,
        min_available_amount=min_amount,
        valid_until=valid_until,
        status=DRAFT,
    )
    click.echo(coupon_id)
    if not draft:
        _change(coupon_id, status=LIVE)


@coupons.command("list")
def list_coupons() -> None:
    """List every coupon: id, status, issued / quota, period, title."""
    for coupon in db.session.scalars(select(Coupon).order_by(Coupon.id)):
        amount = f"{coupon.issued_quantity} / {_quota(coupon.total_quantity)}"
        period = f"{_moment(coupon.issue_start_at)} – {_moment(coupon.issue_end_at)}"
        click.echo(f"{coupon.id:>6}  {coupon.status:<6}  {amount:>19}  {period}  {coupon.title}")


@coupons.command("show")
@click.argument("coupon_id", metavar="ID", type=ID)
def show(coupon_id: int) -> None:
    """Show what SQL says of a coupon, then what its line in Redis says."""
    coupon = coupon_by_id(coupon_id)
    if coupon is None:
        raise _unknown(coupon_id)
    for name, value in _facts(coupon).items():
        click.echo(f"{name:<14} {value}")
    if coupon.status == DRAFT:
        return
    serving = issuing.serving(coupon_id)
    for name in ("state", "serving", "last", "waiting", "issued", "epoch"):
        click.echo(f"{'line ' + name:<14} {getattr(serving, name)}")


@coupons.command("redeem")
@click.argument("code")
@click.option("--although-blocked", is_flag=True, help="Use it although the holder's account is blocked.")
def redeem(code: str, although_blocked: bool) -> None:
    """Use a code, once; a repeat fails and says when it was used."""
    found, used_now = redeeming.use(code, None, although_blocked=although_blocked)
    if found is None:
        raise _unchanged("unknown")
    if found.state == "usable" and found.blocked_at:
        blocked = f"the holder's account is blocked since {_moment(found.blocked_at)}"
        raise click.ClickException(f"{blocked}; use the code all the same with --although-blocked")
    if not used_now:
        since = f" since {_moment(found.at)}" if found.at else ""
        raise click.ClickException(f"this code is {found.state}{since}")
    click.echo(f"used {grouped(found.code)}: {found.title}")


@coupons.command("unuse")
@click.argument("code")
@click.option("--reason", required=True, help="Kept with the use that is taken back.")
def unuse(code: str, reason: str) -> None:
    """Take a use back within 10 minutes; the code can be used again. A repeat changes nothing."""
    try:
        found = redeeming.undo_use(code, None, reason)
    except redeeming.Unchanged as unchanged:
        raise _unchanged(unchanged.code) from unchanged
    click.echo(f"{found.state} again {grouped(found.code)}: {found.title}")


@coupons.command("revoke")
@click.argument("code")
@click.option("--reason", required=True, help="Told to the holder.")
def revoke(code: str, reason: str) -> None:
    """Take an issued code back; the coupon goes to the first in standby. A repeat changes nothing."""
    try:
        found = redeeming.revoke(code, None, reason)
    except redeeming.Unchanged as unchanged:
        raise _unchanged(unchanged.code) from unchanged
    click.echo(f"revoked {grouped(found.code)}")


def _unchanged(code: str) -> click.ClickException:
    return click.ClickException(_UNCHANGED[code])


def _facts(coupon: Coupon) -> dict[str, Any]:
    return {
        "id": coupon.id,
        "title": coupon.title,
        "status": coupon.status,
        "quota": _quota(coupon.total_quantity),
        "issued": coupon.issued_quantity,
        "opens at": _moment(coupon.issue_start_at),
        "closes at": _moment(coupon.issue_end_at),
        "valid until": _moment(coupon.valid_until) if coupon.valid_until else "-",
        "discount": coupon.discount_amount,
        "min amount": coupon.min_available_amount,
        "rehearsal": "yes" if coupon.rehearsal else "no",
    }


@coupons.command("pause")
@click.argument("coupon_id", metavar="ID", type=ID)
def pause(coupon_id: int) -> None:
    """Stop admitting. The line goes on giving tickets, and everybody keeps their place."""
    _change(coupon_id, status=PAUSED)


@coupons.command("resume")
@click.argument("coupon_id", metavar="ID", type=ID)
def resume(coupon_id: int) -> None:
    """Bring a paused or closed coupon back, or publish a draft."""
    _change(coupon_id, status=LIVE)


@coupons.command("close")
@click.argument("coupon_id", metavar="ID", type=ID)
def close(coupon_id: int) -> None:
    """Give no new tickets. Who has one already is still served."""
    _change(coupon_id, status=CLOSED)


@coupons.command("quota")
@click.argument("coupon_id", metavar="ID", type=ID)
@click.argument("quota", type=Quota())
def quota(coupon_id: int, quota: int | str) -> None:
    """Change how many may be issued: a number, or `unlimited`."""
    _change(coupon_id, total_quantity=None if quota == UNLIMITED else quota)


def _change(coupon_id: int, **fields: Any) -> None:
    try:
        change_coupon(coupon_id, **fields)
    except LookupError as error:
        raise _unknown(coupon_id) from error
    except (redis.RedisError, Refused) as error:
        raise click.ClickException(SAVED) from error


def _unknown(coupon_id: int) -> click.ClickException:
    return click.ClickException(f"there is no coupon {coupon_id}")


def _quota(quota: int | None) -> str:
    return UNLIMITED if quota is None else str(quota)


def _moment(moment: datetime) -> str:
    return moment.astimezone(SEOUL).isoformat(timespec="seconds")


@click.command("reconcile", cls=Command)
@click.argument("coupon_id", metavar="[ID]", type=ID, required=False)
@with_appcontext
def reconcile(coupon_id: int | None) -> None:
    """Rebuild in Redis what SQL knows of one coupon, or of all. Safe at any moment, also during a sale."""
    published = select(Coupon.id).where(Coupon.status != DRAFT).order_by(Coupon.id)
    for each in [coupon_id] if coupon_id else db.session.scalars(published).all():
        issuing.reconcile(each)
        click.echo(f"coupon {each} rebuilt")
    if coupon_id is None:
        fill_anew()


@click.command("audit", cls=Command)
@click.argument("coupon_id", metavar="ID", type=ID)
@with_appcontext
def audit(coupon_id: int) -> None:
    """Check every promise that the stores can tell of, print each figure; exit code 0 only when all hold."""
    if coupon_by_id(coupon_id) is None:
        raise _unknown(coupon_id)
    report = import_string("webapp.audit.run")(coupon_id)
    for line in report.lines():
        click.echo(line)
    if not report.ok:
        raise click.exceptions.Exit(1)


@click.command("capacity", cls=Command)
@click.option("--users", type=Whole(1, 1_000_000_000), required=True, help="How many will click.")
@click.option("--seconds", type=click.FloatRange(0.1, 86_400), required=True, help="Within how long.")
@click.option("--quota", type=AMOUNT, help="How many coupons; half of the users by default.")
@click.option(
    "--cores", type=click.FloatRange(0.1, 100_000), help="How many there are, for everything together."
)
def plan_capacity(users: int, seconds: float, quota: int | None, cores: float | None) -> None:
    """Estimate the processes, the Redis and the time that a drop takes."""
    for line in capacity.plan(users, seconds, quota=quota, cores=cores).lines():
        click.echo(line)


@click.command("rehearse", cls=Command)
@click.option("--users", type=Whole(1, 1_000_000), default=20_000, show_default=True)
@click.option("--quota", type=AMOUNT, default=10_000, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0, 3600), help="Spread the clicks over so long; else all at once."
)
@click.option("--url", help="The running server; by default http://127.0.0.1:$PORT.")
@with_appcontext
def rehearse(users: int, quota: int, seconds: float | None, url: str | None) -> None:
    """Play a drop on this installation with its own coupon and accounts, measure and audit it, and clean up."""
    url = url or f"http://127.0.0.1:{os.environ.get('PORT', DEFAULT_PORT)}"
    # By name, because the web package never imports the jobs.
    outcome = import_string("jobs.rehearsal.run")(users, quota, seconds, url)
    for line in outcome.lines:
        click.echo(line)
    if not outcome.ok:
        raise click.exceptions.Exit(1)
