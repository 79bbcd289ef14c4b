"""The route manager over a real server, each test with the asynchronous and the synchronous one."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from stateful_route.drivers import cache, cache_sync
from stateful_route.router import failover_handler, health, manager, manager_sync
from stateful_route.store import executor, executor_sync
from stateful_route.store.connection import StoreOptions
from stateful_route.store.executor import StatefulExecutor
from support.published import (  # noqa: F401  fixtures
    NS,
    PATIENT,
    QUICK,
    SVC,
    colour,
    executor_here,
    operate,
    publish,
    service,
)
from support.servers import (  # noqa: F401  fixtures
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
class Managing:
    """The manager of one process, over a cache of its own."""

    executor: Any
    states: Any
    manager: Any
    checker: Any
    failover: Any


Manage = Callable[..., Awaitable[Managing]]


@pytest.fixture
async def manage(colour, server, raw) -> AsyncIterator[Manage]:
    """Start a process's manager: ``manage(url, CacheOptions(…), StoreOptions(…), **manager options)``.

    Without a URL it uses the session's server, which is empty at first.
    """
    async with AsyncExitStack() as stack:

        async def made(
            url: str | None = None,
            options: cache.CacheOptions = QUICK,
            store: StoreOptions | None = None,
            **settings: Any,
        ) -> Managing:
            url = url or server.url
            if colour == "async":
                links = StatefulExecutor.from_url(url, store)
                states = cache.ServiceStateCache(links, options)
                one = manager.StatefulRouteManager(states, manager.ManagerOptions(**settings))
                parts = links, states, one, one.checker, one.failover
            else:
                plain = executor_sync.StatefulExecutor.from_url(url, store)
                known = cache_sync.ServiceStateCache(plain, options)
                twin = manager_sync.StatefulRouteManager(known, manager_sync.ManagerOptions(**settings))
                parts = (
                    Threaded(plain, executor.StatefulExecutor),
                    Threaded(known, cache.ServiceStateCache),
                    Threaded(twin, manager.StatefulRouteManager),
                    Threaded(twin.checker, health.HealthChecker),
                    Threaded(twin.failover, failover_handler.FailoverHandler),
                )
            for part in parts[:3]:
                stack.push_async_callback(part.close)
            return Managing(*parts)

        yield made


@pytest.fixture
async def managing(manage) -> Managing:
    """A manager with the usual options, whose knowledge is renewed quickly."""
    return await manage()


@pytest.fixture
def link(executor_here) -> Callable[..., Awaitable[list[str]]]:
    """Link so many uids to a pod: ``link(100, pod=0)``."""

    async def make(count: int, pod: int = 0, prefix: str = "user") -> list[str]:
        uids = [f"{prefix}-{number}" for number in range(count)]
        await executor_here.set_links_if_absent(NS, uids, SVC, pod, 300)
        return uids

    return make


@pytest.fixture
def counts(executor_here) -> Callable[[], Awaitable[dict[int, int]]]:
    """Pod → links, as they stand in the store."""
    return lambda: executor_here.count_links(NS, SVC)
