"""Waiting on a condition, with a deadline, never for a guess."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
"""What comes at all has come by then, on a machine with other work, too.

A test that gives it less time has a reason: something else would bring it later.
"""


async def eventually(
    look: Callable[[], Awaitable[T]], holds: Callable[[T], bool], what: str, *, seconds: float = PATIENCE_SECONDS
) -> T:
    """What ``look`` gives as soon as ``holds`` says so; fails after ``seconds``, showing the last look."""
    deadline = time.monotonic() + seconds
    while True:
        seen = await look()
        if holds(seen):
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}; the last look was {seen!r}")
        await asyncio.sleep(0.02)


async def always(look: Callable[[], Awaitable[T]], holds: Callable[[T], bool], what: str, *, seconds: float) -> None:
    """Fails as soon as ``holds`` does not, within ``seconds``: for what must not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        seen = await look()
        assert holds(seen), f"it must stay so that {what}; seen {seen!r}"
        await asyncio.sleep(0.05)


async def until(holds: Callable[[], object], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for something in this process; fails when it does not hold in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        await asyncio.sleep(0.002)
