"""A TCP proxy that can be slow, cut its connections, or let them hang half open."""

import asyncio
import threading
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from devstack import ports

_CHUNK_BYTES: Final = 65_536
_START_S: Final = 10.0


class Proxy:
    """Forwards a port of its own to a port on this machine, in a thread of its own.

    Attributes:
        port: where clients connect.
        latency_s: how long each piece of data is held back, in either direction.
        is_half_open: connections stay open, and nothing that is sent arrives.
    """

    def __init__(self, target_port: int) -> None:
        [self.port] = ports.choose(1, avoid={target_port})
        self.latency_s = 0.0
        self.is_half_open = False
        self._target_port = target_port
        self._open: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._listens = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"proxy-{self.port}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._listens.wait(_START_S):
            raise OSError(f"the proxy does not listen on port {self.port}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def cut(self) -> None:
        """Reset every connection, in the middle of whatever it carries."""
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(_START_S)

    def heal(self) -> None:
        """Forward as if nothing had been. Connections that lost data in the meantime are reset."""
        self.latency_s = 0.0
        if self.is_half_open:
            self.is_half_open = False
            self.cut()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, ports.HOST, self.port))
        self._listens.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(self._cut())
        pending = asyncio.all_tasks(self._loop)
        for task in pending:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
        self._loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection(ports.HOST, self._target_port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, target_writer}
        try:
            await asyncio.gather(self._pump(reader, target_writer), self._pump(target_reader, writer))
        finally:
            for each in (writer, target_writer):
                self._open.discard(each)
                each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                if not self.is_half_open:
                    writer.write(data)
                    await writer.drain()
        # The other direction would wait for ever on a peer that has gone.
        writer.transport.abort()

    async def _cut(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()
