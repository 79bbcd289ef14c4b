"""What goes on in the background, and what several callers share: all that is asynchronous besides ``await``.

The rest of the drivers can be read word by word as synchronous code.
"""

import asyncio
import inspect
import logging
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)

PAUSE_AFTER_FAILURE_SECONDS = 1.0
"""A step that raised is tried again; nothing that happens once ends a loop."""

TERMINATIONS = (signal.SIGTERM, signal.SIGINT)

Guard = nullcontext[None]
"""Keeps threads apart for a few lines that wait for nothing; tasks need no such thing."""


class Loop:
    """A step that is done again and again in the background, from `start` to `stop`."""

    def __init__(self, name: str, step: Callable[[], Awaitable[float]]) -> None:
        """``step`` says after how many seconds it wants to be done again; one that raises is logged."""
        self._name = name
        self._step = step
        self._alarm = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """It has been started and not been stopped."""
        return self._task is not None

    def start(self) -> None:
        """Begin, with a step at once; nothing happens if it is running."""
        if self._task is None:
            self._alarm.set()
            self._task = asyncio.create_task(self._run(), name=self._name)

    def wake(self) -> None:
        """Do the next step at once; one that is under way is followed by another."""
        self._alarm.set()

    async def stop(self) -> None:
        """End it, wherever it is; nothing happens if it is not running."""
        task, self._task = self._task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        pause = 0.0
        while self._task is asyncio.current_task():  # a step may stop its own loop
            await self._rest(pause)
            try:
                pause = await self._step()
            except Exception:
                log.exception("%s failed; it goes on", self._name)
                pause = PAUSE_AFTER_FAILURE_SECONDS

    async def _rest(self, seconds: float) -> None:
        timer = asyncio.get_running_loop().call_later(seconds, self._alarm.set)
        try:
            await self._alarm.wait()
        finally:
            timer.cancel()
        self._alarm.clear()


class Flights:
    """Callers who want the same thing at the same time share one piece of work."""

    def __init__(self) -> None:
        self._flying: dict[Hashable, asyncio.Future[Any] | None] = {}
        """What others wait for; None while nobody but the first does."""

    async def share(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """What ``work`` gives, or raises; done once, by the first caller, for all who ask with that key meanwhile.

        A caller who is cancelled disturbs no other: if it was the first, another one begins anew.
        """
        while key in self._flying:
            others = self._flying[key]
            if others is None:
                others = self._flying[key] = awaited()
            await asyncio.wait([others])
            if not others.cancelled():
                shared: T = others.result()
                return shared
        self._flying[key] = None
        try:
            result = await work()
        except BaseException as error:
            if (others := self._flying.pop(key)) is None:
                pass
            elif isinstance(error, Exception):
                others.set_exception(error)
            else:
                others.cancel()
            raise
        if (others := self._flying.pop(key)) is not None:
            others.set_result(result)
        return result


def awaited() -> "asyncio.Future[Any]":
    """A future whose error is nobody's loss: who has waited for it may have given up, and asyncio says nothing then."""
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    answer.add_done_callback(lambda done: done.cancelled() or done.exception())
    return answer


async def tell(callback: Callable[..., Any], *args: Any) -> bool:
    """Call a user's function, which may be a coroutine function; one that raises is logged, and stops nothing.

    Whether it went well.
    """
    try:
        told = callback(*args)
        if inspect.isawaitable(told):
            await told
    except Exception:
        log.exception("callback %s failed", getattr(callback, "__qualname__", callback))
        return False
    return True


async def each(items: Iterable[T], work: Callable[[T], Awaitable[None]], at_once: int) -> None:
    """Do something with each item, with at most ``at_once`` of them at the same time; ``work`` must not raise."""
    rest = iter(items)

    async def some() -> None:
        for item in rest:
            await work(item)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(some())


class Notice:
    """Something that happens once, and that others wait for."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def given(self) -> bool:
        """It has happened."""
        return self._event.is_set()

    def give(self) -> None:
        """It happens."""
        self._event.set()

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait for it, at most so long; whether it has happened."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        return True


class Crew:
    """Some workers that deal with a queue of items, each with one at a time; they can be sent home in the middle."""

    def __init__(self, items: deque[T], work: Callable[[T], Awaitable[None]], at_once: int) -> None:
        """They begin at once; what is taken out of ``items`` meanwhile nobody deals with."""
        self._items, self._work, self._at_once = items, work, at_once
        self._tasks: list[asyncio.Task[None]] = []
        self.call_in()

    def call_in(self) -> None:
        """There are more items: let those begin who have gone home."""
        self._tasks = [task for task in self._tasks if not task.done()]
        missing = min(self._at_once - len(self._tasks), len(self._items))
        self._tasks += [asyncio.create_task(_worked_off(self._items, self._work)) for _ in range(missing)]

    async def done(self, seconds: float) -> bool:
        """Wait at most so long; whether all have finished, and nothing is left; but for the one that asks."""
        if others := self._others():
            await asyncio.wait(others, timeout=max(0.0, seconds))
        return not self._items and all(task.done() for task in others)

    async def dismiss(self) -> None:
        """End, wherever they are; what they were doing is cancelled, but for the one that asks."""
        others = self._others()
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others)

    def _others(self) -> list[asyncio.Task[None]]:
        return [task for task in self._tasks if task is not asyncio.current_task()]


@contextmanager
def terminations(first: Notice, again: Notice) -> Iterator[None]:
    """Take SIGTERM and SIGINT for notices: the first signal gives ``first``, another one ``again``.

    Raises:
        RuntimeError: the loop does not run in the main thread, which alone is told of signals.
    """
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in TERMINATIONS}

    def heard() -> None:
        (again if first.given else first).give()

    for number in TERMINATIONS:
        loop.add_signal_handler(number, heard)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


async def _worked_off(items: deque[T], work: Callable[[T], Awaitable[None]]) -> None:
    while items:
        try:
            await work(items.popleft())
        except Exception:
            log.exception("an item of the queue failed; the others go on")
        await asyncio.sleep(0)  # work that waits for nothing must not hold up everything else
