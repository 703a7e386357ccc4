"""The benchmarks can be believed: turns are interleaved, ratios are to the reference, errors are no answers."""

import json
import subprocess
from statistics import fmean

import pytest

from bench import http
from bench.__main__ import BENCHMARKS
from bench.balance import shares
from bench.measure import Figures, Table, interleaved
from bench.stage import stage


def busiest_of(worker_class: str) -> float:
    """Return how many of 64 connections at once the busier one of two processes took, on the average of 15 times."""
    options = (f"--worker-class={worker_class}",)
    with stage() as built, built.server("bench.apps:process_id", workers=2, options=options) as port:
        return fmean(max(shares(port).values()) for _ in range(15))


@pytest.mark.parametrize("name", ["empty_wsgi", "empty_flask"])
def test_our_worker_serves_what_is_compared_with_us_too(name):
    with stage() as built, built.server(f"bench.apps:{name}", workers=1) as port:
        assert port


def test_subjects_run_in_turns_and_the_first_round_is_thrown_away():
    order: list[str] = []

    def subject(name: str) -> float:
        order.append(name)
        return float(len(order))

    rows = interleaved({"a": lambda: subject("a"), "b": lambda: subject("b")}, rounds=2)
    assert order == ["a", "b"] * 3
    assert [(row.name, row.values) for row in rows] == [("a", [3, 5]), ("b", [4, 6])]


def test_a_table_shows_median_range_and_ratio_to_its_first_row():
    table = Table("Claims", "claims/s", [Figures("reference", [100, 300, 200]), Figures("ours", [150.0])])
    title, head, reference, ours, blank = table.lines()
    assert title == "Claims (claims/s)"
    assert head.split() == ["median", "from", "to", "ratio"]
    assert reference.split() == ["reference", "200", "100", "300", "1.00"]
    assert ours.split() == ["ours", "150", "150", "150", "0.75"]
    assert blank == ""


@pytest.mark.parametrize("seen", [{"wrong": 1}, {"errors": 1}, {"answers": 0}])
def test_a_fast_error_is_no_answer(monkeypatch, tmp_path, seen):
    result = {"answers": 9, "seconds": 1.0, "wrong": 0, "errors": 0, "p50_ms": 1.0, "p99_ms": 2.0} | seen
    said = subprocess.CompletedProcess([], 0, stdout=f"Running\nRESULT {json.dumps(result)}\n")
    monkeypatch.setattr(http.subprocess, "run", lambda *_, **__: said)
    with pytest.raises(RuntimeError, match="not every answer was 303"):
        http.drive(1, tmp_path, expected=303, seconds=1)


def test_requests_are_written_with_their_lengths(tmp_path):
    http.write_requests(tmp_path / "requests", [b"GET / HTTP/1.1\r\n\r\n", b"x" * 1234])
    written = (tmp_path / "requests").read_bytes()
    assert written == b"00000018GET / HTTP/1.1\r\n\r\n00001234" + b"x" * 1234


def test_every_benchmark_can_be_called():
    assert all(callable(run) for run in BENCHMARKS.values())


def test_connections_that_come_at_once_are_shared_by_the_processes():
    """With gunicorn's own worker, the control, one process gets most of them."""
    ours, control = busiest_of("deploy.web_worker.QuietWorker"), busiest_of("gevent")
    assert ours < 44
    assert ours < control
