# Generated from server.py by tools/twins.py: change that one, then run: make twins
"""What a routed pod imports: publishes its state, owns its uids, and gives them away when it stops (reference §6)."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from stateful_route.domain.errors import (
    AlreadyRunning,
    InTransit,
    InvalidArgument,
    NotRunning,
    Replaced,
    StatefulRouteError,
)
from stateful_route.domain.names import check_uid, shown
from stateful_route.domain.option_checks import check_kind, check_limit
from stateful_route.domain.routing import RoutingState
from stateful_route.drivers.cache_sync import ServiceStateCache
from stateful_route.drivers.holdings import Act, Holdings
from stateful_route.drivers.identity import Identity
from stateful_route.drivers.pod_sync import Pod
from stateful_route.drivers.runtime_sync import Flights, terminations
from stateful_route.drivers.server import ATTEMPTS, HOOK_SECONDS
from stateful_route.drivers.server_options import ServerHooks, ServerOptions, ServerStats
from stateful_route.drivers.upkeep_sync import Upkeep
from stateful_route.store.links import MAX_EPOCH
from stateful_route.store.migrate import Moved
from stateful_route.store.taking import Bid, Taken, TakeOutcome, Which
from stateful_route.store.taking_sync import take_link


class ServerDriver:
    """One routed pod: it publishes how it is, knows which uids it owns, and gives them away when it stops.

    ::

        with ServerDriver(cache, Identity.from_environment(), hooks=ServerHooks(on_release=save)) as server:
            ...
            ok, pod = server.try_set_linked_pod(uid)  # at a uid's first request: it stays here from now on
            ...
            if not server.owns(uid):  # at each further one
                ...

    Raises, every operation that asks the store:
        InvalidArgument: something that cannot be stored; nothing was sent.
        NotRunning: it has not been started, or was stopped.
        Replaced: the pod has a successor.
        StoreUnavailable, StoreRejected: see there.
    """

    def __init__(
        self,
        cache: ServiceStateCache,
        identity: Identity,
        options: ServerOptions | None = None,
        hooks: ServerHooks | None = None,
    ) -> None:
        """``cache``: shared with other drivers of this process, or not; whoever made it closes it."""
        self.identity = identity
        check_kind(options, ServerOptions)
        self.options = options or ServerOptions()
        self._cache = cache
        self._pod = Pod.of(cache, identity, self.options, hooks or ServerHooks())
        self._upkeep = Upkeep(self._pod)
        self._holdings = self._pod.holdings
        self._publisher = self._upkeep.publisher
        self._flights = Flights()

    # Life

    @property
    def running(self) -> bool:
        """It has been started and not been stopped."""
        return self._upkeep.running

    @property
    def stats(self) -> ServerStats:
        """What it has done so far."""
        return self._pod.tally.stats(len(self._holdings))

    def start(self) -> None:
        """Publish the pod's state, and go on doing so; the pod owns nothing yet.

        Raises:
            AlreadyRunning: it has been started.
            InvalidArgument: the options do not make sense, or do not fit the service's expiry.
            Replaced: the pod has a successor.
            StoreUnavailable, StoreRejected: the state was not published; nothing runs.
        """
        if self.running:
            raise AlreadyRunning(f"{self.identity} has been started already")
        self._upkeep.start()

    def stop(self, deadline_seconds: float | None = None) -> None:
        """Give everything away and end: nothing happens if it does not run.

        The pod says that it takes no new uids (DENY_NEW_CALL), waits until every caller can have seen that, gives its
        uids away one by one (``on_release``), and says that it is down (SHUTDOWN). What is left at the deadline stays
        linked: it is moved once callers and operator know that the pod is down.

        With ``failover.onReplace: Keep`` the uids stay with the pod's next life, unless the operator says that there is
        none to come, or asks the pod to give them away: each is saved (``on_release``), no link is removed, and
        DENY_NEW_CALL is the last word. What the operator has not noticed by then it does itself, once it has.

        Args:
            deadline_seconds: How long it may take in all; None: as the options say.

        Raises:
            InvalidArgument: it is no number of seconds from 0 to `LONGEST_SECONDS`; nothing was stopped.
        """
        seconds = self._stop_seconds(deadline_seconds)
        self._flights.share("stop", lambda: self._upkeep.stop(seconds))

    def run_until_terminated(self, deadline_seconds: float | None = None) -> None:
        """Start, if it does not run yet, wait for SIGTERM or SIGINT, and stop; a second signal stops at once.

        For a process that has no use for these signals itself; in the main thread. Where a web server takes the
        signals, start and stop the driver with it.

        Raises:
            InvalidArgument: as `stop` and `start`.
            Replaced: the pod has a successor; it has stopped.
        """
        self._stop_seconds(deadline_seconds)
        over = self._upkeep.over
        with terminations(over, self._upkeep.hurry):
            if not self.running:
                self.start()
            over.wait()
            self.stop(deadline_seconds)
        self._demand_life()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # State

    def set_load_state(self, load: float) -> None:
        """Say how loaded the app is, on a scale of its own; smaller is less. Published with the next update."""
        self._publisher.set_load_state(load)

    def get_load_state(self) -> float:
        """What the app has said last; 0 at first."""
        return self._publisher.load_state

    def set_routing_state(self, state: RoutingState | str) -> None:
        """Say what callers may do with the pod; published at once while it runs, with the start otherwise.

        When this returns, the store has it. If it raises `StoreUnavailable`, the word stays, and is published as soon
        as the store answers.
        """
        try:
            self._publisher.word = RoutingState(state)
        except ValueError:
            raise InvalidArgument(f"a routing state is one of {', '.join(RoutingState)}, not {shown(state)}") from None
        if self.running:
            self._upkeep.publish_change()

    def get_routing_state(self) -> RoutingState:
        """What the app has said last, READY at first; the operator or a stop may have made more of it."""
        return self._publisher.word

    @property
    def effective_state(self) -> RoutingState | None:
        """What callers see of the pod: the more severe of the app's word and the operator's; None: nothing yet."""
        return self._publisher.seen

    def set_workload_state(self, word: str | None) -> bool:
        """Say yourself what the one word for the whole service is; None: what the pods' states make of it, as at first.

        Published by pod 0, or while that is away by the live pod with the lowest ordinal: on all others the word waits
        for their turn.

        Returns:
            Whether it was this pod's turn, so that the word is written.
        """
        self._publisher.set_workload(word)
        return self.running and self._publisher.publish_word(self._cache.known(self.identity.target))

    # Links

    def set_linked_pod(self, uid: str) -> int | None:
        """Own the uid for good, whoever has it; the pod it was linked to, or None. A former owner is told.

        Raises:
            InTransit: the pod is just giving the uid away; it can be had again in a moment.
        """
        taken = self._take(uid, Which.ANY)
        return taken.previous

    def try_set_linked_pod(self, uid: str) -> tuple[bool, int]:
        """Own the uid for good, unless another pod does; whether this one does, and the pod that does.

        A pod to which the uid was linked only for a time is told that it has lost it. Raises as `set_linked_pod`.
        """
        taken = self._take(uid, Which.UNOWNED)
        return taken.outcome is TakeOutcome.TAKEN, self.identity.ordinal if taken.ordinal is None else taken.ordinal

    def accept(self, uid: str) -> bool:
        """Whether to serve a request of the uid here: from memory while the pod owns it for good, else by the store.

        What the pod does not own it takes, for good: while it is READY, unless another pod owns the uid; while it
        denies new uids, only if the uid's link names it already; while it is down, or ends, not at all.

        False: whoever has sent the request should ask anew where to (421, Misdirected Request); in a moment, where
        `is_in_transit` says so.

        Raises:
            StoreUnavailable: it is not owned yet, and the store cannot say whose it is.
        """
        if self._holdings.keeps(uid):
            return True
        return self._flights.share(("accept", uid), lambda: self._accept(uid))

    def serving(self, uid: str) -> "Serving":
        """`accept` for the duration of a request: ``with server.serving(uid) as mine: …``.

        A uid is given away when its requests that are under way have ended, so that ``on_release`` saves what they have
        changed; `ServerOptions.request_seconds` bounds how long that waits.
        """
        return Serving(self, self._holdings, uid)

    def is_in_transit(self, uid: str) -> bool:
        """Whether the uid is just being given away, or loaded anew: who is refused now should ask again in a moment."""
        held = self._holdings.held(uid)
        return held is not None and held.in_transit

    def remove_linked_pod(self, uid: str, persist_seconds: int | None = None) -> bool:
        """Remove the uid's link, whatever pod it names; whether there was one.

        Late callers still find the pod for ``persist_seconds``; None: as long as the service says (60).
        """
        self._demand_running()
        me, snapshot = self.identity, self._cache.known(self.identity.target)
        if persist_seconds is None:
            persist_seconds = 60 if snapshot is None else snapshot.config.retain_seconds
        with self._giving_up(uid):
            return self._pod.executor.remove_linked_pod(me.namespace, uid, me.service, persist_seconds)

    def remove_linked_pod_with_id(self, uid: str, persist_seconds: int = 0) -> bool:
        """Remove the uid's link if it names this pod, else change nothing; whether it did."""
        self._demand_running()
        me = self.identity
        with self._giving_up(uid):
            return self._pod.executor.remove_linked_pod_with_id(
                me.namespace, uid, me.service, me.ordinal, persist_seconds
            )

    # Ownership

    def owns(self, uid: str) -> bool:
        """Whether this pod owns the uid, from memory: some hundred nanoseconds.

        False, for all uids, as soon as nothing could be published for longer than the expiry. What another pod has
        taken is known within milliseconds by push, at worst one update period later; whoever must know asks `is_owner`.
        """
        return self._holdings.owns(uid)

    def token(self, uid: str) -> int | None:
        """The epoch since which this pod owns the uid, from memory; None: it does not.

        For writes that are to be fenced: a later owner has a higher one. It is still given while ``on_release`` runs,
        and when the pod may have been taken for dead: then the store has to say whether it still counts (`is_owner`).
        """
        return self._holdings.token(uid)

    def is_owner(self, uid: str) -> bool:
        """Whether this pod owns the uid, by the store: one round trip, right whatever this process has slept through.

        Also while ``on_release`` runs.
        """
        me, epoch = self.identity, self._holdings.token(uid)
        if epoch is None or self._publisher.replaced is not None:
            return False
        owner = self._pod.executor.is_owner(me.namespace, uid, me.service, me.ordinal, epoch)
        if not owner and self.running:
            self._upkeep.suspect(uid)
        return owner

    def owned(self) -> list[str]:
        """All uids that this pod owns, from memory."""
        return [uid for uid in self._holdings.uids() if self._holdings.owns(uid)]

    # Helping

    def _stop_seconds(self, deadline_seconds: float | None) -> float:
        """How long stopping may take; None: as the options say."""
        if deadline_seconds is None:
            return self.options.stop_seconds
        check_limit(deadline_seconds, "deadline_seconds")
        return deadline_seconds

    def _demand_running(self) -> None:
        self._demand_life()
        if not self.running:
            raise NotRunning(f"{self.identity} does not run: start the driver first")

    def _demand_life(self) -> None:
        if (replaced := self._publisher.replaced) is not None:
            raise Replaced(*replaced.args) from replaced

    @contextmanager
    def _acting(self, uid: str) -> Iterator[Act]:
        """The app takes or gives away a uid; where it is not known what has come of it, the store is asked."""
        act = self._holdings.act(check_uid(uid))
        try:
            with act:
                yield act
        finally:
            if act.uncertain:
                self._upkeep.suspect(uid)

    @contextmanager
    def _giving_up(self, uid: str) -> Iterator[None]:
        """The app removes a link: nobody is served by it any more; if it stands after all, the pod still owns it."""
        held = self._holdings.drop(check_uid(uid))
        with self._acting(uid) as act:
            try:
                yield
            except StatefulRouteError as error:
                if held is not None and not error.maybe_written:
                    act.take(held.epoch, persistent=held.persistent)
                raise

    def _accept(self, uid: str) -> bool:
        self._demand_running()
        held = self._holdings.held(check_uid(uid))
        which = self._upkeep.takes or (Which.NAMED if held is not None else None)
        if which is None or (held is not None and held.leaving):
            return False
        if held is None or not held.stale:
            self._take(uid, which)
        held = self._holdings.held(uid)
        if held is not None and held.stale:
            self._pod.telling.caught_up(uid, HOOK_SECONDS)
        return self._holdings.keeps(uid)

    def _take(self, uid: str, which: Which) -> Taken:
        """Take a uid, and tell who loses it; what stands of it afterwards."""
        self._demand_running()
        me, held = self.identity, self._holdings.held(check_uid(uid))
        if held is not None and held.leaving:
            raise InTransit(f"{me} is giving the uid away: ask again in a moment")
        bid = Bid(which, None if held is None else held.epoch)
        taken = self._take_once(uid, bid)
        for _ in range(ATTEMPTS):
            if taken.outcome is not TakeOutcome.STANDING:
                break
            self._upkeep.publish()  # raises Replaced where the pod's owner of that epoch is a successor
            taken = self._take_once(uid, Bid(Which.SAME, taken.epoch))
        if taken.outcome is TakeOutcome.REFUSED and taken.ordinal not in {None, me.ordinal}:
            self._upkeep.gone(uid, MAX_EPOCH if taken.epoch is None else taken.epoch, taken.ordinal)
        elif taken.outcome is not TakeOutcome.TAKEN and held is not None:
            self._upkeep.suspect(uid)
        return taken

    def _take_once(self, uid: str, bid: Bid) -> Taken:
        me = self.identity
        store = self._pod.executor.store()
        with self._acting(uid) as act:
            taken = take_link(store, me.target, uid, me.ordinal, bid)
            mine = taken.outcome is TakeOutcome.TAKEN
            if mine and taken.epoch is not None and act.take(taken.epoch, persistent=True):
                held = self._holdings.held(uid)
                if held is not None and held.stale:
                    self._pod.regained(uid, held.epoch)
        if (source := taken.displaced) is not None and taken.epoch is not None:
            self._pod.tell_taken(source, [Moved(uid, me.ordinal, taken.epoch)])
        return taken


class Serving:
    """A request of a uid that a pod serves, from beginning to end; see `ServerDriver.serving`."""

    def __init__(self, server: ServerDriver, holdings: Holdings, uid: str) -> None:
        self._server = server
        self._holdings = holdings
        self._uid = uid
        self._begun = False

    def __enter__(self) -> bool:
        """Whether the request may be served here, as `ServerDriver.accept`."""
        self._begun = self._holdings.begin_request(self._uid)
        if not self._begun and self._server.accept(self._uid):
            self._begun = self._holdings.begin_request(self._uid)
        return self._begun

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._begun:
            self._holdings.end_request(self._uid)
