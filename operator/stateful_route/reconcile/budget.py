"""How much is done on one store at a time, for all services that share it, and who comes first."""

import asyncio
from collections import Counter, deque
from types import TracebackType
from typing import Self

from stateful_route.domain.urgency import Urgency, next_in_turn

TURN_SECONDS = 1.0
"""So long a turn counts at most. Work that takes longer waits for a store that does not answer, or concerns very many
links: it goes on, and the work of others begins beside it."""


class Budget:
    """Turns on one store: the more urgent work first, work of one kind in the order in which it was asked for.

    Work that waits for its turn has sent nothing: that many services share a store is no failure of the store.
    """

    def __init__(self, turn_seconds: float = TURN_SECONDS) -> None:
        self._turn_seconds = turn_seconds
        self._waiting: dict[Urgency, deque[Turn]] = {kind: deque() for kind in Urgency}
        self._running = Counter[Urgency]()

    def turn(self, kind: Urgency) -> "Turn":
        """A turn for one piece of work: ``async with budget.turn(kind): …``."""
        return Turn(self, kind)

    def enqueue(self, turn: "Turn") -> None:
        """The turn waits from now on; it may begin at once."""
        self._waiting[turn.kind].append(turn)
        self._admit()

    def withdraw(self, turn: "Turn") -> None:
        """The turn does not wait any more."""
        self._waiting[turn.kind].remove(turn)
        self._admit()  # others may have yielded to it

    def release(self, kind: Urgency) -> None:
        """A turn has ended, or does not count any more."""
        self._running[kind] -= 1
        self._admit()

    def _admit(self) -> None:
        waiting = {kind: len(queue) for kind, queue in self._waiting.items()}
        while (kind := next_in_turn(waiting, self._running)) is not None:
            waiting[kind] -= 1
            self._running[kind] += 1
            self._waiting[kind].popleft().admit(self._turn_seconds)


class Turn:
    """One piece of work: it waits until it is admitted, counts for a while, and ends.

    Attributes:
        kind: How urgent it is.
    """

    def __init__(self, budget: Budget, kind: Urgency) -> None:
        self._budget = budget
        self.kind = kind
        self._queued = False
        self._admitted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._counted: asyncio.TimerHandle | None = None
        """Ends the time in which it counts; None: it does not count."""

    def hurry(self) -> None:
        """Something has happened that the work is about: if it still waits, it goes before routine."""
        if self._queued and self.kind is not Urgency.EVENT:
            self._budget.withdraw(self)
            self.kind = Urgency.EVENT
            self._budget.enqueue(self)

    def admit(self, seconds: float) -> None:
        """The work may begin; it counts for so long at most."""
        self._queued = False
        self._counted = asyncio.get_running_loop().call_later(seconds, self._end)
        if not self._admitted.done():  # else the caller was cancelled just now, and is about to end it
            self._admitted.set_result(None)

    async def __aenter__(self) -> Self:
        self._queued = True
        self._budget.enqueue(self)
        try:
            await self._admitted
        except BaseException:
            if self._queued:
                self._queued = False
                self._budget.withdraw(self)
            self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        if self._counted is not None:
            self._counted.cancel()
            self._counted = None
            self._budget.release(self.kind)
