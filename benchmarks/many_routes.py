"""One operator and N StatefulRoutes, of which one has pods: start, an event, an idle minute, memory."""

import asyncio
import time
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from benchmarks.bed import Bed, make, make_route, routes_path, until_pods_ready, until_ready
from benchmarks.events import delays
from benchmarks.figures import percentile
from benchmarks.process import operator
from stateful_route.kube.client import Kube
from stateful_route.store.connection import Store
from stateful_route.store.keys import Service

COUNTS = (1, 100, 300, 1000)
PODS = 3
DELETES = 100
IDLE_SECONDS = 60.0
PATIENCE_SECONDS = 300.0
MADE_AT_ONCE = 20
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured with one number of routes; times from the start of the process."""

    routes: int
    first_state_seconds: float
    all_seconds: float
    wrong: int
    events: list[float]
    store_share: float
    operator_share: float
    resident: int


async def measure(bed: Bed, console: Console) -> None:
    """Print the table."""
    kube, store = await Kube.connect(str(bed.control_plane.kubeconfig)), Store.from_url(bed.store.url)
    found = [await _with(bed, kube, store, count, console) for count in COUNTS]
    await kube.close()
    await store.close()
    table = Table(title="One operator, N StatefulRoutes, one of them with pods", title_justify="left")
    for heading in (
        "N",
        "first state",
        "all looked at",
        "wrong",
        "pod change → store, p50 / p99",
        "idle: store",
        "idle: operator",
        "memory",
    ):
        table.add_column(heading, justify="right")
    for one in found:
        p50, p99 = percentile(one.events, 50), percentile(one.events, 99)
        table.add_row(
            f"{one.routes:,}",
            f"{one.first_state_seconds:.1f} s",
            f"{one.all_seconds:.1f} s",
            str(one.wrong),
            f"{p50:.1f} / {p99:.1f} ms",
            f"{one.store_share:.1%}",
            f"{one.operator_share:.1%}",
            f"{one.resident / MEGABYTE:.0f} MB",
        )
    console.print(table)
    console.print(
        "goals at 1,000: first state ≤ 2 s, all ≤ 30 s, nothing wrong, p50 ≤ 15 ms, p99 ≤ 250 ms, store ≤ 5 % of a "
        "core, memory ≤ 250 MB; wrong: conditions RedisConnected=False and warning Events",
        style="dim",
    )


async def _with(bed: Bed, kube: Kube, store: Store, count: int, console: Console) -> Found:
    namespace = f"bench-many-{count}"
    service = Service(namespace, "rooms")
    await make(kube, namespace, PODS)
    routes = routes_path(namespace)
    for start in range(1, count, MADE_AT_ONCE):
        names = [f"empty-{number}" for number in range(start, min(start + MADE_AT_ONCE, count))]
        await asyncio.gather(*(make_route(kube, namespace, name) for name in names))
    await until_pods_ready(kube, namespace, PODS)
    console.print(f"  {count} routes …", style="dim")
    began = time.monotonic()
    with operator(bed, namespace) as process:
        await until_ready(store, service, PODS)
        first = time.monotonic() - began
        await _until_all_looked_at(kube, routes, count)
        everything = time.monotonic() - began
        _, by_store = await delays(bed, kube, store, namespace, PODS, DELETES)
        await until_ready(store, service, PODS)
        before = await _server_seconds(store), sum(process.cpu_times()[:2]), time.monotonic()
        await asyncio.sleep(IDLE_SECONDS)
        after = await _server_seconds(store), sum(process.cpu_times()[:2]), time.monotonic()
        server, own, wall = (b - a for a, b in zip(before, after, strict=True))
        resident = process.memory_info().rss
        wrong = await _wrong(kube, namespace, routes)
    return Found(count, first, everything, wrong, by_store, server / wall, own / wall, resident)


async def _until_all_looked_at(kube: Kube, path: str, count: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        items = (await kube.get(path))["items"]
        seen = sum("observedGeneration" in (item.get("status") or {}) for item in items)
        if seen >= count:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{seen} of {count} StatefulRoutes have a status")
        await asyncio.sleep(0.2)


async def _server_seconds(store: Store) -> float:
    info = await store.ask_node(None, "INFO", "cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


async def _wrong(kube: Kube, namespace: str, path: str) -> int:
    """Conditions that say that the store does not answer, and warnings, though it was well all the time."""
    conditions = [
        condition
        for item in (await kube.get(path))["items"]
        for condition in (item.get("status") or {}).get("conditions", ())
        if condition["type"] == "RedisConnected" and condition["status"] != "True"
    ]
    events = (await kube.get(f"/api/v1/namespaces/{namespace}/events"))["items"]
    ours = [one for one in events if one["reason"] in {"StoreUnavailable", "StoreRejected"}]
    return len(conditions) + len(ours)
