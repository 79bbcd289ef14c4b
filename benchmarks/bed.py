"""The bed of a benchmark on real parts: control plane, store, and a StatefulSet with its route."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import load_kube_config
from redis import Redis
from rich.console import Console

from stateful_route.devcluster import ControlPlane, EmbeddedStore, apply_crd
from stateful_route.devcluster.embedded_store import StoreServer
from stateful_route.domain.routing import RoutingState
from stateful_route.kube.client import REQUEST_SECONDS, Kube, KubeError
from stateful_route.store.connection import Store
from stateful_route.store.keys import BUCKETS, Service
from stateful_route.store.states import get_service

PATIENCE_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Bed:
    """What is running."""

    control_plane: ControlPlane
    store: EmbeddedStore


@dataclass(frozen=True, slots=True)
class Size:
    """What a run is about: fewer links for a quick look; ``server``: None for all that are here."""

    links: int = 1_000_000
    server: StoreServer | None = None


@contextmanager
def three_nodes(server: StoreServer) -> Iterator[str]:
    """The URL of a Redis Cluster of three servers."""
    with ExitStack() as stack:
        nodes = [stack.enter_context(EmbeddedStore(server, arguments=("--cluster-enabled", "yes"))) for _ in range(3)]
        clients = [stack.enter_context(Redis.from_url(node.url, decode_responses=True)) for node in nodes]
        for number, client in enumerate(clients):
            first, beyond = (BUCKETS * part // 3 for part in (number, number + 1))
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", first, beyond - 1)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[0].port)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(not _complete(client.execute_command("CLUSTER INFO")) for client in clients):
            if time.monotonic() > deadline:
                raise TimeoutError("the Cluster does not come together")
            time.sleep(0.05)
        yield "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes)


def _complete(info: Mapping[str, str]) -> bool:
    return info["cluster_state"] == "ok" and info["cluster_known_nodes"] == "3"


@contextmanager
def bed(console: Console) -> Iterator[Bed]:
    """A control plane with ten nodes and an embedded store, for as long as the benchmarks run."""

    def tell(text: str) -> None:
        console.print(text, style="dim")

    with EmbeddedStore() as store, ControlPlane.start(nodes=10, progress=tell) as control_plane:
        apply_crd(control_plane.kubectl)
        yield Bed(control_plane, store)


async def make(kube: Kube, namespace: str, replicas: int) -> None:
    """A namespace with the StatefulSet ``rooms`` and its StatefulRoute."""
    await kube.create("/api/v1/namespaces", {"metadata": {"name": namespace}})
    labels = {"app": "rooms"}
    spec = {
        "replicas": replicas,
        "serviceName": "rooms",
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "room", "image": "none"}]}},
    }
    workload = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "rooms"}, "spec": spec}
    await kube.create(f"/apis/apps/v1/namespaces/{namespace}/statefulsets", workload)
    await make_route(kube, namespace, "rooms")


def routes_path(namespace: str) -> str:
    """Where the API server has the namespace's StatefulRoutes."""
    return f"/apis/statefulroute.io/v1alpha1/namespaces/{namespace}/statefulroutes"


async def make_route(kube: Kube, namespace: str, name: str) -> None:
    """A StatefulRoute as it is by default."""
    route = {"apiVersion": "statefulroute.io/v1alpha1", "kind": "StatefulRoute", "metadata": {"name": name}}
    await kube.create(routes_path(namespace), route)


async def until_ready(store: Store, service: Service, pods: int) -> None:
    """Wait until that many pods are READY in the store."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        states = [pod.effective for pod in (await get_service(store, service)).pods.values()]
        if states.count(RoutingState.READY) >= pods:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{states.count(RoutingState.READY)} of {pods} pods READY")
        await asyncio.sleep(0.1)


async def until_pods_ready(kube: Kube, namespace: str, pods: int) -> None:
    """Wait until that many pods are Ready in Kubernetes."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    path = f"/apis/apps/v1/namespaces/{namespace}/statefulsets/rooms"
    while (await kube.get(path)).get("status", {}).get("readyReplicas", 0) < pods:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not {pods} pods Ready")
        await asyncio.sleep(0.2)


@asynccontextmanager
async def bare_watch(kubeconfig: str, path: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """The events of a bare watch: an HTTP stream and a JSON parser, nothing more."""
    configuration: Any = Configuration()
    await load_kube_config(config_file=kubeconfig, client_configuration=configuration)  # type: ignore[no-untyped-call]
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    context.load_cert_chain(configuration.cert_file, configuration.key_file)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_SECONDS)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), timeout=timeout) as session,
        session.get(f"{configuration.host}{path}", params={"watch": "true"}) as response,
    ):
        if response.status != 200:
            raise KubeError(response.status, f"watch {path}")
        yield _events(response)


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    async for line in response.content:
        yield json.loads(line)
