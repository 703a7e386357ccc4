"""The live board: a page that shows one sale second by second, and the part of it that a script keeps fresh."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from flask import abort, current_app, render_template
from flask_babel import get_locale
from flask_babel import lazy_gettext as _

from webapp.sale.board import Board, board_of
from webapp.sale.history import Pace
from webapp.sale.outcomes import Refused
from webapp.web.admin.coupons import COUPON
from webapp.web.admin.guard import WITHOUT_SQL, bp
from webapp.web.presenting import thousands

LIVE = f"{COUPON}/live"
WITHOUT_SQL |= {"admin.live_board", "admin.live_now"}
EACH_MS = 1000
"""How often the page of an operator asks. It costs a process one reading of the stores a second, for all of them."""
ROWS = 6
"""The rows of a chart's table."""
HIGH = 100
REFUSED = {
    "not_open": _("too early"),
    "closed": _("after the end"),
    "sold_out": _("all coupons were gone"),
    "not_eligible": _("not for this person"),
    "other_wave": _("has one of another wave"),
    "busy": _("busy: asked to try again"),
}
"""Why a click got no number, by the code of its refusal."""
REJECTED = {
    "blocked": _("the account is blocked"),
    "deleted": _("the account was deleted"),
    "not on the list": _("taken off the list"),
    "not of these grades": _("not a member of these grades"),
    "has one of another wave": _("has one of another wave"),
    "not a user": _("not a user"),
    "revoked": _("taken back by an operator"),
}
"""Why a number got no coupon, by the reason of its event."""


class Kept(NamedTuple):
    board: Board
    html: str


class Row(NamedTuple):
    """The paces of a part of a chart: on the average of its time."""

    at: datetime
    claims: str
    issued: str


class Chart(NamedTuple):
    """A chart in a box of 100 high and as wide as it has parts: two lines, the highest pace, and a table."""

    since: datetime
    until: datetime
    width: int
    claims: str
    issued: str
    top: str
    rows: Sequence[Row]


@bp.get(LIVE)
def live_board(coupon_id: int) -> str:
    board = _asked(coupon_id)
    html = _html(coupon_id, board)
    return render_template(
        "admin/live.html", coupon_id=coupon_id, coupon=board.coupon, now=html, each_ms=EACH_MS
    )


@bp.get(f"{LIVE}/now")
def live_now(coupon_id: int) -> str:
    """Answer with the part that changes, which is the same for all who ask a process within a second."""
    return _html(coupon_id, _asked(coupon_id))


def _asked(coupon_id: int) -> Board:
    try:
        return board_of(coupon_id)
    except Refused:
        abort(404)


def _html(coupon_id: int, board: Board) -> str:
    kept: dict[tuple[int, str], Kept] = current_app.extensions.setdefault("rendered_boards", {})
    key = coupon_id, str(get_locale())
    found = kept.get(key)
    if found is None or found.board is not board:
        found = kept[key] = Kept(board, _rendered(coupon_id, board))
    return found.html


def _rendered(coupon_id: int, board: Board) -> str:
    return render_template(
        "admin/_board.html",
        coupon_id=coupon_id,
        board=board,
        figures=board.figures,
        minute=chart(board.minute),
        whole=chart(board.whole),
        refused=in_words(board.figures.refused if board.figures else None, REFUSED),
        rejected=in_words(board.rejected, REJECTED),
        pace=pace,
        lasting=lasting,
    )


def in_words(counts: object, words: dict[str, object]) -> list[tuple[str, int]]:
    """Return what was counted, the most first, each with its words."""
    found = counts.items() if isinstance(counts, dict) else ()
    return sorted(((str(words.get(why, why)), count) for why, count in found), key=lambda pair: -pair[1])


def chart(paces: Sequence[Pace]) -> Chart | None:
    """Return the chart of some paces, None where there is nothing to show."""
    if not paces:
        return None
    top = max(1.0, *(max(each.claims, each.issued) for each in paces))
    since, part = paces[0].at, paces[-1].at - paces[-2].at
    return Chart(
        since=since,
        until=paces[-1].at + part,
        width=len(paces),
        claims=_line(paces, lambda each: each.claims / top),
        issued=_line(paces, lambda each: each.issued / top),
        top=pace(top),
        rows=[_row(part) for part in _parts(paces)],
    )


def _line(paces: Sequence[Pace], height: Callable[[Pace], float]) -> str:
    return " ".join(f"{at + 0.5:g},{HIGH - HIGH * height(each):.1f}" for at, each in enumerate(paces))


def _parts(paces: Sequence[Pace]) -> list[Sequence[Pace]]:
    size = max(1, len(paces) // ROWS)
    return [paces[first : first + size] for first in range(0, len(paces), size)]


def _row(part: Sequence[Pace]) -> Row:
    claims, issued = (sum(values) / len(part) for values in zip(*(each[1:] for each in part), strict=True))
    return Row(part[0].at, pace(claims), pace(issued))


def pace(a_second: float) -> str:
    """Return how often something happens a second; what happens more rarely has a decimal."""
    return thousands(round(a_second)) if a_second >= 10 or a_second == 0 else f"{a_second:.1f}"


def lasting(seconds: float) -> str:
    """Return a time in its two greatest units."""
    whole = max(0, round(seconds))
    units = [
        (whole // 86_400, _("%(days)s d", days=whole // 86_400)),
        (whole // 3600 % 24, _("%(hours)s h", hours=whole // 3600 % 24)),
        (whole // 60 % 60, _("%(minutes)s min", minutes=whole // 60 % 60)),
        (whole % 60, _("%(seconds)s s", seconds=whole % 60)),
    ]
    first = next((at for at, (count, _words) in enumerate(units) if count), len(units) - 1)
    return " ".join(str(words) for count, words in units[first : first + 2] if count or whole == 0)
