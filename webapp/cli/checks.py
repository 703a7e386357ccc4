"""The checks of a coupon before it goes live, as commands."""

import click
import redis
from flask.cli import with_appcontext
from flask_babel import force_locale

from webapp.cli.base import ID, SAVED, Command, Whole, unknown_coupon
from webapp.sale import going_live
from webapp.sale.levels import BLOCKING, OK, WARNING, Finding, blocking
from webapp.sale.outcomes import Refused
from webapp.sale.prospects import MOST_PEOPLE, MOST_RUSH_S, Rush

_LEVELS = {OK: "ok   ", WARNING: "warn ", BLOCKING: "BLOCK"}


@click.command("check", cls=Command)
@click.argument("coupon_id", metavar="ID", type=ID)
@click.option("--users", type=Whole(1, MOST_PEOPLE), help="How many will click; twice the quota by default.")
@click.option("--seconds", type=click.FloatRange(0.1, MOST_RUSH_S), help="Within how long; 10 by default.")
@with_appcontext
def check(coupon_id: int, users: int | None, seconds: float | None) -> None:
    """Print what each check before going live finds; exit code 1 when one blocks. Nothing is changed."""
    try:
        found = going_live.check(coupon_id, Rush(users, seconds))
    except LookupError as error:
        raise unknown_coupon(coupon_id) from error
    for line in _lines(found):
        click.echo(line)
    if blocking(found):
        raise click.exceptions.Exit(1)


def publish(coupon_id: int, *, although_warned: bool) -> None:
    """Make a draft live if no check blocks, and none warns or `although_warned`; else say which do."""
    try:
        going_live.go_live(coupon_id, by=None, confirmed=None if although_warned else ())
    except going_live.NotReady as refused:
        left = [finding for finding in refused.found if finding.level != OK]
        raise click.ClickException(_advice(left)) from refused
    except (redis.RedisError, Refused) as error:
        raise click.ClickException(SAVED) from error


def _advice(left: list[Finding]) -> str:
    names = ", ".join(finding.check for finding in blocking(left) or left)
    if blocking(left):
        return f"it stays a draft, because checks block: {names}; see: coupon check ID"
    return f"it stays a draft, because checks warn: {names}; see: coupon check ID; or add --although-warned"


def _lines(found: list[Finding]) -> list[str]:
    # The words are translated when they are read, and a command has no visitor with a language.
    with force_locale("en"):
        return [f"{_LEVELS[each.level]}  {each.check}: {each.words}" for each in found]
