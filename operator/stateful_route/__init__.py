"""Stateful routing: each user reaches the pod that holds its state, also when pods drain or die."""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from stateful_route.domain.errors import (
        InvalidArgument,
        NoPodAvailable,
        NotRunning,
        Replaced,
        StatefulRouteError,
        StoreRejected,
        StoreUnavailable,
    )
    from stateful_route.domain.routing import RoutingState
    from stateful_route.drivers.cache import CacheOptions
    from stateful_route.drivers.client import ClientOptions
    from stateful_route.drivers.identity import Identity
    from stateful_route.drivers.server_options import ServerHooks, ServerOptions
    from stateful_route.router.manager import ManagerOptions
    from stateful_route.router.route import RouteOptions, StatefulRoute
    from stateful_route.store.connection import StoreOptions

__all__ = [
    "CacheOptions",
    "ClientOptions",
    "Identity",
    "InvalidArgument",
    "ManagerOptions",
    "NoPodAvailable",
    "NotRunning",
    "Replaced",
    "RouteOptions",
    "RoutingState",
    "ServerHooks",
    "ServerOptions",
    "StatefulRoute",
    "StatefulRouteError",
    "StoreOptions",
    "StoreRejected",
    "StoreUnavailable",
]

_HOMES = {
    "CacheOptions": "drivers.cache",
    "ClientOptions": "drivers.client",
    "Identity": "drivers.identity",
    "ManagerOptions": "router.manager",
    "RouteOptions": "router.route",
    "RoutingState": "domain.routing",
    "ServerHooks": "drivers.server_options",
    "ServerOptions": "drivers.server_options",
    "StatefulRoute": "router.route",
    "StoreOptions": "store.connection",
}
"""Where the names of `__all__` are defined that are no errors; imported when they are first asked for."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'domain.errors')}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
