"""Callers in processes of their own, who say when they have heard of a change."""

import asyncio
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

PROCESSES = 4
NS, SVC = "bench", "rooms"
PATIENCE_SECONDS = 30.0


class Audience:
    """The processes; each writes a line with the time when the last of its callers has heard."""

    def __init__(self, pipes: "list[IO[str]]") -> None:
        self._pipes = pipes

    def heard(self) -> float:
        """When the last of all has heard of the next change, by the monotonic clock."""
        return max(float(self._line(pipe)) for pipe in self._pipes)

    @staticmethod
    def _line(pipe: "IO[str]") -> str:
        ready, _, _ = select.select([pipe], [], [], PATIENCE_SECONDS)
        if not ready:
            raise TimeoutError(f"a caller has not heard within {PATIENCE_SECONDS:g} s")
        return pipe.readline()


@contextmanager
def listening(url: str, callers: int, how: str) -> Iterator[Audience]:
    """So many callers; ``how``: ``bare``, ``push``, or ``refresh`` and a period in seconds."""
    words = [sys.executable, "-m", "benchmarks.hearing", url, str(callers // PROCESSES), *how.split()]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(subprocess.Popen(words, stdout=subprocess.PIPE, text=True, bufsize=1))
            for _ in range(PROCESSES)
        ]
        for process in processes:
            stack.callback(process.terminate)
        pipes = [process.stdout for process in processes if process.stdout]
        audience = Audience(pipes)
        audience.heard()  # all have begun
        yield audience


def main() -> None:
    """One of the processes."""
    url, callers, how, *rest = sys.argv[1:]
    asyncio.run(_bare(url, int(callers)) if how == "bare" else _callers(url, int(callers), rest))


def _counting(callers: int) -> Callable[[], None]:
    """Says so each time that all have heard."""
    heard = 0

    def hear() -> None:
        nonlocal heard
        heard += 1
        if heard == callers:
            heard = 0
            print(time.monotonic(), flush=True)

    return hear


async def _bare(url: str, callers: int) -> None:
    from redis.asyncio import Redis

    hear = _counting(callers)

    async def listen() -> None:
        async with Redis.from_url(url) as client, client.pubsub() as channel:
            await channel.subscribe("bench-channel")
            async for _ in channel.listen():  # the first is the subscription's own
                hear()

    await asyncio.gather(*(listen() for _ in range(callers)))


async def _callers(url: str, callers: int, period: list[str]) -> None:
    from stateful_route.drivers.cache import CacheOptions, ServiceStateCache
    from stateful_route.store.executor import StatefulExecutor
    from stateful_route.store.keys import Service

    hear = _counting(callers)
    options = CacheOptions(refresh_seconds=float(period[0]), push=False) if period else CacheOptions(refresh_seconds=60)

    class Ear:
        def changed(self, _service: object, before: object, now: object) -> None:
            if before is None or before.state(0) is not now.state(0):  # type: ignore[attr-defined]
                hear()

        def concerned(self, *_: object) -> bool:
            return False

        def moved(self, *_: object, missed: bool) -> None:
            """No link moves here."""

    for _ in range(callers):
        states = ServiceStateCache(StatefulExecutor.from_url(url), options)
        states.listen(Ear())
        await states.snapshot(Service(NS, SVC))
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
