"""The commands that bring files: lists of people, and what the shop says of its members."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click
import redis
from flask.cli import with_appcontext

from webapp.cli.base import ID, SAVED, Command, unknown_coupon
from webapp.cli.coupons import coupons
from webapp.cli.users import users
from webapp.models import AUDIENCES, Upload
from webapp.models.uploads import CHECKED
from webapp.sale import lists, membership, pools, uploads
from webapp.sale.coupons import InvalidField, coupon_by_id
from webapp.sale.drawing import CODES
from webapp.sale.lists import NotCounted
from webapp.sale.membership import ACCOUNTS_FILE
from webapp.sale.outcomes import Refused
from webapp.sale.people_file import PEOPLE_FILE
from webapp.sale.pool_file import POOL_FILE
from webapp.sale.uploads import Kind

SHOWN = 20
NONE = "none"
FILE = click.option(
    "--file", "path", required=True, type=click.Path(exists=True, dir_okay=False), help="A CSV file."
)
DRY_RUN = click.option("--dry-run", is_flag=True, help="Read and check the whole file, and change nothing.")
SKIP_BAD = click.option("--skip-bad", is_flag=True, help="Take the good lines although there are bad ones.")
WHY = {
    "empty": "the file is empty",
    "no_rows": "there is no line but the first one, which names the columns",
    "nothing_good": "no line of it can be taken",
    "too_large": "the file is larger than 128 MB; split it",
    "excel": "this is an Excel workbook; save it as CSV UTF-8",
    "not_text": "this is no text in UTF-8, UTF-16 or CP949, or it was cut",
    "cut": "it ends within a cell in quotes that begins in line {line}; was it cut?",
    "quotes": "the quotation marks in line {line} are not closed, or close in the middle of a cell",
    "columns": "it has more columns than are needed, and no first line that names them",
}


@coupons.command("members")
@click.argument("coupon_id", metavar="ID", type=ID)
@FILE
@click.option("--replace", is_flag=True, help="In place of the present list, and not in addition to it.")
@DRY_RUN
@SKIP_BAD
def bring_members(coupon_id: int, path: str, replace: bool, dry_run: bool, skip_bad: bool) -> None:
    """Put the people of a file on the list of a coupon, which is for its list from then on.

    The file has one e-mail address or member key in a line. People without an account count once they register.
    """
    if coupon_by_id(coupon_id) is None:
        raise unknown_coupon(coupon_id)
    upload = _checked(PEOPLE_FILE, coupon_id, path, dry_run=dry_run, skip_bad=skip_bad)
    if upload is None:
        return
    with told_later(), one_decision():
        lists.count_people(upload.id, replace=replace, by=None)
    click.echo(f"{upload.good} people are on the list now; {upload.known} of them have an account")


@coupons.command("audience")
@click.argument("coupon_id", metavar="ID", type=ID)
@click.argument("audience", type=click.Choice(AUDIENCES))
@click.option(
    "--grade", "grades", multiple=True, help="A grade that may have it; may be given more than once."
)
def set_audience(coupon_id: int, audience: str, grades: tuple[str, ...]) -> None:
    """Decide who may have a coupon: everybody, its list, or the members of some grades."""
    with told_later():
        try:
            lists.set_audience(coupon_id, audience, grades, by=None)
        except LookupError as error:
            raise unknown_coupon(coupon_id) from error
    click.echo(f"coupon {coupon_id} is for {audience}{': ' + ', '.join(grades) if grades else ''}")


@coupons.command("pool")
@click.argument("coupon_id", metavar="ID", type=ID)
@FILE
@DRY_RUN
@SKIP_BAD
def bring_codes(coupon_id: int, path: str, dry_run: bool, skip_bad: bool) -> None:
    """Put the codes of a file into the pool of a coupon, which gives them out in their order.

    The file has one code in a line: 4 to 40 letters, digits and signs, no spaces, commas, semicolons or quotes. They
    are shown and redeemed just as they are. Once a coupon has a pool, no codes of ours are drawn for it.
    """
    if coupon_by_id(coupon_id) is None:
        raise unknown_coupon(coupon_id)
    upload = _checked(POOL_FILE, coupon_id, path, dry_run=dry_run, skip_bad=skip_bad)
    if upload is None:
        return
    with told_later(), one_decision():
        try:
            pools.count_codes(upload.id, by=None)
        except InvalidField:
            pools.withdraw_codes(upload.id, by=None)
            raise
    coupon = coupon_by_id(coupon_id)
    assert coupon is not None
    short = pools.missing_codes(coupon)
    click.echo(f"{upload.good} codes are in the pool now, {coupon.pool_left} are left")
    if short:
        click.echo(f"{short} coupons of the quota have no code yet", err=True)


@users.command("import")
@FILE
@DRY_RUN
@SKIP_BAD
def import_members(path: str, dry_run: bool, skip_bad: bool) -> None:
    """Take member keys and grades from a file with the columns email, member_key, grade.

    An empty cell takes a key or a grade away. Addresses that are not in the file stay as they are.
    """
    upload = _checked(ACCOUNTS_FILE, None, path, dry_run=dry_run, skip_bad=skip_bad)
    if upload is None:
        return
    with one_decision():
        membership.import_members(upload.id, by=None)
    uploads.remove_lines(upload.id)
    click.echo(
        f"{upload.good} addresses have their keys and grades now; {upload.known} of them have an account"
    )


@users.command("key")
@click.argument("email")
@click.argument("key")
def set_key(email: str, key: str) -> None:
    """Give an address the shop's member key, or `none`, with or without an account."""
    membership.set_member(email, by=None, key=None if key == NONE else key)
    click.echo(f"{email} has member key {key}")


@users.command("grade")
@click.argument("email")
@click.argument("grade")
def set_grade(email: str, grade: str) -> None:
    """Give an address a grade of the shop, or `none`, with or without an account."""
    membership.set_member(email, by=None, grade=None if grade == NONE else grade)
    click.echo(f"{email} has grade {grade}")


@click.command("read-upload", cls=Command, hidden=True)
@click.argument("upload_id", type=ID)
@with_appcontext
def read_upload(upload_id: int) -> None:
    """Read a file of the console from standard input."""
    upload = uploads.upload_by_id(upload_id)
    if upload is not None:
        uploads.read(upload_id, uploads.KINDS[upload.kind], sys.stdin.buffer)


def _checked(kind: Kind, coupon_id: int | None, path: str, *, dry_run: bool, skip_bad: bool) -> Upload | None:
    """Read a file and say what is in it; return its upload if it is to count."""
    with Path(path).open("rb") as file:
        upload = read_file(kind, coupon_id, path, file)
    for line in lines_about(upload):
        click.echo(line, err=True)
    refused = upload.state != CHECKED
    if not refused and (dry_run or upload.bad == 0 or skip_bad):
        if dry_run:
            uploads.remove_lines(upload.id)
            click.echo("dry run: nothing has changed")
            return None
        return upload
    uploads.remove_lines(upload.id)
    words = WHY.get(upload.why or "", "").format(line=upload.line) if refused else ""
    raise click.ClickException(
        words or f"{upload.bad} bad lines, nothing has changed; leave them out with --skip-bad"
    )


def read_file(kind: Kind, coupon_id: int | None, path: str, file: BinaryIO) -> Upload:
    upload_id = uploads.begin(kind, coupon_id, path.rpartition("/")[2], by=None)
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=100, label="reading", file=sys.stderr, hidden=hidden) as bar:
        uploads.read(upload_id, kind, file, lambda share: bar.update(int(100 * share) - bar.pos))
    upload = uploads.upload_by_id(upload_id)
    assert upload is not None
    return upload


def lines_about(upload: Upload) -> Iterator[str]:
    if upload.state == CHECKED or upload.why == "nothing_good":
        yield f"{upload.good} good lines, {upload.duplicates} duplicates, {upload.bad} bad lines"
    for fault in uploads.faults_of(upload.id, SHOWN):
        yield f"line {fault.line}: {fault.kind}: {fault.text}"
    told = upload.bad + upload.duplicates + (upload.warned if upload.kind != CODES else 0)
    if told > SHOWN:
        yield f"… and {told - SHOWN} more"
    if upload.kind == CODES and upload.warned:
        yield f"{upload.warned} codes of digits begin with 0; a table program that saves the file takes the 0 away"
    if upload.why == "no_last_line_end":
        yield "the last line has no end; if the file may have been cut, look at its last line"


@contextmanager
def told_later() -> Iterator[None]:
    """Say that a change stands when only the line could not be told."""
    try:
        yield
    except (redis.RedisError, Refused) as error:
        raise click.ClickException(SAVED) from error


@contextmanager
def one_decision() -> Iterator[None]:
    try:
        yield
    except NotCounted as error:
        raise click.ClickException("the file was taken away meanwhile; bring it once more") from error
