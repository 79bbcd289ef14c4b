"""Virtual time: an event loop whose clock advances only when it is told to, and a server whose clock follows it."""

import asyncio
import contextlib
import os
import selectors
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

SOURCE = Path(__file__).with_name("server_clock.c")
COMPILER = shutil.which("cc")

WALL_START = 1_900_000_000
"""What the server's clock says, in seconds, when the loop's says 0."""

TURNS_AT_ONE_MOMENT = 100_000
"""So many turns of the loop without any time passing are a busy loop."""


class _Selector(selectors.SelectSelector):
    """Waits for nothing: all that the model does is done in its own process, or answered before it goes on."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None or timeout > 0:
            self.loop.idle(timeout)
        else:
            self.loop.turned()
        return []


ENDS_WITHIN_SECONDS = 100
"""Of virtual time: so long whoever is cancelled may take to end."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """All of asyncio in virtual time: timers come due in their order as soon as nothing else is to be done."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._until = self._now
        self._turns = 0
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Seconds; also the monotonic clock of everybody in the model."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let so much time pass, and everything happen that happens meanwhile."""
        self._until = max(self._until, self._now) + seconds
        self.run_forever()

    def run_within(self, work: Awaitable[T], seconds: float) -> "asyncio.Task[T]":
        """Begin some work and let time pass until it is done, at most so much."""
        task: asyncio.Task[T] = self.create_task(_awaited(work))
        stop = lambda _: self.stop()  # noqa: E731
        task.add_done_callback(stop)
        self._until = self._now + seconds
        self.run_forever()
        task.remove_done_callback(stop)
        self._until = self._now
        return task

    def idle(self, timeout: float | None) -> None:
        """Nothing is left to be done at this moment."""
        self._turns = 0
        due = float("inf") if timeout is None else self._now + timeout
        if due <= self._until:
            self._now = due
        elif self._now < self._until:
            self._now = self._until
        else:
            self.stop()

    def turned(self) -> None:
        """Something is left to be done at this moment."""
        self._turns += 1
        if self._turns > TURNS_AT_ONE_MOMENT:
            raise RuntimeError("a busy loop: no time passes")

    def end(self) -> None:
        """Cancel what still runs, and close."""
        for _ in range(ENDS_WITHIN_SECONDS):
            tasks = [task for task in asyncio.all_tasks(self) if not task.done()]
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            self.advance(1.0)
        else:
            raise RuntimeError(f"they do not end though they are cancelled: {tasks}")
        self.close()


class ServerClock:
    """The wall clock of a store's server; what is written to its file is what the server reads."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self._library = folder / "server_clock.so"
        words = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", self._library, SOURCE, "-ldl"]
        subprocess.run([COMPILER or "cc", *words], check=True, capture_output=True, text=True)
        self._file.write_bytes(struct.pack("=q", WALL_START * 10**9))
        self._handle = self._file.open("r+b", buffering=0)

    @contextlib.contextmanager
    def for_children(self) -> Iterator[None]:
        """Processes that are started meanwhile have this clock."""
        mine = {"LD_PRELOAD": str(self._library), "SERVER_CLOCK": str(self._file)}
        before = {name: os.environ.get(name) for name in mine}
        os.environ.update(mine)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def set(self, milliseconds: int) -> None:
        """Say this time from now on."""
        self._handle.seek(0)
        self._handle.write(struct.pack("=q", milliseconds * 10**6))

    def close(self) -> None:
        """Leave it standing."""
        self._handle.close()


@contextlib.contextmanager
def monotonic_is(loop: VirtualLoop, packages: Sequence[str]) -> Iterator[None]:
    """Whoever asks for the monotonic clock meanwhile is told the loop's time; names bound at import only in these."""
    real = time.monotonic
    modules = [
        module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in packages and getattr(module, "monotonic", None) is real
    ]
    time.monotonic = loop.time
    for module in modules:
        module.monotonic = loop.time  # type: ignore[attr-defined]
    try:
        yield
    finally:
        time.monotonic = real
        for module in modules:
            module.monotonic = real  # type: ignore[attr-defined]


async def _awaited(work: Awaitable[T]) -> T:
    return await work
