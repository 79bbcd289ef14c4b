# Generated from client.py by tools/twins.py: change that one, then run: make twins
"""What a caller imports: which pod has this uid, and where is it (reference §7)."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from stateful_route.domain.address import with_port
from stateful_route.domain.config import ServiceConfig
from stateful_route.domain.errors import InvalidArgument, StatefulRouteError, StoreUnavailable
from stateful_route.domain.meter import UNMETERED, Meter
from stateful_route.domain.names import check_ordinal, check_uid
from stateful_route.domain.option_checks import check_kind
from stateful_route.domain.renewal import Renewal
from stateful_route.domain.snapshot import Snapshot
from stateful_route.drivers.bounded import Bounded
from stateful_route.drivers.cache_sync import ServiceStateCache
from stateful_route.drivers.client import HINT_PAUSE_SECONDS, ClientOptions, _nobody, monotonic
from stateful_route.drivers.counts import ClientCounts, timed
from stateful_route.drivers.holds import OnMoved
from stateful_route.drivers.holds_sync import Held, Holds
from stateful_route.drivers.link_cache import LinkCache, spread_out
from stateful_route.drivers.rerouting_sync import Rerouting
from stateful_route.drivers.runtime_sync import Flights, Guard
from stateful_route.drivers.turns import LOOKS, Turns, serves
from stateful_route.store.batch import REQUESTS_PER_TRIP
from stateful_route.store.counts import NoRoom
from stateful_route.store.keys import Service, service_of
from stateful_route.store.links import MAX_EPOCH, Candidates, Computed
from stateful_route.store.migrate import NOBODY
from stateful_route.store.moves import Move
from stateful_route.store.states_sync import report_unreachable


class ClientDriver:
    """Finds, or makes, the links of uids; remembers them until something is told of their pods.

    Raises, every operation that asks the store:
        InvalidArgument: something that cannot be stored; nothing was sent.
        StoreUnavailable, StoreRejected: see there. At once, without another attempt, while the store is known to be
            away.
    """

    def __init__(self, cache: ServiceStateCache, options: ClientOptions | None = None) -> None:
        check_kind(options, ClientOptions)
        self.options = options or ClientOptions()
        self._states = cache
        self._executor = cache.executor
        self._cache = LinkCache(self.options.cache_size)
        self._flights = Flights()
        self._avoided: Bounded[tuple[Service, int], float] = Bounded()
        """Until when, by the monotonic clock."""
        self._hinted: Bounded[tuple[Service, int], float] = Bounded()
        self._turns: Bounded[Service, Turns] = Bounded()
        self._flying = 0
        """Computations under way."""
        self._overtaken: dict[tuple[Service, str], int] = {}
        """Epochs of links that have moved meanwhile."""
        self._guard = Guard()
        self._rerouting = Rerouting(cache)
        self._holds = Holds(cache, self._rerouting, self._renewal, self.compute_linked_pod)
        self._misses: Bounded[Service, int] = Bounded()
        self._misrouted: Bounded[Service, int] = Bounded()
        self.meter: Meter = UNMETERED
        """Hears how long computations take that memory does not answer."""
        cache.listen(self)

    def init(self, namespace: str, *services: str) -> None:
        """Read these services now, so that no caller waits, and follow them until the end, also before they exist.

        Nothing else needs it: a service is followed from the first question about it at which it exists.
        """
        for name in services:
            self._states.snapshot(service_of(namespace, name))

    def close(self) -> None:
        """Forget everything, and hold no user any more; the cache of states and the executor go on."""
        self._holds.close()
        self._states.unlisten(self)
        self._cache.clear()

    # Computing

    def compute_linked_pod(self, namespace: str, uid: str, service: str) -> int:
        """The pod of the uid: the one it is linked to while that is alive, else a READY one, linked at once.

        From memory where it is known there; else one round trip, shared by all who ask for the same uid meanwhile.

        Raises:
            NoPodAvailable: it needs a pod, and none takes new uids.
        """
        try:
            known = self._cache.hit((namespace, uid, service), monotonic())
        except TypeError:  # no text: said below
            known = None
        if known is not None:
            return known
        target = service_of(namespace, service)
        check_uid(uid)
        with self._guard:
            self._misses[target] = self._misses.get(target, 0) + 1
        return self._flights.share((namespace, uid, service), lambda: self._compute(target, uid))

    def compute_linked_pods(self, namespace: str, uids: Iterable[str], service: str) -> dict[str, int]:
        """Uid → its pod, as `compute_linked_pod`, for many in one round trip (for each 1,000 that are not known).

        Raises:
            NoPodAvailable: one of them needs a pod, and none takes new uids; what was found for others is remembered.
        """
        target = service_of(namespace, service)
        if isinstance(uids, (str, bytes)):
            raise InvalidArgument("a batch takes a list of uids, not one text")
        found: dict[str, int] = {}
        wanted, now = [], monotonic()
        for uid in dict.fromkeys(uids):
            known = self._cache.hit((namespace, uid, service), now)
            found[uid] = -1 if known is None else known
            if known is None:
                wanted.append(uid)
        if wanted:
            with self._guard:
                self._misses[target] = self._misses.get(target, 0) + len(wanted)
            found |= self._compute_many(target, wanted)
        return found

    def hold(self, namespace: str, uid: str, service: str, on_moved: OnMoved | None = None) -> Held:
        """Keep the uid's link alive as long as a connection is open, however long nobody asks.

        ::

            with route.client.hold("default", "alice", "rooms") as held:
                ...  # talk to held.pod

        At the beginning the uid is placed as by `compute_linked_pod`, whose errors are raised. From then on its link is
        renewed in the background, every fifth of its time to live, with those of all users who are held, also when the
        store was away meanwhile. ``held.pod`` is the pod that it is linked to now: another one when it has moved,
        within milliseconds by push. A link that the store has lost is made again to the same pod if that is READY and
        has not released the uid; the background links the uid to no other pod, and moves it off none: that is left to
        questions and to the operator. At the end the link lives on for its time.

        Args:
            namespace: Whose.
            uid: Of whom; several may hold it.
            service: Likewise.
            on_moved: Is called with the uid and its new pod when the link has moved, one call at a time, in the
                background; may be a coroutine function. One that raises is logged.
        """
        return Held(self._holds, service_of(namespace, service), check_uid(uid), on_moved)

    # Links as they stand

    def set_linked_pod_if_absent(
        self, namespace: str, uid: str, service: str, pod: int, persist_seconds: int | None = None
    ) -> int:
        """Link the uid to the pod unless it is linked; the pod that it is linked to now. No seconds: the service's."""
        target = service_of(namespace, service)
        self._states.demand_store()
        if persist_seconds is None:
            persist_seconds = (self._states.asked(target)).config.temporary_seconds
        return self._executor.set_linked_pod_if_absent(namespace, uid, service, pod, persist_seconds)

    def get_linked_pod(self, namespace: str, uid: str, service: str) -> int | None:
        """The pod that the uid is linked to, from memory or else from the store; None: it has none."""
        known = self.get_linked_in_cache(namespace, uid, service)
        return self.get_linked_pod_not_cache(namespace, uid, service) if known is None else known

    def get_linked_pod_not_cache(self, namespace: str, uid: str, service: str) -> int | None:
        """The pod that the uid is linked to, from the store; None: it has none."""
        self._states.demand_store()
        return self._executor.get_linked_pod(namespace, uid, service)

    def get_linked_in_cache(self, namespace: str, uid: str, service: str) -> int | None:
        """The pod that the uid is linked to, from memory alone; None: it is not known there."""
        return self._cache.get((namespace, uid, service), monotonic())

    def get_linked_pod_in_cache_or_if_persist(self, namespace: str, uid: str, service: str) -> int | None:
        """The pod from memory, or else the one that the store has a persistent link to; None: neither."""
        if (known := self.get_linked_in_cache(namespace, uid, service)) is not None:
            return known
        self._states.demand_store()
        return self._executor.get_linked_pod_if_persist(namespace, uid, service)

    def get_link_service(self, namespace: str, uid: str) -> dict[str, int]:
        """Service → pod of all services that the uid is linked to, from the store."""
        self._states.demand_store()
        return self._executor.get_link_service(namespace, uid)

    def batch_get_linked_pod(self, namespace: str, uids: Iterable[str], service: str) -> dict[int, list[str]]:
        """Pod → the uids that are linked to it, from the store; not those without a link."""
        self._states.demand_store()
        return self._executor.batch_get_linked_pod(namespace, uids, service)

    def cache_expired(self, namespace: str, uid: str, service: str) -> int | None:
        """Forget the uid's pod, for example because it said that it does not have the uid; the pod, or None."""
        return self._cache.take((namespace, uid, service), monotonic())

    def set_cache(self, namespace: str, uid: str, service: str, pod: int) -> int | None:
        """Remember the uid's pod, for example because it has told so; the pod that was remembered before, or None.

        Nobody has looked at the link, so it counts as a temporary one, and renews nothing. The same pod is remembered
        no longer than it would have been.
        """
        target, ordinal = service_of(namespace, service), check_ordinal(pod)
        known = self._cache.until((namespace, check_uid(uid), service))
        before = self.cache_expired(namespace, uid, service)
        until = known if known is not None and before == ordinal else math.inf
        with self._guard:
            self._cache.put(target, uid, ordinal, min(until, monotonic() + self._renewal(target).cache_seconds))
        return before

    def report_misrouted(self, namespace: str, uid: str, service: str) -> int | None:
        """A pod has said that it does not have the uid: forget its pod, and count it; the pod, or None.

        The next `compute_linked_pod` asks the store. Many of them tell that this caller's knowledge is old.
        """
        target = service_of(namespace, service)
        with self._guard:
            self._misrouted[target] = self._misrouted.get(target, 0) + 1
        return self.cache_expired(namespace, check_uid(uid), service)

    def counts(self) -> dict[Service, ClientCounts]:
        """What has been counted so far, of each service that was asked about; of the last 1,000 if there are more."""
        hits = self._cache.hits()
        with self._guard:
            misses, misrouted = Counter(self._misses), Counter(self._misrouted)
        return {of: ClientCounts(hits[of], misses[of], misrouted[of]) for of in {*hits, *misses, *misrouted}}

    @property
    def cached_links(self) -> int:
        """How many links are remembered; some of them may count no more."""
        return len(self._cache)

    # Pods

    def address(self, namespace: str, service: str, pod: int) -> str:
        """``host:port`` of a pod, or ``host`` where nobody has said which port; ``[fd00::5]:7777``, or ``fd00::5``.

        From the operator's record (``spec.address``); else by its name in the cluster's DNS, which needs a headless
        Service with ``publishNotReadyAddresses: true``: a pod that drains is not Ready, and must still be found.
        While the store is away it is as it was last known.

        Raises:
            StoreUnavailable: the store is away, and nothing is known of the service.
        """
        target = service_of(namespace, service)
        try:
            snapshot = self._states.asked(target)
        except StoreUnavailable:  # a user whose pod is remembered goes on: pods keep their addresses
            if (known := self._states.known(target)) is None:
                raise
            snapshot = known
        view = snapshot.pods.get(check_ordinal(pod))
        host = view.record.address if view is not None and view.record is not None else None
        if host is None:
            names: Mapping[str, object] = {"pod": f"{service}-{pod}", "ordinal": pod}
            host = self.options.address.format(**names, service=service, namespace=namespace)
        return with_port(host, self.options.port)

    def report_unreachable(self, namespace: str, service: str, pod: int) -> bool:
        """This caller cannot reach the pod: give it no new uids for a while, and let the operator have a look.

        Links stay: one caller's bad network moves nobody. Whether the operator was given a hint; not more than one in
        a few seconds is sent, and none while the store is away.
        """
        target, now = service_of(namespace, service), monotonic()
        with self._guard:
            self._avoided[target, check_ordinal(pod)] = now + self.options.avoid_seconds
        if (turns := self._turns.get(target)) is not None:
            turns.outdated = True
        if now < self._hinted.get((target, pod), now):
            return False
        with self._guard:
            self._hinted[target, pod] = now + HINT_PAUSE_SECONDS
        if self._states.trouble is not None:
            return False
        try:
            report_unreachable(self._executor.store(), target, pod)
        except StatefulRouteError:
            return False
        return True

    # What the cache tells

    def changed(self, service: Service, before: Snapshot | None, now: Snapshot) -> None:
        """There is a newer snapshot: forget links to pods that are another thing now, or no more."""
        ended = [
            ordinal
            for ordinal in self._cache.pods(service)
            if ordinal not in now.alive
            or (ordinal in now.dead and (before is None or ordinal not in before.dead))
            or (before is not None and before.state(ordinal) is not now.state(ordinal))
        ]
        self._cache.end(service, ended)
        for of, ordinal in list(self._avoided):
            if of == service and before is not None and before.state(ordinal) is not now.state(ordinal):
                self._avoided.pop((of, ordinal), None)  # it is another thing now, and may well be reached

    def concerned(self, service: Service, source: int, targets: Sequence[int]) -> bool:
        """Whether links to that pod are remembered."""
        del targets
        return self._flying > 0 or self._cache.has(service, source) or self._holds.any(service)

    def moved(self, service: Service, moves: Sequence[Move], *, missed: bool) -> None:
        """Forget what has moved."""
        self._holds.moved(service, moves, missed=missed)
        if missed or any(move.purged is not None for move in moves):
            self._cache.end_all(service)
        now = monotonic()
        for move in moves:
            for link in move.links if self.concerned(service, move.source, ()) else ():
                key = (service.namespace, link.uid, service.name)
                if self._cache.get(key, now) == move.source:
                    self._cache.take(key, now)
                if self._flying:
                    self._overtaken[service, link.uid] = MAX_EPOCH if link.to == NOBODY else link.epoch

    # Inside

    def _compute(self, service: Service, uid: str) -> int:
        with timed(self.meter, service):
            return self._found(service, uid)

    def _view(self, service: Service) -> Snapshot:
        """What is known of a service that exists.

        Raises:
            NoPodAvailable: nobody has heard of it; its links, if there are any, lead to nobody.
        """
        self._states.demand_store()
        snapshot = self._states.asked(service)
        if not snapshot.pods and not self._states.follows(service):
            raise _nobody(service, snapshot, full=False)
        return snapshot

    def _found(self, service: Service, uid: str) -> int:
        snapshot = self._view(service)
        failed: frozenset[int] = frozenset()
        source: int | None = None
        """The pod that the uid may be moved off: it was linked to it, and the pod was found to be left."""
        self._departed()
        try:
            for _ in range(LOOKS):
                candidates, renewal = self._candidates(service, snapshot, failed, source), self._renewal(service)
                asked = monotonic()
                computed = self._rerouting.ask(service, uid, candidates, renewal, source)
                full = isinstance(computed, NoRoom)
                if full:
                    candidates = Turns.only(snapshot, None, failed, source)
                    computed = self._rerouting.ask(service, uid, candidates, renewal, source)
                if computed is None or isinstance(computed, NoRoom):
                    raise _nobody(service, snapshot, full=full)
                if computed.doubted:
                    source = self._rerouting.to_be_left(service, computed.ordinal, snapshot)
                    snapshot = self._states.known(service) or snapshot
                    continue
                source = None
                known = self._states.known(service) or snapshot
                if not serves(known, computed.ordinal, candidates):
                    known = self._states.refresh(service)  # it may be younger than what we know
                if serves(known, computed.ordinal, candidates):
                    self._remember(service, uid, computed, renewal, asked)
                    return computed.ordinal
                snapshot, failed = known, failed | {computed.ordinal}
        except StoreUnavailable:
            self._states.doubt()
            raise
        finally:
            self._landed()
        raise _nobody(service, snapshot, full=False)

    def _compute_many(self, service: Service, uids: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        for start in range(0, len(uids), REQUESTS_PER_TRIP):  # each by what is known then: meanwhile a pod may deny
            found |= self._compute_some(service, uids[start : start + REQUESTS_PER_TRIP])
        return found

    def _compute_some(self, service: Service, uids: Sequence[str]) -> dict[str, int]:
        with timed(self.meter, service):
            found = self._found_some(service, uids)
        for uid in uids:
            if uid not in found:  # few: a pod has failed meanwhile; or nobody takes any
                found[uid] = self._compute(service, uid)
        return found

    def _found_some(self, service: Service, uids: Sequence[str]) -> dict[str, int]:
        snapshot = self._view(service)
        found: dict[str, int] = {}
        self._departed()
        try:
            doubted = self._ask_some(service, uids, snapshot, None, found)
            for source, some in doubted.items():
                left = self._rerouting.to_be_left(service, source, snapshot)
                self._ask_some(service, some, self._states.known(service) or snapshot, left, found)
        except StoreUnavailable:
            self._states.doubt()
            raise
        finally:
            self._landed()
        return found

    def _ask_some(
        self, service: Service, uids: Sequence[str], snapshot: Snapshot, source: int | None, found: dict[str, int]
    ) -> dict[int, list[str]]:
        """Enter what is found of these uids; pod → those that are linked to it, if the pod is only said to be dead."""
        renewal, asked = self._renewal(service), monotonic()
        candidates = {uid: self._candidates(service, snapshot, frozenset(), source) for uid in uids}
        doubted: dict[int, list[str]] = {}
        replies = self._rerouting.ask_each(service, candidates, renewal, source)
        known = self._states.known(service) or snapshot
        for uid, computed in replies.done.items():
            if computed is None or isinstance(computed, NoRoom):
                continue
            if computed.doubted:
                doubted.setdefault(computed.ordinal, []).append(uid)
                continue
            if serves(known, computed.ordinal, candidates[uid]):
                self._remember(service, uid, computed, renewal, asked)
                found[uid] = computed.ordinal
        for error in replies.failed.values():
            raise error
        return doubted

    def _candidates(
        self, service: Service, snapshot: Snapshot, failed: frozenset[int], source: int | None
    ) -> Candidates:
        """Who may take the uid: one pod, by the service's strategy; nobody takes any: then who is drained keeps it.

        ``source``: the pod that is left for certain; other dead pods are doubted.
        """
        with self._guard:
            turns = self._turns.get(service)
            if turns is None or turns.snapshot is not snapshot or turns.outdated:
                now = monotonic()
                avoided = {
                    pod for (known, pod), until in list(self._avoided.items()) if known == service and now < until
                }
                turns = self._turns[service] = Turns(snapshot, avoided, turns)
            return turns.take(failed, source)

    def _renewal(self, service: Service) -> Renewal:
        """How links of the service are renewed and cached, by what is known of its configuration."""
        snapshot = self._states.known(service)
        config = ServiceConfig() if snapshot is None else snapshot.config
        return Renewal.of(config.temporary_seconds, self.options.cache_seconds)

    def _remember(self, service: Service, uid: str, computed: Computed, renewal: Renewal, asked: float) -> None:
        """Cache the answer for as long as nobody has to look at the link again; ``asked``: when it was sent."""
        self._holds.found(service, uid, computed.ordinal, computed.epoch)
        turns = self._turns.get(service)
        if turns is not None and computed.previous != computed.ordinal:
            turns.placed[computed.ordinal] += 1
        lives = computed.lives_ms
        seconds = self.options.cache_seconds if lives is None else renewal.cached_seconds(lives)
        if seconds > 0 and self._overtaken.get((service, uid), -1) <= computed.epoch:
            with self._guard:
                self._cache.put(service, uid, computed.ordinal, asked + spread_out(seconds))

    def _departed(self) -> None:
        with self._guard:
            self._flying += 1

    def _landed(self) -> None:
        with self._guard:
            self._flying -= 1
            if not self._flying:
                self._overtaken.clear()
