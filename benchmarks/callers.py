"""What a calling process pays: an answer from memory, a new uid, a change of state that must reach it, the import."""

import asyncio
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence

from redis import Redis
from rich.console import Console

from benchmarks.bed import Size
from benchmarks.figures import Figure, percentile, show, spread
from benchmarks.hearing import Audience, listening
from stateful_route.devcluster import EmbeddedStore
from stateful_route.drivers import client, client_sync
from stateful_route.drivers.cache import AGAIN_SECONDS, ServiceStateCache
from stateful_route.drivers.cache_sync import ServiceStateCache as PlainCache
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.executor_sync import StatefulExecutor as PlainExecutor

NS, SVC, UID = "bench", "rooms", "user-1"
RUNS = 9
LOOKS = 200_000
PODS = 10
CONCURRENT = (1, 64, 1000)
NEW_UIDS = 20_000
CALLERS = 100
CHANGES = 500
RETURNS = 30
REFRESHES = 10
REFRESH_SECONDS = 1.0
CACHED_GOAL, ASYNC_GOAL = 3.0, 1.0
PUSH_GOAL_MILLISECONDS = 5.0
IMPORT_GOAL_MILLISECONDS, IMPORT_GOAL_MB = 60.0, 10.0


async def measure(size: Size, console: Console) -> None:
    """Print the tables."""
    with EmbeddedStore(size.server) as server:
        async with StatefulExecutor.from_url(server.url) as executor:
            for pod in range(PODS):
                await executor.set_service_state(NS, SVC, pod, "READY", load=pod)
            console.print(f"  callers on {server.server} …", style="dim")
            show(console, "An answer from memory", await _cached(server.url, executor))
            show(console, "A new uid, from question to answer", await _new_uids(executor))
            show(
                console,
                f"A change of state, from its acknowledgement to the last of {CALLERS} callers",
                await _push(server.url, executor),
                "Callers with a connection each, in 4 processes. The bare message: as many subscribers by redis-py.",
            )
    show(console, "import", _import(), "CPU time of a fresh process, and its resident memory.")


async def _cached(url: str, executor: StatefulExecutor) -> list[Figure]:
    async def empty(_namespace: str, _uid: str, _service: str) -> int:
        return 1

    states = ServiceStateCache(executor)
    caller = client.ClientDriver(states)
    plain_states = PlainCache(PlainExecutor.from_url(url))
    plain = client_sync.ClientDriver(plain_states)
    await caller.compute_linked_pod(NS, UID, SVC)
    plain.compute_linked_pod(NS, UID, SVC)
    limits, syncs, asyncs, empties = [], [], [], []
    for _ in range(RUNS):
        limits.append(_limit())
        syncs.append(_plain(plain))
        asyncs.append(await _awaited(caller.compute_linked_pod))
        empties.append(await _awaited(empty))
    plain.close()
    plain_states.close()
    plain_states.executor.close()
    await caller.close()
    await states.close()
    ratios = [ours / limit for ours, limit in zip(syncs, limits, strict=True)]
    extra = [(ours - sync) / base for ours, sync, base in zip(asyncs, syncs, empties, strict=True)]
    return [
        Figure("a tuple-key look-up in a dict, and monotonic()", spread(limits, " ns")),
        Figure("compute_linked_pod, synchronous", spread(syncs, " ns")),
        _ratio("  beside the look-up", ratios, CACHED_GOAL),
        Figure("compute_linked_pod, asynchronous", spread(asyncs, " ns")),
        Figure("an empty coroutine", spread(empties, " ns")),
        _ratio("  what the coroutine adds, beside the empty one", extra, ASYNC_GOAL),
    ]


def _ratio(what: str, values: Sequence[float], goal: float) -> Figure:
    return Figure(what, spread(values, "", 2), f"≤ {goal:g}", statistics.median(values) <= goal)


def _limit() -> float:
    known, monotonic = {(NS, UID, SVC): 1}, time.monotonic
    namespace, uid, service = NS, UID, SVC
    began = time.perf_counter_ns()
    for _ in range(LOOKS):
        known[(namespace, uid, service)]
        monotonic()
    return (time.perf_counter_ns() - began) / LOOKS


def _plain(caller: client_sync.ClientDriver) -> float:
    ask = caller.compute_linked_pod
    namespace, uid, service = NS, UID, SVC
    began = time.perf_counter_ns()
    for _ in range(LOOKS):
        ask(namespace, uid, service)
    return (time.perf_counter_ns() - began) / LOOKS


async def _awaited(ask: Callable[[str, str, str], Awaitable[int]]) -> float:
    namespace, uid, service = NS, UID, SVC
    began = time.perf_counter_ns()
    for _ in range(LOOKS):
        await ask(namespace, uid, service)
    return (time.perf_counter_ns() - began) / LOOKS


async def _new_uids(executor: StatefulExecutor) -> list[Figure]:
    states = ServiceStateCache(executor)
    caller = client.ClientDriver(states)
    await caller.init(NS, SVC)
    uids = (f"new-{number:08d}" for number in itertools.count())
    figures = []
    for callers in CONCURRENT:
        times: list[float] = []

        async def ask(times: list[float] = times, count: int = max(1, NEW_UIDS // max(callers, 10))) -> None:
            for _ in range(count):
                uid = next(uids)
                began = time.perf_counter()
                await caller.compute_linked_pod(NS, uid, SVC)
                times.append((time.perf_counter() - began) * 1000)

        began = time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(callers)))
        rate = len(times) / (time.perf_counter() - began)
        value = f"{percentile(times, 50):.2f} / {percentile(times, 99):.2f} ms; {rate:,.0f} uids/s"
        figures.append(Figure(f"{callers:,} at a time: p50 / p99 of {len(times):,}", value))
    await caller.close()
    await states.close()
    return figures


async def _push(url: str, executor: StatefulExecutor) -> list[Figure]:
    async def change(word: str) -> float:
        await executor.set_service_state(NS, SVC, 0, word)
        return time.monotonic()

    with Redis.from_url(url) as raw:

        async def message(word: str) -> float:
            raw.publish("bench-channel", word)
            return time.monotonic()

        with listening(url, CALLERS, "bare") as bare, listening(url, CALLERS, "push") as pushed:
            limits, denied, ready = [], [], []
            for number in range(CHANGES):  # in turn, so that both meet the same machine
                limits.append(await _lag(bare, message, "hello"))
                denied.append(await _lag(pushed, change, "SHUTDOWN" if number % 2 else "DENY_NEW_CALL"))
            for _ in range(RETURNS):
                ready.append(await _lag(pushed, change, "READY"))
                await asyncio.sleep(AGAIN_SECONDS * 1.2)  # by then all have read what the message did not say
                await _lag(pushed, change, "DENY_NEW_CALL")
    with listening(url, CALLERS, f"refresh {REFRESH_SECONDS}") as patient:
        words = ["READY", "DENY_NEW_CALL"] * (REFRESHES // 2)
        periods = [await _lag(patient, change, word) for word in words]
    limit, worst = percentile(limits, 99), percentile(denied, 99)
    return [
        Figure("a bare message: p50 / p99", _two(limits)),
        Figure("a pod denies, or is down: p50 / p99", _two(denied)),
        Figure(
            "  p99 beyond the bare message's",
            f"{worst - limit:.1f} ms",
            f"≤ {PUSH_GOAL_MILLISECONDS:g} ms",
            worst - limit <= PUSH_GOAL_MILLISECONDS,
        ),
        Figure("a pod is READY again: p50 / p99", _two(ready)),
        Figure(f"without push, read every {REFRESH_SECONDS:g} s: p50 / greatest", _two(periods)),
    ]


def _two(lags: Sequence[float]) -> str:
    return f"{percentile(lags, 50):.1f} / {percentile(lags, 99):.1f} ms"


async def _lag(audience: Audience, change: Callable[[str], Awaitable[float]], word: str) -> float:
    """Milliseconds from the acknowledgement of a change until the last has heard of it."""
    acknowledged = await change(word)
    heard = await asyncio.to_thread(audience.heard)
    return (heard - acknowledged) * 1000


def _import() -> list[Figure]:
    redis, ours = "import redis, redis.asyncio", "import stateful_route; stateful_route.StatefulRoute"
    with tempfile.TemporaryDirectory() as bytecode:  # as installed: compiled once, and not at each start
        _imported(ours, bytecode)
        pairs = [(_imported(redis, bytecode), _imported(ours, bytecode)) for _ in range(RUNS)]
    alone, both = zip(*pairs, strict=True)
    times = [(ours_ms - redis_ms) for (ours_ms, _), (redis_ms, _) in zip(both, alone, strict=True)]
    sizes = [(ours_mb - redis_mb) for (_, ours_mb), (_, redis_mb) in zip(both, alone, strict=True)]
    return [
        Figure("redis", spread([ms for ms, _ in alone], " ms")),
        Figure(
            "StatefulRoute beyond it",
            spread(times, " ms"),
            f"≤ {IMPORT_GOAL_MILLISECONDS:g} ms",
            statistics.median(times) <= IMPORT_GOAL_MILLISECONDS,
        ),
        Figure(
            "its memory beyond redis's",
            spread(sizes, " MB", 1),
            f"≤ {IMPORT_GOAL_MB:g} MB",
            statistics.median(sizes) <= IMPORT_GOAL_MB,
        ),
    ]


def _imported(code: str, bytecode: str) -> tuple[float, float]:
    script = f"""
import pathlib, re, time
began = time.process_time()
{code}
passed = (time.process_time() - began) * 1000
print(passed, int(re.search(r"VmRSS:\\s*(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1024)
"""
    environment = os.environ | {"PYTHONPYCACHEPREFIX": bytecode}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    milliseconds, megabytes = done.stdout.split()
    return float(milliseconds), float(megabytes)
