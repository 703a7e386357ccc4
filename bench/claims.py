"""Claims a second over HTTP, beside less and less of the same work in the same server."""

import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from bench import http
from bench.measure import Table, interleaved
from bench.stage import Stage
from jobs.rehearsal.crowd import signed_in
from webapp.line.keys import BELL_MS, BUCKET_MS
from webapp.line.line import Line
from webapp.stores.script_redis import line_redis, script

PEOPLE = 50_000
WORKERS = 2
SECONDS = 4
CLICKS = (1, 4, 16, 64, 128, 256)
MOST_CALLS, LEAST_CALLS = 50_000, 2_000
ROUNDS = 5
SERVERS = {
    "empty WSGI answer": ("bench.apps:empty_wsgi", 200),
    "empty Flask view": ("bench.apps:empty_flask", 200),
    "bare claim": ("bench.apps:bare_claim", 303),
    "claim, Flask alone": ("bench.apps:plain", 303),
    "claim": ("bench.apps:ours", 303),
}


class FormClaims:
    """Claims of different users; each measurement is for a new coupon."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.crowd = signed_in(stage.app, range(1, PEOPLE + 1), "127.0.0.1")

    def a_second(self, port: int, expected: int) -> float:
        """Drive the server for SECONDS and return the claims that it answered a second."""
        coupon_id = self.stage.coupon()
        asked = (self.crowd.form_claim(coupon_id, index) for index in range(PEOPLE))
        written = http.write_requests(self.stage.directory / "claims", asked)
        rate = http.drive(port, written, expected=expected, seconds=SECONDS).rate
        Line(line_redis(), coupon_id).forget()
        return rate


def run(stage: Stage) -> list[Table]:
    claims = FormClaims(stage)
    with ExitStack() as running:
        subjects: dict[str, Callable[[], float]] = {}
        for name, (application, expected) in SERVERS.items():
            port = running.enter_context(stage.server(application, workers=WORKERS))
            subjects[name] = partial(claims.a_second, port, expected)
        rows = interleaved(subjects, rounds=ROUNDS)
    title = f"Claims over HTTP, {WORKERS} gunicorn processes and the driver on one machine"
    tables = [Table(title, "claims/s", rows)]
    if shutil.which("redis-benchmark"):
        batches = {f"{clicks} in a call": partial(numbers_a_second, stage, clicks) for clicks in CLICKS}
        title = "Numbers of one coupon by redis-benchmark, without our processes, by the clicks in a call"
        tables.append(Table(title, "numbers/s", interleaved(batches, rounds=ROUNDS)))
    return tables


def numbers_a_second(stage: Stage, clicks: int) -> float:
    """Run the claim script for random users with redis-benchmark, so many of them in a call."""
    line = Line(line_redis(), stage.coupon())
    keys = line.claim_keys
    sha = line.redis.script_load(script("claim")[0])
    calls = max(MOST_CALLS // clicks, LEAST_CALLS)
    options = ["-p", stage.valkey.port, "-n", calls, "-c", http.CONNECTIONS, "-r", 1_000_000_000, "--csv"]
    args = [BELL_MS, BUCKET_MS, *["__rand_int__"] * clicks, line.redis.info("server")["run_id"]]
    command = ["redis-benchmark", *options, "EVALSHA", sha, len(keys), *keys, *args]
    out = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout
    line.forget()
    return clicks * float(out.splitlines()[-1].split(",")[1].strip('"'))
