"""The base of the commands. Every error is one line on stderr and exit code 1."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click
import redis
from flask.cli import AppGroup
from flask_babel import force_locale
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.utils import import_string

from webapp.accounts.owners import RoleRefused
from webapp.models import ROLES, USER
from webapp.proposals.rule import ProposalRefused, Waits
from webapp.sale.coupons import InvalidField
from webapp.sale.outcomes import Refused
from webapp.values.amounts import MOST, read_amount
from webapp.values.moments import SEOUL, read_moment


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn errors of stores, and refusals, into one line for people."""
    try:
        yield
    except InvalidField as error:
        # The message is translated when it is read, and a command has no visitor with a language.
        with force_locale("en"):
            raise click.ClickException(f"{error.field}: {error}") from error
    except Refused as refused:
        raise click.ClickException(_REFUSALS.get(refused.code, refused.code)) from refused
    except RoleRefused as refused:
        raise click.ClickException(_ROLES_REFUSED[refused.code]) from refused
    except Waits as waits:
        until = f"until {shown_moment(waits.expires_at)} on /admin/proposals"
        which = f"proposal {waits.proposal_id}, which somebody confirms {until}"
        raise click.ClickException(f"two people decide this: it waits as {which}") from waits
    except ProposalRefused as refused:
        raise click.ClickException(_PROPOSALS_REFUSED[refused.code]) from refused
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
    def invoke(self, ctx: click.Context) -> object:
        with one_line_errors():
            return super().invoke(ctx)  # type: ignore[misc]


class Group(OneLineErrors, AppGroup):
    pass


class Command(OneLineErrors, click.Command):
    pass


class Migrations(click.Group):
    """Flask-Migrate's commands, imported when one of them is called, so that each web process is 11 MB smaller."""

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

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            return read_moment(value, end=self.end)
        except ValueError as error:
            self.fail(f"{value!r} is not a time such as 2026-12-01T10:00 ({error})", param, ctx)


class Whole(click.IntRange):
    """A whole number as people write it. Python itself also takes 1_000 and digits of every script."""

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            # A default is a number already.
            return super().convert(value if isinstance(value, int) else read_amount(value), param, ctx)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Quota(click.ParamType[int | str]):
    name = "N|unlimited"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        return value if value == UNLIMITED else int(AMOUNT.convert(value, param, ctx))


class Role(click.Choice[str]):
    """A role by its name; `none` is that of whoever has none."""

    def __init__(self, *more: str) -> None:
        super().__init__([*ROLES, *more])

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return USER if value == USER else NONE_IS.get(role := super().convert(value, param, ctx), role)


SAVED = (
    "The change is saved, but Redis does not answer. It reaches the line within seconds of Redis coming back."
)
UNLIMITED = "unlimited"
NONE_IS = {"none": USER}
ROLE = Role("none")
AMOUNT = Whole(0, MOST)
ID = Whole(1, 2**63 - 1)
_ROLES_REFUSED = {
    "last_owner": "this is the last owner who can sign in; first: user role EMAIL owner",
    "blocked": "the account is blocked; first: user unblock EMAIL",
    "unknown": "this account was invented for a rehearsal",
}
_PROPOSALS_REFUSED = {
    "unknown": "there is no such proposal",
    "confirmed": "this proposal is confirmed already",
    "declined": "this proposal is declined already",
    "withdrawn": "this proposal is withdrawn already",
    "too_old": "this proposal was not confirmed within 30 minutes, and can be no more",
    "not_own": "this proposal was made on the console; who made it withdraws it there",
}
_REFUSALS = {
    "not_found": "there is no such coupon, or it is a draft",
    "busy": "another process is rebuilding this line; try again in a moment",
}


def unknown_coupon(coupon_id: int) -> click.ClickException:
    return click.ClickException(f"there is no coupon {coupon_id}")


def shown_moment(moment: datetime) -> str:
    return moment.astimezone(SEOUL).isoformat(timespec="seconds")
