"""Claims a second for many coupons on a Redis Cluster, beside the same on one server."""

from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from http.client import HTTPConnection

from bench import http
from bench.claims import PEOPLE, ROUNDS, SECONDS, WORKERS
from bench.measure import Table, interleaved
from bench.stage import Stage
from deploy.clusters import Cluster
from deploy.processes import wait_until
from jobs.rehearsal.crowd import Crowd, signed_in
from webapp.line.line import Line
from webapp.stores.cluster import connect_lines

COUPONS = 30
GATE_S = 10


def run(stage: Stage) -> list[Table]:
    directory = stage.directory / "cluster"
    directory.mkdir()
    crowd = signed_in(stage.app, range(1, PEOPLE + 1), "127.0.0.1")
    with ExitStack() as running:
        cluster = running.enter_context(Cluster(directory))
        subjects: dict[str, Callable[[], float]] = {}
        for name, url in (("one server", stage.valkey.url), ("a Cluster of three nodes", cluster.url)):
            queue = {"REDIS_URL": url, "QUEUE_REDIS_URL": stage.valkey.url}
            port = running.enter_context(stage.server("bench.apps:ours", workers=WORKERS, environ=queue))
            subjects[name] = partial(claims_a_second, stage, crowd, port, url)
        rows = interleaved(subjects, rounds=ROUNDS)
    title = (
        f"Claims over HTTP for {COUPONS} coupons, {WORKERS} gunicorn processes and the driver on one machine"
    )
    return [Table(title, "claims/s", rows)]


def claims_a_second(stage: Stage, crowd: Crowd, port: int, url: str) -> float:
    """Drive the server for SECONDS, each claim for the next coupon, and return the claims that it answered a second."""
    coupons = [stage.coupon() for _ in range(COUPONS)]
    for coupon_id in coupons:
        wait_until(partial(_has_a_gate, port, coupon_id), wait_s=GATE_S)
    asked = (crowd.form_claim(coupons[index % COUPONS], index) for index in range(PEOPLE))
    written = http.write_requests(stage.directory / "claims", asked)
    rate = http.drive(port, written, expected=303, seconds=SECONDS).rate
    lines = connect_lines(url, decode_responses=True)
    for coupon_id in coupons:
        Line(lines, coupon_id).forget()
    return rate


def _has_a_gate(port: int, coupon_id: int) -> bool:
    """Have the server make the gate, which the first who ask for would hear "busy" of."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=GATE_S)) as connection:
        connection.request("GET", f"/coupons/{coupon_id}/serving")
        return connection.getresponse().status == 200
