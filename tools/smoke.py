"""Run in an environment that has the library and redis alone: a pod and its callers, on a real store.

python tools/smoke.py redis://127.0.0.1:6379 VERSION
"""

import asyncio
import importlib
import pkgutil
import sys

import stateful_route
from stateful_route import Identity, StatefulRoute
from stateful_route.sync import StatefulRoute as StatefulRouteSync

SERVICE = ("smoke", "rooms")


def import_all() -> int:
    """Import every module of the data plane; how many there are."""
    names = []
    for part in ("domain", "store", "drivers", "router"):
        package = importlib.import_module(f"stateful_route.{part}")
        names += [found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    for name in names:
        importlib.import_module(name)
    return len(names)


async def route(url: str) -> int | None:
    """One pod serves, one caller asks it for two users; the pod index that the store knows of the first."""
    namespace, service = SERVICE
    async with StatefulRoute.connect(url) as here, StatefulRoute.connect(url) as there:
        pod = here.server(Identity(namespace, service, 3))
        await pod.start()
        found = await there.client.compute_linked_pods(namespace, ["alice", "bob"], service)
        if found != {"alice": 3, "bob": 3}:
            raise SystemExit(f"alice and bob are not on pod 3: {found}")
        await pod.accept("alice")
        if not pod.owns("alice"):
            raise SystemExit("the pod does not own alice, whom it has accepted")
        return await asyncio.to_thread(ask_synchronously, url)


def ask_synchronously(url: str) -> int | None:
    """Where alice is, by the synchronous library."""
    namespace, service = SERVICE
    with StatefulRouteSync.connect(url) as twin:
        return twin.client.get_linked_pod_not_cache(namespace, "alice", service)


def main(url: str, version: str) -> None:
    """Exit with a message when something is not as it should be."""
    if stateful_route.__version__ != version:
        raise SystemExit(f"this is {stateful_route.__version__}, not {version}")
    modules = import_all()
    if (pod := asyncio.run(route(url))) != 3:  # noqa: PLR2004  the pod's index
        raise SystemExit(f"alice is on pod {pod}, not 3")
    print(f"{modules} modules, a pod and its callers")


if __name__ == "__main__":
    main(*sys.argv[1:])
