"""A TCP proxy between our processes and a store, which can cut, delay, swallow and black-hole."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

CHUNK = 65536


class Proxy:
    """Forwards 127.0.0.1:`port` to the target. Runs its own loop in a thread; every method may be called from any."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.delay_s = 0.0
        self.black_hole = False
        self.refusing = False
        self.swallow_replies = 0
        self.swallowed = 0
        self.connections: set[asyncio.StreamWriter] = set()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def start(self) -> None:
        self.thread.start()
        self.server = self._run(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port: int = self.server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """End; who is connected should be gone by then."""
        self._run(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def heal(self) -> None:
        """Forward everything again. What hung in a black hole is cut, as a network that comes back would."""
        was_hole = self.black_hole
        self.delay_s, self.black_hole, self.refusing, self.swallow_replies = 0.0, False, False, 0
        if was_hole:
            self.cut()

    def cut(self) -> None:
        """Break every connection that there is; new ones are accepted."""
        self._run(self._cut())

    def refuse(self) -> None:
        """Break every connection, and every new one at once."""
        self.refusing = True
        self.cut()

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    async def _cut(self) -> None:
        for writer in list(self.connections):
            writer.transport.abort()

    async def _end(self) -> None:
        """Close everything and let the tasks end by themselves: Python 3.11 complains of those that are cancelled."""
        self.refusing, self.black_hole, self.delay_s = True, False, 0.0
        self.server.close()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await self._cut()
            await asyncio.wait(others, timeout=0.05)
        # A connection that was closed is let go of in one of the next turns of the loop.
        for _ in range(10):
            await asyncio.sleep(0)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        try:
            if not self.refusing:
                await self._connect(reader, writer)
        except OSError:
            pass  # the target is down: the caller sees a connection that ends
        finally:
            self.connections.discard(writer)
            writer.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        self.connections.add(target_writer)
        there = asyncio.ensure_future(self._copy(reader, target_writer, self._never))
        back = asyncio.ensure_future(self._copy(target_reader, writer, self._swallow))
        await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
        for task in (there, back):
            task.cancel()
        await asyncio.gather(there, back, return_exceptions=True)
        self.connections.discard(target_writer)
        target_writer.close()

    async def _copy(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, dropped: Callable[[], Awaitable[bool]]
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(CHUNK):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                while self.black_hole:
                    await asyncio.sleep(0.05)
                if await dropped():
                    return
                sink.write(data)
                await sink.drain()

    async def _never(self) -> bool:
        return False

    async def _swallow(self) -> bool:
        """Whether this reply is one to be lost, with its connection."""
        if self.swallow_replies <= 0:
            return False
        self.swallow_replies -= 1
        self.swallowed += 1
        return True
