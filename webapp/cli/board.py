"""The figures of the live board, as a command."""

from collections.abc import Iterator

import click
from flask.cli import with_appcontext
from flask_babel import force_locale

from webapp.cli.base import ID, UNLIMITED, Command, shown_moment, unknown_coupon
from webapp.sale.board import Board, Figures, board_of
from webapp.sale.outcomes import Refused


@click.command("live", cls=Command)
@click.argument("coupon_id", metavar="ID", type=ID)
@with_appcontext
def live(coupon_id: int) -> None:
    """Print the figures of the live board as they stand now; exit code 1 while a store is away. Nothing is changed."""
    try:
        board = board_of(coupon_id)
    except Refused as error:
        raise unknown_coupon(coupon_id) from error
    for name, told in _lines(board):
        click.echo(f"{name:<12} {told}")
    if board.away:
        raise click.exceptions.Exit(1)


def _lines(board: Board) -> Iterator[tuple[str, str]]:
    for store in sorted(board.away):
        yield store, "does not answer"
    if board.figures is not None:
        yield from _of_line(board.figures, old=board.is_old)
    yield "a second", f"{board.claims:.1f} claims, {board.issued:.1f} admissions"
    if board.sells_out_s is not None:
        yield "sold out", f"in about {board.sells_out_s:,.0f} s at this pace"
    yield "rejected", _counted(board.rejected)
    yield "drift", "not known" if board.drift is None else f"{board.drift:,}"
    with force_locale("en"):
        for each in board.health:
            yield each.check, f"{each.level}: {each.words}"


def _of_line(figures: Figures, *, old: bool) -> Iterator[tuple[str, str]]:
    yield "state", f"{figures.state}, as of {shown_moment(figures.at)}{' (old)' if old else ''}"
    quota = UNLIMITED if figures.quota is None else f"{figures.quota:,}"
    yield "issued", f"{figures.issued:,} of {quota}"
    oldest = "" if figures.oldest_s is None else f", the first for {figures.oldest_s:,.1f} s"
    yield "waiting", f"{figures.waiting:,}{oldest}"
    yield "standby", f"{figures.in_standby:,}"
    yield "came", f"{figures.came:,}"
    if figures.pages is not None:
        yield "pages", f"about {figures.pages:,}, {figures.polls or 0:,} polls a second"
    if figures.refused is not None:
        yield "refused", _counted(figures.refused)


def _counted(counts: object) -> str:
    found = counts.items() if isinstance(counts, dict) else ()
    return ", ".join(f"{count:,} {why}" for why, count in found) or "0"
