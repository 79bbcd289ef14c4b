"""The operator's metrics: what its parts tell as it happens, and what one finds when one looks."""

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from stateful_route.domain.meter import Routed, RouteReading
from stateful_route.domain.routing import RoutingState
from stateful_route.metrics import families as f
from stateful_route.metrics.recording import Labels, StoreMeter, collected, histogram, shown

PODS_SHOWN = 1000
"""A service with more pods is shown without the links of each: that many series for one metric are a burden."""


class OperatorMetrics(StoreMeter, Collector):
    """All metrics of one operator, in a registry of its own."""

    def __init__(
        self, version: str, readings: Callable[[], Iterable[RouteReading]], leading: Callable[[], bool]
    ) -> None:
        """What is asked at each look: how things are with each StatefulRoute, and whether this process leads."""
        super().__init__((f.LINKS_MOVED, f.LINKS_NOT_MOVED, f.MIGRATIONS, f.DRIFT_REPAIRED, f.HINTS))
        self._version = version
        self._readings = readings
        self._leading = leading
        self._migration = histogram(f.MIGRATION)
        self._event_to_store = histogram(f.EVENT_TO_STORE)
        self._reconcile = histogram(f.RECONCILE)
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def page(self) -> tuple[bytes, str]:
        """What Prometheus reads, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    # What happens

    def links_moved(self, service: Routed, reason: str, links: int) -> None:
        """See `Meter`."""
        self._tally.add(f.LINKS_MOVED, (service.namespace, service.name, reason), links)

    def links_not_moved(self, service: Routed, cause: str, links: int) -> None:
        """See `Meter`."""
        self._tally.add(f.LINKS_NOT_MOVED, (service.namespace, service.name, cause), links)

    def migrated(self, service: Routed, reason: str, result: str, seconds: float) -> None:
        """See `Meter`."""
        self._tally.add(f.MIGRATIONS, (service.namespace, service.name, reason, result))
        if result == "complete":
            self._migration.labels(reason).observe(seconds)

    def drift_repaired(self, service: Routed, kind: str, count: int) -> None:
        """See `Meter`."""
        self._tally.add(f.DRIFT_REPAIRED, (service.namespace, service.name, kind), count)

    def event_written(self, seconds: float) -> None:
        """See `Meter`."""
        self._event_to_store.observe(seconds)

    def reconciled(self, result: str, seconds: float) -> None:
        """See `Meter`."""
        self._reconcile.labels(result).observe(seconds)

    def hinted(self, service: Routed, finding: str) -> None:
        """See `Meter`."""
        self._tally.add(f.HINTS, (service.namespace, service.name, finding))

    def forget(self, service: Routed) -> None:
        """See `Meter`."""
        self._tally.forget((service.namespace, service.name))

    # A look

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry is our own, no name is there twice."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All metrics, as they are now."""
        yield shown(f.BUILD_INFO, {(self._version, platform.python_version()): 1})
        yield shown(f.LEADER, {(): int(self._leading())})
        yield from _of_routes(list(self._readings()))
        yield from self.kept()
        for one in (self._migration, self._event_to_store, self._reconcile):
            yield from collected(one)


def _of_routes(readings: Iterable[RouteReading]) -> Iterator[Metric]:
    conditions: dict[Labels, float] = {}
    sums = {family: Counter[Labels]() for family in (f.PODS, f.LINKS, f.POD_LINKS)}
    sums |= {family: Counter[Labels]() for family in (f.UNREACHABLE_PODS, f.MIGRATIONS_RUNNING)}
    waits: dict[Labels, float] = {}
    for one in readings:
        for condition, holds in one.conditions.items():
            conditions[one.namespace, one.route, condition] = int(holds)
        if not one.service:
            continue
        service = (one.namespace, one.service)
        for state in RoutingState:
            ordinals = [ordinal for ordinal, known in one.states.items() if known is state]
            sums[f.PODS][*service, state] += len(ordinals)
            sums[f.LINKS][*service, state] += sum(one.links.get(ordinal, 0) for ordinal in ordinals)
        for ordinal, links in one.links.items() if len(one.links) <= PODS_SHOWN else ():
            sums[f.POD_LINKS][*service, f"{one.workload}-{ordinal}"] += links
        sums[f.UNREACHABLE_PODS][service] += one.unreachable
        sums[f.MIGRATIONS_RUNNING][service] += one.migrations
        waits[service] = max(one.waiting_seconds, waits.get(service, 0.0))
    yield shown(f.CONDITION, conditions)
    for family, values in sums.items():
        yield shown(family, values)
    yield shown(f.RECONCILE_WAIT, waits)
