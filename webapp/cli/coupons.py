"""The commands for coupons."""

import io
from collections.abc import Callable
from datetime import datetime
from typing import Any, BinaryIO

import click
import redis
from sqlalchemy import select

from webapp.cli.base import AMOUNT as ANY_AMOUNT
from webapp.cli.base import (
    ID,
    SAVED,
    UNLIMITED,
    Group,
    Moment,
    Quota,
    Whole,
    shown_moment,
    unknown_coupon,
)
from webapp.cli.board import live
from webapp.cli.checks import check
from webapp.cli.drops import rehearse_coupon
from webapp.cli.exports import export_coupon
from webapp.cli.pausing import pause, resume
from webapp.cli.report import report_coupon
from webapp.cli.waves import waves
from webapp.models import AMOUNT, CLOSED, DRAFT, GIFT, LIVE, PERCENT, WORDS, Coupon
from webapp.sale import bulk_revoking, claims, redeeming
from webapp.sale.coupons import change_coupon, coupon_by_id, create_coupon
from webapp.sale.outcomes import Refused
from webapp.sale.pool_file import POOL_FILE
from webapp.stores.sql import db
from webapp.values.amounts import MOST
from webapp.values.sheets import MOST_BYTES, Sheet, Unreadable

_UNCHANGED = {
    "unknown": "there is no such code",
    "used": "this code is used, and stays as it is",
    "unused": "this code is not used",
    "late": "this code was used more than 10 minutes ago, and stays used",
    "no_reason": "give a reason",
    "too_many": "two people decide this list; it can have 20,000 codes at most",
}
_KEPT = {
    "unknown": "there is no such code",
    "twice": "it stands in the list already",
    "used": "it is used",
    "revoked": "it was revoked before",
}
coupons = Group(
    "coupon",
    help="Coupons. A time without an offset is Korean time (Asia/Seoul); Z and +09:00 are understood.",
)
coupons.add_command(check)
coupons.add_command(live)
coupons.add_command(rehearse_coupon)
coupons.add_command(export_coupon)
coupons.add_command(report_coupon)
coupons.add_command(pause)
coupons.add_command(resume)
coupons.add_command(waves)


@coupons.command("create")
@click.option("--title", required=True)
@click.option("--quota", type=ANY_AMOUNT, help="The most that may be issued; unlimited when left out.")
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
@click.option("--discount", type=ANY_AMOUNT, default=0, help="Won.")
@click.option("--percent", type=Whole(1, 100), help="A percentage off, in place of an amount.")
@click.option("--cap", type=Whole(1, MOST), help="The most won that the percentage takes off.")
@click.option("--gift", help="What people get, in place of a discount.")
@click.option("--benefit", "words", help="What the coupon gives in your own words, in place of a discount.")
@click.option("--min-amount", type=ANY_AMOUNT, default=0, help="The least purchase it is good for, in won.")
@click.option(
    "--standby", type=ANY_AMOUNT, default=0, help="Places in standby for who comes when the coupons are gone."
)
@click.option(
    "--valid-until",
    type=Moment(end=True),
    help="Until when an issued coupon can be used; a date alone is the end of that day.",
)
@click.option("--draft", is_flag=True, help="Do not show it yet; `coupon resume` checks and publishes it.")
def create(
    title: str,
    quota: int | None,
    opens_at: datetime,
    closes_at: datetime,
    discount: int,
    percent: int | None,
    cap: int | None,
    gift: str | None,
    words: str | None,
    min_amount: int,
    standby: int,
    valid_until: datetime | None,
    draft: bool,
) -> None:
    """Create a coupon and print its id, and nothing else."""
    # A draft first: so its id is printed, whether or not Redis answers when it is published.
    coupon_id = create_coupon(
        title=title,
        total_quantity=quota,
        issue_start_at=opens_at,
        issue_end_at=closes_at,
        **_benefit(discount, percent, cap, gift, words),
        min_available_amount=min_amount,
        standby_limit=standby,
        valid_until=valid_until,
        status=DRAFT,
    )
    click.echo(coupon_id)
    if not draft:
        _change(coupon_id, status=LIVE)


def _benefit(
    discount: int, percent: int | None, cap: int | None, gift: str | None, words: str | None
) -> dict[str, Any]:
    """Return the fields of the one benefit that was named. Raises click.ClickException for two."""
    named = [
        name for name, value in (("--discount", discount), ("--percent", percent), ("--gift", gift)) if value
    ]
    if len(named) + bool(words) > 1:
        raise click.ClickException("name one benefit: --discount, --percent, --gift or --benefit")
    if cap and not percent:
        raise click.ClickException("--cap is for --percent")
    kind = PERCENT if percent else GIFT if gift else WORDS if words else AMOUNT
    return {
        "benefit": kind,
        "discount_amount": discount,
        "discount_percent": percent or 0,
        "discount_cap": cap,
        "benefit_words": gift or words or "",
    }


@coupons.command("list")
@click.option("--archived", is_flag=True, help="List those in the archive, and no others.")
def list_coupons(archived: bool) -> None:
    """List every coupon that is not in the archive: id, status, issued / quota, period, title."""
    shown = Coupon.archived_at.is_not(None) if archived else Coupon.archived_at.is_(None)
    for coupon in db.session.scalars(select(Coupon).where(shown).order_by(Coupon.id)):
        amount = f"{coupon.issued_quantity} / {_quota(coupon.total_quantity)}"
        period = f"{shown_moment(coupon.issue_start_at)} – {shown_moment(coupon.issue_end_at)}"
        click.echo(f"{coupon.id:>6}  {coupon.status:<6}  {amount:>19}  {period}  {coupon.title}")


@coupons.command("show")
@click.argument("coupon_id", metavar="ID", type=ID)
def show(coupon_id: int) -> None:
    """Show what SQL says of a coupon, then what its line in Redis says."""
    coupon = coupon_by_id(coupon_id)
    if coupon is None:
        raise unknown_coupon(coupon_id)
    for name, value in _facts(coupon).items():
        click.echo(f"{name:<14} {value}")
    # A draft has no line to ask.
    if coupon.status == DRAFT:
        return
    serving = claims.line_status(coupon_id)
    for name in ("state", "now_serving", "last", "waiting", "issued", "epoch"):
        click.echo(f"{'line ' + name.removeprefix('now_'):<14} {getattr(serving, name)}")


@coupons.command("redeem")
@click.argument("code")
@click.option("--although-blocked", is_flag=True, help="Use it although the holder's account is blocked.")
def redeem(code: str, although_blocked: bool) -> None:
    """Use a code, once; a repeat fails and says when it was used."""
    found, used_now = redeeming.use(code, None, although_blocked=although_blocked)
    if found is None:
        raise _unchanged("unknown")
    if found.state == "usable" and found.blocked_at:
        blocked = f"the holder's account is blocked since {shown_moment(found.blocked_at)}"
        raise click.ClickException(f"{blocked}; use the code all the same with --although-blocked")
    if not used_now:
        since = f" since {shown_moment(found.at)}" if found.at else ""
        raise click.ClickException(f"this code is {found.state}{since}")
    click.echo(f"used {found.shown_code}: {found.title}")


@coupons.command("unuse")
@click.argument("code")
@click.option("--reason", required=True, help="Kept with the use that is taken back.")
def unuse(code: str, reason: str) -> None:
    """Take a use back within 10 minutes; the code can be used again. A repeat changes nothing."""
    found = _changed(redeeming.undo_use, code, reason)
    click.echo(f"{found.state} again {found.shown_code}: {found.title}")


@coupons.command("revoke")
@click.argument("code", required=False)
@click.option(
    "--file", type=click.File("rb"), help="A list of codes, one in each line; - reads it from stdin."
)
@click.option("--dry-run", is_flag=True, help="Say what the list would do, and do nothing.")
@click.option("--reason", required=True, help="Told to the holder.")
def revoke(code: str | None, file: BinaryIO | None, dry_run: bool, reason: str) -> None:
    """Take back a code that was issued, or all of a list; each goes to the first in standby.

    A repeat changes nothing.
    """
    if (code is None) == (file is None) or (dry_run and file is None):
        raise click.ClickException("name a CODE, or a --file of codes; --dry-run is for a file")
    if file is not None:
        _revoke_list(file, reason, dry_run=dry_run)
    elif code is not None:
        click.echo(f"revoked {_changed(redeeming.revoke, code, reason).shown_code}")


def _revoke_list(file: BinaryIO, reason: str, *, dry_run: bool) -> None:
    try:
        redeeming.told_reason(reason)
        rows = Sheet(io.BytesIO(file.read(MOST_BYTES + 1))).rows(POOL_FILE.columns)
        listed = bulk_revoking.look_at(row.cells[0] for row in rows)
    except Unreadable as error:
        raise click.ClickException(f"the file cannot be read: {error}") from error
    except redeeming.Unchanged as unchanged:
        raise _unchanged(unchanged.code) from unchanged
    for each in listed:
        if each.verdict != "issued":
            click.echo(f"line {each.line}: {each.typed!r} stays as it is: {_KEPT[each.verdict]}", err=True)
    if dry_run:
        click.echo(f"{sum(each.verdict == 'issued' for each in listed)} would be revoked")
        return
    try:
        done = bulk_revoking.revoke_all(listed, by=None, reason=reason)
    except redeeming.Unchanged as unchanged:
        raise _unchanged(unchanged.code) from unchanged
    click.echo(
        f"revoked {done.count}" + (f", {done.kept} were used or revoked in between" if done.kept else "")
    )


def _changed(
    verb: Callable[[str, int | None, str], redeeming.Code], code: str, reason: str
) -> redeeming.Code:
    try:
        return verb(code, None, reason)
    except redeeming.Unchanged as unchanged:
        raise _unchanged(unchanged.code) from unchanged


def _unchanged(code: str) -> click.ClickException:
    return click.ClickException(_UNCHANGED[code])


def _facts(coupon: Coupon) -> dict[str, object]:
    return {
        "id": coupon.id,
        "title": coupon.title,
        "status": coupon.status,
        "quota": _quota(coupon.total_quantity),
        "issued": coupon.issued_quantity,
        "codes left": "drawn" if coupon.pool_left is None else coupon.pool_left,
        "opens at": shown_moment(coupon.issue_start_at),
        "closes at": shown_moment(coupon.issue_end_at),
        "valid until": shown_moment(coupon.valid_until) if coupon.valid_until else "-",
        "benefit": _given(coupon),
        "min amount": coupon.min_available_amount,
        "standby": coupon.standby_limit,
        "waves of": coupon.campaign_id or "-",
        "rehearsal": "yes" if coupon.rehearsal else "no",
    }


def _given(coupon: Coupon) -> str:
    if coupon.benefit == AMOUNT:
        return f"{coupon.discount_amount} won off"
    if coupon.benefit == PERCENT:
        return f"{coupon.discount_percent}% off, cap {coupon.discount_cap or '-'}"
    return f"{coupon.benefit}: {coupon.benefit_words}"


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


@coupons.command("standby")
@click.argument("coupon_id", metavar="ID", type=ID)
@click.argument("places", metavar="N", type=ANY_AMOUNT)
def standby(coupon_id: int, places: int) -> None:
    """Change how many may stand in standby when the coupons are gone; who stands there already keeps the place."""
    _change(coupon_id, standby_limit=places)


def _change(coupon_id: int, **fields: Any) -> None:
    try:
        change_coupon(coupon_id, **fields)
    except LookupError as error:
        raise unknown_coupon(coupon_id) from error
    # The commit comes first, so the change stands when only the line could not be told.
    except (redis.RedisError, Refused) as error:
        raise click.ClickException(SAVED) from error


def _quota(quota: int | None) -> str:
    return UNLIMITED if quota is None else str(quota)
