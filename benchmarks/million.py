"""A store with a million links: filled once for each kind of server, then measured part by part."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from rich.console import Console

from benchmarks import disturbance, migration, store_memory
from benchmarks.bed import Size, three_nodes
from benchmarks.figures import show
from stateful_route.devcluster import EmbeddedStore
from stateful_route.devcluster.embedded_store import StoreServer, find_servers
from stateful_route.domain.errors import StatefulRouteError
from stateful_route.store.connection import Store
from stateful_route.store.keys import Service
from stateful_route.store.scripts import Call, script

SERVICE = Service("bench", "rooms")
PODS = 50
FAILED_POD = PODS
"""Has few links; the others have all the rest."""
LINKS_OF_FAILED_POD = 100
SECONDS = 36_000
CALLS_PER_TRIP = 32


async def measure(size: Size, console: Console) -> None:
    """Print the tables: all of them for the first server and a Cluster of it, memory alone for further servers."""
    first, *others = [size.server] if size.server else find_servers()
    with EmbeddedStore(first) as server:
        await _measure(f"{first}", server.url, size, console, runs=3)
    with three_nodes(first) as url:
        await _measure(f"{first}, Cluster of three", url, size, console, runs=1)
    for other in others:
        await _memory_alone(other, size, console)


async def _measure(title: str, url: str, size: Size, console: Console, runs: int) -> None:
    async with _filled(title, url, size, console) as (store, base):
        figures = [*(await store_memory.with_index(store, SERVICE, base, size.links))]
        show(console, f"Memory, {title}, {size.links:,} links with TTL, {PODS} pods", figures)
        console.print("  a pod fails, and a repair runs beside other callers …", style="dim")
        figures = await disturbance.failed_pod(store, SERVICE, FAILED_POD, LINKS_OF_FAILED_POD, PODS)
        figures += await disturbance.repair(store, SERVICE, url, size.links)
        show(console, f"Disturbance, {title}, {size.links:,} links", figures)
        await migration.measure(store, SERVICE, title, console, runs)


async def _memory_alone(server: StoreServer, size: Size, console: Console) -> None:
    with EmbeddedStore(server) as running:
        async with _filled(f"{server}", running.url, size, console) as (store, base):
            figures = await store_memory.with_index(store, SERVICE, base, size.links)
            show(console, f"Memory, {server}, {size.links:,} links with TTL, {PODS} pods", figures)


@asynccontextmanager
async def _filled(title: str, url: str, size: Size, console: Console) -> AsyncIterator[tuple[Store, int]]:
    """The store with its links, and the bytes that it used before."""
    store = Store.from_url(url)
    try:
        base = await store_memory.used_bytes(store)
        began = time.perf_counter()
        uids = [f"user-{number:07d}" for number in range(size.links)]
        await link(store, uids, lambda place: FAILED_POD if place < LINKS_OF_FAILED_POD else place % PODS)
        took = time.perf_counter() - began
        console.print(f"  {title}: {size.links:,} links made in {took:.0f} s", style="dim")
        yield store, base
    finally:
        await store.close()


async def link(store: Store, uids: Sequence[str], pod: Callable[[int], int]) -> None:
    """Link the uids, the n-th one to ``pod(n)``; by the script of `stateful-route store import`, a bucket at once."""
    expires = int((time.time() + SECONDS) * 1000)
    grouped: dict[int, list[int]] = {}
    for place, uid in enumerate(uids):
        grouped.setdefault(SERVICE.bucket(uid), []).append(place)
    calls: list[Call] = []
    for number, (bucket, places) in enumerate(grouped.items(), 1):
        keys = SERVICE.bucket_keys(bucket, [uids[place] for place in places])
        args: list[str | int | float | bytes] = [SERVICE.name, 1]
        for place in places:
            args += (uids[place], pod(place), expires, -1)
        calls.append(Call(script("importLinks"), keys, args))
        if len(calls) == CALLS_PER_TRIP or number == len(grouped):
            for reply in await store.run_many(calls):
                if isinstance(reply, StatefulRouteError):
                    raise reply
            calls = []
