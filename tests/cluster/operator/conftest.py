"""A namespace with the operator serving it, for each test; a store that others share, and one of its own."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from stateful_route.devcluster.embedded_store import EmbeddedStore
from stateful_route.kube.client import KubeError
from stateful_route.store.connection import Store, StoreOptions
from support.crd_install import apply_crd
from support.process import OperatorProcess
from support.rights import Access, ChartRights
from support.scene import Scene, TestKube

MakeScene = Callable[..., Awaitable[Scene]]
StartOperator = Callable[..., OperatorProcess]


@pytest.fixture
async def kube(kubeconfig: Path) -> AsyncIterator[TestKube]:
    client = await TestKube.connect(str(kubeconfig))
    await apply_crd(client)
    yield client
    await client.close()


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    store = Store.from_url(redis_url, StoreOptions(timeout_seconds=10))
    yield store
    await store.command("FLUSHDB")  # what is left only makes every look at all keys slower
    await store.close()


@pytest.fixture
async def make_scene(
    kube: TestKube, store: Store, chart_rights: ChartRights, request: pytest.FixtureRequest
) -> AsyncIterator[MakeScene]:
    """Makes scenes, each in a new namespace with an account for its operator; deleted afterwards in the background.

    ``namespace``: one that is there. ``beside``: the operator of another scene serves this one, too. ``values`` and
    ``lacks``: as of `ChartRights.grant`.
    """
    namespaces: list[str] = []
    granted: dict[str, Access] = {}

    async def make(
        name: str = "rooms",
        *,
        namespace: str | None = None,
        beside: Scene | None = None,
        store: Store = store,
        **rights: Any,
    ) -> Scene:
        if namespace is None:
            namespace = f"t-{uuid4().hex[:8]}"
            await kube.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
            namespaces.append(namespace)
            served = [beside.namespace, namespace] if beside else [namespace]
            granted[namespace] = await chart_rights.grant(kube, served, request.node.nodeid, **rights)
        return Scene(kube, namespace, store, name, granted[namespace])

    yield make
    for namespace in namespaces:
        scene = Scene(kube, namespace, store)
        for kind in (scene.routes_path, scene.pods_path):
            for item in (await kube.get(kind))["items"]:
                if item["metadata"].get("finalizers"):
                    with contextlib.suppress(KubeError):
                        await kube.merge(f"{kind}/{item['metadata']['name']}", {"metadata": {"finalizers": None}})
        await kube.delete(f"/api/v1/namespaces/{namespace}")
    for access in granted.values():
        await chart_rights.revoke(kube, access)


@pytest.fixture
async def scene(make_scene: MakeScene) -> Scene:
    return await make_scene()


@pytest.fixture
def server() -> Iterator[EmbeddedStore]:
    """A store that the test has for itself, to stop, freeze and empty; what it acknowledged outlives a crash."""
    with EmbeddedStore(arguments=("--appendonly", "yes", "--appendfsync", "no")) as server:
        yield server


@pytest.fixture
async def private_scene(make_scene: MakeScene, server: EmbeddedStore) -> AsyncIterator[Scene]:
    """A scene whose links and states are in `server`."""
    store = Store.from_url(server.url, StoreOptions(timeout_seconds=10))
    yield await make_scene(store=store)
    await store.close()


@pytest.fixture
def start_operator(make_scene: MakeScene, redis_url: str, tmp_path: Path) -> Iterator[StartOperator]:
    """Starts operators for given scenes, as the first one's account; at the end each is stopped, and must end well.

    ``kubeconfig``: the same account's, by another way. ``everywhere``: serve all namespaces, which the account must
    have been granted (``values={"watchNamespaces": []}``).
    """
    started: list[OperatorProcess] = []

    def start(
        *scenes: Scene,
        redis_url: str | None = redis_url,
        kubeconfig: Path | None = None,
        everywhere: bool = False,
        **options: str | float,
    ) -> OperatorProcess:
        access = scenes[0].access
        assert access is not None
        others = [scene for scene in scenes if scene.access is None or scene.access.account != access.account]
        assert not others, "the first scene's operator may not serve the others: make them beside it"
        log = tmp_path / f"operator-{len(started)}.log"
        namespaces = "" if everywhere else ",".join(scene.namespace for scene in scenes)
        process = OperatorProcess(kubeconfig or access.kubeconfig, redis_url, log, namespaces, **options).start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.__exit__()


@pytest.fixture
async def operator(scene: Scene, start_operator: StartOperator) -> OperatorProcess:
    """The operator at work on the scene's namespace."""
    return start_operator(scene)
