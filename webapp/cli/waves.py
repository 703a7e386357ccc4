"""The waves of a campaign, as a command."""

from datetime import datetime

import click
from flask.cli import with_appcontext

from webapp.cli.base import AMOUNT, ID, Command, Moment, unknown_coupon
from webapp.sale.waves import make_waves


class Moments(click.ParamType[list[datetime]]):
    """Times with commas between them."""

    name = "ISO,ISO…"

    def convert(
        self, value: str | list[datetime], param: click.Parameter | None, ctx: click.Context | None
    ) -> list[datetime]:
        if not isinstance(value, str):
            return value
        return [Moment().convert(each.strip(), param, ctx) for each in value.split(",")]


@click.command("waves", cls=Command)
@click.argument("coupon_id", metavar="ID", type=ID)
@click.option(
    "--times", type=Moments(), required=True, help="When each wave opens; one time: no waves again."
)
@click.option("--quota", type=AMOUNT, required=True, help="How many each wave gives.")
@click.option("--one-a-wave", is_flag=True, help="One for each person in each wave, not over all of them.")
@click.option("--roll-over", is_flag=True, help="What is left of a wave goes to the next one.")
@with_appcontext
def waves(coupon_id: int, times: list[datetime], quota: int, one_a_wave: bool, roll_over: bool) -> None:
    """Make a draft a campaign of waves, and print the id of each wave. Made again, the waves are changed.

    A wave is open until the next one opens, the last one until the campaign closes. They go live together.
    """
    try:
        made = make_waves(
            coupon_id, times, quota=quota, one_each=not one_a_wave, rolls_over=roll_over, by=None
        )
    except LookupError as error:
        raise unknown_coupon(coupon_id) from error
    for wave_id in made:
        click.echo(wave_id)
