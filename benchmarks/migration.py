"""How quickly links move off a pod, beside a script that does the same writes without reading or deciding."""

import hashlib
import shutil
import subprocess
import time
from urllib.parse import urlsplit

from rich.console import Console

from benchmarks.bed import Bed
from benchmarks.figures import Figure, show, spread
from stateful_route.domain.placement import Placement, Spread, Target
from stateful_route.router.failover import LINKS_PER_TRIP, Task, move_links
from stateful_route.router.pace import Pace
from stateful_route.store.connection import Store
from stateful_route.store.index import links_of_pod
from stateful_route.store.keys import Service
from stateful_route.store.links import set_link_call
from stateful_route.store.scripts import Call, Script

LINKS = 100_000
PODS = 10
RUNS = 5

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


async def measure(bed: Bed, console: Console) -> None:
    """Print the table."""
    url = bed.store.url
    store = Store.from_url(url)
    service = Service("bench", "rooms")
    ours, bare = [], []
    for run in range(RUNS):
        await store.command("FLUSHALL")
        await _link(store, service)
        console.print(f"  run {run + 1} of {RUNS} …", style="dim")
        bare.append(LINKS / await _bare(store, service))
        await store.command("FLUSHALL")
        await _link(store, service)
        ours.append(LINKS / await _migrate(store, service))
    await store.command("FLUSHALL")
    await store.close()
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    rate = _set_rate(url)
    figures = [
        Figure(f"migrate {LINKS:,} links off one pod", spread(ours, " links/s")),
        Figure("the same writes by a script without reads and decisions", spread(bare, " links/s")),
        Figure("ratio", spread(ratios, digits=2), "≥ 0.6", spread_median(ratios) >= 0.6),
        Figure("redis-benchmark SET, -P 500 -c 4", f"{rate:,.0f} SET/s" if rate else "redis-benchmark not on PATH"),
    ]
    show(console, "Migration", figures)


def spread_median(values: list[float]) -> float:
    """The middle one."""
    return sorted(values)[len(values) // 2]


async def _link(store: Store, service: Service) -> None:
    for start in range(0, LINKS, 2000):
        calls = [set_link_call(service, f"user-{n:08d}", 0, 3600) for n in range(start, start + 2000)]
        await store.run_many(calls)


async def _migrate(store: Store, service: Service) -> float:
    spread_over = Spread([Target(pod) for pod in range(1, PODS)], Placement())
    task = Task(source=0, reason="Gone", spread=lambda: spread_over)
    began = time.perf_counter()
    progress = await move_links(store, service, task, Pace(1e9, time.monotonic), left=LINKS)
    took = time.perf_counter() - began
    if progress.total != LINKS:
        raise RuntimeError(f"{progress.total} of {LINKS} links moved")
    return took


async def _bare(store: Store, service: Service) -> float:
    """The same buckets in the same round trips; nothing is read, one target, no epochs."""
    script = Script("bareWrites", BARE_WRITES, hashlib.sha1(BARE_WRITES.encode(), usedforsecurity=False).hexdigest())
    began = time.perf_counter()
    async for buckets in links_of_pod(store, service, 0):
        calls, links = [], 0
        for bucket in buckets:
            keys = [service.index(bucket.number)]
            for uid in bucket.uids:
                keys += (service.link(uid), service.links(uid))
            calls.append(Call(script, keys, (service.name, 5, 1, *bucket.uids)))
            links += len(bucket.uids)
            if links >= LINKS_PER_TRIP:
                await store.run_many(calls)
                calls, links = [], 0
        await store.run_many(calls)
    return time.perf_counter() - began


def _set_rate(url: str) -> float:
    binary = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
    if binary is None:
        return 0.0
    port = str(urlsplit(url).port)
    words = [binary, "-p", port, "-P", "500", "-c", "4", "-n", "1000000", "-r", "1000000", "-t", "set", "--csv"]
    out = subprocess.run(words, capture_output=True, text=True, check=True, timeout=120).stdout
    return float(out.splitlines()[-1].split(",")[1].strip('"'))
