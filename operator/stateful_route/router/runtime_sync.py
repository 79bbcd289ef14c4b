"""The synchronous twin of `runtime`, written by hand: one thing after the other, and threads that are left behind."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")


class Trips:
    """Round trips, one after the other."""

    def __init__(self, at_once: int) -> None:
        """``at_once``: how many the asynchronous one makes at the same time."""
        del at_once

    def start(self, work: Callable[[], None]) -> None:
        """Make one."""
        work()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """All have ended."""


def within(seconds: float, work: Callable[[], T]) -> T:
    """What ``work`` gives, or raises; it is done in a thread.

    Raises:
        TimeoutError: it has not ended after so many seconds; the thread is left to itself, and does not keep the
            process up.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001  whoever waits is told, whatever it was
            done.set_exception(error)

    threading.Thread(target=run, name="stateful-route within a time", daemon=True).start()
    return done.result(seconds)


def attempted(seconds: float, work: Callable[[], T]) -> T | Exception:
    """What ``work`` gives, or the error that it raises, or `TimeoutError` when it has not ended in time."""
    try:
        return within(seconds, work)
    except Exception as error:  # noqa: BLE001  whoever asks looks at it
        return error
