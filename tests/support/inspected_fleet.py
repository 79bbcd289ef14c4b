"""Where the fleet is that commands look at, and the environment in which they are run."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from stateful_route.store.connection import Store, StoreOptions
from support.scene import Scene, TestKube

OURS = {name for name in os.environ if name.startswith("STATEFUL_ROUTE_")} | {"FORCE_COLOR", "GITHUB_ACTIONS"}


@dataclass(frozen=True)
class Fleet:
    """Where things are; `scene` gives a look at them in the test's own event loop."""

    kubeconfig: Path
    redis_url: str
    namespace: str
    operator: Path | None = None
    """The kubeconfig of the operator's account; None: it is of no interest."""

    @asynccontextmanager
    async def scene(self, namespace: str | None = None) -> AsyncIterator[Scene]:
        kube = await TestKube.connect(str(self.kubeconfig))
        store = Store.from_url(self.redis_url, StoreOptions(timeout_seconds=10))
        try:
            yield Scene(kube, namespace or self.namespace, store)
        finally:
            await store.close()
            await kube.close()


def environment(fleet: Fleet, **variables: str) -> dict[str, str | None]:
    return {
        **dict.fromkeys(OURS),
        "COLUMNS": "100",
        "KUBECONFIG": str(fleet.kubeconfig),
        "STATEFUL_ROUTE_NAMESPACE": fleet.namespace,
        **variables,
    }
