# Generated from manager.py by tools/twins.py: change that one, then run: make twins
"""The route manager (reference §8): places uids, watches pods, and moves uids off those that have failed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from stateful_route.domain.errors import InvalidArgument, NoPodAvailable, StoreUnavailable
from stateful_route.domain.health import NOT_ASKED, Health, PodStatus, ProbeResult, life_of, with_response_times
from stateful_route.domain.history import FailoverEvent
from stateful_route.domain.names import check_ordinal, check_uid, check_word, shown
from stateful_route.domain.option_checks import check_kind
from stateful_route.domain.placement import Strategy, Target
from stateful_route.domain.renewal import Renewal
from stateful_route.domain.snapshot import Snapshot
from stateful_route.drivers.bounded import Bounded
from stateful_route.drivers.cache_sync import ServiceStateCache
from stateful_route.drivers.chores_sync import Chores
from stateful_route.drivers.rerouting_sync import Rerouting
from stateful_route.drivers.turns import CHANGING, LOOKS, Turns
from stateful_route.router.balancer import AnyStrategy, LoadBalancer
from stateful_route.router.failover_handler import FailoverOptions
from stateful_route.router.failover_handler_sync import FailoverHandler
from stateful_route.router.health import HealthOptions
from stateful_route.router.health_sync import Addresses, HealthBook, HealthChecker
from stateful_route.router.link_counts_sync import LinkCounts
from stateful_route.router.manager import (
    ATTEMPTS,
    BLIND_TO_LINKS,
    Migrated,
    Priority,
    RouteResult,
    _is_counted,
    _priority,
)
from stateful_route.router.probes import RecordAgeProbe
from stateful_route.router.probes_sync import Probe
from stateful_route.store.counts import NoRoom
from stateful_route.store.index import Bucket
from stateful_route.store.index_sync import recount, repair
from stateful_route.store.keys import Service, service_of
from stateful_route.store.links import Candidates, Computed
from stateful_route.store.migrate import Batch, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerOptions:
    """How a manager behaves.

    Attributes:
        strategy: Where new uids go if the request does not say; None: as the service's placement says.
        probe: How pods are asked, once `StatefulRouteManager.checker` is started; by default nobody is: the age of
            their state record speaks for them.
        address: Says where a pod is, as `ClientDriver.address`; None: where the operator's record says.
        health: Period and timeout of the checks.
        failover: How a failed pod's uids move.
    """

    strategy: AnyStrategy | None = None
    probe: Probe | RecordAgeProbe = field(default_factory=RecordAgeProbe)
    address: Addresses | None = None
    health: HealthOptions = field(default_factory=HealthOptions)
    failover: FailoverOptions = field(default_factory=FailoverOptions)


class StatefulRouteManager:
    """Routes by strategies and by what it knows of the pods' health; everything goes through the store.

    It needs no Kubernetes. What it finds out by itself (`checker`, `update_pod_health`) keeps new uids of this process
    from a pod, and moves nobody; what is to hold for all is said by `handle_pod_failure`. Beside an operator it routes
    and watches, and leaves failures to it, see `FailoverHandler`.

    Attributes:
        checker: The health checks; start them for each service that should be watched.
        failover: What was done about pods that failed.

    Raises, every operation that is awaited:
        InvalidArgument: something that cannot be stored, or a strategy that there is not; nothing was sent.
        StoreUnavailable, StoreRejected: see there.
    """

    def __init__(self, cache: ServiceStateCache, options: ManagerOptions | None = None) -> None:
        check_kind(options, ManagerOptions)
        self.options = options or ManagerOptions()
        self._cache = cache
        self._executor = cache.executor
        self._rerouting = Rerouting(cache)
        self._book = HealthBook(cache)
        self._counts = LinkCounts(cache)
        self._chores = Chores(cache, cache.ages)
        options = self.options
        self.checker = HealthChecker(cache, options.probe, options.health, address=options.address, book=self._book)
        self.failover = FailoverHandler(cache, options.failover, book=self._book, counts=self._counts)
        self._balancers: Bounded[tuple[Service, str], LoadBalancer] = Bounded()
        self._offers: Bounded[tuple[Service, Priority, bool], tuple[tuple[object, ...], Sequence[Target]]] = Bounded()
        """The targets, and the facts by which they were found."""
        if self.options.strategy is not None:
            LoadBalancer(self.options.strategy)  # one that there is not is found here

    def close(self) -> None:
        """End the checks and what goes on in the background; the cache and the executor go on."""
        self.checker.close()
        self.failover.close()
        self._chores.stop()
        self._counts.close()

    # Routing

    def route_request(
        self,
        namespace: str,
        uid: str,
        service: str,
        strategy: AnyStrategy | None = None,
        priority: Priority | str = Priority.NORMAL,
    ) -> RouteResult:
        """The pod of the uid: the one it is linked to while that is alive, else one by the strategy, linked at once.

        One round trip for a uid that has a pod, two for a new one.

        Args:
            namespace: Whose.
            uid: Of whom; its link is a temporary one until its pod makes it persistent.
            service: Likewise.
            strategy: A `Strategy`, the name of an entry point, or a function of the pods; None: see `ManagerOptions`.
            priority: See `Priority`.

        Raises:
            NoPodAvailable: it needs a pod, and no healthy one takes new uids.
        """
        target, order = service_of(namespace, service), _priority(priority)
        check_uid(uid)
        self._cache.demand_store()
        self._chores.start()
        snapshot = self._cache.asked(target)
        balancer = self._balancer(target, snapshot, strategy, order)
        if not snapshot.pods and not self._cache.follows(target):
            raise self._nobody(target, snapshot, full=False)
        renewal, name = Renewal.of(snapshot.config.temporary_seconds), None
        failed: frozenset[int] = frozenset()
        full = False
        try:
            computed = self._rerouting.ask(target, uid, Candidates({}, doubted=snapshot.dead), renewal, None)
            for _ in range(LOOKS):
                source = None
                if isinstance(computed, Computed) and computed.doubted:
                    source = self._rerouting.to_be_left(target, computed.ordinal, snapshot)
                    snapshot = self._cache.known(target) or snapshot
                elif isinstance(computed, Computed):
                    snapshot = self._cache.known(target) or snapshot
                    if computed.ordinal not in snapshot.alive:
                        snapshot = self._cache.refresh(target)  # it may be younger than what we know
                    if computed.ordinal in snapshot.alive:
                        status = self._status(target, snapshot, computed.ordinal)
                        return RouteResult(computed.ordinal, name, status.load, status, computed.epoch)
                    failed |= {computed.ordinal}
                chosen, others = self._chosen(target, snapshot, balancer, order, failed)
                candidates = Turns.only(snapshot, chosen, failed, source, others)
                computed = self._rerouting.ask(target, uid, candidates, renewal, source)
                full = isinstance(computed, NoRoom) or (chosen is None and bool(others))
                if isinstance(computed, NoRoom):
                    candidates = Turns.only(snapshot, None, failed, source)
                    computed = self._rerouting.ask(target, uid, candidates, renewal, source)
                if computed is None or isinstance(computed, NoRoom):
                    break
                name = None if computed.previous == computed.ordinal else balancer.name
        except StoreUnavailable:
            self._cache.doubt()
            raise
        raise self._nobody(target, snapshot, full=full)

    def get_best_pod(self, namespace: str, service: str, strategy: AnyStrategy | None = None) -> int:
        """The index of the pod that the next new uid would get; nothing is linked, and it is the next one's turn then.

        Raises:
            NoPodAvailable: no healthy pod takes new uids.
        """
        target = service_of(namespace, service)
        snapshot = self._cache.asked(target)
        balancer = self._balancer(target, snapshot, strategy, Priority.NORMAL)
        targets = self._targets(target, snapshot, balancer, Priority.NORMAL)
        try:
            return balancer.pick(targets, snapshot.config.placement)
        except NoPodAvailable:
            raise self._nobody(target, snapshot, full=bool(targets)) from None

    def migrate_user(
        self, namespace: str, uid: str, service: str, pod: int, *, reason: str = "MigrateUser"
    ) -> Migrated | None:
        """Move one uid to a pod, if it is where it was when we looked; its pods and callers are told.

        The link keeps its time to live, its epoch rises. It may be used beside an operator.

        Args:
            namespace: Whose.
            uid: Who.
            service: Likewise.
            pod: Where to; it must take new uids.
            reason: As it will stand in the stream of moves.

        Returns:
            What was done (a uid that is there already stays, with its epoch); None: nothing, since it has no link, or
            others have moved it whenever we were about to.

        Raises:
            NoPodAvailable: that pod takes none: it is not alive, not READY, judged unhealthy or full; nothing was done.
        """
        target, ordinal = service_of(namespace, service), check_ordinal(pod)
        check_uid(uid)
        check_word(reason, "reason")
        snapshot = self._cache.refresh(target)
        if ordinal not in snapshot.routable or ordinal in self._book.unhealthy(target, snapshot):
            raise NoPodAvailable(f"pod {ordinal} of {target} takes no uids: {self._states(target, snapshot)}")
        bucket, limit, full = target.bucket(uid), max(0, snapshot.config.placement.max_links), False
        for attempt in range(ATTEMPTS):
            link = self._executor.get_link(namespace, uid, service)
            if link is None:
                return None
            if link.ordinal == ordinal:
                return Migrated(uid, ordinal, ordinal, link.epoch)
            if attempt > 0 or link.epoch < 0:  # a foreign client's link, which our index does not list
                repair(self._executor.store(), target, [Bucket(bucket, [uid])])
            batch = Batch(bucket, [uid], [ordinal])
            (result,) = self._executor.migrate(
                namespace, service, link.ordinal, [batch], reason=reason, max_links=limit
            )
            if result.moved:
                return Migrated(uid, link.ordinal, ordinal, result.epoch)
            full = Outcome.FULL in result.exceptions.values()
            if full and attempt == 0:  # what has expired there counts until somebody looks
                recount(self._executor.store(), target)
        if full:
            raise NoPodAvailable(f"pod {ordinal} of {target} is full (placement.maxLinksPerPod: {limit})")
        return None

    # Pods

    def update_pod_health(
        self,
        namespace: str,
        service: str,
        pod: int,
        healthy: bool,
        *,
        response_seconds: float = NOT_ASKED,
        why: str = "reported",
    ) -> Health:
        """Take down what somebody has found out about a pod; the judgement now, as of a health check.

        It keeps new uids of this process from an unhealthy pod until it is found healthy or replaced.
        """
        target, ordinal = service_of(namespace, service), check_ordinal(pod)
        if not response_seconds >= 0:
            raise InvalidArgument(f"a response time is 0 seconds or more, not {shown(response_seconds)}")
        self._cache.asked(target)
        result = ProbeResult(bool(healthy), response_seconds, why)
        return self._book.note(target, ordinal, result, self.options.health.failures_allowed)

    def handle_pod_failure(
        self, namespace: str, service: str, pod: int, reason: str = "failed", *, overrule: bool = False
    ) -> FailoverEvent:
        """Take the pod out of service, and move every uid that is linked to it; see `FailoverHandler`.

        Raises:
            OwnedElsewhere: an operator owns the service; nothing was done.
        """
        return self.failover.handle_pod_failure(namespace, service, pod, reason, overrule=overrule)

    def recover_pod(self, namespace: str, service: str, pod: int, reason: str = "recovered") -> FailoverEvent | None:
        """Take a failed pod back into service, and forget what was held against it; None: it had not failed.

        Raises:
            OwnedElsewhere: an operator owns the service; nothing was done.
        """
        return self.failover.recover_pod(namespace, service, pod, reason)

    def failover_events(self, namespace: str, service: str) -> list[FailoverEvent]:
        """What was done in this process about pods that failed, the oldest first; the last 100 of each service."""
        return self.failover.events(namespace, service)

    def get_service_load_status(self, namespace: str, service: str) -> dict[int, PodStatus]:
        """Pod index → what is known of it, of all pods; empty for nobody's service."""
        target = service_of(namespace, service)
        snapshot = self._cache.asked(target)
        return {ordinal: self._status(target, snapshot, ordinal) for ordinal in sorted(snapshot.pods)}

    # Inside

    def _chosen(
        self, service: Service, snapshot: Snapshot, balancer: LoadBalancer, order: Priority, failed: frozenset[int]
    ) -> tuple[int | None, Sequence[Target]]:
        """The pod that takes a uid that needs one, by the strategy (None: nobody does), and all who may."""
        offered = self._targets(service, snapshot, balancer, order)
        targets = [target for target in offered if target.ordinal not in failed] if failed else offered
        try:
            return balancer.pick(targets, snapshot.config.placement), targets
        except NoPodAvailable:
            return None, targets

    def _balancer(
        self, service: Service, snapshot: Snapshot, strategy: AnyStrategy | None, order: Priority
    ) -> LoadBalancer:
        if order is Priority.HIGH:
            strategy = Strategy.LEAST_LOAD
        if strategy is None:
            strategy = self.options.strategy
        if strategy is None:
            strategy = snapshot.config.placement.strategy
        if not isinstance(strategy, str):
            return LoadBalancer(strategy)  # it remembers by itself what it wants to remember
        known = self._balancers.get((service, strategy))
        if known is None:
            known = self._balancers[service, strategy] = LoadBalancer(strategy)
        return known

    def _targets(
        self, service: Service, snapshot: Snapshot, balancer: LoadBalancer, order: Priority
    ) -> Sequence[Target]:
        """The healthy pods that take new uids; the same list as long as nothing has changed."""
        counted = snapshot.config.placement.max_links > 0 or balancer.strategy not in BLIND_TO_LINKS
        counts = self._counts.of(service) if counted and not _is_counted(snapshot) else None
        facts = (snapshot, self._book.version, counts)
        known = self._offers.get((service, order, counted))
        if known is not None and all(one is other for one, other in zip(known[0], facts, strict=True)):
            return known[1]
        targets = snapshot.targets(self._book.unhealthy(service, snapshot))
        if counts is not None:
            targets = [target._replace(links=counts.get(target.ordinal, 0)) for target in targets]
        if order is Priority.LOW and len(targets) > 1:
            best = min(targets, key=lambda target: (target.load, target.ordinal))
            targets = [target for target in targets if target is not best]
        offered = with_response_times(targets, self._book.of(service))
        self._offers[service, order, counted] = facts, offered
        return offered

    def _status(self, service: Service, snapshot: Snapshot, ordinal: int) -> PodStatus:
        view = snapshot.pods[ordinal]
        health = self._book.of(service).get(ordinal)
        health = health if health is not None and health.life == life_of(view) else None
        counts = self._counts.known(service)
        links = None if counts is None else counts.get(ordinal, 0)
        if view.record is not None and _is_counted(snapshot):
            links = view.record.count
        return PodStatus(
            state=view.effective,
            alive=ordinal in snapshot.alive,
            available=ordinal in snapshot.routable and (health is None or health.healthy),
            load=view.state.load if view.state is not None else 0.0,
            links=links,
            health=health,
        )

    def _nobody(self, service: Service, snapshot: Snapshot, *, full: bool) -> NoPodAvailable:
        """Why a uid got no pod; ``full``: all that were offered have as many links as they may."""
        what = "every healthy pod of {} is full" if full else "no healthy pod of {} takes new uids"
        if not full and snapshot.routable.keys() - self._book.unhealthy(service, snapshot):
            what = CHANGING
        return NoPodAvailable(f"{what.format(service)}: {self._states(service, snapshot)}")

    def _states(self, service: Service, snapshot: Snapshot) -> str:
        """The pods in a few words, for an error."""
        unhealthy = self._book.unhealthy(service, snapshot)
        words = [
            f"{ordinal} {state}{'' if ordinal in snapshot.alive else ', not alive'}"
            + (", unhealthy" if ordinal in unhealthy else "")
            for ordinal, state in sorted(snapshot.states().items())
        ]
        return "; ".join(words) or "there is no pod"
