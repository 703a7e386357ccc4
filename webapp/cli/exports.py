"""The command that writes a file for Excel."""

import click
from flask.cli import with_appcontext
from flask_babel import force_locale

from webapp.cli.base import ID, Command, unknown_coupon
from webapp.sale.exports import EXPORTS, NotLogged, export


@click.command("export", cls=Command)
@click.argument("coupon_id", metavar="ID", type=ID)
@click.option("--what", required=True, type=click.Choice(list(EXPORTS)), help="Which people or coupons.")
@click.option("--lang", type=click.Choice(("ko", "en")), default="en", help="The language of the headings.")
@with_appcontext
def export_coupon(coupon_id: int, what: str, lang: str) -> None:
    """Write a CSV for Excel to stdout, in the order of the numbers. With exit code 1 it is not whole.

    Whatever leaves the house is written into the log of operators first.
    """
    with force_locale(lang):
        try:
            pieces = export(coupon_id, what)
        except LookupError as error:
            raise unknown_coupon(coupon_id) from error
        except NotLogged as error:
            raise click.ClickException("the log cannot be written, and no file leaves without it") from error
        for piece in pieces:
            click.echo(piece.encode(), nl=False)
