"""One connection that listens to channels: who reads it is always there, whatever is asked meanwhile."""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Any

from redis import exceptions as rx

from stateful_route.drivers.runtime import awaited

log = logging.getLogger(__name__)

MESSAGES = {b"message", b"smessage"}
LEAVING = {b"unsubscribe", b"sunsubscribe"}

CLOSED_MEANWHILE = (ValueError, TypeError, AttributeError)
"""What redis-py raises where who reads closes the connection under the hands of who sends, or the other
way round: one of them finds a closed socket, or None. No connection is left then."""


class Line:
    """A connection and the task that reads it; opened once, and over when it breaks."""

    def __init__(
        self,
        connection: Any,
        timeout_seconds: float,
        heard: Callable[[str, str], None],
        ended: Callable[["Line"], None],
    ) -> None:
        """A line that is not open yet.

        Args:
            connection: One of redis-py's, for this line alone.
            timeout_seconds: How long an answer may take.
            heard: Is called with channel and message.
            ended: Is called once when the line is over, for whatever reason.
        """
        connection.health_check_interval = 0  # it would read an answer, and so does our task
        self._connection = connection
        self._timeout = timeout_seconds
        self._heard = heard
        self._ended = ended
        self._asked: deque[asyncio.Future[Any]] = deque()
        self._left: set[bytes] = set()
        """Channels that are being left, by our own wish."""
        self._reader: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        """It can be used."""
        return self._reader is not None and not self._reader.done()

    async def connect(self) -> None:
        """Open it; raises redis-py's errors."""
        await self._connection.connect()
        self._reader = asyncio.create_task(self._read(), name="stateful-route push")

    async def join(self, channel: str, *, sharded: bool) -> None:
        """Listen to a channel, too; raises redis-py's errors."""
        await self._ask("SSUBSCRIBE" if sharded else "SUBSCRIBE", channel)

    async def leave(self, channel: str, *, sharded: bool) -> None:
        """Listen to a channel no more; raises redis-py's errors."""
        self._left.add(channel.encode())
        try:
            await self._ask("SUNSUBSCRIBE" if sharded else "UNSUBSCRIBE", channel)
        finally:
            self._left.discard(channel.encode())

    async def ping(self) -> None:
        """See that the server answers; raises redis-py's errors."""
        await self._ask("PING")

    async def close(self) -> None:
        """End it."""
        reader = self._reader
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader])

    async def _ask(self, *words: str) -> None:
        if not self.open:
            raise rx.ConnectionError("the line is closed")
        answer = awaited()
        self._asked.append(answer)
        try:
            async with asyncio.timeout(self._timeout):
                await self._send(*words)
                await answer
        except TimeoutError:
            raise rx.TimeoutError(f"no answer to {words[0]} within {self._timeout:g} s") from None

    async def _send(self, *words: str) -> None:
        try:
            await self._connection.send_command(*words)
        except CLOSED_MEANWHILE as error:
            raise rx.ConnectionError("the line was closed") from error

    async def _read(self) -> None:
        why: Exception = rx.ConnectionError("the line was closed")
        try:
            while True:
                try:
                    self._take(await self._connection.read_response(timeout=math.inf))
                except rx.ResponseError as refusal:
                    self._answer(refusal)
        except (rx.RedisError, OSError) as broken:
            why = broken
        except CLOSED_MEANWHILE as closed:
            why.__cause__ = closed
        finally:
            while self._asked:
                self._answer(why)
            await self._connection.disconnect(nowait=True)
            self._ended(self)

    def _take(self, reply: Any) -> None:
        kind, *rest = reply if isinstance(reply, list) else (reply,)
        if kind in MESSAGES:
            try:
                self._heard(rest[0].decode(), rest[1].decode(errors="replace"))
            except Exception:
                log.exception("a message could not be dealt with")
        elif kind in LEAVING and rest[0] not in self._left:  # the slot has moved to another node
            raise rx.ConnectionError("the server has ended a subscription")
        else:
            self._answer(reply)

    def _answer(self, reply: Any) -> None:
        if not self._asked:
            return
        answer = self._asked.popleft()
        if answer.done():  # who asked has given up
            return
        if isinstance(reply, Exception):
            answer.set_exception(reply)
        else:
            answer.set_result(reply)
