"""Removal of what has expired, for services that no operator looks after."""

import logging
import random
from collections.abc import Callable, Iterable

from stateful_route.domain.errors import StatefulRouteError
from stateful_route.drivers.cache import ServiceStateCache
from stateful_route.drivers.runtime import Loop
from stateful_route.store.index import repair_buckets
from stateful_route.store.keys import BUCKETS, Service
from stateful_route.store.migrate import trim_moves

log = logging.getLogger(__name__)

REPAIR_SECONDS = 600.0
"""A whole round through the index of a service, as the operator's ``repair.periodSeconds``."""

BUCKETS_PER_STEP = 1024
"""On one server a step without links costs 16 scripts, on a Cluster one for each bucket: 27 a second at most."""


class Chores:
    """Walks the indexes of some services in small steps, and removes index entries and fields of links that are gone.

    It does nothing for a service that an operator owns. A step that fails is done again after the usual rest.
    """

    def __init__(
        self,
        cache: ServiceStateCache,
        services: Callable[[], Iterable[Service]],
        round_seconds: float = REPAIR_SECONDS,
    ) -> None:
        """``services``: those whose turn it is to be looked after here; asked before each step."""
        self._cache = cache
        self._services = services
        self._rest = round_seconds * BUCKETS_PER_STEP / BUCKETS
        self._next: dict[Service, int] = {}
        """The bucket to go on with."""
        self._begun = False
        self._loop = Loop("chores", self.step)

    def start(self) -> None:
        """Begin after a rest; nothing happens if it is running."""
        self._loop.start()

    async def stop(self) -> None:
        """End, wherever it is."""
        await self._loop.stop()

    async def step(self) -> float:
        """Look at the next buckets of each service; the seconds to rest. The first step only rests, everybody else."""
        if not self._begun:
            self._begun = True
            return self._rest * random.uniform(0.5, 1)  # noqa: S311  no secret
        for service in list(self._services()):
            try:
                await self._look_after(service)
            except StatefulRouteError as error:
                log.warning("what has expired of %s cannot be removed: %s", service, error)
        return self._rest

    async def _look_after(self, service: Service) -> None:
        store = await self._cache.executor.store()
        if await store.command("GET", service.owner) is not None:
            return
        start = self._next.get(service, 0)
        buckets = range(start, min(start + BUCKETS_PER_STEP, BUCKETS))
        repaired = await repair_buckets(store, service, buckets)
        if repaired.expired:
            log.info("%d links of %s have expired and are removed from the index", repaired.expired, service)
        self._next[service] = buckets.stop % BUCKETS
        if buckets.stop == BUCKETS:
            await trim_moves(store, service)
