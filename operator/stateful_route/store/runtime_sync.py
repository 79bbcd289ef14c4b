"""The synchronous twin of `runtime`, written by hand: threads, and deadlines that are seen between two attempts."""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

Lock = threading.Lock

_ends = threading.local()


def sleep(seconds: float) -> None:
    """Wait so long.

    Raises:
        TimeoutError: the `deadline` around it would pass meanwhile.
    """
    end = getattr(_ends, "nearest", None)
    if end is not None and time.monotonic() + seconds >= end:
        raise TimeoutError
    time.sleep(seconds)


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Let nothing be waited for in the body of a ``with`` after so many seconds: `sleep` raises `TimeoutError` there.

    A reply that is being awaited then is awaited on, up to the connection's own timeout.
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


@contextmanager
def heeding_cancellation() -> Iterator[None]:
    """Threads are not cancelled: nothing to heed."""
    yield
