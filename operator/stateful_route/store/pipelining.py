"""Automatic pipelining: calls that are made at the same time share a round trip.

redis-py alone takes a connection and a round trip for each call, and that is what bounds a busy caller. The synchronous
twin has nothing to share: a thread waits for each of its calls.
"""

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redis import exceptions as rx

from stateful_route.domain.errors import StatefulRouteError, StoreUnavailable
from stateful_route.store.failures import FAILURES
from stateful_route.store.marks import note_server, take_over
from stateful_route.store.scripts import Call
from stateful_route.store.sockets import is_wrong_server

CALLS_PER_TRIP = 500
"""Bounds how long the first of them waits for the last."""

TRIPS_AT_ONCE = 2
"""To one server: one is packed or read here while the server works on the other."""

CALLS_WORTH_A_TRIP = 16
"""While a trip is under way fewer wait for its end: a trip costs as much as several calls."""

REPLIES_PER_TIMEOUT = 100
"""The clock is set anew after so many: to set it for each reply costs more than to read the reply."""


@dataclass(slots=True, eq=False)
class _Waiter:
    call: Call
    answer: "asyncio.Future[Any]"
    until: float
    """By the loop's clock."""
    sent: bool = False


class Pipelining:
    """Gathers the calls to one server that are made while others are under way.

    Who finds nothing under way is sent at once, and pays nothing for the company that it might have had. A caller that
    is cancelled, or whose time is up, disturbs no other: its call is left out, or is carried out if it has been sent
    already. There is no task while nobody waits.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Call]], Awaitable[list[Any]]],
        seconds: float,
        late: Callable[[Call, bool], StatefulRouteError],
    ) -> None:
        """The calls to one server.

        Args:
            send: Takes calls in one round trip, and gives a reply or an error of ours for each; raises nothing.
            seconds: How long a caller waits at most, for the same one of all: one alarm serves them.
            late: The error of one who has waited so long, and whether its call was sent.
        """
        self._send = send
        self._seconds = seconds
        self._late = late
        self._waiting: deque[_Waiter] = deque()
        self._unanswered: deque[_Waiter] = deque()
        """In the order in which their time is up; some have been answered meanwhile."""
        self._alarm: asyncio.TimerHandle | None = None
        self._trips: set[asyncio.Future[None]] = set()

    async def run(self, call: Call) -> Any:
        """The reply to one call.

        Raises:
            StoreUnavailable, StoreRejected: this call's own error.
        """
        loop = asyncio.get_running_loop()
        if self._trips:
            waiter = _Waiter(call, loop.create_future(), loop.time() + self._seconds)
            self._waiting.append(waiter)
            self._unanswered.append(waiter)
            if self._alarm is None:
                self._alarm = loop.call_at(waiter.until, self._times_up)
            if len(self._waiting) == CALLS_WORTH_A_TRIP:
                loop.call_soon(self._depart)  # with all who come in this turn
            return await waiter.answer
        alone: asyncio.Future[None] = loop.create_future()
        self._trips.add(alone)
        try:
            async with asyncio.timeout(self._seconds):
                (reply,) = await self._send([call])
        except TimeoutError:
            raise self._late(call, True) from None
        finally:
            alone.set_result(None)
            self._arrived(alone)
        if isinstance(reply, StatefulRouteError):
            raise reply
        return reply

    async def close(self) -> None:
        """Refuse what waits to be sent, and wait for the replies to what was sent."""
        for waiter in self._waiting:
            if not waiter.answer.done():
                waiter.answer.set_exception(StoreUnavailable("the store was closed", maybe_written=False))
        self._waiting.clear()
        if self._trips:
            await asyncio.wait(self._trips)
        self._unanswered.clear()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

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

    async def _trip(self, taken: Sequence[_Waiter]) -> None:
        try:
            wanted = [waiter for waiter in taken if not waiter.answer.done()]
            if not wanted:
                return
            for waiter in wanted:
                waiter.sent = True
            for waiter, reply in zip(wanted, await self._send([waiter.call for waiter in wanted]), strict=True):
                if waiter.answer.done():
                    continue
                if isinstance(reply, StatefulRouteError):
                    waiter.answer.set_exception(reply)
                else:
                    waiter.answer.set_result(reply)
        finally:
            for waiter in taken:
                waiter.answer.cancel()  # whoever is still not answered: the loop is shutting down

    def _arrived(self, trip: "asyncio.Future[None]") -> None:
        self._trips.discard(trip)
        self._drop_answered()
        self._depart()

    def _times_up(self) -> None:
        """For those who have waited long enough; the alarm is set for whoever is next."""
        loop = asyncio.get_running_loop()
        self._drop_answered()
        while self._unanswered and self._unanswered[0].until <= loop.time():
            waiter = self._unanswered.popleft()
            waiter.answer.set_exception(self._late(waiter.call, waiter.sent))
            self._drop_answered()
        self._alarm = loop.call_at(self._unanswered[0].until, self._times_up) if self._unanswered else None

    def _drop_answered(self) -> None:
        while self._unanswered and self._unanswered[0].answer.done():
            self._unanswered.popleft()


async def exchange(pool: Any, commands: Sequence[tuple[Any, ...]], timeout_seconds: float) -> list[Any]:
    """Send commands to one server in one round trip; each reply is a value or redis-py's error.

    As redis-py's pipeline does it, at half its cost. Where the connection breaks, the replies that came before stand.
    A server that says that it is not the primary (any more) is left.
    """
    replies: list[Any] = []
    wrong = False
    try:
        connection = await pool.get_connection()
        try:
            packed = connection.pack_commands(commands)
        except BaseException:
            await pool.release(connection)
            raise
        own_timeout, connection.socket_timeout = connection.socket_timeout, None  # redis-py's takes a task to send
        try:
            async with asyncio.timeout(timeout_seconds) as patience:
                await connection.send_packed_command(packed)
                for place in range(len(commands)):
                    if place and place % REPLIES_PER_TIMEOUT == 0:
                        patience.reschedule(asyncio.get_running_loop().time() + timeout_seconds)
                    try:
                        replies.append(await connection.read_response(timeout=math.inf))
                    except rx.ResponseError as error:
                        replies.append(error)
                        wrong = wrong or is_wrong_server(error)
            if wrong:
                pool.doubt()
                await connection.disconnect(nowait=True)
        except BaseException as error:
            note_server(error, connection)
            await connection.disconnect(nowait=True)  # replies may still be on their way, which are nobody else's
            raise
        finally:
            connection.socket_timeout = own_timeout
            await pool.release(connection)
    except FAILURES as error:
        broken = error
        if not str(error):
            broken = rx.TimeoutError(f"no reply within {timeout_seconds:g} s")
            take_over(broken, error)
        return replies + [broken] * (len(commands) - len(replies))
    return replies
