"""A TCP proxy that can be told to drop connections, to refuse new ones, and to delay what passes."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any

CHUNK = 65536


class Proxy:
    """Leads from a loopback port of its own to another; runs in a thread of its own while the block lasts.

    Attributes:
        delay_s: how long each piece that passes is held back.
        refuses: whether connections are closed as they are made.
    """

    def __init__(self, port: int, *, to: int) -> None:
        self.port = port
        self.delay_s = 0.0
        self.refuses = False
        self._to = to
        self._open: set[socket.socket] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def drop(self) -> None:
        """Ends every connection that passes here now, without a goodbye."""
        self._loop.call_soon_threadsafe(self._abort)

    def heal(self) -> None:
        """Lets all pass as it comes."""
        self.delay_s, self.refuses = 0.0, False

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        with socket.create_server(("127.0.0.1", self.port)) as listener:
            listener.setblocking(False)
            # Not asyncio's own server: what it has just accepted as it is closed stays open, and nobody knows of it.
            self._loop.add_reader(listener, self._accept, listener)
            self._ready.set()
            await self._stop.wait()
            self._loop.remove_reader(listener)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _abort(self) -> None:
        for connection in self._open:
            _reset_on_close(connection)
        for task in self._tasks:
            task.cancel()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError):
            connection = listener.accept()[0]
            if self.refuses:
                _reset_on_close(connection)
                connection.close()
                return
            connection.setblocking(False)
            self._open.add(connection)
            task = self._loop.create_task(self._forward(connection))
            self._tasks.add(task)
            task.add_done_callback(lambda task: self._end(task, connection))

    def _end(self, task: asyncio.Task[None], connection: socket.socket) -> None:
        # Here and not in the task: one that is cancelled before it begins ends nothing.
        self._tasks.discard(task)
        self._open.discard(connection)
        connection.close()

    async def _forward(self, connection: socket.socket) -> None:
        with suppress(OSError):
            async with _stream(sock=connection) as client, _stream(host="127.0.0.1", port=self._to) as server:
                await asyncio.gather(self._copy(client[0], server[1]), self._copy(server[0], client[1]))

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(CHUNK):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                target.write(data)
                await target.drain()
            if target.can_write_eof():
                target.write_eof()


@asynccontextmanager
async def _stream(**to: Any) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """An open connection, which ends in order with the block, and at once where the block fails."""
    reader, writer = await asyncio.open_connection(**to)
    try:
        yield reader, writer
        writer.close()
        await writer.wait_closed()
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


def _reset_on_close(connection: socket.socket) -> None:
    # Without lingering the other side reads a reset, and not an orderly end.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
