"""What a replica certainly has of the writes to its primary."""

import asyncio
from typing import Protocol, Self

from redis.asyncio import Redis
from redis.exceptions import RedisError


class Moments(Protocol):
    """What numbers moments in their order, such as a history."""

    def moment(self) -> int:
        """A number that is not lower than any before."""
        ...


class Replication:
    """Asks again and again, while the block runs, whether all that was written before has reached the replicas.

    ``confirmed``: a moment of the history; what was answered before it cannot be lost by a failover. The proof is WAIT,
    behind a write of our own: replication has one order. ``replicas``: all that may be promoted.
    """

    def __init__(self, port: int, key: str, history: Moments, replicas: int = 1) -> None:
        self.confirmed = -1
        self._port = port
        self._key = key
        self._history = history
        self._replicas = replicas
        self._first = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._ask())
        async with asyncio.timeout(60):
            await self._first.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _ask(self) -> None:
        async with Redis(port=self._port, socket_timeout=2, retry=None) as client:
            while True:
                moment = self._history.moment()
                try:
                    await client.set(self._key, moment)
                    if await client.execute_command("WAIT", self._replicas, 1000) >= self._replicas:
                        self.confirmed = moment
                        self._first.set()
                except (RedisError, OSError):
                    return  # it is dead: what is confirmed is confirmed
