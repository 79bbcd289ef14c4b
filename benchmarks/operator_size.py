"""The operator's memory, and how long a full pass over 1,000 pods takes beside a bare LIST of them."""

import asyncio
import gc
import json
import time

import psutil
from rich.console import Console

from benchmarks.bed import Bed, make, until_pods_ready, until_ready
from benchmarks.figures import Figure, show, spread
from benchmarks.process import empty, operator
from stateful_route.kube.client import Kube
from stateful_route.kube.membership import POD_NAME_LABEL
from stateful_route.store.connection import Store
from stateful_route.store.keys import Service

IDLE, FULL = "bench-idle", "bench-full"
PODS = 1000
RUNS = 15
SETTLE_SECONDS = 8.0
MEGABYTE = 1_000_000


async def measure(bed: Bed, console: Console) -> None:
    """Print the tables."""
    kubeconfig = str(bed.control_plane.kubeconfig)
    kube, store = await Kube.connect(kubeconfig), Store.from_url(bed.store.url)
    await make(kube, IDLE, 1)
    await until_pods_ready(kube, IDLE, 1)
    with operator(bed, IDLE) as process:
        await until_ready(store, Service(IDLE, "rooms"), 1)
        idle = await _settled(process)
    console.print(f"  {PODS} pods start …", style="dim")
    await make(kube, FULL, PODS)
    await until_pods_ready(kube, FULL, PODS)
    with empty(bed, FULL) as process:
        bare = await _settled(process)
    with operator(bed, FULL) as process:
        await until_ready(store, Service(FULL, "rooms"), PODS)
        full = await _settled(process)
    passes, lists = await _pass_and_list_seconds(bed, kube)
    ratios = [a / b for a, b in zip(passes, lists, strict=True)]
    await kube.close()
    await store.close()
    ratio = sorted(ratios)[len(ratios) // 2]
    show(
        console,
        "The operator's memory (resident) and its full pass",
        [
            Figure("idle, 1 pod", f"{idle / MEGABYTE:.0f} MB"),
            Figure(f"with {PODS:,} pods", f"{full / MEGABYTE:.0f} MB", "≤ 150 MB", full <= 150 * MEGABYTE),
            Figure(f"an empty kopf and client process, {PODS:,} pods", f"{bare / MEGABYTE:.0f} MB"),
            Figure("beyond it", f"{(full - bare) / MEGABYTE:.0f} MB", "≤ 30 MB", full - bare <= 30 * MEGABYTE),
            Figure(f"full pass over {PODS:,} pods", spread(passes, " s", 2)),
            Figure(f"bare LIST of {PODS:,} pods, parsed", spread(lists, " s", 2)),
            Figure("ratio", spread(ratios, digits=2), "≤ 1.5", ratio <= 1.5),
        ],
    )


async def _settled(process: psutil.Process) -> int:
    """Resident bytes when nothing has happened for a while."""
    await asyncio.sleep(SETTLE_SECONDS)
    return int(process.memory_info().rss)


async def _list_seconds(kube: Kube) -> float:
    began = time.perf_counter()
    listed = await kube.get(f"/api/v1/namespaces/{FULL}/pods", labelSelector=f"{POD_NAME_LABEL},app=rooms")
    if len(listed["items"]) < PODS:
        raise RuntimeError(f"only {len(listed['items'])} pods")
    return time.perf_counter() - began


async def _pass_and_list_seconds(bed: Bed, kube: Kube) -> tuple[list[float], list[float]]:
    """Full passes of a reconciler in this process (LIST, read, judge, write, count all links), bare LISTs between."""
    from stateful_route.api.statefulroute import StatefulRoute
    from stateful_route.kube.objects import cluster_id
    from stateful_route.reconcile.claims import Claims
    from stateful_route.reconcile.definition import Definition
    from stateful_route.reconcile.environment import Environment, Timing
    from stateful_route.reconcile.grants import Watches
    from stateful_route.reconcile.listings import Listings
    from stateful_route.reconcile.reconciler import Reconciler
    from stateful_route.reconcile.revisions import Revisions
    from stateful_route.reconcile.stores import Stores
    from stateful_route.reconcile.watchdog import Watchdog

    body = await kube.get(f"/apis/statefulroute.io/v1alpha1/namespaces/{FULL}/statefulroutes/rooms")
    stores = Stores(bed.store.url)
    watchdog = Watchdog(time.monotonic, 90)
    env = Environment(
        kube,
        stores,
        await cluster_id(kube),
        watchdog,
        Timing(),
        Claims(kube, "", 90),
        Definition(),
        Watches(watchdog),
        Revisions(),
        Listings(kube, everywhere=True),
    )
    route = StatefulRoute.parse(json.loads(json.dumps(body)))
    reconciler = Reconciler(env, route, lambda _route, _owner: None)
    gc.freeze()  # as the operator does
    await reconciler._pass()  # noqa: SLF001  the very thing that is measured; the first one connects
    passes, lists = [], []
    for _ in range(RUNS):
        lists.append(await _list_seconds(kube))
        reconciler.wake(full=True)
        began = time.perf_counter()
        await reconciler._pass()  # noqa: SLF001
        passes.append(time.perf_counter() - began)
    await reconciler._chores.stop()  # noqa: SLF001
    await stores.close()
    return passes, lists
