"""The command that counts a sale and prints its report."""

from collections.abc import Iterator

import click
from flask.cli import with_appcontext

from webapp.cli.base import ID, Command, shown_moment, unknown_coupon
from webapp.sale.report import Report, instant, keep, report_of


@click.command("report", cls=Command)
@click.argument("coupon_id", metavar="ID", type=ID)
@with_appcontext
def report_coupon(coupon_id: int) -> None:
    """Count a sale, audit it, keep what was found for the console's page, and print it."""
    try:
        keep(coupon_id)
        found = report_of(coupon_id)
    except LookupError as error:
        raise unknown_coupon(coupon_id) from error
    for name, value in _facts(found):
        click.echo(f"{name:<28} {value}")


def _facts(found: Report) -> Iterator[tuple[str, object]]:
    of = found.figures
    assert of is not None
    sold_out_at = instant(of.sold_out_at)
    yield "with a number", _known(found.came)
    yield "issued", of.issued
    yield "sold out at", shown_moment(sold_out_at) if sold_out_at else "-"
    yield "sold out after", _seconds(found.sold_out_after_s)
    yield "longest wait", _seconds(of.wait_s)
    yield "inversions", of.inversions
    yield "rejected", of.rejected
    yield "revoked", of.revoked
    yield "in standby", _known(of.in_standby)
    yield "used", of.used
    yield from ((f"used {day}", count) for day, count in of.days.items())
    yield "expired", _known(found.expired)
    yield "cost", f"{'' if found.cost_is_exact else 'at most '}{_known(found.cost)}"
    yield "audit", "-" if of.audit is None else ", ".join(of.audit) or "ok"
    yield from ((f"at {shown_moment(each.at)}", each.what) for each in found.incidents)


def _known(value: int | None) -> object:
    return "-" if value is None else value


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"
