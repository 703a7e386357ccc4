"""The commands that pause a coupon, with words for everybody, and resume it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import click
import redis
from flask.cli import with_appcontext

from webapp.cli.base import ID, SAVED, Command, Moment, unknown_coupon
from webapp.cli.checks import publish
from webapp.models import DRAFT
from webapp.sale import pausing
from webapp.sale.coupons import InvalidField, coupon_by_id
from webapp.sale.outcomes import Refused
from webapp.sale.pause_message import NOTHING, TEMPLATES, PauseMessage


@click.command("pause", cls=Command)
@click.argument("coupon_id", metavar="ID", type=ID)
@click.option("--template", type=click.Choice(list(TEMPLATES)), default=None, help="A message by its name.")
@click.option("--message-ko", default="", help="The message in your own words.")
@click.option("--message-en", default="", help="The same in English.")
@click.option("--until", type=Moment(), help="The promised time: pages count down to it.")
@with_appcontext
def pause(
    coupon_id: int, template: str | None, message_ko: str, message_en: str, until: datetime | None
) -> None:
    """Stop admitting. The line goes on giving tickets, and everybody keeps their place.

    A message and a promised time are shown on the coupon's page; of a paused coupon they are put in place of those
    that stand.
    """
    if template and (message_ko or message_en):
        raise click.UsageError("give --template or a message of your own, not both")
    message = PauseMessage(template or "", message_ko, message_en, until)
    with _told(coupon_id):
        pausing.pause(coupon_id, message if any(message) else None)


@click.command("resume", cls=Command)
@click.argument("coupon_id", metavar="ID", type=ID)
@click.option("--extend", is_flag=True, help="Close later by as much as the pause took of the period.")
@click.option("--although-warned", is_flag=True, help="Publish a draft although checks warn.")
@with_appcontext
def resume(coupon_id: int, extend: bool, although_warned: bool) -> None:
    """Bring a paused or closed coupon back, or publish a draft if no check blocks and none warns."""
    coupon = coupon_by_id(coupon_id)
    if coupon is not None and coupon.status == DRAFT and not extend:
        publish(coupon_id, although_warned=although_warned)
        return
    with _told(coupon_id):
        pausing.resume(coupon_id, extend=extend)


@contextmanager
def _told(coupon_id: int) -> Iterator[None]:
    try:
        yield
    except InvalidField as error:
        if error.field in NOTHING.fields():
            click.echo("it is paused, but this message was not taken:", err=True)
        if error.__cause__:
            click.echo(SAVED, err=True)
        raise
    except LookupError as error:
        raise unknown_coupon(coupon_id) from error
    # The commit comes first, so the change stands when only the line could not be told.
    except (redis.RedisError, Refused) as error:
        raise click.ClickException(SAVED) from error
