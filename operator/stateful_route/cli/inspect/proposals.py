"""What the shell proposes for names of services and pods."""

import asyncio

from stateful_route.cli.inspect.options import Access
from stateful_route.cli.inspect.session import Session
from stateful_route.domain.errors import StatefulRouteError

PATIENCE_SECONDS = 2.0
"""Somebody has pressed a key and waits."""


def names(access: Access, *, pods: bool) -> list[str]:
    """Names of the namespace's StatefulRoutes, or of their pods; none where they cannot be had at once."""
    try:
        return asyncio.run(asyncio.wait_for(_names(access, pods=pods), PATIENCE_SECONDS))
    except (StatefulRouteError, TimeoutError):
        return []


async def _names(access: Access, *, pods: bool) -> list[str]:
    session = await Session.open(access)
    try:
        routes = await session.routes()
        if not pods:
            return [route.metadata.name for route in routes]
        found = [(await session.workload(route))[1] for route in routes]
        return [pod.name for of_one in found for _, pod in sorted(of_one.items())]
    finally:
        await session.close()
