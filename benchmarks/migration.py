"""How quickly links move off a pod, beside a script that does the same writes without reading or deciding."""

import hashlib
import shutil
import statistics
import subprocess
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from rich.console import Console

from benchmarks.figures import Figure, show, spread
from benchmarks.store_memory import on_primaries
from stateful_route.domain.placement import Placement, Spread, Target
from stateful_route.router.failover import LINKS_PER_TRIP, Task, move_links
from stateful_route.router.pace import Pace
from stateful_route.store.connection import Store
from stateful_route.store.index import all_links
from stateful_route.store.keys import Service
from stateful_route.store.scripts import Call, Script

PODS = 10
SLOW_MICROSECONDS = 1000
SLOW_ENTRIES = 100_000
SLOW = ("slowlog-log-slower-than", SLOW_MICROSECONDS, "slowlog-max-len", SLOW_ENTRIES)

BARE_WRITES = """
local entries = {}
for i = 1, (#KEYS - 1) / 2 do
  redis.call('SET', KEYS[2 * i], ARGV[3], 'KEEPTTL')
  redis.call('HSET', KEYS[2 * i + 1], ARGV[1], ARGV[3])
  entries[#entries + 1] = ARGV[2]
  entries[#entries + 1] = ARGV[3 + i]
end
redis.call('ZADD', KEYS[1], unpack(entries))
return #entries
"""


async def measure(store: Store, service: Service, title: str, console: Console, runs: int) -> None:
    """Print the table for all links of a service, whose pods they are on; they end on `PODS` pods."""
    ours, bare, slow, slow_bare = [], [], [], []
    for run in range(runs):
        console.print(f"  migration, run {run + 1} of {runs} …", style="dim")
        await _forget_slow(store)
        links, took = await _onto_one_pod(store, service)
        bare.append(links / took)
        slow_bare += await _slow_milliseconds(store)
        await _forget_slow(store)
        ours.append(links / await _migrate(store, service, links))
        slow += await _slow_milliseconds(store)
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    figures = [
        Figure(f"migrate {links:,} links off one pod", spread(ours, " links/s")),
        Figure("the same writes by a script without reads and decisions", spread(bare, " links/s")),
        Figure("ratio", spread(ratios, digits=2), "≥ 0.6", statistics.median(ratios) >= 0.6),
        Figure("longest script, and how many over 5 ms", _told(slow), "≤ 5 ms", max(slow, default=0) <= 5),
        Figure("  of the bare writes", _told(slow_bare)),
    ]
    rate = 0.0 if store.cluster else _set_rate(store.label)
    figures.append(Figure("redis-benchmark SET, -P 500 -c 4", f"{rate:,.0f} SET/s" if rate else "not measured"))
    show(console, f"Migration, {title}", figures, "The longest script: by SLOWLOG, waits for a processor included.")


async def _forget_slow(store: Store) -> None:
    await on_primaries(store, "CONFIG SET", *SLOW)
    await on_primaries(store, "SLOWLOG", "RESET")


async def _slow_milliseconds(store: Store) -> list[float]:
    """Of all scripts that took a millisecond or more; an entry is [id, when, microseconds, words, …]."""
    logs = await on_primaries(store, "SLOWLOG", "GET", SLOW_ENTRIES)
    return [entry[2] / 1000 for log in logs for entry in log if entry[3][0].startswith(b"EVAL")]


def _told(slow: Sequence[float]) -> str:
    return f"{max(slow):.1f} ms, {sum(one > 5 for one in slow)}" if slow else "below 1 ms"


async def _migrate(store: Store, service: Service, links: int) -> float:
    spread_over = Spread([Target(pod) for pod in range(1, PODS)], Placement())
    task = Task(source=0, reason="Gone", spread=lambda: spread_over)
    began = time.perf_counter()
    progress = await move_links(store, service, task, Pace(1e9, time.monotonic), left=links)
    took = time.perf_counter() - began
    if progress.total != links:
        raise RuntimeError(f"{progress.total} of {links} links moved")
    return took


async def _onto_one_pod(store: Store, service: Service) -> tuple[int, float]:
    """Write all links to pod 0, and how long that took: the same buckets in the same round trips, nothing is read."""
    script = Script("bareWrites", BARE_WRITES, hashlib.sha1(BARE_WRITES.encode(), usedforsecurity=False).hexdigest())
    began = time.perf_counter()
    total = 0
    async for buckets in all_links(store, service):
        calls, links = [], 0
        for bucket in buckets:
            keys = [service.index(bucket.number)]
            for uid in bucket.uids:
                keys += (service.link(uid), service.links(uid))
            calls.append(Call(script, keys, (service.name, 5, 0, *bucket.uids)))
            links += len(bucket.uids)
            if links >= LINKS_PER_TRIP:
                await store.run_many(calls)
                total, calls, links = total + links, [], 0
        await store.run_many(calls)
        total += links
    return total, time.perf_counter() - began


def _set_rate(url: str) -> float:
    binary = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
    if binary is None:
        return 0.0
    port = str(urlsplit(url).port)
    words = [binary, "-p", port, "-P", "500", "-c", "4", "-n", "1000000", "-r", "1000000", "-t", "set", "--csv"]
    out = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120).stdout
    return float(out.splitlines()[-1].split(",")[1].strip('"'))
