"""The synchronous twin of `runtime`, written by hand: daemon threads."""

import inspect
import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, TypeVar

from stateful_route.domain.errors import InvalidArgument

T = TypeVar("T")

log = logging.getLogger(__name__)

PAUSE_AFTER_FAILURE_SECONDS = 1.0
"""A step that raised is tried again; nothing that happens once ends a loop."""

STOP_SECONDS = 10.0
"""A step ends within the store's deadline; a thread that does not is left behind, and does not keep the process up."""

TERMINATIONS = (signal.SIGTERM, signal.SIGINT)

Guard = threading.RLock
"""Keeps threads apart for a few lines that wait for nothing."""


class Loop:
    """A step that is done again and again in a thread, from `start` to `stop`."""

    def __init__(self, name: str, step: Callable[[], float]) -> None:
        """``step`` says after how many seconds it wants to be done again; one that raises is logged."""
        self._name = name
        self._step = step
        self._alarm = threading.Event()
        self._guard = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """It has been started and not been stopped."""
        return self._thread is not None

    def start(self) -> None:
        """Begin, with a step at once; nothing happens if it is running."""
        with self._guard:
            if self._thread is None:
                self._alarm.set()
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def wake(self) -> None:
        """Do the next step at once; one that is under way is followed by another."""
        self._alarm.set()

    def stop(self) -> None:
        """End it after the step that is under way; nothing happens if it is not running."""
        with self._guard:
            thread, self._thread = self._thread, None
        self._alarm.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(STOP_SECONDS)

    def _run(self) -> None:
        pause = 0.0
        while True:
            self._alarm.wait(pause)
            self._alarm.clear()
            if self._thread is not threading.current_thread():
                return
            try:
                pause = self._step()
            except Exception:
                log.exception("%s failed; it goes on", self._name)
                pause = PAUSE_AFTER_FAILURE_SECONDS


class Flights:
    """Threads that want the same thing at the same time share one piece of work."""

    def __init__(self) -> None:
        self._flying: dict[Hashable, Future[Any]] = {}
        self._guard = threading.Lock()

    def share(self, key: Hashable, work: Callable[[], T]) -> T:
        """What ``work`` gives, or raises; done once, by the first thread, for all who ask with that key meanwhile."""
        with self._guard:
            flight = self._flying.get(key)
            if mine := flight is None:
                flight = self._flying[key] = Future()
        if mine:
            try:
                flight.set_result(work())
            except BaseException as error:  # noqa: BLE001  whoever waits is told, whatever it was
                flight.set_exception(error)
            finally:
                with self._guard:
                    self._flying.pop(key, None)
        result: T = flight.result()
        return result


def tell(callback: Callable[..., Any], *args: Any) -> bool:
    """Call a user's function; one that raises is logged, and stops nothing. Whether it went well."""
    try:
        told = callback(*args)
        if inspect.iscoroutine(told):
            told.close()
            raise InvalidArgument("a coroutine function needs the asynchronous driver")  # noqa: TRY301
    except Exception:
        log.exception("callback %s failed", getattr(callback, "__qualname__", callback))
        return False
    return True


def each(items: Iterable[T], work: Callable[[T], None], at_once: int) -> None:
    """Do something with each item, with at most ``at_once`` threads; ``work`` must not raise."""
    with ThreadPoolExecutor(at_once, thread_name_prefix="stateful-route") as pool:
        for done in [pool.submit(work, item) for item in items]:
            done.result()


class Notice:
    """Something that happens once, and that others wait for.

    It may be given by a signal's handler, in the middle of a wait for it: of all queues only this one allows that.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[None] = SimpleQueue()
        self._given = False

    @property
    def given(self) -> bool:
        """It has happened."""
        return self._given

    def give(self) -> None:
        """It happens."""
        self._given = True
        self._queue.put(None)

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for it, at most so long; whether it has happened."""
        try:
            self._queue.get(timeout=None if seconds is None else max(0.0, seconds))
        except Empty:
            return self._given
        self._queue.put(None)  # for the next who waits
        return True


class Crew:
    """Some threads that deal with a queue of items, each with one at a time; they can be left alone in the middle."""

    def __init__(self, items: deque[T], work: Callable[[T], None], at_once: int) -> None:
        """They begin at once; what is taken out of ``items`` meanwhile nobody deals with."""
        self._items = items
        self._work = work
        self._at_once = at_once
        self._dismissed = False
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.call_in()

    def call_in(self) -> None:
        """There are more items: let those begin who have gone home."""
        with self._lock:
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            for _ in range(min(self._at_once - len(self._threads), len(self._items))):
                thread = threading.Thread(target=self._run, name="stateful-route work", daemon=True)
                thread.start()
                self._threads.append(thread)  # once it can be joined: `done` looks at any moment

    def done(self, seconds: float) -> bool:
        """Wait at most so long; whether all have finished, and nothing is left; but for the one that asks."""
        until = time.monotonic() + seconds
        others = [thread for thread in self._threads if thread is not threading.current_thread()]
        for thread in others:
            thread.join(max(0.0, until - time.monotonic()))
        return not self._items and not any(thread.is_alive() for thread in others)

    def dismiss(self) -> None:
        """Each ends with the item that it is dealing with; nobody waits for it, and it does not keep the process up."""
        self._dismissed = True

    def _run(self) -> None:
        while not self._dismissed:
            try:
                item = self._items.popleft()
            except IndexError:
                return
            try:
                self._work(item)
            except Exception:
                log.exception("an item of the queue failed; the others go on")


@contextmanager
def terminations(first: Notice, again: Notice) -> Iterator[None]:
    """Take SIGTERM and SIGINT for notices: the first signal gives ``first``, another one ``again``.

    Raises:
        ValueError: this is not the main thread, which alone is told of signals.
    """

    def heard(_number: int, _frame: FrameType | None) -> None:
        (again if first.given else first).give()

    before = {number: signal.signal(number, heard) for number in TERMINATIONS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
