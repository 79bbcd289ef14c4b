# Generated from chores.py by tools/twins.py: change that one, then run: make twins
"""Removal of what has expired, for services that no operator looks after."""

import random
from collections.abc import Callable, Iterable

from stateful_route.domain.errors import StatefulRouteError
from stateful_route.drivers.cache_sync import ServiceStateCache
from stateful_route.drivers.chores import BUCKETS_PER_STEP, REPAIR_SECONDS, log
from stateful_route.drivers.runtime_sync import Loop
from stateful_route.store.index_sync import repair_buckets
from stateful_route.store.keys import BUCKETS, Service
from stateful_route.store.migrate_sync import trim_moves


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

    def stop(self) -> None:
        """End, wherever it is."""
        self._loop.stop()

    def step(self) -> float:
        """Look at the next buckets of each service; the seconds to rest. The first step only rests, everybody else."""
        if not self._begun:
            self._begun = True
            return self._rest * random.uniform(0.5, 1)  # noqa: S311  no secret
        for service in list(self._services()):
            try:
                self._look_after(service)
            except StatefulRouteError as error:
                log.warning("what has expired of %s cannot be removed: %s", service, error)
        return self._rest

    def _look_after(self, service: Service) -> None:
        store = self._cache.executor.store()
        if store.command("GET", service.owner) is not None:
            return
        start = self._next.get(service, 0)
        buckets = range(start, min(start + BUCKETS_PER_STEP, BUCKETS))
        repaired = repair_buckets(store, service, buckets)
        if repaired.expired:
            log.info("%d links of %s have expired and are removed from the index", repaired.expired, service)
        self._next[service] = buckets.stop % BUCKETS
        if buckets.stop == BUCKETS:
            trim_moves(store, service)
