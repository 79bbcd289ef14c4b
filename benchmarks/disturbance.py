"""How soon the links of a failed pod have moved, and what other callers feel of a repair; among a million links."""

import asyncio
import subprocess
import sys
import time

from benchmarks.figures import Figure, percentile, spread
from stateful_route.domain.placement import Placement, Spread, Target
from stateful_route.router.failover import Task, move_links
from stateful_route.router.pace import Pace
from stateful_route.store.connection import Store
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.index import links_of_pod, repair_service
from stateful_route.store.keys import Service
from stateful_route.store.links import Candidates, set_link_call

RUNS = 5
QUIET_SECONDS = 5.0
CALLS_PER_SECOND = 200
GOAL_MILLISECONDS = 500


async def failed_pod(store: Store, service: Service, pod: int, links: int, pods: int) -> list[Figure]:
    """The time until the last link of a pod has moved, which has few of the service's links."""
    uids = [uid async for buckets in links_of_pod(store, service, pod) for bucket in buckets for uid in bucket.uids]
    times = []
    for _ in range(RUNS):
        spread_over = Spread([Target(target) for target in range(pods)], Placement())
        task = Task(source=pod, reason="Gone", spread=lambda targets=spread_over: targets)  # type: ignore[misc]
        began = time.perf_counter()
        progress = await move_links(store, service, task, Pace(1e9, time.monotonic), left=links)
        times.append((time.perf_counter() - began) * 1000)
        if progress.total != links:
            raise RuntimeError(f"{progress.total} of {links} links moved")
        await store.run_many([set_link_call(service, uid, pod, 3600) for uid in uids])
    met = sorted(times)[RUNS // 2] <= GOAL_MILLISECONDS
    return [Figure(f"a pod with {links} links fails: all moved", spread(times, " ms"), f"≤ {GOAL_MILLISECONDS}", met)]


async def repair(store: Store, service: Service, url: str, links: int) -> list[Figure]:
    """The time of a repair, and the latency of a caller in another process without and with it."""
    with _pinger(url) as pinger:
        await asyncio.sleep(QUIET_SECONDS)
        quiet = _ended(pinger)
    with _pinger(url) as pinger:
        began = time.perf_counter()
        repaired = await repair_service(store, service, foreign=False)
        took = time.perf_counter() - began
        meanwhile = _ended(pinger)
    return [
        Figure(f"repair of {links:,} links (mended: {repaired.moved + repaired.expired})", f"{took:.1f} s"),
        Figure("computing a link beside it, p50 / p99", _latency(meanwhile)),
        Figure("without the repair, p50 / p99", _latency(quiet)),
    ]


def _latency(times: list[float]) -> str:
    return f"{percentile(times, 50):.1f} / {percentile(times, 99):.1f} ms ({len(times):,} calls)"


def _pinger(url: str) -> "subprocess.Popen[str]":
    words = [sys.executable, "-m", "benchmarks.disturbance", url]
    pinger = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert pinger.stdout is not None  # noqa: S101  a pipe was asked for
    pinger.stdout.readline()  # it has begun
    return pinger


def _ended(pinger: "subprocess.Popen[str]") -> list[float]:
    out, _ = pinger.communicate("", timeout=20)
    return [float(line) for line in out.split()]


async def _ping(url: str) -> None:
    """Compute links of new uids until our input ends; then tell how many milliseconds each took."""
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.read)
    candidates = Candidates(dict.fromkeys(range(50), 0))
    times: list[float] = []
    async with StatefulExecutor.from_url(url) as executor:
        await executor.compute_link_if_absent("ping", "first", "rooms", candidates, 60)
        print("begun", flush=True)
        while not ended.done():
            began = time.perf_counter()
            await executor.compute_link_if_absent("ping", f"ping-{len(times)}", "rooms", candidates, 60)
            times.append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(1 / CALLS_PER_SECOND)
    print(*times, sep="\n")


if __name__ == "__main__":
    asyncio.run(_ping(sys.argv[1]))
