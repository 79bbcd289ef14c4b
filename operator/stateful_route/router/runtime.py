"""Work that overlaps, and work that must end in time: all that is asynchronous in the router besides ``await``.

The rest of the router can be read word by word as synchronous code.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Trips:
    """Round trips, a few of them at the same time; what was begun is seen through, however it ends.

    Leaving the ``async with`` waits for all. One that raises ends it: what it raised is raised at the next `start`, or
    on leaving.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._running: deque[asyncio.Task[None]] = deque()

    async def start(self, work: Callable[[], Awaitable[None]]) -> None:
        """Begin one more; waits for the oldest while as many as may be are under way."""
        self._running.append(asyncio.ensure_future(_awaited(work)))
        if len(self._running) >= self._at_once:
            await self._oldest()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while self._running and kind is None:
                await self._oldest()
        finally:
            await _see_through(self._running)

    async def _oldest(self) -> None:
        await asyncio.shield(self._running[0])
        self._running.popleft()


async def within(seconds: float, work: Callable[[], Awaitable[T]]) -> T:
    """What ``work`` gives, or raises.

    Raises:
        TimeoutError: it has not ended after so many seconds; it was cancelled, and is not waited for.
    """
    task = asyncio.ensure_future(_awaited(work))
    try:
        await asyncio.wait([task], timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(_heard)
    if not task.done() or task.cancelled():
        raise TimeoutError
    return task.result()


async def attempted(seconds: float, work: Callable[[], Awaitable[T]]) -> T | Exception:
    """What ``work`` gives, or the error that it raises, or `TimeoutError` when it has not ended in time."""
    try:
        return await within(seconds, work)
    except Exception as error:  # noqa: BLE001  whoever asks looks at it
        return error


async def _see_through(running: Collection[asyncio.Task[None]]) -> None:
    """Wait for what was sent, however often this task is cancelled meanwhile: the store's deadline bounds it."""
    cancelled: asyncio.CancelledError | None = None
    while pending := [task for task in running if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as again:
            cancelled = again
    await asyncio.gather(*running, return_exceptions=True)
    if cancelled is not None:
        raise cancelled


async def _awaited(work: Callable[[], Awaitable[T]]) -> T:
    return await work()


def _heard(task: asyncio.Task[Any]) -> None:
    """Nobody waits for it any more: what it raises is of no interest."""
    if not task.cancelled():
        task.exception()
