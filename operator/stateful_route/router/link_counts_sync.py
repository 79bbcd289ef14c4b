# Generated from link_counts.py by tools/twins.py: change that one, then run: make twins
"""How many links each pod has, for services whose pods no operator counts."""

from collections.abc import Mapping

from stateful_route.domain.errors import StatefulRouteError
from stateful_route.drivers.cache_sync import ServiceStateCache
from stateful_route.drivers.runtime_sync import Flights, Loop
from stateful_route.router.link_counts import COUNTED_EVERY_SECONDS, REST, log
from stateful_route.store.index_sync import counted_links
from stateful_route.store.keys import Service


class LinkCounts:
    """Counts the links of services in the background, from the first question about each until `close`."""

    def __init__(self, cache: ServiceStateCache) -> None:
        self._cache = cache
        self._counts: dict[Service, Mapping[int, int]] = {}
        self._due: dict[Service, float] = {}
        """When to count anew, by the cache's clock."""
        self._flights = Flights()
        self._loop = Loop("link counts", self._step)

    def known(self, service: Service) -> Mapping[int, int] | None:
        """Pod index → links at the last count, a pod without any is missing; None: nobody has asked for it."""
        return self._counts.get(service)

    def of(self, service: Service) -> Mapping[int, int]:
        """The same, counted now if it never was.

        Raises:
            StoreUnavailable, StoreRejected: it never was, and cannot be.
        """
        known = self._counts.get(service)
        if known is None:
            known = self.recounted(service)
        self._loop.start()
        return known

    def recounted(self, service: Service) -> Mapping[int, int]:
        """The same, counted now; errors as `of`."""
        return self._flights.share(service, lambda: self._count(service))

    def close(self) -> None:
        """Count no more."""
        self._loop.stop()

    def _count(self, service: Service) -> Mapping[int, int]:
        began = self._cache.clock()
        try:
            counts = self._counts[service] = counted_links(self._cache.executor.store(), service)
        finally:
            now = self._cache.clock()
            self._due[service] = now + max(COUNTED_EVERY_SECONDS, REST * (now - began))
        return counts

    def _step(self) -> float:
        for service in list(self._counts):
            if self._due[service] <= self._cache.clock():
                try:
                    self.recounted(service)
                except StatefulRouteError as error:
                    log.warning("the links of %s cannot be counted: %s", service, error)
        return max(0.0, min(self._due.values(), default=COUNTED_EVERY_SECONDS) - self._cache.clock())
