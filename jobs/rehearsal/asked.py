"""A rehearsal that an operator asked for, in a process of its own.

The sweeper starts it with the id of the rehearsal, and ends it with SIGTERM. However it ends, it leaves nothing but
its row and its report.
"""

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import click
import redis
from flask import Flask, current_app
from sqlalchemy.exc import SQLAlchemyError

from jobs.rehearsal.rehearsal import play
from webapp import create_app
from webapp.models.rehearsals import BROKEN, FAILED, PASSED, STOPPED, Rehearsal
from webapp.sale import rehearsing
from webapp.sale.coupons import coupon_by_id
from webapp.sale.outcomes import Refused
from webapp.stores.swallowed import swallow

log = logging.getLogger(__name__)
TOLD_EVERY_S = 0.5


class Progress:
    """How far a rehearsal is, in the words of tqdm: the phase under way, and how much of it is done."""

    def __init__(self) -> None:
        self.phase, self.n, self.total = "", 0, 0

    def __call__(self, *, total: int, desc: str, **_options: object) -> Self:
        self.phase, self.n, self.total = desc, 0, total
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.n = self.total

    def update(self, n: int = 1) -> None:
        self.n += n


def run(rehearsal_id: int, *, bar: Callable[..., Any] | None = None) -> str:
    """Play a rehearsal that was taken, write its end down, and return the state of it."""
    rehearsal = rehearsing.rehearsal_by_id(rehearsal_id)
    assert rehearsal is not None
    state, report = BROKEN, {"why": "ended"}
    try:
        state, report = _played(rehearsal, bar)
    except (click.ClickException, redis.RedisError, SQLAlchemyError, Refused, LookupError) as error:
        log.warning("rehearsal %s broken off: %s", rehearsal_id, error)
        report = {"why": str(error).splitlines()[0] if str(error) else type(error).__name__}
    except (SystemExit, KeyboardInterrupt):
        state, report = STOPPED, {}
        raise
    finally:
        rehearsing.end(rehearsal_id, state, report)
    return state


def _played(rehearsal: Rehearsal, bar: Callable[..., Any] | None) -> tuple[str, dict[str, Any]]:
    coupon = coupon_by_id(rehearsal.coupon_id)
    if coupon is None:
        raise LookupError("the coupon is gone")
    progress = Progress()
    with _told(rehearsal.id, progress):
        url = current_app.config["REHEARSAL_URL"] or f"http://127.0.0.1:{current_app.config['PORT']}"
        settings = rehearsing.settings_of(coupon)
        outcome = play(
            rehearsal.people, settings, rehearsal.seconds, url, mark=rehearsal.mark, bar=bar or progress
        )
    return PASSED if outcome.ok else FAILED, {"summary": outcome.summary, "lines": outcome.lines}


@contextmanager
def _told(rehearsal_id: int, progress: Progress) -> Iterator[None]:
    """Write down every TOLD_EVERY_S how far it is."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    over = threading.Event()

    def tell() -> None:
        with app.app_context():
            while not over.wait(TOLD_EVERY_S):
                try:
                    rehearsing.tell(rehearsal_id, progress.phase, progress.n, progress.total)
                except SQLAlchemyError as error:
                    swallow("progress not told", error, "the next look tells it")

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s rehearsal %(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with create_app().app_context():
        run(int(sys.argv[1]))


if __name__ == "__main__":
    main()
