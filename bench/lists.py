"""A list of a million people: what its file takes to import, and the claim beside one for everybody."""

import time
from collections.abc import Iterator
from functools import partial

from bench import http
from bench.claims import PEOPLE, FormClaims
from bench.imports import read_file
from bench.measure import Table, interleaved
from bench.stage import Stage
from webapp.line.line import Line
from webapp.sale import lists, uploads
from webapp.sale.people_file import PEOPLE_FILE
from webapp.stores.script_redis import line_redis

LISTED = 1_000_000
WORKERS = 1
SECONDS = 2
ROUNDS = 9


def run(stage: Stage) -> Iterator[Table | str]:
    stage.users(PEOPLE)
    yield imported(stage)
    claims = FormClaims(stage)
    with stage.server("bench.apps:ours", workers=WORKERS) as port:
        rows = interleaved(
            {
                "for everybody": partial(claims_a_second, claims, port, listed=False),
                f"for a list of {LISTED:,}": partial(claims_a_second, claims, port, listed=True),
            },
            rounds=ROUNDS,
        )
    yield Table("Claims over HTTP, by who may have the coupon", "claims/s", rows)


def imported(stage: Stage) -> str:
    """Import a file of LISTED addresses, of which PEOPLE have an account, and say what it took."""
    coupon_id = stage.coupon()
    read = read_file(PEOPLE_FILE, coupon_id, (f"bench{number}@example.com\n" for number in range(LISTED)))
    began = time.perf_counter()
    lists.count_people(read.upload_id, replace=False, by=None)
    counted_s = time.perf_counter() - began
    upload = uploads.upload_by_id(read.upload_id)
    assert upload is not None
    assert (upload.good, upload.known) == (LISTED, PEOPLE)
    return (
        f"A file of {LISTED:,} lines on {stage.database}: read and checked in {read.seconds:.0f} s, "
        f"counts {counted_s:.0f} s later; memory grew by {read.grown_mb:.0f} MB\n"
    )


def claims_a_second(claims: FormClaims, port: int, *, listed: bool) -> float:
    """Drive the server with claims of different people for SECONDS, for a coupon of either kind."""
    coupon_id = claims.stage.coupon()
    line = Line(line_redis(), coupon_id)
    if listed:
        lists.set_audience(coupon_id, "list", by=None)
        gate = line.gate()
        assert gate is not None
        bits = b"\xff" * (LISTED // 8)
        assert line.write_members(epoch=gate.epoch, audience=gate.policy.audience, bits=bits)
    asked = (claims.crowd.form_claim(coupon_id, index) for index in range(PEOPLE))
    written = http.write_requests(claims.stage.directory / "claims", asked)
    rate = http.drive(port, written, expected=303, seconds=SECONDS).rate
    after = line.gate()
    assert after is not None
    assert after.last > 0, "nobody got a number"
    line.forget()
    return rate
