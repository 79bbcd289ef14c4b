"""What may be measured: a `Meter` hears of it as it happens, a `RouteReading` is what one finds when one looks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from stateful_route.domain.errors import (
    AuthenticationFailed,
    Deposed,
    StatefulRouteError,
    StoreBusy,
    StoreRejected,
    StoreUnavailable,
    UnfitServer,
)
from stateful_route.domain.routing import RoutingState

READ, WRITE, MIGRATE, COMMAND = "read", "write", "migrate", "command"
OPERATIONS = (READ, WRITE, MIGRATE, COMMAND)
"""Classes of round trips to a store: scripts that only read, that write, that move links, and plain commands."""

FAILURES: tuple[tuple[type[StatefulRouteError], str], ...] = (
    (AuthenticationFailed, "authentication"),
    (UnfitServer, "unfit"),
    (Deposed, "deposed"),
    (StoreBusy, "busy"),
    (StoreUnavailable, "unavailable"),
    (StoreRejected, "rejected"),
)
"""Kinds of trouble with a store, the more special ones first."""

OTHER_FAILURE = "other"


def failure_of(error: StatefulRouteError) -> str:
    """The kind of trouble that an error of the store is: few words, fit for a label."""
    return next((kind for of, kind in FAILURES if isinstance(error, of)), OTHER_FAILURE)


class Routed(Protocol):
    """A service, by its two names."""

    @property
    def namespace(self) -> str:
        """Its namespace."""
        ...

    @property
    def name(self) -> str:
        """The service name."""
        ...


class Meter:
    """Hears what happens; this one, the default, keeps nothing. A subclass keeps what it likes.

    Called in the middle of the work, in a synchronous caller by several threads: quick, and never raising. Times are
    seconds.
    """

    def round_trip(self, operation: str, seconds: float) -> None:
        """The store has answered, or failed to: one round trip, of one of `OPERATIONS`."""

    def store_failed(self, operation: str, failure: str) -> None:
        """A round trip has failed, or a call in it; ``failure``: a kind as `failure_of` gives."""

    def computed(self, service: Routed, seconds: float) -> None:
        """A caller's question whose answer was not in memory has been answered, or has failed."""

    def links_moved(self, service: Routed, reason: str, links: int) -> None:
        """Links have left a pod, for a reason."""

    def links_not_moved(self, service: Routed, cause: str, links: int) -> None:
        """Links that were to move did not: ``overtaken`` by another, ``refused`` by the store, or a ``foreign`` one."""

    def migrated(self, service: Routed, reason: str, result: str, seconds: float) -> None:
        """A migration has ended: ``complete``, ``unplaced`` (nobody had room), ``failed`` or ``stopped``."""

    def drift_repaired(self, service: Routed, kind: str, count: int) -> None:
        """What stood in the store did not fit together, and does again."""

    def event_written(self, seconds: float) -> None:
        """What an event about a pod means has been acknowledged by the store, so long after the event came."""

    def reconciled(self, result: str, seconds: float) -> None:
        """A reconciler has passed: ``done``, or ``again`` when it has to try again."""

    def hinted(self, service: Routed, finding: str) -> None:
        """A caller's hint that a pod is not reachable was looked into."""

    def forget(self, service: Routed) -> None:
        """The service is not served any more: nothing of it should be shown."""


UNMETERED = Meter()
"""Keeps nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteReading:
    """How things are with one StatefulRoute.

    Attributes:
        namespace: Its namespace.
        route: Its name.
        service: The service name.
        workload: The name of its StatefulSet.
        conditions: Type → whether it is True; without those that nobody knows yet.
        states: Pod index → effective state; without pods of which nothing is written.
        links: Pod index → how many links it has.
        unreachable: Pods that do not answer the operator's probe.
        migrations: Pods whose links are being moved.
        waiting_seconds: For how long its reconciler has been wanting to run; 0: it is not.
    """

    namespace: str
    route: str
    service: str
    workload: str
    conditions: Mapping[str, bool] = field(default_factory=dict)
    states: Mapping[int, RoutingState] = field(default_factory=dict)
    links: Mapping[int, int] = field(default_factory=dict)
    unreachable: int = 0
    migrations: int = 0
    waiting_seconds: float = 0.0
