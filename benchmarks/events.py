"""From the API server's answer to a delete until the state stands in Redis, beside a bare watch."""

import asyncio
import time

from rich.console import Console

from benchmarks.bed import Bed, bare_watch, make, until_ready
from benchmarks.figures import Figure, percentile, show
from benchmarks.process import operator
from stateful_route.kube.client import Kube
from stateful_route.store.connection import Store
from stateful_route.store.keys import Service

NAMESPACE = "bench-events"
PODS = 20
DELETES = 200


async def measure(bed: Bed, console: Console) -> None:
    """Print the table."""
    kube, store = await Kube.connect(str(bed.control_plane.kubeconfig)), Store.from_url(bed.store.url)
    await make(kube, NAMESPACE, PODS)
    with operator(bed, NAMESPACE):
        await until_ready(store, Service(NAMESPACE, "rooms"), PODS)
        by_watch, by_store = await delays(bed, kube, store, NAMESPACE, PODS, DELETES)
    await kube.close()
    await store.close()
    beyond = [a - b for a, b in zip(by_store, by_watch, strict=True)]
    p50, p99 = percentile(by_store, 50), percentile(by_store, 99)
    show(
        console,
        f"From the delete's answer to DENY or SHUTDOWN in Redis ({DELETES} deletes, {PODS} pods)",
        [
            Figure("state in Redis, p50", f"{p50:.1f} ms", "≤ 15 ms", p50 <= 15),
            Figure("state in Redis, p99", f"{p99:.1f} ms", "≤ 100 ms", p99 <= 100),
            Figure("bare watch, p50 / p99", f"{percentile(by_watch, 50):.1f} / {percentile(by_watch, 99):.1f} ms"),
            Figure(
                "beyond the bare watch, p50 / p99",
                f"{percentile(beyond, 50):.1f} / {percentile(beyond, 99):.1f} ms",
                "p50 ≤ 10 ms",
                percentile(beyond, 50) <= 10,
            ),
        ],
        "A negative time is an event that overtook the answer.",
    )


async def delays(
    bed: Bed, kube: Kube, store: Store, namespace: str, pods: int, deletes: int
) -> tuple[list[float], list[float]]:
    """Delete pods, one after the other; of each delete the ms from its answer to a bare watch, and to the store.

    A process must run that serves ``rooms``, with so many pods, in the namespace.
    """
    service = Service(namespace, "rooms")
    watched: dict[str, asyncio.Future[float]] = {}
    stored: dict[str, asyncio.Future[float]] = {}
    by_watch, by_store = [], []
    path = f"/api/v1/namespaces/{namespace}/pods"
    async with bare_watch(str(bed.control_plane.kubeconfig), path) as events, asyncio.TaskGroup() as group:
        readers = [
            group.create_task(_read_watch(events, watched)),
            group.create_task(_read_changes(bed.store.url, service, stored)),
        ]
        for number in range(deletes):
            name = f"rooms-{number % pods}"
            await until_ready(store, service, pods)
            loop = asyncio.get_running_loop()
            watched[name], stored[name] = loop.create_future(), loop.create_future()
            await kube.delete(f"{path}/{name}")
            answered = time.perf_counter()
            async with asyncio.timeout(60):
                by_watch.append((await watched[name] - answered) * 1000)
                by_store.append((await stored[name] - answered) * 1000)
        for reader in readers:
            reader.cancel()
    return by_watch, by_store


async def _read_watch(events: object, watched: dict[str, "asyncio.Future[float]"]) -> None:
    async for event in events:  # type: ignore[attr-defined]
        meta = event["object"].get("metadata", {})
        if meta.get("deletionTimestamp"):
            _resolve(watched.get(meta["name"]))


async def _read_changes(url: str, service: Service, stored: dict[str, "asyncio.Future[float]"]) -> None:
    """Blocks on the stream of changes: that is when any client can see them."""
    store = Store.from_url(url)
    latest = await store.command("XREVRANGE", service.changes, "+", "-", "COUNT", 1)
    last = latest[0][0] if latest else "0"  # "$" would leave out what comes between two questions
    try:
        while True:
            reply = await store.command("XREAD", "BLOCK", 1000, "STREAMS", service.changes, last)
            entries = (reply.values() if isinstance(reply, dict) else [stream[1] for stream in reply]) if reply else ()
            for entry_id, fields in (entry for stream in entries for entry in stream):
                last = entry_id
                texts = list(sum(fields.items(), ())) if isinstance(fields, dict) else fields
                change = dict(zip(texts[::2], texts[1::2], strict=True))
                if change[b"to"] in {b"DENY_NEW_CALL", b"SHUTDOWN"}:
                    _resolve(stored.get(f"rooms-{change[b'pod'].decode()}"))
    finally:
        await store.close()


def _resolve(future: "asyncio.Future[float] | None") -> None:
    if future is not None and not future.done():
        future.set_result(time.perf_counter())
