"""All that is asynchronous besides ``await``: waiting, deadlines, locks, doing things together, cancellation.

The rest of the data plane can be read word by word as synchronous code.
"""

import asyncio
from collections.abc import Awaitable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

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
