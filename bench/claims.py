"""Claims a second over HTTP, beside less and less of the same work in the same server."""

import shutil
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench import http
from bench.measure import Table, interleaved
from bench.stage import Stage
from jobs.crowd import signed_in
from webapp import line as lines
from webapp.extensions import line_redis
from webapp.line import BELL_MS, BUCKET_MS, Line

PEOPLE = 50_000
WORKERS = 2
SECONDS = 4
SCRIPTS = 50_000
ROUNDS = 5
SERVERS = {
    "empty WSGI answer": ("bench.apps:empty_wsgi", 200),
    "empty Flask view": ("bench.apps:empty_flask", 200),
    "bare lane": ("bench.apps:bare_lane", 303),
    "claim, Flask alone": ("bench.apps:plain", 303),
    "claim": ("bench.apps:ours", 303),
}


def run(stage: Stage) -> list[str]:
    crowd = signed_in(stage.app, range(1, PEOPLE + 1), "127.0.0.1")
    requests = stage.directory / "claims"

    def claims_a_second(port: int, expected: int) -> float:
        coupon_id = stage.coupon()
        http.write_requests(requests, (crowd.form_claim(coupon_id, index) for index in range(PEOPLE)))
        rate = http.drive(port, requests, expected=expected, seconds=SECONDS).rate
        Line(line_redis(), coupon_id).forget()
        return rate

    with ExitStack() as running:
        subjects: dict[str, Callable[[], float]] = {}
        for name, (application, expected) in SERVERS.items():
            port = running.enter_context(stage.server(application, workers=WORKERS))
            subjects[name] = partial(claims_a_second, port, expected)
        if shutil.which("redis-benchmark"):
            subjects["claim script, redis-benchmark"] = partial(scripts_a_second, stage)
        rows = interleaved(subjects, rounds=ROUNDS)
    title = f"Claims over HTTP, {WORKERS} gunicorn processes and the driver on one machine"
    return Table(title, "claims/s", rows).lines()


def scripts_a_second(stage: Stage) -> float:
    """Run the claim script for random users with redis-benchmark: what Redis does without any of us."""
    coupon_id, redis = stage.coupon(), line_redis()
    line = Line(redis, coupon_id)
    keys = [
        line.gate_key,
        line.line_key,
        line.standby_key,
        line.results_key,
        line.bell_key,
        line.arrivals_key,
    ]
    sha = redis.script_load(Path(lines.__file__).with_name("lua").joinpath("claim.lua").read_text())
    options = ["-p", stage.valkey.port, "-n", SCRIPTS, "-c", http.CONNECTIONS, "-r", 1_000_000_000, "--csv"]
    args = ["__rand_int__", BELL_MS, BUCKET_MS]
    command = ["redis-benchmark", *options, "EVALSHA", sha, len(keys), *keys, *args]
    out = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True).stdout
    line.forget()
    return float(out.splitlines()[-1].split(",")[1].strip('"'))
