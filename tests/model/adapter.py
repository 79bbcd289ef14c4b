"""All that the model uses of the library, in one place; also what only later versions have."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from model.wire import Cable, Network, WireClient
from stateful_route.drivers.cache import CacheOptions, ServiceStateCache
from stateful_route.drivers.client import ClientDriver
from stateful_route.drivers.identity import Identity
from stateful_route.drivers.server import ServerDriver
from stateful_route.drivers.server_options import ServerHooks, ServerOptions
from stateful_route.store.connection import Store
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.index import purge
from stateful_route.store.keys import Service

PACKAGES = ("stateful_route",)

REFRESH_SECONDS = 10.0
"""Twice as long as usual: to read the states is most of what is done in the model."""


def executor_over(network: Network, cable: Cable) -> StatefulExecutor:
    """An executor over that cable."""
    client: Any = WireClient(network, cable)
    return StatefulExecutor(Store(client, label=cable.name))


def cache_over(network: Network, cable: Cable, *, push: bool) -> ServiceStateCache:
    """A cache of states over that cable, by the loop's clock."""
    return ServiceStateCache(
        executor_over(network, cable), CacheOptions(push=push, refresh_seconds=REFRESH_SECONDS), network.loop.time
    )


def client_over(cache: ServiceStateCache) -> ClientDriver:
    """A caller."""
    return ClientDriver(cache)


def server_over(cache: ServiceStateCache, identity: Identity, hooks: ServerHooks) -> ServerDriver:
    """A pod; it does not look at the CPU, whose time is not virtual."""
    return ServerDriver(cache, identity, ServerOptions(cpu_factor=0, settle_seconds=REFRESH_SECONDS), hooks)


@contextlib.asynccontextmanager
async def admitted(server: ServerDriver, uid: str) -> AsyncIterator[bool]:
    """Whether a request is to be served here, for as long as it lasts where the library knows of that."""
    serving: Any = getattr(server, "serving", None)
    if serving is None:
        yield await server.accept(uid)
    else:
        async with serving(uid) as mine:
            yield mine


CAN_HOLD = hasattr(ClientDriver, "hold")
"""Callers can keep a link for as long as a session lasts."""


@contextlib.asynccontextmanager
async def held(client: ClientDriver, service: Service, uid: str) -> AsyncIterator[None]:
    """Keep the uid's link for as long as a session lasts; where `CAN_HOLD`."""
    hold: Any = client.hold  # type: ignore[attr-defined,unused-ignore]
    async with hold(service.namespace, uid, service.name):
        yield


async def purge_links(store: Store, service: Service) -> None:
    """Delete all links, as where a StatefulRoute is deleted."""
    await purge(store, service)
