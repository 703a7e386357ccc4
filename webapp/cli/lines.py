"""The commands that compare the stores with each other."""

import click
from flask.cli import with_appcontext
from sqlalchemy import select
from werkzeug.utils import import_string

from webapp.accounts.sessions import fill_anew
from webapp.cli.base import ID, Command, unknown_coupon
from webapp.models import DRAFT, Coupon
from webapp.sale import publishing
from webapp.sale.coupons import coupon_by_id
from webapp.stores.sql import db


@click.command("reconcile", cls=Command)
@click.argument("coupon_id", metavar="[ID]", type=ID, required=False)
@with_appcontext
def reconcile(coupon_id: int | None) -> None:
    """Rebuild in Redis what SQL knows of one coupon, or of all. Safe at any moment, also during a sale."""
    published = select(Coupon.id).where(Coupon.status != DRAFT).order_by(Coupon.id)
    for each in [coupon_id] if coupon_id else db.session.scalars(published).all():
        publishing.reconcile(each)
        click.echo(f"coupon {each} rebuilt")
    # Ended sessions belong to no coupon.
    if coupon_id is None:
        fill_anew()


@click.command("audit", cls=Command)
@click.argument("coupon_id", metavar="ID", type=ID)
@with_appcontext
def audit(coupon_id: int) -> None:
    """Check every promise that the stores can tell of, print each figure; exit code 0 only when all hold."""
    if coupon_by_id(coupon_id) is None:
        raise unknown_coupon(coupon_id)
    # By name, so that web processes do not carry the audit.
    report = import_string("webapp.sale.audit.run")(coupon_id)
    for line in report.lines():
        click.echo(line)
    if not report.ok:
        raise click.exceptions.Exit(1)
