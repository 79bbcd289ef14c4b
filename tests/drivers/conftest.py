"""The drivers over a real server, each test with the asynchronous and the synchronous ones."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from stateful_route.drivers import cache, cache_sync, client, client_sync, route_info, route_info_sync
from stateful_route.store import executor, executor_sync
from stateful_route.store.connection import StoreOptions
from stateful_route.store.executor import StatefulExecutor
from support.pod_drivers import make_pod, start_pod  # noqa: F401  fixtures
from support.published import (  # noqa: F401  fixtures
    PATIENT,
    QUICK,
    colour,
    executor_here,
    operate,
    publish,
    service,
)
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


@dataclass(frozen=True)
class Caller:
    """The drivers of one calling process, over a cache of their own."""

    executor: Any
    states: Any
    client: Any
    info: Any


Connect = Callable[..., Awaitable[Caller]]


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
async def caller(connect, server, raw) -> Caller:
    """A caller whose knowledge is renewed by the period, too."""
    return await connect(server.url)


@pytest.fixture
async def pushed(connect, server, raw) -> Caller:
    """A caller that hears nothing but by push."""
    return await connect(server.url, PATIENT)
