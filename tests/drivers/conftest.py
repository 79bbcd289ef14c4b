"""The drivers over a real server, each test with the asynchronous and the synchronous ones."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from stateful_route.domain.record import OperatorRecord
from stateful_route.drivers import cache, cache_sync, client, client_sync, route_info, route_info_sync
from stateful_route.store import executor, executor_sync
from stateful_route.store.connection import StoreOptions
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.keys import Service
from stateful_route.store.states import claim, set_operator_states
from support.pod_drivers import make_pod, start_pod  # noqa: F401  fixtures
from support.servers import (  # noqa: F401  fixtures
    StartServer,
    cluster,
    eventually,
    kind,
    raw,
    server,
    start_module_server,
    start_server,
)
from support.twins import Threaded

NS, SVC = "games", "room"
OWNER = "test-cluster/test-route"
QUICK = cache.CacheOptions(refresh_seconds=0.3)
PATIENT = cache.CacheOptions(refresh_seconds=60.0)
"""The period comes too late for a test: what arrives came by push."""


@dataclass(frozen=True)
class Caller:
    """The drivers of one calling process, over a cache of their own."""

    executor: Any
    states: Any
    client: Any
    info: Any


Connect = Callable[..., Awaitable[Caller]]


@pytest.fixture(params=["async", "sync"])
def colour(request) -> str:
    """Which of the twins."""
    return request.param


@pytest.fixture
async def connect(colour) -> AsyncIterator[Connect]:
    """Start a calling process's drivers: ``connect(url, CacheOptions(…), StoreOptions(…), **client options)``."""
    async with AsyncExitStack() as stack:

        async def caller(
            url: str, options: cache.CacheOptions = QUICK, store: StoreOptions | None = None, **settings: Any
        ) -> Caller:
            chosen = client.ClientOptions(**settings)
            if colour == "async":
                made = StatefulExecutor.from_url(url, store)
                states = cache.ServiceStateCache(made, options)
                parts = made, states, client.ClientDriver(states, chosen), route_info.RouteInfoDriver(states)
            else:
                plain = executor_sync.StatefulExecutor.from_url(url, store)
                known = cache_sync.ServiceStateCache(plain, options)
                parts = (
                    Threaded(plain, executor.StatefulExecutor),
                    Threaded(known, cache.ServiceStateCache),
                    Threaded(client_sync.ClientDriver(known, chosen), client.ClientDriver),
                    Threaded(route_info_sync.RouteInfoDriver(known), route_info.RouteInfoDriver),
                )
            for part in parts:
                stack.push_async_callback(part.close)
            return Caller(*parts)

        yield caller


@pytest.fixture
async def executor_here(server, raw) -> AsyncIterator[StatefulExecutor]:
    """The store itself, as pods and the operator see it; it is empty at first."""
    async with StatefulExecutor.from_url(server.url) as made:
        yield made


@pytest.fixture
async def caller(connect, server, raw) -> Caller:
    """A caller whose knowledge is renewed by the period, too."""
    return await connect(server.url)


@pytest.fixture
async def pushed(connect, server, raw) -> Caller:
    """A caller that hears nothing but by push."""
    return await connect(server.url, PATIENT)


@pytest.fixture
def service() -> Service:
    return Service(NS, SVC)


@pytest.fixture
def publish(executor_here) -> Callable[..., Awaitable[object]]:
    """Let pods publish their states: ``publish({0: "READY", 1: "READY"}, loads={0: 700})``."""

    async def states(words: dict[int, str], loads: dict[int, float] | None = None, incarnation: str = "") -> None:
        for pod, word in words.items():
            load = (loads or {}).get(pod, 0)
            await executor_here.set_service_state(NS, SVC, pod, word, load=load, incarnation=incarnation)

    return states


@pytest.fixture
def operate(executor_here, service) -> Callable[..., Awaitable[object]]:
    """Write as the operator does: ``operate({0: record("READY")}, loadRange=100)``."""

    async def write(records: dict[int, OperatorRecord], **config: object) -> None:
        store = await executor_here.store()
        await claim(store, service, OWNER, {"heartbeat": "Auto"} | config)
        await set_operator_states(store, service, OWNER, records)

    return write
