"""All that is asynchronous besides ``await``: waiting, deadlines, locks, doing things together, cancellation.

The rest of the data plane can be read word by word as synchronous code.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")

CANCELLED_AGAIN_SECONDS = 0.01

NEXT_ADDRESS_SECONDS = 0.25
"""So long after one address of a name the next one is tried, too; the first that answers is taken (RFC 8305)."""

Lock = asyncio.Lock


async def sleep(seconds: float) -> None:
    """Wait so long; others go on meanwhile."""
    await asyncio.sleep(seconds)


def deadline(seconds: float) -> asyncio.Timeout:
    """End the body of an ``async with`` after so many seconds: `TimeoutError` is raised there."""
    return asyncio.timeout(seconds)


async def together(work: Iterable[Awaitable[T]]) -> list[T]:
    """Do things at the same time, none of which may raise; their results in the order given."""
    return await asyncio.gather(*work)


async def hear(jobs: Sequence[Callable[[], Awaitable[T]]], patience: Callable[[Sequence[T]], float]) -> list[T]:
    """Do things at the same time, until enough is known; what is still under way then is given up.

    Args:
        jobs: What to do. What one raises is raised here.
        patience: Says, given the results so far, for how many more seconds others are waited for; asked anew with each.

    Returns:
        The results in the order in which they came.
    """
    heard: list[T] = []
    pending = {asyncio.ensure_future(job()) for job in jobs}
    try:
        while pending and (seconds := patience(heard)) > 0:
            done, pending = await asyncio.wait(
                pending, timeout=None if math.isinf(seconds) else seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            heard += [task.result() for task in done]
    finally:
        while pending:  # again, where redis-py's `asyncio.wait_for` has swallowed it (Python 3.11)
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=CANCELLED_AGAIN_SECONDS)
    return heard


class Aside:
    """Does something in the background, one at a time; nobody waits for it."""

    def __init__(self, name: str) -> None:
        self._name = f"stateful-route {name}"
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Something is being done."""
        return self._task is not None and not self._task.done()

    def start(self, job: Callable[[], Awaitable[None]]) -> None:
        """Begin, unless it is being done already; the job may not raise."""
        if not self.busy:
            self._task = asyncio.ensure_future(job())
            self._task.set_name(self._name)

    async def wait(self, seconds: float) -> None:
        """Wait, at most so long, until it is done."""
        if (task := self._task) is not None and not task.done():
            await asyncio.wait([task], timeout=seconds)

    async def stop(self) -> None:
        """Give it up, if it is being done."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])


@cache
def heeding_deadline(base: Any) -> Any:
    """The class of redis-py's connections that waits no longer than the `deadline` around it, for no address alone."""
    return type(f"Punctual{base.__name__}", (_Punctual, base), {})


class _Punctual:
    """A task is cancelled at its deadline, wherever it waits; what is left is a name with addresses that are gone."""

    def _connection_arguments(self) -> Any:
        arguments = super()._connection_arguments()  # type: ignore[misc]
        return {**arguments, "happy_eyeballs_delay": NEXT_ADDRESS_SECONDS}


@contextmanager
def heeding_cancellation() -> Iterator[None]:
    """End the task if it was cancelled meanwhile, although the calls within have gone through.

    `asyncio.wait_for`, by which redis-py sends, swallows a cancellation in Python 3.11 when the call that it wraps ends
    in the same turn of the loop; with long pipelines that is every other time, and a cancelled migration went on.
    """
    task = asyncio.current_task()
    asked = task.cancelling() if task else 0
    yield
    if task is not None and task.cancelling() > asked:
        raise asyncio.CancelledError
