"""A TCP proxy before a store, which tests tell to break connections at a chosen moment."""

import asyncio
import contextlib
from typing import Self


class TcpProxy:
    """Passes everything on; so many more answers to EVALSHA as ``cut_replies`` says are cut off, with the connection.

    The server has carried out what was asked by then.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.cut_replies = 0
        self.evalshas = 0
        """How many chunks with an EVALSHA were passed on."""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        answers, server = await asyncio.open_connection("127.0.0.1", self._target)
        cutting = asyncio.Event()
        asking = asyncio.create_task(self._ask(reader, server, cutting))
        try:
            while answer := await answers.read(2**16):
                if cutting.is_set():
                    break
                writer.write(answer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            asking.cancel()
            for side in (writer, server):
                side.close()
                with contextlib.suppress(ConnectionError):
                    await side.wait_closed()
            self._connections.discard(task)

    async def _ask(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, cutting: asyncio.Event) -> None:
        while request := await reader.read(2**16):
            if b"EVALSHA" in request:
                self.evalshas += 1
                if self.cut_replies:
                    self.cut_replies -= 1
                    cutting.set()
            server.write(request)
        server.close()
