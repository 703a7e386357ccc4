"""The commands that plan and rehearse a drop."""

import os

import click
from flask.cli import with_appcontext
from werkzeug.utils import import_string

from webapp.cli.base import AMOUNT, Command, Whole
from webapp.sale import capacity

DEFAULT_PORT = "8000"


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
    outcome = import_string("jobs.rehearsal.rehearsal.run")(users, quota, seconds, url)
    for line in outcome.lines:
        click.echo(line)
    if not outcome.ok:
        raise click.exceptions.Exit(1)
