"""The same without ``async``: ``from stateful_route.sync import StatefulRoute``."""

from stateful_route.router.route_sync import RouteOptions, StatefulRoute

__all__ = ["RouteOptions", "StatefulRoute"]
