"""Automatic pipelining: calls that are made at the same time share a round trip.

redis-py alone takes a connection and a round trip for each call, and that is what bounds a busy caller. The synchronous
twin has nothing to share: a thread waits for each of its calls.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from redis import exceptions as rx

from stateful_route.domain.errors import StatefulRouteError, StoreUnavailable
from stateful_route.store.failures import FAILURES
from stateful_route.store.scripts import Call

CALLS_PER_TRIP = 500
"""Bounds how long the first of them waits for the last."""

TRIPS_AT_ONCE = 2
"""To one server: one is packed or read here while the server works on the other."""

CALLS_WORTH_A_TRIP = 16
"""While a trip is under way fewer wait for its end: a trip costs as much as several calls."""

REPLIES_PER_TIMEOUT = 100
"""The clock is set anew after so many: to set it for each reply costs more than to read the reply."""


class Pipelining:
    """Gathers the calls to one server that are made while others are under way.

    Who finds nothing under way is sent at once, and pays nothing for the company that it might have had. A caller that
    is cancelled disturbs no other: its call is left out, or is carried out if it has been sent already. There is no
    task while nobody waits.
    """

    def __init__(self, send: Callable[[Sequence[Call]], Awaitable[list[Any]]]) -> None:
        """``send`` takes calls in one round trip, and gives a reply or an error of ours for each; raises nothing."""
        self._send = send
        self._waiting: deque[tuple[Call, asyncio.Future[Any]]] = deque()
        self._trips: set[asyncio.Future[None]] = set()

    async def run(self, call: Call) -> Any:
        """The reply to one call.

        Raises:
            StoreUnavailable, StoreRejected: this call's own error.
        """
        loop = asyncio.get_running_loop()
        if self._trips:
            answer: asyncio.Future[Any] = loop.create_future()
            self._waiting.append((call, answer))
            if len(self._waiting) == CALLS_WORTH_A_TRIP:
                loop.call_soon(self._depart)  # with all who come in this turn
            return await answer
        alone: asyncio.Future[None] = loop.create_future()
        self._trips.add(alone)
        try:
            (reply,) = await self._send([call])
        finally:
            alone.set_result(None)
            self._arrived(alone)
        if isinstance(reply, StatefulRouteError):
            raise reply
        return reply

    async def close(self) -> None:
        """Refuse what waits to be sent, and wait for the replies to what was sent."""
        for _, answer in self._waiting:
            if not answer.done():
                answer.set_exception(StoreUnavailable("the store was closed", maybe_written=False))
        self._waiting.clear()
        if self._trips:
            await asyncio.wait(self._trips)

    def _depart(self) -> None:
        """Begin trips, if they are worth it and may; each takes a fair part, so that server and client work at once."""
        while self._waiting and (not self._trips or len(self._waiting) >= CALLS_WORTH_A_TRIP):
            room = TRIPS_AT_ONCE - len(self._trips)
            if room <= 0:
                return
            part = max(CALLS_WORTH_A_TRIP, math.ceil(len(self._waiting) / room))
            taken = [self._waiting.popleft() for _ in range(min(part, len(self._waiting), CALLS_PER_TRIP))]
            trip = asyncio.create_task(self._trip(taken))
            self._trips.add(trip)
            trip.add_done_callback(self._arrived)

    async def _trip(self, taken: Sequence[tuple[Call, "asyncio.Future[Any]"]]) -> None:
        try:
            wanted = [(call, answer) for call, answer in taken if not answer.done()]
            if wanted:
                for (_, answer), reply in zip(wanted, await self._send([call for call, _ in wanted]), strict=True):
                    if answer.done():
                        continue
                    if isinstance(reply, StatefulRouteError):
                        answer.set_exception(reply)
                    else:
                        answer.set_result(reply)
        finally:
            for _, answer in taken:
                answer.cancel()  # whoever is still not answered: the loop is shutting down

    def _arrived(self, trip: "asyncio.Future[None]") -> None:
        self._trips.discard(trip)
        self._depart()


async def exchange(pool: Any, commands: Sequence[tuple[Any, ...]], timeout_seconds: float) -> list[Any]:
    """Send commands to one server in one round trip; each reply is a value or redis-py's error.

    As redis-py's pipeline does it, at half its cost. Where the connection breaks, the replies that came before stand.
    """
    replies: list[Any] = []
    try:
        connection = await pool.get_connection()
        own_timeout, connection.socket_timeout = connection.socket_timeout, None  # redis-py's takes a task to send
        try:
            async with asyncio.timeout(timeout_seconds) as patience:
                await connection.send_packed_command(connection.pack_commands(commands))
                for place in range(len(commands)):
                    if place and place % REPLIES_PER_TIMEOUT == 0:
                        patience.reschedule(asyncio.get_running_loop().time() + timeout_seconds)
                    try:
                        replies.append(await connection.read_response(timeout=math.inf))
                    except rx.ResponseError as error:
                        replies.append(error)
        except BaseException:
            await connection.disconnect(nowait=True)  # replies may still be on their way, which are nobody else's
            raise
        finally:
            connection.socket_timeout = own_timeout
            await pool.release(connection)
    except FAILURES as error:
        broken = error if str(error) else rx.TimeoutError(f"no reply within {timeout_seconds:g} s")
        return replies + [broken] * (len(commands) - len(replies))
    return replies
