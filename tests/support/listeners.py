"""Pods as the network sees them: TCP servers on loopback, each at an address of its own and all on one port."""

import asyncio
import socket
from contextlib import closing
from typing import Self

HTTP_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
HTTP_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Listeners:
    """Servers that can be closed and opened one by one; ``answers`` is what each says to a request.

    Attributes:
        port: The port of all of them.
        asked: How many connections each has had.
    """

    def __init__(self, count: int) -> None:
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._count = count
        self._servers: dict[int, asyncio.Server] = {}
        self.answers: dict[int, bytes] = {}
        self.asked = dict.fromkeys(range(count), 0)

    @staticmethod
    def address(ordinal: int) -> str:
        """The IP address of the pod with this index."""
        return f"127.0.7.{ordinal + 1}"

    async def open(self, *ordinals: int) -> None:
        """They answer (again)."""
        for ordinal in ordinals:
            self._servers[ordinal] = await asyncio.start_server(
                lambda reader, writer, pod=ordinal: self._serve(pod, reader, writer),  # type: ignore[misc]
                self.address(ordinal),
                self.port,
            )

    async def close(self, *ordinals: int) -> None:
        """Whoever connects to one of them is refused."""
        for ordinal in ordinals:
            server = self._servers.pop(ordinal)
            server.close()
            await server.wait_closed()

    async def __aenter__(self) -> Self:
        await self.open(*range(self._count))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close(*self._servers)

    async def _serve(self, ordinal: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked[ordinal] += 1
        try:
            if await reader.read(1024):
                writer.write(self.answers.get(ordinal, HTTP_OK))
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()
