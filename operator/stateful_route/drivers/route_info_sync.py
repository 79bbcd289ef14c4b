# Generated from route_info.py by tools/twins.py: change that one, then run: make twins
"""What a caller may ask about the pods of a service (reference §5)."""

from stateful_route.domain.aliveness import ServiceState
from stateful_route.domain.names import check_ordinal
from stateful_route.domain.placement import Spread
from stateful_route.domain.routing import RoutingState
from stateful_route.domain.snapshot import Snapshot
from stateful_route.drivers.cache_sync import ServiceStateCache
from stateful_route.drivers.route_info import (
    IDLE_SECONDS,
    Callback,
    RoutingStates,
    get_service_name_by_tag,
    set_global_service_name_tag,
)
from stateful_route.drivers.runtime_sync import Loop, tell
from stateful_route.store.keys import Service, service_of


class RouteInfoDriver:
    """Answers from the process's snapshots; only the first question about a service waits for the store.

    Raises, every operation that is awaited:
        InvalidArgument: a name that cannot be stored.
        StoreUnavailable: nothing fresh is known, and the store does not answer.
    """

    def __init__(self, cache: ServiceStateCache) -> None:
        self._cache = cache
        self._callbacks: list[Callback] = []
        self._untold: dict[Service, tuple[RoutingStates, RoutingStates]] = {}
        self._telling = Loop("routing state callbacks", self._tell)
        cache.listen(self)

    def get_ready_service_state(self, namespace: str, service: str) -> dict[int, ServiceState]:
        """Pod index → published state of the pods that take new uids; without pods that publish nothing."""
        snapshot = self._snapshot(namespace, service)
        found = {ordinal: snapshot.pods[ordinal].state for ordinal in snapshot.routable}
        return {ordinal: state for ordinal, state in found.items() if state is not None}

    def get_all_service_state(self, namespace: str, service: str) -> dict[int, ServiceState]:
        """Pod index → published state of all pods, dead ones too; without pods that publish nothing."""
        snapshot = self._snapshot(namespace, service)
        return {ordinal: view.state for ordinal, view in snapshot.pods.items() if view.state is not None}

    def alive_pods(self, namespace: str, service: str) -> list[int]:
        """The pods that serve the uids they have, in order; they may be denying new ones."""
        return sorted((self._snapshot(namespace, service)).alive)

    def routable_pods(self, namespace: str, service: str) -> list[int]:
        """The pods that take new uids (alive and READY), in order."""
        return sorted((self._snapshot(namespace, service)).routable)

    def get_service_best_pod(self, namespace: str, service: str) -> int | None:
        """A pod for a new uid, by the service's placement strategy; None: no pod takes any.

        It remembers nothing: for pods that take turns use a `ClientDriver`, which places and links in one step.
        """
        snapshot = self._snapshot(namespace, service)
        return Spread(snapshot.targets(), snapshot.config.placement, at_least=1).take()

    def is_pod_available(self, namespace: str, service: str, pod: int) -> bool:
        """Whether the pod is alive: it serves the uids that it has."""
        return check_ordinal(pod) in (self._snapshot(namespace, service)).alive

    def is_pod_routable(self, namespace: str, service: str, pod: int) -> bool:
        """Whether the pod takes new uids: alive and READY."""
        return check_ordinal(pod) in (self._snapshot(namespace, service)).routable

    def is_workload_ready(self, namespace: str, service: str) -> bool:
        """Whether the one word for the whole service, as the store has it now, is READY; one round trip."""
        word = self._cache.executor.get_workload_state(namespace, service)
        return word == RoutingState.READY

    def get_link_info_cache_time_secs(self, namespace: str, service: str) -> int:
        """How long a link lives that a caller makes: 300 seconds, unless the StatefulRoute says otherwise."""
        return (self._snapshot(namespace, service)).config.temporary_seconds

    def age_seconds(self, namespace: str, service: str) -> float | None:
        """How old the knowledge of the service is; None: there is none yet."""
        return self._cache.age_seconds(service_of(namespace, service))

    def register_routing_state_changed(self, callback: Callback) -> None:
        """Call it with each change from now on: ``callback(service, previous, now)``, one change at a time.

        A callback that raises is logged, and stops nothing. Changes that follow closely may be told as one.
        """
        self._callbacks.append(callback)
        self._telling.start()

    def on_routing_state_changed(self, service: Service, previous: RoutingStates, now: RoutingStates) -> None:
        """Tell all registered callbacks; a subclass may do more."""
        for callback in list(self._callbacks):
            tell(callback, service, previous, now)

    get_service_name_by_tag = staticmethod(get_service_name_by_tag)
    set_global_service_name_tag = staticmethod(set_global_service_name_tag)

    def close(self) -> None:
        """Tell nobody any more; the cache goes on."""
        self._cache.unlisten(self)
        self._telling.stop()

    # What the cache tells

    def changed(self, service: Service, before: Snapshot | None, now: Snapshot) -> None:
        """There is a newer snapshot."""
        if not self._callbacks or before is None:
            return
        previous, states = before.states(), now.states()
        if previous != states:
            earlier, _ = self._untold.get(service, (previous, states))
            self._untold[service] = (earlier, states)
            self._telling.wake()

    def concerned(self, service: Service, source: int, targets: object) -> bool:
        """No: links are not told here."""
        del service, source, targets
        return False

    def moved(self, service: Service, moves: object, *, missed: bool) -> None:
        """Links are not told here."""

    def _tell(self) -> float:
        while self._untold:
            service, (previous, states) = self._untold.popitem()
            self.on_routing_state_changed(service, previous, states)
        return IDLE_SECONDS

    def _snapshot(self, namespace: str, service: str) -> Snapshot:
        return self._cache.asked(service_of(namespace, service))
