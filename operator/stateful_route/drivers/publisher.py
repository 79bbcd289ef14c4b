"""Says how the pod is, on a period and at once when that changes; and, where it is its turn, the service's word."""

import logging
import math

from stateful_route.domain.errors import Replaced, StatefulRouteError
from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.load import published_load
from stateful_route.domain.names import check_load, check_word
from stateful_route.domain.routing import RoutingState, effective
from stateful_route.domain.snapshot import Snapshot
from stateful_route.domain.workload import speaks_for_all, workload_state
from stateful_route.drivers.pod import Pod
from stateful_route.drivers.process_load import ProcessLoad
from stateful_route.store.runtime import Lock
from stateful_route.store.states import Publication, publish_state
from stateful_route.store.taking import Which

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""After a failure; shorter than the period, so that one lost update does not make the pod look dead."""


class Publisher:
    """Publishes one pod's state; each that arrives renews the lease under which the pod owns its uids.

    Attributes:
        word: The app's own word.
        floor: At least so severe is what is published, whatever the app says: set while the pod stops.
        load_state: The app's own load.
        seen: The effective state, as the last answer, or a message since, has said; None: there has been none.
        denied_at: Since when, by the monotonic clock, the store knows that the pod takes no new uids; None: it does.
        replaced: The store has refused a state: the pod has a successor. Nothing is published any more.
        workload: What the app wants to be the service's word; None: what the pods' states make of it.
        lost: The store had lost the pod's state when the last one arrived, and links perhaps, too.
    """

    def __init__(self, pod: Pod) -> None:
        self.word = RoutingState.READY
        self.floor = RoutingState.READY
        self.load_state = 0.0
        self.seen: RoutingState | None = None
        self.denied_at: float | None = None
        self.replaced: Replaced | None = None
        self.workload: str | None = None
        self.lost = False
        self._former: tuple[str, ...] = ()
        """Pod uids that this life of the pod, or one before it, has replaced, as the store has told."""
        self._since_ms: int | None = None
        """When it has spoken first, by the server's clock."""
        self._pod = pod
        self._me = pod.me
        self._process = ProcessLoad(pod.now) if pod.options.cpu_factor else None
        self._lock = Lock()
        self._saying = Lock()
        self._said: str | None = None
        """The service's word, as this pod has last published it."""
        self._published_at = -math.inf
        """When the last answer came: who reads later must find the state."""
        self._failing = False
        self._late_writes = False

    @property
    def takes(self) -> Which | None:
        """Which uids the pod may take that it does not have; None: none."""
        match effective(self.word, self.floor, self.seen):
            case RoutingState.READY:
                return Which.UNOWNED
            case RoutingState.DENY_NEW_CALL:
                return Which.NAMED
        return None

    @property
    def load(self) -> int:
        """What is published: the app's load and the process's, mixed."""
        process = self._process.read() if self._process is not None else 0.0
        return published_load(process, self.load_state, self._pod.options.cpu_factor)

    def set_load_state(self, load: float) -> None:
        """Raises `InvalidArgument` for what is no finite number."""
        self.load_state = check_load(load)

    def set_workload(self, word: str | None) -> None:
        """Raises `InvalidArgument` for what cannot be stored."""
        self.workload = None if word is None else check_word(word, "workload state")

    async def publish(self) -> bool:
        """Publish the state; whether the lease had lapsed, so that what is held must be compared with the store.

        Raises:
            Replaced: the pod has a successor.
            StoreUnavailable, StoreRejected: see there; the state is published as soon as that is over.
        """
        async with self._lock:  # so that an older word never comes after a newer one
            if self.replaced is not None:
                raise Replaced(*self.replaced.args)
            asked_at, me = self._pod.now(), self._me
            try:
                word = effective(self.word, self.floor)
                begins = self.seen is None
                publication = Publication(word, self.load, me.incarnation, begins, self._former, self._since_ms)
                store = await self._pod.executor.store()
                published = await publish_state(store, me.target, me.ordinal, publication)
            except Replaced as error:
                self.replaced = error
                self._pod.holdings.end()
                raise
            except StatefulRouteError as error:
                self._pod.tally.add("failed")
                self._late_writes = self._late_writes or error.maybe_written
                if not self._failing:
                    self._failing = True
                    log.warning("the state of %s cannot be published: %s", me, error)
                raise
            if self._failing:
                self._failing = False
                log.info("the state of %s is published again", me)
            self._pod.tally.add("published")
            self._published_at = self._pod.now()
            self.lost = self.seen is not None and not published.found
            self.seen, self._former = published.effective, published.former
            if begins:
                self._since_ms = published.time_ms
            self._note_denial()
            return self._pod.holdings.renew(asked_at, self.expire_seconds)

    async def publish_word(self, snapshot: Snapshot | None) -> bool:
        """Publish the service's word if it is this pod's turn; whether it is.

        Raises:
            StoreUnavailable, StoreRejected: see there.
        """
        async with self._saying:  # so that an older word never comes after a newer one
            word = self.word_for_all(snapshot)
            if word is None:
                self._said = None
                return False
            await self._pod.executor.set_workload_state(self._me.namespace, self._me.service, word)
            self._said = word
            return True

    def word_for_all(self, snapshot: Snapshot | None) -> str | None:
        """The service's word; None: another pod says it."""
        others = frozenset() if snapshot is None else snapshot.alive - {self._me.ordinal}
        if not speaks_for_all(self._me.ordinal, others) or (others and self.seen is RoutingState.SHUTDOWN):
            return None
        alive = {} if snapshot is None else {pod: snapshot.pods[pod].effective for pod in others}
        if self.workload is not None:
            return self.workload
        if self.seen not in {None, RoutingState.SHUTDOWN}:
            alive[self._me.ordinal] = self.seen or RoutingState.READY
        return workload_state(alive.values())

    def notice(self, state: RoutingState, read_at: float, *, told: bool) -> None:
        """The store has another effective state; ``told``: by a message, else as of a reading at that time."""
        if self.seen is not None and (told or read_at >= self._published_at):
            self.seen = state

    def has_word_changed(self, snapshot: Snapshot) -> bool:
        """Whether the service's word is another one now than this pod has published, and it is its turn."""
        word = self.word_for_all(snapshot)
        return word is not None and word != self._said

    def is_lost(self, snapshot: Snapshot) -> bool:
        """Whether the store has lost this pod's state: it was emptied, or restored."""
        view = snapshot.pods.get(self._me.ordinal)
        known = -math.inf < self._published_at <= snapshot.read_at
        return known and (view is None or view.state is None)

    def is_doubtful(self, snapshot: Snapshot) -> bool:
        """Whether somebody takes another pod for this one: the operator, or that pod itself."""
        view = snapshot.pods.get(self._me.ordinal)
        if view is None or not self._me.pod_uid:
            return False
        lives = [view.record.incarnation if view.record else None]
        if view.state is not None and view.state.incarnation is not None and snapshot.read_at >= self._published_at:
            lives.append(Incarnation.parse(view.state.incarnation))
        return any(life is not None and life.pod_uid != self._me.pod_uid for life in lives)

    @property
    def expire_seconds(self) -> float:
        """After which time without a new one a state counts no more."""
        snapshot = self._pod.cache.known(self._me.target)
        return 60.0 if snapshot is None else snapshot.config.expire_seconds

    def pause(self, *, failed: bool) -> float:
        """The seconds until the next state is due.

        After a failure it is soon; also once more after the next success: a write of which nobody knows whether it was
        carried out may be so late, and bring back an older word.
        """
        again_soon = failed or self._late_writes
        if not failed:
            self._late_writes = False
        seconds = self._pod.options.update_seconds
        if seconds >= self.expire_seconds:  # the StatefulRoute has been changed since the start
            seconds = self.expire_seconds / 2
        return min(seconds, RETRY_SECONDS) if again_soon else seconds

    def settled_at(self, seconds: float) -> float:
        """When, by the monotonic clock, every caller will have seen that the pod takes no new uids."""
        since = self.denied_at if self.denied_at is not None else self._pod.now()
        return since + seconds

    def begin(self) -> None:
        """Start anew, after an end or before the first state."""
        self.floor = RoutingState.READY
        self.seen = self.denied_at = self._said = None
        self._published_at = -math.inf

    def _note_denial(self) -> None:
        if self.seen is RoutingState.READY:
            self.denied_at = None
        elif self.denied_at is None:
            self.denied_at = self._pod.now()
