"""The metrics of a caller's `StatefulRoute`, asynchronous or not."""

from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from stateful_route.domain.errors import StatefulRouteError
from stateful_route.domain.meter import UNMETERED, Meter, Routed
from stateful_route.drivers.counts import ClientCounts
from stateful_route.metrics import families as f
from stateful_route.metrics.recording import StoreMeter, collected, histogram, shown
from stateful_route.store.keys import Service


class _Executor(Protocol):
    meter: Meter


class _Client(Protocol):
    meter: Meter

    @property
    def cached_links(self) -> int: ...
    def counts(self) -> dict[Service, ClientCounts]: ...


class _States(Protocol):
    @property
    def trouble(self) -> StatefulRouteError | None: ...
    def ages(self) -> dict[Service, float]: ...


class Instrumentable(Protocol):
    """A `StatefulRoute`, or its synchronous twin."""

    @property
    def executor(self) -> _Executor:
        """Speaks to the store."""
        ...

    @property
    def client(self) -> _Client:
        """Finds links."""
        ...

    @property
    def states(self) -> _States:
        """Knows the pods."""
        ...


class Instrumentation(StoreMeter, Collector):
    """The metrics of one `StatefulRoute`; `instrument` makes it.

    What is answered from memory is counted where it is answered, as a plain number; all else is done when somebody
    looks, or beside a round trip.
    """

    def __init__(self, route: Instrumentable, registry: CollectorRegistry) -> None:
        super().__init__()
        self._route = route
        self._registry = registry
        self._compute = histogram(f.COMPUTE)

    def begin(self) -> None:
        """Be told, and be shown.

        Raises:
            ValueError: the registry has such metrics already.
        """
        self._registry.register(self)
        self._route.executor.meter = self._route.client.meter = self

    def end(self) -> None:
        """Be told no more, and be shown no more."""
        self._registry.unregister(self)
        self._route.executor.meter = self._route.client.meter = UNMETERED

    def computed(self, service: Routed, seconds: float) -> None:
        """See `Meter`."""
        del service
        self._compute.observe(seconds)

    def describe(self) -> Iterator[Metric]:
        """The names, by which a registry finds what is there twice."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        """All metrics, as they are now."""
        route, counts = self._route, self._route.client.counts()
        yield _by_service(f.CACHE_HITS, {of: known.hits for of, known in counts.items()})
        yield _by_service(f.CACHE_MISSES, {of: known.misses for of, known in counts.items()})
        yield _by_service(f.MISROUTED, {of: known.misrouted for of, known in counts.items()})
        yield shown(f.CACHED_LINKS, {(): route.client.cached_links})
        yield _by_service(f.SNAPSHOT_AGE, route.states.ages())
        yield shown(f.STORE_REACHABLE, {(): int(route.states.trouble is None)})
        yield from collected(self._compute)
        yield from self.kept()


def instrument(route: Instrumentable, registry: CollectorRegistry = REGISTRY) -> Instrumentation:
    """Show the metrics of a `StatefulRoute`, asynchronous or not, until `Instrumentation.end`.

    Args:
        route: The one of this process; a second one, for another store, needs a registry of its own.
        registry: Where; by default what ``prometheus_client.start_http_server`` serves.

    Raises:
        ValueError: the registry has such metrics already.
    """
    made = Instrumentation(route, registry)
    made.begin()
    return made


def _by_service(family: f.Family, values: Mapping[Service, float]) -> Metric:
    return shown(family, {(of.namespace, of.name): value for of, value in values.items()})
