"""gunicorn's worker classes under the same claims, with and without clients that never finish their request."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from bench.claims import FormClaims
from bench.measure import Table, interleaved
from bench.stage import Stage

WORKERS = 2
SLOW_CLIENTS = 200
ROUNDS = 5
CLASSES = {
    "gevent, ours": ("--worker-class=deploy.web_worker.QuietWorker",),
    "gevent, gunicorn's own": ("--worker-class=gevent",),
    "gthread, 8 threads": ("--worker-class=gthread", "--threads=8"),
    "gthread, 64 threads": ("--worker-class=gthread", "--threads=64"),
}
HALF = b"POST /coupons/1/claim HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n"


def run(stage: Stage) -> list[Table]:
    claims = FormClaims(stage)
    with ExitStack() as running:
        ports = {
            name: running.enter_context(stage.server("bench.apps:ours", workers=WORKERS, options=options))
            for name, options in CLASSES.items()
        }
        calm: dict[str, Callable[[], float]] = {
            name: partial(claims.a_second, port, 303) for name, port in ports.items()
        }
        rows = interleaved(calm, rounds=ROUNDS)
        first = Table(f"Claims by worker class, {WORKERS} processes", "claims/s", rows)
        slow: dict[str, Callable[[], float]] = {
            name: partial(beside_slow_clients, claims, port) for name, port in ports.items()
        }
        rows = interleaved(slow, rounds=1)
    title = f"The same beside {SLOW_CLIENTS} clients that never finish their request"
    return [first, Table(title, "claims/s", rows)]


def beside_slow_clients(claims: FormClaims, port: int) -> float:
    """Return the rate of honest claims, 0 when none was answered."""
    with half_sent(port):
        try:
            return claims.a_second(port, 303)
        except RuntimeError:
            return 0.0


@contextmanager
def half_sent(port: int) -> Iterator[None]:
    """Hold connections open that have sent half of a request."""
    with ExitStack() as held:
        for _ in range(SLOW_CLIENTS):
            connection = held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            connection.sendall(HALF)
        yield
