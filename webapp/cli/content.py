"""The commands for what a campaign says and shows, for its duplicates and the archive."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import BinaryIO

import click

from webapp.cli.base import ID, Group, Moment, unknown_coupon
from webapp.sale.archiving import archive, unarchive
from webapp.sale.content import LANGUAGES, set_content
from webapp.sale.duplicating import duplicate_coupon
from webapp.sale.pictures import set_picture
from webapp.values.pictures import MOST_BYTES

MOST_TEXT_BYTES = 64 * 1024
ENCODINGS = ("utf-8-sig", "cp949")
"""The second is what Notepad on an older Korean Windows writes; few texts in it are valid in the first."""
HEAD = re.compile(r"(title|place|contact):[ \t]*(.*)")
BETWEEN = "---"


def add_to(coupons: Group) -> None:
    coupons.add_command(content)
    coupons.add_command(picture)
    coupons.add_command(duplicate)
    coupons.add_command(archived)
    coupons.add_command(unarchived)


@click.command("content")
@click.argument("coupon_id", metavar="ID", type=ID)
@click.option("--lang", type=click.Choice(LANGUAGES), required=True)
@click.option("--file", type=click.File("rb"), required=True, help="The texts; - reads them from stdin.")
def content(coupon_id: int, lang: str, file: BinaryIO) -> None:
    """Write what the coupon's page says in one language.

    The file begins with lines `title: …`, `place: …` and `contact: …`, each of which may be missing. Then come the
    description in Markdown, a line `---`, and the terms in Markdown. What is missing is emptied, but for the title.
    """
    try:
        set_content(coupon_id, lang, _texts(_decoded(file.read(MOST_TEXT_BYTES + 1))), by=None)
    except LookupError as error:
        raise unknown_coupon(coupon_id) from error


@click.command("picture")
@click.argument("coupon_id", metavar="ID", type=ID)
@click.option(
    "--file", type=click.File("rb"), help="A JPEG, PNG or WebP of up to 5 MB; - reads it from stdin."
)
@click.option("--remove", is_flag=True, help="Show no picture any more.")
def picture(coupon_id: int, file: BinaryIO | None, remove: bool) -> None:
    """Give the coupon a picture, and print its name."""
    if (file is None) != remove:
        raise click.ClickException("name a --file, or --remove the picture")
    try:
        name = set_picture(coupon_id, None if file is None else file.read(MOST_BYTES + 1), by=None)
    except LookupError as error:
        raise unknown_coupon(coupon_id) from error
    click.echo(name or "removed")


@click.command("duplicate")
@click.argument("coupon_id", metavar="ID", type=ID)
@click.option("--opens-at", type=Moment(), required=True, help="As for a new coupon.")
@click.option("--closes-at", type=Moment(end=True), required=True, help="As for a new coupon.")
def duplicate(coupon_id: int, opens_at: datetime, closes_at: datetime) -> None:
    """Make a draft of everything that the coupon says and gives, and print its id, and nothing else."""
    try:
        click.echo(duplicate_coupon(coupon_id, opens_at=opens_at, closes_at=closes_at, by=None))
    except LookupError as error:
        raise unknown_coupon(coupon_id) from error


@click.command("archive")
@click.argument("coupon_id", metavar="ID", type=ID)
def archived(coupon_id: int) -> None:
    """Take a coupon that is over, or a draft, out of the lists; `coupon unarchive ID` brings it back."""
    _put(archive, coupon_id)


@click.command("unarchive")
@click.argument("coupon_id", metavar="ID", type=ID)
def unarchived(coupon_id: int) -> None:
    """Put a coupon into the lists again."""
    _put(unarchive, coupon_id)


def _put(verb: Callable[..., None], coupon_id: int) -> None:
    try:
        verb(coupon_id, by=None)
    except LookupError as error:
        raise unknown_coupon(coupon_id) from error


def _decoded(data: bytes) -> str:
    if len(data) > MOST_TEXT_BYTES:
        raise click.ClickException(f"the file has more than {MOST_TEXT_BYTES // 1024} KB")
    for encoding in ENCODINGS:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise click.ClickException("the file is no text in UTF-8 or CP949")


def _texts(text: str) -> dict[str, str]:
    lines = text.splitlines()
    texts = {"place": "", "contact": ""}
    while lines and (found := HEAD.fullmatch(lines[0].strip())):
        texts[found[1]] = found[2]
        del lines[0]
    cut = lines.index(BETWEEN) if BETWEEN in lines else len(lines)
    return texts | {"description": "\n".join(lines[:cut]), "terms": "\n".join(lines[cut + 1 :])}
