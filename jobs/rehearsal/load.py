"""A light HTTP driver: many prepared requests over a few keep-alive connections, in one thread.

It shares the machine with the server that it loads, so it does as little as HTTP/1.1 allows: requests are bytes that
were made before, and answers are read up to their Content-Length.
"""

import asyncio
import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

CONNECTIONS = 64
RECONNECT_S = 0.2
BUSY = (502, 503, 504)
"""What the app, or a proxy whose app is away, answers to whom may try again."""
RETRY_S = 1.0
"""How long to wait after one of BUSY without Retry-After."""


class Try(NamedTuple):
    """One try of a request: the status of its answer, 0 for a lost connection, and how long it took."""

    status: int
    seconds: float


@dataclass
class Answer:
    """The last answer to one request. Times are seconds of time.perf_counter(); `sent` is the time of the first try."""

    sent: float
    answered: float
    status: int
    body: bytes
    tries: list[Try]


@dataclass
class Drive:
    """The requests of one load; `due` holds (when, index) of the requests that have to be sent."""

    host: str
    port: int
    requests: Sequence[bytes]
    on_answer: Callable[[int, Answer], None]
    on_try: Callable[[Try], None]
    due: list[tuple[float, int]]
    answers: list[Answer | None] = field(init=False)
    sent: dict[int, float] = field(default_factory=dict)
    tries: dict[int, list[Try]] = field(default_factory=dict)
    open: int = field(init=False)
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        heapq.heapify(self.due)
        self.answers = [None] * len(self.requests)
        self.open = len(self.due)

    def settle(self, index: int, sent: float, status: int, body: bytes, retry_s: float | None) -> None:
        """Keep an answer, or plan another try after one of BUSY."""
        now = time.perf_counter()
        self.tried(index, Try(status, now - sent))
        if status in BUSY:
            return self.again(index, RETRY_S if retry_s is None else retry_s)
        self.answers[index] = answer = Answer(self.sent[index], now, status, body, self.tries[index])
        self.open -= 1
        self.on_answer(index, answer)
        if self.open == 0:
            self.finished.set()
        return None

    def tried(self, index: int, seen: Try) -> None:
        self.tries[index].append(seen)
        self.on_try(seen)

    def again(self, index: int, pause_s: float) -> None:
        heapq.heappush(self.due, (time.perf_counter() + pause_s, index))


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, drive: Drive) -> None:
        self.drive = drive
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.index: int | None = None
        self.sent = 0.0
        self.buffer = b""

    async def connect(self) -> None:
        try:
            await self.loop.create_connection(lambda: self, self.drive.host, self.drive.port)
        except OSError:
            self._reconnect_later()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self.drive.finished.is_set():
            return transport.abort()
        self.transport, self.buffer = transport, b""
        return self._send_next()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.index is not None:
            self.drive.tried(self.index, Try(0, time.perf_counter() - self.sent))
            self.drive.again(self.index, RECONNECT_S)
            self.index = None
        self._reconnect_later()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, rest = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(_header(head, b"\r\nContent-Length: ") or 0)
        if len(rest) < length or self.index is None:
            return
        index, self.index, self.buffer = self.index, None, b""
        retry = _header(head, b"\r\nRetry-After: ")
        status, retry_s = int(head[9:12]), float(retry) if retry else None
        self.drive.settle(index, self.sent, status, rest[:length], retry_s)
        self._send_next()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def _send_next(self) -> None:
        drive, now = self.drive, time.perf_counter()
        if self.transport is None or self.index is not None or drive.finished.is_set():
            return
        if not drive.due or drive.due[0][0] > now:
            pause = drive.due[0][0] - now if drive.due else RECONNECT_S
            self.loop.call_later(min(pause, RECONNECT_S), self._send_next)
            return
        _, self.index = heapq.heappop(drive.due)
        self.sent = now
        drive.sent.setdefault(self.index, now)
        drive.tries.setdefault(self.index, [])
        self.transport.write(drive.requests[self.index])

    def _reconnect_later(self) -> None:
        if not self.drive.finished.is_set():
            self.loop.call_later(RECONNECT_S, lambda: asyncio.ensure_future(self.connect()))


def send_all(
    address: tuple[str, int],
    requests: Sequence[bytes],
    *,
    on_answer: Callable[[int, Answer], None] = lambda index, answer: None,
    on_try: Callable[[Try], None] = lambda seen: None,
    spread_s: float = 0.0,
    within_s: float = 60.0,
    connections: int = CONNECTIONS,
) -> list[Answer | None]:
    """Send every request once, evenly over `spread_s`, and return the answers in the order of the requests.

    An answer of BUSY and a broken connection are tried again. None stands for a request without an answer after
    `within_s`.
    """
    if not requests:
        return []
    start, step = time.perf_counter(), spread_s / len(requests)
    due = [(start + index * step, index) for index in range(len(requests))]
    return asyncio.run(_run(Drive(*address, requests, on_answer, on_try, due), within_s, connections))


async def _run(drive: Drive, within_s: float, most: int) -> list[Answer | None]:
    connections = [Connection(drive) for _ in range(min(most, len(drive.requests)))]
    await asyncio.gather(*(connection.connect() for connection in connections))
    try:
        await asyncio.wait_for(drive.finished.wait(), within_s)
    except TimeoutError:
        drive.finished.set()
    finally:
        for connection in connections:
            connection.close()
        # asyncio closes the sockets in the next turn of the loop.
        await asyncio.sleep(0)
    return drive.answers


def _header(head: bytes, name: bytes) -> bytes | None:
    start = head.find(name)
    if start < 0:
        return None
    start += len(name)
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else None]
