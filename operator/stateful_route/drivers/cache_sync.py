# Generated from cache.py by tools/twins.py: change that one, then run: make twins
"""What this process knows of the pods: a snapshot for each service that it was asked about, kept fresh."""

import random
import time
from collections.abc import Callable

from stateful_route.domain.errors import StatefulRouteError, StoreUnavailable
from stateful_route.domain.option_checks import check_kind
from stateful_route.domain.snapshot import Look, Snapshot, all_told, corrected, observed, partly_observed
from stateful_route.drivers.bounded import Bounded
from stateful_route.drivers.cache import (
    AGAIN_SECONDS,
    FIRST_PAUSE_SECONDS,
    FORGOTTEN_AFTER_SECONDS,
    LONGEST_PAUSE_SECONDS,
    REFRESHED_AFTER,
    UNKNOWN_SECONDS,
    CacheOptions,
    Listener,
    _Followed,
    log,
)
from stateful_route.drivers.messages import LinksMoved, StatesChanged, place, understood
from stateful_route.drivers.push_sync import Push
from stateful_route.drivers.runtime_sync import Flights, Guard, Loop
from stateful_route.store.connection_sync import Store
from stateful_route.store.executor_sync import StatefulExecutor
from stateful_route.store.keys import Service
from stateful_route.store.moves_sync import read_moves
from stateful_route.store.runtime_sync import together
from stateful_route.store.states import NO_ENTRY, ServiceNews, ServiceView, exists
from stateful_route.store.states_sync import get_service, get_service_since


class ServiceStateCache:
    """Snapshots of services, by period and by push; one for a process, shared by its drivers.

    A service is followed from the first question about it: its channel is subscribed, and it is read every period.
    There are three kinds of questions. `snapshot` is for services that this process names of its own accord (a health
    check those that it looks after): each is followed until `close`, whether it exists or not. `pod_snapshot` is for a
    pod that wants to know of itself: as long as nobody asks about the others, it alone is read every period, and the
    live pod with the lowest index, which speaks for all; of the others it knows what is told. A thousand pods that read
    each other would be a million entries each period. `asked` is
    for names that come from outside: one that nobody has heard of is read at most once in `UNKNOWN_SECONDS`, is not
    followed, and gives way to others; one that has become empty is followed no more when nobody has asked about it for
    `FORGOTTEN_AFTER_SECONDS`.
    """

    def __init__(
        self,
        executor: StatefulExecutor,
        options: CacheOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is read before the first question; ``clock``: monotonic seconds."""
        self.executor = executor
        check_kind(options, CacheOptions)
        self.options = options or CacheOptions()
        self.clock = clock
        self._followed: dict[Service, _Followed] = {}
        self._by_channel: dict[str, _Followed] = {}
        self._unknown: Bounded[Service, Snapshot] = Bounded()
        """What was read of services that nobody has heard of."""
        self._listeners: tuple[Listener, ...] = ()
        self._push: Push | None = None
        self._pause = FIRST_PAUSE_SECONDS
        self._trouble: StatefulRouteError | None = None
        self.outages = 0
        """How often the store, or the connection that tells what happens, has been away."""
        self._flights = Flights()
        self._guard = Guard()
        self._loop = Loop("service states", self._step)
        self._telling = Loop("moves to tell", executor.announcer.again)
        executor.announcer.on_kept = self._tell_later

    @property
    def trouble(self) -> StatefulRouteError | None:
        """Why the store cannot be reached, as of the last attempt; None: it can."""
        return self._trouble

    def listen(self, listener: Listener) -> None:
        """Tell it from now on."""
        self._listeners = (*self._listeners, listener)

    def unlisten(self, listener: Listener) -> None:
        """Tell it no more."""
        self._listeners = tuple(known for known in self._listeners if known is not listener)

    def known(self, service: Service) -> Snapshot | None:
        """What is in memory, however old; None: nothing, it has not been asked for."""
        followed = self._followed.get(service)
        return followed.snapshot if followed else self._unknown.get(service)

    def follows(self, service: Service) -> bool:
        """Whether the service is read and heard all the time."""
        return service in self._followed

    def age_seconds(self, service: Service) -> float | None:
        """How old the knowledge of a service is; None: there is none."""
        snapshot = self.known(service)
        return None if snapshot is None else self.clock() - snapshot.read_at

    def ages(self) -> dict[Service, float]:
        """How old the knowledge is of each service that is known, seconds."""
        now = self.clock()
        known = {followed.service: followed.snapshot for followed in list(self._followed.values())}
        return {service: now - snapshot.read_at for service, snapshot in known.items() if snapshot is not None}

    def moves_seen(self, service: Service) -> str:
        """The last move that was told when this process heard or read last; ``0-0``: none, or nothing was read yet."""
        followed = self._followed.get(service)
        return NO_ENTRY if followed is None else followed.moves

    def snapshot(self, service: Service) -> Snapshot:
        """The service's pods, as they were at most ``refresh_seconds`` ago: from memory, but for the first question.

        Raises:
            StoreUnavailable: nothing is known that is fresh enough, and the store does not answer; at once, if it has
                not answered before.
            StoreRejected, LayoutMismatch, UnfitServer: the store cannot be used.
        """
        followed = self._followed.get(service)
        if followed is None:
            self.demand_store()
            followed = self._flights.share(("follow", service), lambda: self._follow(service))
        followed.needed = True
        return self._fresh(followed)

    def pod_snapshot(self, service: Service, ordinal: int) -> Snapshot:
        """As `snapshot`, for the pod itself: only this pod is sure to be as it was ``refresh_seconds`` ago.

        Raises:
            StoreUnavailable, StoreRejected, LayoutMismatch, UnfitServer: as `snapshot`.
        """
        followed = self._followed.get(service)
        if followed is None:
            self.demand_store()
            followed = self._flights.share(("follow", service), lambda: self._follow(service))
        followed.needed = True
        followed.mine.add(ordinal)
        snapshot = followed.snapshot
        if snapshot is not None and self.clock() - snapshot.read_at <= self.options.refresh_seconds:
            return snapshot
        self.demand_store()
        return self._flights.share(service, lambda: self._read(followed))

    def read_pod(self, service: Service) -> Snapshot:
        """Read anew what `pod_snapshot` is sure of; errors as there."""
        followed = self._followed.get(service)
        if followed is None or not followed.mine:
            return self.refresh(service)
        return self._flights.share(service, lambda: self._read(followed))

    def asked(self, service: Service) -> Snapshot:
        """The same, for a name that may be anybody's: without pods, and read up to a second ago, if it is unknown.

        Raises:
            StoreUnavailable, StoreRejected, LayoutMismatch, UnfitServer: as `snapshot`.
        """
        followed = self._followed.get(service)
        if followed is not None:
            followed.asked_at = self.clock()
            return self._fresh(followed)
        unknown = self._unknown.get(service)
        if unknown is not None and self.clock() - unknown.read_at <= UNKNOWN_SECONDS:
            return unknown
        self.demand_store()
        return self._flights.share(("ask", service), lambda: self._ask(service))

    def demand_store(self) -> None:
        """Raise `StoreUnavailable` if the store is known to be away: whoever needs it need not wait to find out."""
        if (trouble := self._trouble) is not None and self._loop.running:
            raise StoreUnavailable(f"{trouble} (it is tried again all the time)", maybe_written=False) from trouble

    def refresh(self, service: Service) -> Snapshot:
        """As `asked`, read anew in any case."""
        followed = self._followed.get(service)
        if followed is None:
            return self._flights.share(("ask", service), lambda: self._ask(service))
        return self._all_read(followed)

    def doubt(self) -> None:
        """Somebody had trouble with the store: see whether it is there, and read everything anew."""
        self.outages += 1
        for followed in list(self._followed.values()):
            followed.due = 0.0
            followed.doubt()
        self._loop.wake()

    def close(self) -> None:
        """End the push and the refreshing; what is known stays readable, and grows old."""
        self._loop.stop()
        self._telling.stop()
        if self._trouble is None:
            self.executor.announcer.again()
        if self._push is not None:
            self._push.close()

    def _tell_later(self) -> None:
        self._telling.start()
        self._telling.wake()

    def _fresh(self, followed: "_Followed") -> Snapshot:
        """What is known of all pods, if that is fresh; else what is read now."""
        snapshot, followed.all_wanted = followed.snapshot, True
        if snapshot is not None and self.clock() - followed.all_read_at <= self.options.refresh_seconds:
            return snapshot
        self.demand_store()
        return self._all_read(followed)

    def _all_read(self, followed: "_Followed") -> Snapshot:
        """Read all pods, or share a reading of them that is under way."""
        followed.all_wanted, followed.all_due = True, 0.0
        before = followed.all_read_at
        snapshot = self._flights.share(followed.service, lambda: self._read(followed))
        if followed.all_read_at == before:  # that was one of some pods
            snapshot = self._flights.share(followed.service, lambda: self._read(followed))
        return snapshot

    def _ask(self, service: Service) -> Snapshot:
        """Read a service that is not followed, and follow it if it exists."""
        began = self.clock()
        try:
            view = get_service(self.executor.store(), service)
        except StoreUnavailable:
            self.doubt()
            raise
        if exists(view):
            followed = self._flights.share(("follow", service), lambda: self._follow(service))
            followed.asked_at = began
            self._unknown.pop(service, None)
            return self._all_read(followed)
        snapshot = observed(view.pods, view.config, view.time_ms, began, None)
        with self._guard:
            self._unknown[service] = snapshot
        return snapshot

    def _forget(self, now: float) -> None:
        """Follow no more what is empty and not asked about."""
        for followed in list(self._followed.values()) if self._trouble is None else ():
            if followed.empty and not followed.needed and now - followed.asked_at > FORGOTTEN_AFTER_SECONDS:
                self._followed.pop(followed.service, None)
                self._by_channel.pop(followed.service.channel, None)
                if self._push is not None:
                    self._push.unsubscribe(followed.service.channel)

    def _follow(self, service: Service) -> "_Followed":
        """Subscribe first, then read: what happens between the two is told."""
        if (known := self._followed.get(service)) is not None:
            return known
        followed = _Followed(service, self.clock())
        if self.options.push:
            if self._push is None:
                self._push = Push(self.executor.store(), self._hear, self.doubt, self.doubt)
            self._by_channel[service.channel] = followed
            self._push.subscribe(service.channel)
        self._followed[service] = followed
        self._loop.start()
        return followed

    # Reading

    def _step(self) -> float:
        """Read what is due; the seconds until something is again."""
        now = self.clock()
        self._forget(now)
        due = [followed for followed in list(self._followed.values()) if followed.due <= now]
        if self._trouble is not None:
            due = due[:1]  # one is enough to see whether the store is back
        done = together([self._refreshed(followed) for followed in due])
        away = self._trouble is not None  # who has read well is caught up when the store is back
        behind = [] if away else [followed for followed in list(self._followed.values()) if followed.behind]
        done += together([self._caught_up(followed) for followed in behind])
        if not all(done):
            pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE_SECONDS)
            return pause
        self._pause = FIRST_PAUSE_SECONDS
        return max(0.0, min((f.due for f in list(self._followed.values())), default=now + 60) - self.clock())

    def _refreshed(self, followed: "_Followed") -> bool:
        try:
            self._flights.share(followed.service, lambda: self._read(followed))
        except StoreUnavailable:
            return False
        except StatefulRouteError:  # it is told to whoever asks for this service
            followed.due = self.clock() + self.options.refresh_seconds
        return True

    def _read(self, followed: "_Followed") -> Snapshot:
        try:
            store = self.executor.store()
            looked = self._look(store, followed)
            while looked is None:
                looked = self._look(store, followed)
            before, snapshot = looked
        except StoreUnavailable as error:
            if self._trouble is None:
                log.warning("the states of %s cannot be read: %s", followed.service, error)
            self._trouble = error
            self.outages += 1
            raise
        if self._trouble is not None:
            log.info("the store answers again")
            self._trouble = None
            self._loop.wake()
        if snapshot.held and not (before and before.held):
            log.warning("all pods of %s have expired at once: they count for one period more", followed.service)
        self._announce(followed, before, snapshot)
        if followed.behind:
            self._loop.wake()
        return snapshot

    def _look(self, store: Store, followed: "_Followed") -> tuple[Snapshot | None, Snapshot] | None:
        """Read what is due; the snapshot before and now. None: look again, at more, or a message was quicker."""
        began, known, all_due = self.clock(), followed.changes, followed.all_due
        wanted = followed.some(began)
        view: ServiceView | ServiceNews | None
        if wanted is None:
            view = get_service(store, followed.service)
        else:
            view = get_service_since(store, followed.service, followed.contiguous, wanted)
        with self._guard:
            before = followed.snapshot
            if view is None:
                followed.all_due = 0.0
                return None
            if followed.changes != known and place(view.changes) < place(followed.changes):
                return None
            snapshot = self._seen(followed, view, began)
            if snapshot is None:
                return None
            followed.snapshot = snapshot
            followed.has_read(view, wanted, began, self.options.refresh_seconds * REFRESHED_AFTER)
            if wanted is None and followed.all_due == all_due:  # nobody has asked for another one meanwhile
                followed.all_due = followed.due
        return before, snapshot

    def _seen(self, followed: "_Followed", view: ServiceView | ServiceNews, began: float) -> Snapshot | None:
        """The snapshot with what was read; None: all pods have to be read to say."""
        before, usual = followed.snapshot, self.options.refresh_seconds
        if isinstance(view, ServiceView) or before is None:
            pods = {ordinal: pod for ordinal, pod in view.pods.items() if pod is not None}
            return observed(pods, view.config, view.time_ms, began, before, usual)
        look = Look(view.config, view.time_ms, began, usual)
        if followed.all_wanted:
            now = corrected(before, view.pods, look)
        else:
            steady = before.pods if followed.all_read_at == before.read_at else followed.steady
            now = partly_observed(before, view.pods, look, steady)
        if before.alive and not now.alive:  # all have died, or publishing is at fault
            followed.all_due = 0.0
            return None
        return now

    def _caught_up(self, followed: "_Followed") -> bool:
        """Read which links have moved since one has looked last; False: the store does not say."""
        try:
            store = self.executor.store()
            while followed.behind:
                followed.behind = False
                moves = read_moves(store, followed.service, followed.moves)
                with self._guard:
                    followed.moves = moves.last
                    followed.behind = followed.behind or moves.more
                if moves.entries or moves.missed:
                    for listener in self._listeners:
                        listener.moved(followed.service, moves.entries, missed=moves.missed)
        except StatefulRouteError as error:
            followed.behind = True
            followed.due = 0.0
            if not followed.moves_complained:  # one outage is told once
                log.warning("the moves of %s cannot be read: %s", followed.service, error)
            followed.moves_complained = True
            return False
        if followed.moves_complained:
            followed.moves_complained = False
            log.info("the moves of %s are read again", followed.service)
        return True

    def _announce(self, followed: "_Followed", before: Snapshot | None, now: Snapshot) -> None:
        for listener in self._listeners:
            listener.changed(followed.service, before, now)

    # Push

    def _hear(self, channel: str, message: str) -> None:
        followed = self._by_channel.get(channel)
        if followed is None:
            return
        said = understood(message)
        if isinstance(said, StatesChanged):
            self._hear_changes(followed, said)
        elif isinstance(said, LinksMoved):
            self._hear_moves(followed, said)

    def _hear_changes(self, followed: "_Followed", said: StatesChanged) -> None:
        """What it says counts at once, and what it does not say is read in a moment; what was missed is read now."""
        with self._guard:
            before = snapshot = followed.snapshot
            follows = said.before == followed.changes
            if said.last and snapshot is not None and not follows and place(said.last) <= place(followed.changes):
                return  # the snapshot has it already
            gap = not follows
            if follows and followed.contiguous == followed.changes:
                followed.contiguous = said.last
            followed.changes = said.last or followed.changes
            if snapshot is not None and said.changes:
                told = all_told(snapshot, said.changes)
                snapshot = told.snapshot
                followed.note(said, told, self.clock() + random.uniform(0, AGAIN_SECONDS))  # noqa: S311  no secret
            if not said.complete:
                followed.doubt()
            if gap or not said.complete:
                followed.due = 0.0
            followed.snapshot = snapshot
        if snapshot is not None and snapshot is not before:
            self._announce(followed, before, snapshot)
        self._loop.wake()

    def _hear_moves(self, followed: "_Followed", said: LinksMoved) -> None:
        if followed.snapshot is None:
            return
        with self._guard:
            contiguous = bool(said.last) and followed.moves == said.before and not followed.behind
            if contiguous and not any(
                listener.concerned(followed.service, said.source, said.targets) for listener in self._listeners
            ):
                followed.moves = said.last
            else:
                followed.behind = True
        if followed.behind:
            self._loop.wake()
