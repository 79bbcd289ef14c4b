"""The synchronous twin of `runtime`, written by hand: threads, and deadlines that each wait for a server looks at."""

import math
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")

_ends = threading.local()


class Lock:
    """Lets one thread at a time into the body of a ``with``; who waits for it heeds the `deadline` around the wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        seconds = remaining(math.inf)
        if not self._lock.acquire(timeout=-1 if math.isinf(seconds) else seconds):
            raise TimeoutError("the deadline has passed")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def sleep(seconds: float) -> None:
    """Wait so long.

    Raises:
        TimeoutError: the `deadline` around it would pass meanwhile.
    """
    end = getattr(_ends, "nearest", None)
    if end is not None and time.monotonic() + seconds >= end:
        raise TimeoutError
    time.sleep(seconds)


def remaining(seconds: float) -> float:
    """So many seconds, or what the `deadline` around it has left, if that is less.

    Raises:
        TimeoutError: it has nothing left.
    """
    end = getattr(_ends, "nearest", None)
    if end is None:
        return seconds
    left: float = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline has passed")
    return min(seconds, left)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Let nothing be waited for in the body of a ``with`` after so many seconds.

    `sleep` raises `TimeoutError` then, and a connection of `heeding_deadline` fails with it.
    """
    outer = getattr(_ends, "nearest", None)
    end = time.monotonic() + seconds
    _ends.nearest = end if outer is None else min(end, outer)
    try:
        yield
    finally:
        _ends.nearest = outer


def together(work: Iterable[T]) -> list[T]:
    """The results of things that were done one after the other."""
    return list(work)


def hear(jobs: Sequence[Callable[[], T]], patience: Callable[[Sequence[T]], float]) -> list[T]:
    """Do things at the same time, each in a thread of its own, until enough is known; the others are left to end.

    Args:
        jobs: What to do; each ends by itself. What one raises is raised here.
        patience: Says, given the results so far, for how many more seconds others are waited for; asked anew with each.

    Returns:
        The results in the order in which they came.

    Raises:
        TimeoutError: the `deadline` around it has passed.
    """
    results: queue.SimpleQueue[tuple[list[T], Exception | None]] = queue.SimpleQueue()
    end = getattr(_ends, "nearest", None)

    def do(job: Callable[[], T]) -> None:
        _ends.nearest = end
        try:
            results.put(([job()], None))
        except Exception as error:  # noqa: BLE001  it shows in the caller's thread
            results.put(([], error))

    for job in jobs:
        threading.Thread(target=do, args=(job,), name="stateful-route ask", daemon=True).start()
    heard: list[T] = []
    while len(heard) < len(jobs) and (seconds := patience(heard)) > 0:
        wait = remaining(seconds)
        try:
            one, error = results.get(timeout=None if math.isinf(wait) else wait)
        except queue.Empty:
            if math.isinf(seconds):  # so it was the deadline
                raise TimeoutError("the deadline has passed") from None
            break
        if error is not None:
            raise error
        heard += one
    return heard


class Aside:
    """Does something in the background, one at a time; nobody waits for it."""

    def __init__(self, name: str) -> None:
        self._name = f"stateful-route {name}"
        self._thread: threading.Thread | None = None

    def start(self, job: Callable[[], None]) -> None:
        """Begin, unless it is being done already; the job may not raise, and ends by itself."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=job, name=self._name, daemon=True)
            self._thread.start()


@cache
def heeding_deadline(base: Any) -> Any:
    """The class of redis-py's connections that waits no longer than the `deadline` around it."""
    return type(f"Punctual{base.__name__}", (_Punctual, base), {})


class _Punctual:
    punctual = True

    def _connect(self) -> Any:
        """Connect to the first address of the host that answers, each of them in its part of the time."""
        connection: Any = self
        own = connection.socket_connect_timeout
        host, port = getattr(connection, "host", None), getattr(connection, "port", None)
        addresses = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM) if host else [None]
        connection.socket_connect_timeout = remaining(own) / max(1, len(addresses))
        try:
            return super()._connect()  # type: ignore[misc]
        finally:
            connection.socket_connect_timeout = own

    def read_response(self, *args: Any, **options: Any) -> Any:
        own = self.socket_timeout  # type: ignore[attr-defined]
        left = remaining(math.inf if own is None else own)
        if left != own and "timeout" not in options and not math.isinf(left):
            options["timeout"] = left
        return super().read_response(*args, **options)  # type: ignore[misc]


@contextmanager
def heeding_cancellation() -> Iterator[None]:
    """Threads are not cancelled: nothing to heed."""
    yield
