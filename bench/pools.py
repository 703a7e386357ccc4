"""A pool of codes: what a file of a million takes to import, and admission beside one with codes of ours."""

import time
from collections.abc import Iterator

from sqlalchemy import insert, update

from bench.admission import TICKETS, admit
from bench.imports import read_file
from bench.measure import Table, interleaved
from bench.stage import Stage
from jobs.worker import keep_for_good
from webapp.models import Coupon, PoolCode, Upload
from webapp.models.uploads import COUNTED
from webapp.sale import pools, uploads
from webapp.sale.admission import BATCH
from webapp.sale.drawing import CODES
from webapp.sale.pool_file import POOL_FILE
from webapp.stores.sql import db

IMPORTED = 1_000_000
ROUNDS = 9


def run(stage: Stage) -> Iterator[Table | str]:
    yield imported(stage)
    yield admitted(stage)


def admitted(stage: Stage, tickets: int = TICKETS, rounds: int = ROUNDS) -> Table:
    """Compare the admission of so many tickets with both kinds of codes; all pools are filled before."""
    users, files = stage.users(tickets), [fill(tickets) for _ in range(rounds + 1)]
    keep_for_good()
    rows = interleaved(
        {
            "codes that we draw": lambda: admit(stage, users),
            "codes of a pool": lambda: admit(
                stage, users, prepare=lambda coupon_id: give(coupon_id, files.pop(), tickets)
            ),
        },
        rounds=rounds,
    )
    return Table(
        f"Admission on {stage.database}, {tickets:,} tickets, by where codes come from", "tickets/s", rows
    )


def imported(stage: Stage, lines: int = IMPORTED) -> str:
    """Import a file of so many codes, and say what it took."""
    coupon_id = stage.coupon()
    codes = (f"SHOP-{number * 7919 % 10**9:09}-X\n" for number in range(lines))
    read = read_file(POOL_FILE, coupon_id, codes)
    began = time.perf_counter()
    pools.count_codes(read.upload_id, by=None)
    counted_s = time.perf_counter() - began
    upload = uploads.upload_by_id(read.upload_id)
    assert upload is not None
    assert upload.good == lines
    return (
        f"A file of {lines:,} codes on {stage.database}: read and checked in {read.seconds:.1f} s, "
        f"counts {counted_s:.2f} s later; memory grew by {read.grown_mb:.0f} MB\n"
    )


def fill(codes: int) -> int:
    """Keep a file of so many codes for a coupon to come, and return the id of its upload."""
    with db.engine.begin() as connection:
        file = {"kind": CODES, "state": COUNTED, "good": codes, "percent": 100}
        upload_id = int(connection.execute(insert(Upload).values(**file)).lastrowid)
        lines = [
            {"upload_id": upload_id, "line": line, "code": f"B{upload_id:04}-{line:06}"}
            for line in range(1, codes + 1)
        ]
        for start in range(0, codes, BATCH):
            connection.execute(insert(PoolCode), lines[start : start + BATCH])
    return upload_id


def give(coupon_id: int, upload_id: int, codes: int) -> None:
    """Give a coupon the codes of a file as its pool."""
    with db.engine.begin() as connection:
        connection.execute(update(Upload).where(Upload.id == upload_id).values(coupon_id=coupon_id))
        connection.execute(update(Coupon).where(Coupon.id == coupon_id).values(pool_left=codes))
