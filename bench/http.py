"""wrk, the light HTTP driver: prepared requests from a file, answers counted and checked."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("wrk.lua")
THREADS, CONNECTIONS = 1, 64


@dataclass(frozen=True)
class Run:
    """The figures of one run of wrk. Latencies are in ms, of a server under full load."""

    rate: float
    p50_ms: float
    p99_ms: float


def available() -> bool:
    return shutil.which("wrk") is not None


Requests = Path
"""A file of requests, as wrk.lua reads it."""


def write_requests(path: Path, requests: Iterable[bytes]) -> Requests:
    """Write the requests as wrk.lua reads them, and return the path."""
    with path.open("wb") as file:
        file.writelines(b"%08d%b" % (len(request), request) for request in requests)
    return path


def drive(port: int, requests: Requests, *, expected: int, seconds: float) -> Run:
    """Send the requests as fast as the server answers them, and return the rate of right answers.

    Raises RuntimeError when any answer has another status than `expected`: a fast error is no answer.
    """
    environ = os.environ | {
        "REQUESTS": str(requests),
        "EXPECTED": str(expected),
        "THREADS": str(THREADS),
    }
    command = [
        "wrk",
        f"-t{THREADS}",
        f"-c{CONNECTIONS}",
        f"-d{seconds:g}s",
        "--timeout=10s",
        "-s",
        str(SCRIPT),
    ]
    out = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/"], env=environ, capture_output=True, text=True, check=True
    )
    (line,) = [line for line in out.stdout.splitlines() if line.startswith("RESULT ")]
    seen = json.loads(line.removeprefix("RESULT "))
    if seen["wrong"] or seen["errors"] or not seen["answers"]:
        raise RuntimeError(f"not every answer was {expected}: {seen}")
    return Run(seen["answers"] / seen["seconds"], seen["p50_ms"], seen["p99_ms"])
