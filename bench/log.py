"""A decision with its row in the log, beside the same decision without one, on MariaDB and on SQLite."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from unittest.mock import patch

import flask_migrate

from bench.measure import Figures, Table, interleaved
from bench.stage import SECRET_KEY, Stage
from webapp import create_app
from webapp.log import writing
from webapp.log.reading import chain
from webapp.sale.coupons import change_coupon

DECISIONS = 20
ROUNDS = 31


def run(stage: Stage) -> Iterator[Table | str]:
    yield from _compared(stage, stage.database)
    if stage.mariadb:
        with on_sqlite(stage):
            yield from _compared(stage, "SQLite")


def on_sqlite(stage: Stage) -> ExitStack:
    """Have another app on a SQLite and on the Valkey of this stage, for as long as the block lasts."""
    app = create_app(
        {
            "SECRET_KEY": SECRET_KEY,
            "SQLALCHEMY_DATABASE_URI": f"sqlite:///{stage.directory}/log.db",
            "REDIS_URL": stage.valkey.url,
            "QUEUE_REDIS_URL": stage.valkey.url,
        }
    )
    held = ExitStack()
    held.enter_context(app.app_context())
    flask_migrate.upgrade()
    return held


def _compared(stage: Stage, database: str) -> Iterator[Table | str]:
    coupon_id = stage.coupon()
    rows = interleaved(
        {
            "without its row": partial(_without_rows, coupon_id),
            "with its row": partial(decisions_a_second, coupon_id),
        },
        rounds=ROUNDS,
    )
    assert chain().broken_at is None
    yield Table(f"A change of a title on {database}, and its row in the log", "changes/s", rows)
    yield f"median of the ratios of {ROUNDS} rounds on {database}: {_of_pairs(rows):.3f}\n"


def _of_pairs(rows: list[Figures]) -> float:
    """Return the median of the ratios within each round: what slows the machine slows both of a round."""
    without, with_row = (row.values for row in rows)
    pairs = [mine / reference for mine, reference in zip(with_row, without, strict=True)]
    return Figures("ratio", pairs).median


def _without_rows(coupon_id: int) -> float:
    with patch.object(writing, "write", lambda _connection, _entry: None):
        return decisions_a_second(coupon_id)


def decisions_a_second(coupon_id: int) -> float:
    began = time.perf_counter()
    for number in range(DECISIONS):
        change_coupon(coupon_id, by=None, title=f"Title {began} {number}")
    return DECISIONS / (time.perf_counter() - began)
