"""A TCP proxy before a store, which cuts connections in the middle of a reply, holds data back, or refuses."""

import asyncio
import random
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

CHUNK = 65536
LOOPBACK = ("127.0.0.1", 0)
Pair = set[asyncio.StreamWriter]


class TcpProxy:
    """Listens on ``port`` of loopback and passes everything on to another one, both ways.

    Attributes:
        cut_share: The part of all replies that are cut somewhere in the middle, with their connection.
        cuts: How many were.
        cut_replies: So many more replies to EVALSHA are cut off whole; the server has carried out what was asked.
        evalshas: How many chunks with an EVALSHA were passed on.
        keeps: Requests with these bytes in them wait for `released`, and what comes behind them on their connection.
        kept: How many of them have come.
        flowing: Cleared, nothing passes any more, and nothing is lost: it waits.
        refusing: New connections are closed at once.
        alter: What becomes of each piece of the replies.
    """

    def __init__(
        self, target_port: int, seed: int = 0, tls: ssl.SSLContext | None = None, listen: tuple[str, int] = LOOPBACK
    ) -> None:
        """``tls``: spoken with those who connect; the server behind is spoken to without. ``listen``: port 0: any."""
        self._target_port = target_port
        self._listen = listen
        self._tls = tls
        self._choose = random.Random(seed)
        self._writers: set[asyncio.StreamWriter] = set()
        self._lost: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.cut_share = 0.0
        self.cuts = 0
        self.cut_replies = 0
        self.evalshas = 0
        self.keeps = b""
        self.kept = 0
        self.released = asyncio.Event()
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.refusing = False
        self.alter: Callable[[bytes], bytes] = bytes

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, *self._listen, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def lose_all(self) -> None:
        """Forget all connections without telling anybody, as a firewall does: what comes goes nowhere."""
        self._lost |= self._writers

    def lead_to(self, target_port: int) -> None:
        """Pass new connections on to another server from now on; those that are open stay where they are."""
        self._target_port = target_port

    def turn_to(self, target_port: int) -> None:
        """Pass on to another server from now on; all connections are cut."""
        self.lead_to(target_port)
        self.cut_all()

    def cut_all(self) -> None:
        """Cut all connections now."""
        for writer in self._writers:
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        if self.refusing:  # it was cut meanwhile
            writer.transport.abort()
            back.transport.abort()
            return
        pair = {writer, back}
        self._writers |= pair
        doomed = asyncio.Event()
        for work in (self._ask(reader, back, pair, doomed), self._answer(there, writer, pair, doomed)):
            task = asyncio.create_task(work)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(
        self, source: asyncio.StreamReader, goal: asyncio.StreamWriter, pair: Pair, doomed: asyncio.Event
    ) -> None:
        with self._closing(pair):
            while data := await source.read(CHUNK):
                await self.flowing.wait()
                if self.keeps and self.keeps in data:
                    self.kept += 1
                    await self.released.wait()
                if goal in self._lost:
                    continue
                if b"EVALSHA" in data:
                    self.evalshas += 1
                    if self.cut_replies:
                        self.cut_replies -= 1
                        doomed.set()
                goal.write(data)
                await goal.drain()

    async def _answer(
        self, source: asyncio.StreamReader, goal: asyncio.StreamWriter, pair: Pair, doomed: asyncio.Event
    ) -> None:
        with self._closing(pair):
            while data := await source.read(CHUNK):
                await self.flowing.wait()
                if doomed.is_set():
                    break
                data = self.alter(data)
                cut = self._choose.random() < self.cut_share
                goal.write(data[: self._choose.randrange(len(data))] if cut else data)
                await goal.drain()
                if cut:
                    self.cuts += 1
                    break

    @contextmanager
    def _closing(self, pair: Pair) -> Iterator[None]:
        try:
            yield
        except OSError:
            pass
        finally:
            for writer in pair:
                writer.close()
            self._writers -= pair
