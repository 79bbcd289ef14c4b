"""Linking new uids: one at a time, by many tasks at once and in batches, each beside a bare EVALSHA by redis-py."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from rich.console import Console

from benchmarks.bed import Size
from benchmarks.figures import Figure, show, spread
from stateful_route.devcluster import EmbeddedStore
from stateful_route.store.connection import Store
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.keys import Service
from stateful_route.store.links import Candidates, compute_link_if_absent, compute_link_if_absent_request
from stateful_route.store.scripts import Argument

RUNS = 7
ONE_BY_ONE = 2000
TASKS = 64
CALLS_OF_A_TASK = 100
BATCH = 1000
BATCHES = 10
SECONDS = 3600
SERVICE = Service("bench", "rooms")
CANDIDATES = Candidates(dict.fromkeys(range(50), 0))
EMPTY = "return 1"

Step = Callable[[], Awaitable[None]]
Round = tuple[str, Callable[[Step], Awaitable[float]], Step, Mapping[str, Step], float]
"""Its title, how its steps are run and timed, the limit, ours by name, and the ratio that is the goal."""


async def measure(size: Size, console: Console) -> None:
    """Print the table."""
    with EmbeddedStore(size.server) as server:
        console.print(f"  links on {server.server} …", style="dim")
        await _measure(server, console)


async def _measure(server: EmbeddedStore, console: Console) -> None:
    bare = Redis.from_url(server.url)
    store, executor = Store.from_url(server.url), StatefulExecutor.from_url(server.url)
    uids = (f"user-{number:07d}" for number in itertools.count())
    steps = Steps(bare, store, executor, await bare.script_load(EMPTY), uids)
    await steps.compute()  # the server has the script now
    by_store = {"compute by Store": steps.compute, "compute by StatefulExecutor": steps.execute}
    by_redis_py = {"an empty script without keys by redis-py": steps.bare_empty, "compute by redis-py": steps.raw}
    rounds: tuple[Round, ...] = (
        ("one at a time", _one_by_one, steps.empty, by_redis_py | by_store, 0.8),
        (f"{TASKS} tasks", _at_once, steps.empty, by_redis_py | by_store, 4.0),
        (f"batches of {BATCH:,}", _batched, steps.empty_batch, {"compute by StatefulExecutor": steps.batch}, 0.5),
    )
    figures: list[Figure] = []
    for title, run, limit, ours, goal in rounds:
        rates: dict[str, list[float]] = {name: [] for name in ("", *ours)}
        for number in range(RUNS + 1):
            for name, step in {"": limit, **ours}.items():
                rate = await run(step)
                if number:  # the first round warms up
                    rates[name].append(rate)
        figures.append(Figure(f"{title}: an empty script by redis-py", spread(rates[""], " calls/s")))
        for name in ours:
            figures += _beside(f"{title}: {name}", rates[name], rates[""], goal if "redis-py" not in name else None)
    show(console, f"Linking new uids, {server.server}", figures, "Rounds alternate; a ratio is within one round.")
    await executor.close()
    await store.close()
    await bare.aclose()


@dataclass(frozen=True, slots=True)
class Steps:
    """One call, or one batch, of each kind."""

    bare: "Redis"
    store: Store
    executor: StatefulExecutor
    sha: str
    uids: Iterator[str]

    def _words(self, sha: str = "") -> tuple[Argument, ...]:
        """The command that links a new uid; ``sha``: by that script instead of ours."""
        call = compute_link_if_absent_request(SERVICE, next(self.uids), CANDIDATES, SECONDS).call
        return call.words(("EVALSHA", sha or call.script.sha), cluster=False)

    async def empty(self) -> None:
        """An empty script by redis-py, with as many keys and arguments: the limit."""
        await self.bare.execute_command(*self._words(self.sha))  # type: ignore[no-untyped-call]

    async def bare_empty(self) -> None:
        """An empty script by redis-py, with none."""
        await self.bare.evalsha(self.sha, 0)

    async def raw(self) -> None:
        """Our script by redis-py: what remains is what the server takes for it."""
        await self.bare.execute_command(*self._words())  # type: ignore[no-untyped-call]

    async def compute(self) -> None:
        """By the store's function."""
        await compute_link_if_absent(self.store, SERVICE, next(self.uids), CANDIDATES, SECONDS)

    async def execute(self) -> None:
        """By the executor, with its deadline and its repeats."""
        uid = next(self.uids)
        await self.executor.compute_link_if_absent(SERVICE.namespace, uid, SERVICE.name, CANDIDATES, SECONDS)

    async def empty_batch(self) -> None:
        """An empty script by redis-py, with as many keys and arguments."""
        async with self.bare.pipeline(transaction=False) as pipeline:
            for _ in range(BATCH):
                pipeline.execute_command(*self._words(self.sha))
            await pipeline.execute()

    async def batch(self) -> None:
        """By the executor."""
        uids = list(itertools.islice(self.uids, BATCH))
        compute = self.executor.compute_links_if_absent
        (await compute(SERVICE.namespace, uids, SERVICE.name, CANDIDATES, SECONDS)).all()


async def _one_by_one(step: Step) -> float:
    return await _rate(ONE_BY_ONE, _times(step, ONE_BY_ONE))


async def _at_once(step: Step) -> float:
    return await _rate(TASKS * CALLS_OF_A_TASK, asyncio.gather(*(_times(step, CALLS_OF_A_TASK) for _ in range(TASKS))))


async def _batched(step: Step) -> float:
    return await _rate(BATCH * BATCHES, _times(step, BATCHES))


def _beside(what: str, rates: Sequence[float], limits: Sequence[float], goal: float | None) -> list[Figure]:
    ratios = [rate / limit for rate, limit in zip(rates, limits, strict=True)]
    text, met = ("", None) if goal is None else (f"≥ {goal:g}", statistics.median(ratios) >= goal)
    return [Figure(what, spread(rates, " calls/s")), Figure("  ratio", spread(ratios, digits=2), text, met)]


async def _times(step: Step, count: int) -> None:
    for _ in range(count):
        await step()


async def _rate(count: int, work: Awaitable[Any]) -> float:
    began = time.perf_counter()
    await work
    return count / (time.perf_counter() - began)
