# Generated from executor.py by tools/twins.py: change that one, then run: make twins
"""The link and state store: every operation of it, under the reference's names."""

from collections.abc import Iterable, Iterator, Sequence
from time import monotonic
from types import TracebackType
from typing import Self

from stateful_route.domain.aliveness import ServiceState
from stateful_route.domain.errors import InvalidArgument, StatefulRouteError, StoreRejected
from stateful_route.domain.meter import Meter
from stateful_route.domain.names import check_ordinal, check_word, shown
from stateful_route.domain.routing import Reason, RoutingState
from stateful_route.store import index_sync, links, links_sync, migrate, migrate_sync, states, states_sync
from stateful_route.store.announcing_sync import Announcer
from stateful_route.store.batch import Replies
from stateful_route.store.batch_sync import answered_each
from stateful_route.store.connection import StoreOptions
from stateful_route.store.connection_sync import Store
from stateful_route.store.executor import LEAST_SECONDS, SCRIPTS, LinksPage, _found, _removal, _rerouting
from stateful_route.store.index import Repaired
from stateful_route.store.keys import BUCKETS, Service, service_of
from stateful_route.store.layout_sync import check_layout
from stateful_route.store.links import PERSISTENT, Candidates, Computed, Link, Relinked, Tried
from stateful_route.store.migrate import Batch, BatchResult, Moved
from stateful_route.store.patience_sync import PatientStore
from stateful_route.store.placing_sync import place, place_each
from stateful_route.store.runtime_sync import Lock, deadline
from stateful_route.store.scripts import script
from stateful_route.store.server_sync import check_server


class StatefulExecutor:
    """Reads and writes links and states; one for a process, shared by all of its tasks.

    Operations whose name has ``linked_pod`` give pod indexes; those with ``link`` give the epoch, too, by which
    `is_owner` fences a pod that has lost its uid. Those with ``links`` take many uids in one round trip.

    Every call ends within the options' ``deadline_seconds`` (a batch: each 1,000 uids of it) and repeats what can be
    repeated without harm, see `PatientStore`. The first call also looks whether the server can be used.

    Raises, every operation:
        InvalidArgument: something that cannot be stored; nothing was sent.
        StoreUnavailable, StoreRejected: see there; ``maybe_written`` says whether anything may have changed.
        LayoutMismatch, UnfitServer: the store or the server cannot be used; nothing was written.
    """

    def __init__(self, store: Store) -> None:
        self._patient = PatientStore.over(store)
        self._checking = Lock()
        self._looked = self._checked = False
        self.announcer = Announcer(self.store)
        """Tells what single calls have moved."""
        for name in SCRIPTS:
            script(name)  # a damaged installation is found here, not half-way through

    @classmethod
    def from_url(cls, url: str, options: StoreOptions | None = None) -> Self:
        """An executor for the URL (as `Store.from_url`); connects at the first call."""
        return cls(Store.from_url(url, options))

    @property
    def meter(self) -> Meter:
        """Hears of every round trip to the store."""
        return self._patient.meter

    @meter.setter
    def meter(self, meter: Meter) -> None:
        self._patient.meter = meter

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._patient.close()

    # States

    def set_service_state(
        self,
        namespace: str,
        service: str,
        pod: int,
        state: RoutingState | str,
        *,
        load: float = 0,
        incarnation: str = "",
    ) -> RoutingState:
        """Publish what a pod says of itself; the effective state, which the operator may have made more severe.

        ``load``: smaller is less. ``incarnation``: ``<pod uid>/<restarts>``, by which a predecessor is told apart.

        Raises:
            Replaced: ``incarnation`` has a successor; nothing was written.
        """
        target = service_of(namespace, service)
        try:
            word = RoutingState(state)
        except ValueError:
            raise InvalidArgument(f"a routing state is one of {', '.join(RoutingState)}, not {shown(state)}") from None
        states.check_state(pod, load, incarnation)
        return states_sync.set_state(self._ready(), target, pod, word, load=load, incarnation=incarnation)

    def get_service_state(self, namespace: str, service: str) -> dict[int, ServiceState]:
        """Pod index → service state, fresh or not; without records that do not parse. Empty for nobody's service."""
        target = service_of(namespace, service)
        view = states_sync.get_service(self._ready(), target)
        return {ordinal: pod.state for ordinal, pod in view.pods.items() if pod.state is not None}

    def get_service_pod_state(self, namespace: str, service: str, pod: int) -> ServiceState | None:
        """One pod's service state; None: it has published none, or one that does not parse."""
        target, ordinal = service_of(namespace, service), check_ordinal(pod)
        return (states_sync.get_service_pod(self._ready(), target, ordinal)).state

    def set_workload_state(self, namespace: str, service: str, state: str) -> None:
        """Write the one word for the whole service."""
        key, word = service_of(namespace, service).workload, check_word(state, "workload state")
        (self._ready()).command("SET", key, word)

    def get_workload_state(self, namespace: str, service: str) -> str | None:
        """The one word for the whole service; None: there is none."""
        return (self.get_workload_states(namespace, [service]))[service]

    def get_workload_states(self, namespace: str, services: Iterable[str]) -> dict[str, str | None]:
        """Service → its word, or None, of many services in one round trip (one per node of a Cluster)."""
        targets = [service_of(namespace, name) for name in services]
        return states_sync.get_workloads(self._ready(), targets)

    # One link: the pod

    def set_linked_pod(
        self, namespace: str, uid: str, service: str, pod: int, persist_seconds: int = PERSISTENT
    ) -> int | None:
        """Link the uid to the pod, whatever it is linked to; the pod before, or None. -1 seconds: for good."""
        return (self.set_link(namespace, uid, service, pod, persist_seconds)).previous

    def try_set_linked_pod(
        self, namespace: str, uid: str, service: str, pod: int, persist_seconds: int = PERSISTENT
    ) -> tuple[bool, int]:
        """Link the uid to the pod unless another has it for good; whether it was done, and the pod that has it now."""
        tried = self.try_set_link(namespace, uid, service, pod, persist_seconds)
        return tried.done, tried.ordinal

    def set_linked_pod_if_absent(self, namespace: str, uid: str, service: str, pod: int, persist_seconds: int) -> int:
        """Link the uid to the pod unless it is linked; the pod that it is linked to now."""
        return (self.set_link_if_absent(namespace, uid, service, pod, persist_seconds)).ordinal

    def compute_linked_pod_if_absent(
        self, namespace: str, uid: str, service: str, candidates: Candidates, persist_seconds: int
    ) -> int | None:
        """The pod of the uid: the one it is linked to unless that is dead, else the best candidate, linked at once.

        None: the uid needs a pod, and there is no candidate, or all have reached their limit; nothing was changed.
        """
        computed = self.compute_link_if_absent(namespace, uid, service, candidates, persist_seconds)
        return None if computed is None else computed.ordinal

    def get_linked_pod(self, namespace: str, uid: str, service: str) -> int | None:
        """The pod that the uid is linked to, temporarily or for good, or None."""
        link = self.get_link(namespace, uid, service)
        return None if link is None else link.ordinal

    def get_linked_pod_if_persist(self, namespace: str, uid: str, service: str) -> int | None:
        """The pod that the uid is linked to for good, or None."""
        link = self.get_link_if_persist(namespace, uid, service)
        return None if link is None else link.ordinal

    def batch_get_linked_pod(self, namespace: str, uids: Iterable[str], service: str) -> dict[int, list[str]]:
        """Pod → the uids that are linked to it, in the order given; not those without a link or with a foreign value.

        Raises:
            StoreUnavailable: for some of the uids; `get_links` tells for which.
        """
        replies = self.get_links(namespace, uids, service)
        for error in replies.failed.values():
            if not isinstance(error, StoreRejected):
                raise error
        found: dict[int, list[str]] = {}
        for uid, link in replies.done.items():
            if link is not None:
                found.setdefault(link.ordinal, []).append(uid)
        return found

    def remove_linked_pod(self, namespace: str, uid: str, service: str, persist_seconds: int = 0) -> bool:
        """Remove the uid's link; whether there was one. With seconds, late callers still find the pod so long.

        The pod that had the uid is told (`announcer`), as by all operations here that take a uid off a pod.
        """
        target = service_of(namespace, service)
        request = links.remove_link_request(target, uid, persist_seconds)
        removed = links_sync.answered(self._ready(), request)
        self._tell(target, Reason.REMOVED, [_removal(uid, removed)])
        return removed.done

    def remove_linked_pod_with_id(
        self, namespace: str, uid: str, service: str, pod: int, persist_seconds: int = 0
    ) -> bool:
        """Remove the uid's link as `remove_linked_pod` if it names the pod, else change nothing; whether it did."""
        target = service_of(namespace, service)
        request = links.remove_link_with_id_request(target, uid, pod, persist_seconds)
        removed = links_sync.answered(self._ready(), request)
        self._tell(target, Reason.REMOVED, [_removal(uid, removed)])
        return removed.done

    def get_link_service(self, namespace: str, uid: str) -> dict[str, int]:
        """Service → pod of all services that the uid is linked to; two round trips."""
        links.check_whose(namespace, uid)
        return links_sync.get_link_service(self._ready(), namespace, uid)

    # One link: the pod and the epoch

    def set_link(self, namespace: str, uid: str, service: str, pod: int, persist_seconds: int = PERSISTENT) -> Relinked:
        """As `set_linked_pod`; the pod before, and the link's epoch."""
        target = service_of(namespace, service)
        request = links.set_link_request(target, uid, pod, persist_seconds)
        relinked = links_sync.answered(self._ready(), request)
        self._tell(target, Reason.TAKEN, [(relinked.previous, Moved(uid, pod, relinked.epoch))])
        return relinked

    def try_set_link(
        self, namespace: str, uid: str, service: str, pod: int, persist_seconds: int = PERSISTENT
    ) -> Tried:
        """As `try_set_linked_pod`, and the epoch of the link that stands now."""
        target = service_of(namespace, service)
        request = links.try_set_link_request(target, uid, pod, persist_seconds)
        tried = links_sync.answered(self._ready(), request)
        if tried.done:
            self._tell(target, Reason.TAKEN, [(tried.previous, Moved(uid, pod, tried.epoch))])
        return tried

    def set_link_if_absent(self, namespace: str, uid: str, service: str, pod: int, persist_seconds: int) -> Link:
        """As `set_linked_pod_if_absent`: the link that stands now."""
        request = links.set_link_if_absent_request(service_of(namespace, service), uid, pod, persist_seconds)
        return links_sync.answered(self._ready(), request)

    def compute_link_if_absent(
        self, namespace: str, uid: str, service: str, candidates: Candidates, persist_seconds: int
    ) -> Computed | None:
        """As `compute_linked_pod_if_absent`: the link that stands now, and the pod before.

        A uid that has moved is told (`announcer`) before the answer is given, also when the telling fails for now.
        """
        target = service_of(namespace, service)
        computed = _found(place(self.store, target, uid, candidates, persist_seconds))
        if computed is not None and computed.previous not in {None, computed.ordinal}:
            self._tell(target, Reason.REROUTED, [_rerouting(uid, computed)])
        return computed

    def get_link(self, namespace: str, uid: str, service: str) -> Link | None:
        """As `get_linked_pod`: the link; its epoch is -1 when a foreign client made it."""
        request = links.get_link_request(service_of(namespace, service), uid)
        return links_sync.answered(self._ready(), request)

    def get_link_if_persist(self, namespace: str, uid: str, service: str) -> Link | None:
        """As `get_linked_pod_if_persist`: the link."""
        request = links.get_link_if_persist_request(service_of(namespace, service), uid)
        return links_sync.answered(self._ready(), request)

    def is_owner(self, namespace: str, uid: str, service: str, pod: int, epoch: int) -> bool:
        """The fence: whether the pod still owns the uid since that epoch; False for a link that is only retained."""
        request = links.is_owner_request(service_of(namespace, service), uid, pod, epoch)
        return links_sync.answered(self._ready(), request)

    # Many links

    def get_links(self, namespace: str, uids: Iterable[str], service: str) -> Replies[Link | None]:
        """`get_link` for many uids."""
        target = service_of(namespace, service)
        return answered_each(self.store, uids, lambda uid, _: links.get_link_request(target, uid))

    def set_links_if_absent(
        self, namespace: str, uids: Iterable[str], service: str, pod: int, persist_seconds: int
    ) -> Replies[Link]:
        """`set_link_if_absent` for many uids."""
        target = service_of(namespace, service)
        return answered_each(
            self.store,
            uids,
            lambda uid, _: links.set_link_if_absent_request(target, uid, pod, persist_seconds),
        )

    def compute_links_if_absent(
        self, namespace: str, uids: Iterable[str], service: str, candidates: Candidates, persist_seconds: int
    ) -> Replies[Computed | None]:
        """`compute_link_if_absent` for many uids; candidates of the same load take turns."""
        target = service_of(namespace, service)
        placed = place_each(self.store, target, uids, lambda _: candidates, persist_seconds)
        replies = Replies({uid: _found(one) for uid, one in placed.done.items()}, placed.failed)
        rerouted = [_rerouting(uid, computed) for uid, computed in replies.done.items() if computed is not None]
        self._tell(target, Reason.REROUTED, rerouted)
        return replies

    def remove_links(
        self, namespace: str, uids: Iterable[str], service: str, persist_seconds: int = 0
    ) -> Replies[bool]:
        """`remove_linked_pod` for many uids."""
        target = service_of(namespace, service)
        replies = answered_each(
            self.store, uids, lambda uid, _: links.remove_link_request(target, uid, persist_seconds)
        )
        self._tell(target, Reason.REMOVED, [_removal(uid, removed) for uid, removed in replies.done.items()])
        return Replies({uid: removed.done for uid, removed in replies.done.items()}, replies.failed)

    # The index

    def links_of_pod(self, namespace: str, service: str, pod: int, *, cursor: int = 0) -> Iterator[LinksPage]:
        """All uids of a pod, page by page; ``cursor``: of the last page that was dealt with, to go on behind it.

        What is linked behind the walk is found by the next one. Each page is a round trip with a deadline of its own.
        """
        target, ordinal = service_of(namespace, service), check_ordinal(pod)
        if not isinstance(cursor, int) or isinstance(cursor, bool) or not 0 <= cursor <= BUCKETS:
            raise InvalidArgument(f"a cursor is a number from 0 to {BUCKETS}, not {shown(cursor)}")
        for buckets in index_sync.links_of_pod(self._ready(), target, ordinal, start_bucket=cursor):
            yield LinksPage([uid for bucket in buckets for uid in bucket.uids], buckets[-1].number + 1)

    def count_links(self, namespace: str, service: str) -> dict[int, int]:
        """Pod → how many links it has, as the scripts keep it; expired ones count until they are counted out."""
        target = service_of(namespace, service)
        return index_sync.count_links(self._ready(), target)

    def migrate(
        self,
        namespace: str,
        service: str,
        source: int,
        batches: Sequence[Batch],
        *,
        reason: str,
        max_links: int = 0,
    ) -> list[BatchResult]:
        """Move links off a pod, those that still name it, and tell all who follow the service's moves.

        ``max_links``: how many a target may have; what would be more stays (`Outcome.FULL`). 0: any number.
        One round trip for all batches; the epochs rise, times to live stay. The loop that finds the links, paces and
        spreads them is `stateful_route.router.failover.move_links`.
        """
        target, ordinal = service_of(namespace, service), check_ordinal(source)
        migrate.check_batches(target, batches)
        check_word(reason, "reason")
        store = self._ready()
        results = migrate_sync.migrate(store, target, ordinal, batches, max_links=max_links)
        moved = [link for result in results for link in result.moved]
        try:
            migrate_sync.append_moves(store, target, ordinal, reason, moved)
        except StatefulRouteError as error:
            error.maybe_written = True  # the links have moved
            raise
        return results

    def repair(self, namespace: str, service: str, *, foreign: bool = False) -> Repaired:
        """Drop or mend index entries that disagree with their links; ``foreign``: also look at all keys for more."""
        target = service_of(namespace, service)
        return index_sync.repair_service(self._ready(), target, foreign=foreign)

    def rebuild(self, namespace: str, service: str, *, keys_per_second: float | None = None) -> Repaired:
        """Make the index of a service anew from its links; at most so many keys are looked at in a second."""
        target = service_of(namespace, service)
        return index_sync.rebuild(self._ready(), target, keys_per_second=keys_per_second)

    def _tell(self, service: Service, reason: Reason, changes: Iterable[tuple[int | None, Moved]]) -> None:
        """Tell of each uid that has left a pod: that pod's index, or None where it was on none, and where it is now."""
        by_source: dict[int, list[Moved]] = {}
        for source, moved in changes:
            if source is not None and source != moved.to:
                by_source.setdefault(source, []).append(moved)
        for source, links_of_pod in by_source.items():
            self.announcer.announce(service, source, reason, links_of_pod)

    def store(self) -> Store:
        """The store, once it is known to be usable."""
        self._ready()
        return self._patient

    def _ready(self) -> Store:
        """The same for one call: who has waited for the look at the server has the rest of its deadline left."""
        if self._checked:
            return self._patient
        began, seconds = monotonic(), self._patient.options.deadline_seconds
        try:
            with deadline(seconds), self._checking:
                if not self._looked:
                    check_server(self._patient)
                    self._looked = True
                if not self._checked:
                    check_layout(self._patient)
                    self._checked = True
        except TimeoutError:
            raise self._patient.late(writes=False) from None
        return PatientStore.over(self._patient, max(LEAST_SECONDS, seconds - (monotonic() - began)))
