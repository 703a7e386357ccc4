"""The spread of connections over gunicorn's processes, when they come at once: how many the busiest one holds."""

import socket
from collections import Counter
from contextlib import ExitStack

from bench.measure import Figures, Table
from bench.stage import Stage

WORKERS, CONNECTIONS, ROUNDS = 2, 64, 9
REQUEST = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
CLASSES = {"gunicorn's own gevent worker": "gevent", "ours": "deploy.web_worker.QuietWorker"}


def run(stage: Stage) -> list[Table]:
    with ExitStack() as running:
        ports = {
            name: running.enter_context(
                stage.server("bench.apps:process_id", workers=WORKERS, options=(f"--worker-class={found}",))
            )
            for name, found in CLASSES.items()
        }
        rows = [
            Figures(name, [max(shares(port).values()) for _ in range(ROUNDS)]) for name, port in ports.items()
        ]
    return [Table(f"{CONNECTIONS} connections at once to {WORKERS} processes", "held by the busiest", rows)]


def shares(port: int, connections: int = CONNECTIONS) -> Counter[bytes]:
    """Open many connections at once, and count them by the process that took them."""
    with ExitStack() as held:
        opened = [held.enter_context(socket.socket()) for _ in range(connections)]
        for each in opened:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        return Counter(_process_id(each) for each in opened)


def _process_id(connection: socket.socket) -> bytes:
    connection.settimeout(10)
    connection.sendall(REQUEST)
    answer = b""
    while not answer.partition(b"\r\n\r\n")[2]:
        answer += connection.recv(4096)
    return answer.partition(b"\r\n\r\n")[2]
