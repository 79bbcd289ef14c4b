"""The same without ``async``: ``from stateful_route.sync import StatefulRoute``."""

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
from stateful_route.router.manager_sync import ManagerOptions
from stateful_route.router.route_sync import RouteOptions, StatefulRoute
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
