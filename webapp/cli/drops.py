"""The commands that plan and rehearse a drop."""

import os

import click
from flask.cli import with_appcontext
from werkzeug.utils import import_string

from webapp.cli.base import AMOUNT, ID, Command, Whole, unknown_coupon
from webapp.models.rehearsals import PASSED, RUNNING
from webapp.sale import capacity, rehearsing

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
@click.argument("coupon_id", metavar="ID", type=ID)
@click.option(
    "--users", type=Whole(1, rehearsing.MOST_PEOPLE), help="Invented people; twice the quota by default."
)
@click.option(
    "--seconds", type=Whole(0, rehearsing.MOST_SECONDS), default=0, help="Spread the clicks over so long."
)
@click.option("--although-near", is_flag=True, help="Rehearse although a real drop is about to open.")
@with_appcontext
def rehearse_coupon(coupon_id: int, users: int | None, seconds: int, although_near: bool) -> None:
    """Rehearse a coupon's own settings with invented people, beside the real one, and keep the report."""
    try:
        rehearsal_id = rehearsing.ask(
            coupon_id, by=None, people=users, seconds=seconds, although_near=although_near, state=RUNNING
        )
    except LookupError as error:
        raise unknown_coupon(coupon_id) from error
    except rehearsing.UnderWay as error:
        raise click.ClickException("another rehearsal is under way; only one is played at a time") from error
    # By name, because the web package never imports the jobs.
    state = import_string("jobs.rehearsal.asked.run")(rehearsal_id, bar=import_string("tqdm.tqdm"))
    ended = rehearsing.rehearsal_by_id(rehearsal_id)
    report = rehearsing.report_of(ended) if ended else {}
    for line in report.get("lines", [report.get("why", state)]):
        click.echo(line)
    if state != PASSED:
        raise click.exceptions.Exit(1)


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
