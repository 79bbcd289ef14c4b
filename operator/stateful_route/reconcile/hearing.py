"""What a store tells by itself: apps that change their word, callers that cannot reach a pod."""

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Protocol

from stateful_route.domain.record import OperatorRecord
from stateful_route.drivers.messages import PodDoubted, StatesChanged, understood
from stateful_route.drivers.push import Push
from stateful_route.store.connection import Store

RING_SECONDS = 0.5
"""The least time between two looks at the states that messages ask for: a thousand pods may start together."""


class Listener(Protocol):
    """Who is told; both return at once."""

    def hear(self, message: str) -> None:
        """A message of the channel that was asked for."""

    def missed(self) -> None:
        """Messages may have been lost: look at everything anew."""


class Hearing:
    """The channels of one store, by one connection to each node, and who listens to which.

    Where it cannot listen (a user without permission to, a connection that is lost) everything goes on by the period;
    the reason is logged once.
    """

    def __init__(self, store: Store) -> None:
        self._listeners: dict[str, list[Listener]] = {}
        self._push = Push(store, self._heard, restored=self._restored)

    async def add(self, channel: str, listener: Listener) -> None:
        """Have it hear the channel from now on; when that cannot be yet, it is told as soon as it can."""
        listening = self._listeners.setdefault(channel, [])
        if listener not in listening:
            listening.append(listener)
            await self._push.subscribe(channel)

    async def remove(self, listener: Listener) -> None:
        """It hears nothing any more."""
        for channel, listening in list(self._listeners.items()):
            if listener not in listening:
                continue
            listening.remove(listener)
            if not listening and self._listeners.get(channel) is listening:  # others leave meanwhile
                del self._listeners[channel]
                await self._push.unsubscribe(channel)

    async def close(self) -> None:
        """Close the connection."""
        self._listeners.clear()
        await self._push.close()

    def _heard(self, channel: str, message: str) -> None:
        for listener in tuple(self._listeners.get(channel, ())):
            listener.hear(message)

    def _restored(self) -> None:
        for listening in list(self._listeners.values()):
            for listener in tuple(listening):
                listener.missed()


class Ear:
    """Understands the messages about one service."""

    def __init__(
        self,
        records: Callable[[], Mapping[int, OperatorRecord]],
        look_at_hints: Callable[[], None],
        look_at_states: Callable[[], None],
        restored: Callable[[], None],
    ) -> None:
        """What the operator knows, and what is called when a message says that there is more to know.

        ``restored``: is called when the store is heard again after it was not.
        """
        self._records = records
        self._look_at_hints = look_at_hints
        self._look_at_states = look_at_states
        self._restored = restored
        self._rang_at = -math.inf
        self._ringing: asyncio.TimerHandle | None = None

    def hear(self, message: str) -> None:
        """An app has changed its word, or a caller cannot reach a pod, or it is our own echo."""
        said = understood(message)
        if isinstance(said, PodDoubted):
            self._look_at_hints()
        elif isinstance(said, StatesChanged) and tells_news(said, self._records()):
            self._ring()

    def missed(self) -> None:
        """Anything may have been told meanwhile."""
        self._restored()
        self._look_at_hints()
        self._ring()

    def close(self) -> None:
        """Call nobody any more."""
        if self._ringing is not None:
            self._ringing.cancel()

    def _ring(self) -> None:
        if self._ringing is None:
            loop = asyncio.get_running_loop()
            self._ringing = loop.call_at(max(loop.time(), self._rang_at + RING_SECONDS), self._rung)

    def _rung(self) -> None:
        self._ringing, self._rang_at = None, asyncio.get_running_loop().time()
        self._look_at_states()


def tells_news(said: StatesChanged, records: Mapping[int, OperatorRecord]) -> bool:
    """Whether a message about states says what the operator does not know: an app has changed its word.

    What operators write says what becomes of the links, too, and what they forget has no state: that is our own echo.
    """
    if not said.complete:  # it is of a later version, or the service was given up
        return True
    return any(
        change.state is not None
        and change.links is None
        and ((known := records.get(change.pod)) is None or known.written != change.state)
        for change in said.changes
    )
