"""The load driver against a small real server, which answers as it is told."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress

import pytest

from deploy.processes import free_port
from jobs.rehearsal.load import send_all

REQUEST = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"


def answer(status: int, body: bytes = b"", extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\n%bContent-Length: %d\r\n\r\n%b" % (status, extra, len(body), body)


Server = Callable[[Callable[[int, int], bytes | None]], tuple[str, int]]


@pytest.fixture
def server() -> Iterator[Server]:
    """Start servers: `reply(path, how often it was asked)` is what each sends, None to hang up without a word."""
    loop, servers = asyncio.new_event_loop(), []
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def start(reply: Callable[[int, int], bytes | None]) -> tuple[str, int]:
        asked: dict[int, int] = {}

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.IncompleteReadError, ConnectionError), closing(writer):
                while head := await reader.readuntil(b"\r\n\r\n"):
                    path = int(head.split()[1][1:])
                    asked[path] = asked.get(path, 0) + 1
                    said = reply(path, asked[path])
                    if said is None:
                        return
                    # In two pieces, as a network may deliver it.
                    for piece in (said[: len(said) // 2], said[len(said) // 2 :]):
                        writer.write(piece)
                        await writer.drain()
                        await asyncio.sleep(0)

        started = asyncio.start_server(talk, "127.0.0.1", 0)
        servers.append(asyncio.run_coroutine_threadsafe(started, loop).result(5))
        host, port = servers[-1].sockets[0].getsockname()
        return host, port

    yield start
    asyncio.run_coroutine_threadsafe(end(servers), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def end(servers: list[asyncio.Server]) -> None:
    """Close the servers, and what is left of their connections."""
    # A connection that is being accepted while its server closes would never be closed itself.
    await turns()
    for each in servers:
        each.close()
    await turns()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await turns()


async def turns() -> None:
    """Let the loop finish what it has begun: a connection that it accepts, one that it closes."""
    for _ in range(10):
        await asyncio.sleep(0)


def requests(count: int) -> list[bytes]:
    return [REQUEST % number for number in range(count)]


def test_every_request_gets_its_own_answer(server):
    address = server(lambda path, _: answer(200, b"%d" % path))
    seen: list[int] = []
    answers = send_all(address, requests(500), on_answer=lambda index, _: seen.append(index))
    assert [(found.status, found.body) for found in answers] == [(200, b"%d" % n) for n in range(500)]
    assert sorted(seen) == list(range(500))
    assert all(
        [each.status for each in found.tries] == [200] and found.sent <= found.answered for found in answers
    )


def test_busy_and_a_lost_connection_are_tried_again(server):
    retry = b"Retry-After: 0\r\n"
    first = {3: answer(503, b"busy", retry), 5: None, 6: answer(502, b"", retry), 7: answer(504, b"", retry)}
    address = server(lambda path, time: first.get(path) if time == 1 and path in first else answer(200))
    answers = send_all(address, requests(8))
    assert [found.status for found in answers] == [200] * 8
    tried = [[each.status for each in found.tries] for found in answers]
    assert tried == [[200]] * 3 + [[503, 200], [200], [0, 200], [502, 200], [504, 200]]
    assert all(each.seconds >= 0 for found in answers for each in found.tries)


def test_what_is_refused_is_an_answer(server):
    answers = send_all(server(lambda path, _: answer(410, b"gone")), requests(3))
    assert [(found.status, len(found.tries)) for found in answers] == [(410, 1)] * 3


def test_what_never_comes_is_none(server):
    answers = send_all(server(lambda path, _: answer(200) if path else None), requests(2), within_s=0.5)
    assert answers[0] is None
    assert answers[1].status == 200
    assert send_all(("127.0.0.1", free_port()), requests(2), within_s=0.5) == [None, None]


def test_requests_are_spread_over_the_time(server):
    answers = send_all(server(lambda path, _: answer(200)), requests(10), spread_s=0.5)
    assert answers[9].sent - answers[0].sent >= 0.4


def test_nothing_to_send_is_nothing():
    assert send_all(("127.0.0.1", 1), []) == []
