# Generated from upkeep.py by tools/twins.py: change that one, then run: make twins
"""What a routed pod does in the background, from start to stop: publish, compare, listen, give away."""

import math
from collections.abc import Sequence
from dataclasses import replace

from stateful_route.domain.errors import Replaced, StatefulRouteError
from stateful_route.domain.next_life import stay_linked
from stateful_route.domain.routing import RoutingState
from stateful_route.domain.snapshot import Snapshot
from stateful_route.drivers.chores_sync import Chores
from stateful_route.drivers.comparison_sync import Comparison
from stateful_route.drivers.handover import RETRY_SECONDS, Order
from stateful_route.drivers.handover_sync import Handover
from stateful_route.drivers.pod_sync import Pod
from stateful_route.drivers.publisher_sync import Publisher
from stateful_route.drivers.runtime_sync import Loop, Notice
from stateful_route.drivers.upkeep import IDLE_SECONDS, LEAST_LAST_WORDS_SECONDS, LOOK_AGAIN_SECONDS, log
from stateful_route.store.keys import Service
from stateful_route.store.migrate import NOBODY
from stateful_route.store.moves import Move
from stateful_route.store.runtime_sync import Lock
from stateful_route.store.taking import Which


class Upkeep:
    """The work of a `ServerDriver` that nobody waits for.

    Attributes:
        running: From the beginning of `start` to the end of `stop`.
        over: The pod is asked to end: by a signal, by `stop`, or because it has a successor.
        hurry: It is asked to end at once.
    """

    def __init__(self, pod: Pod) -> None:
        self.running = False
        self.over = Notice()
        self.hurry = Notice()
        self.publisher = Publisher(pod)
        self._pod = pod
        self._me = pod.me
        self._holdings = pod.holdings
        self._comparison = Comparison(pod, self.publish)
        self._handover = Handover(pod, self.suspect)
        self._publishing = Loop("publishing", self._publish_step)
        self._watching = Loop("lease", self._watch_step)
        self._comparing = Loop("comparing", self._compare_step)
        self._handing_over = Loop("handing over", self._hand_over_step)
        self._chores = Chores(pod.cache, self._looked_after)
        self._giving = Lock()
        self._publish_at = math.inf
        self._word_failing = False
        self._publish_now = False
        """Before that: the store has lost the state, or may take the pod for another one."""
        self._replaced_told = False
        self._lapse_told = 0
        """The life of the lease whose end the app was told."""
        self._compare_at = math.inf
        self._compare_failing = False
        """It has been said that the links cannot be compared, and not that they can be again."""
        self._urgent = self._missed = False
        """Whether to compare everything at once; and to look into the index for what nobody has told."""
        self._record_changed = False
        self._asked_at: float | None = None
        """Since when the operator asks the app to give its uids away."""
        self._stop_order: Order | None = None
        self._until = math.inf
        """When it has to have stopped, by the monotonic clock."""
        self._closed = False
        """Everything has been given away, the pod ends: it takes nothing any more."""

    @property
    def takes(self) -> Which | None:
        """Which uids the pod may take that it does not have; None: none."""
        return None if self._closed else self.publisher.takes

    # Life

    def start(self) -> None:
        """Publish the state, and go on doing so.

        Raises:
            InvalidArgument: the options do not make sense, or do not fit the service's expiry.
            Replaced: the pod has a successor.
            StoreUnavailable, StoreRejected: the state was not published; nothing runs.
        """
        self._pod.options.check()
        self.running = True
        try:
            self._begin()
            snapshot = self._pod.cache.pod_snapshot(self._me.target, self._me.ordinal)
            self._pod.options.check_expiry(snapshot.config.expire_seconds)
            self.publish()
        except BaseException:
            self._halt()
            raise
        for loop in (self._publishing, self._watching, self._comparing, self._handing_over):
            loop.start()
        self._chores.start()
        log.info("%s has started", self._me)

    def stop(self, deadline_seconds: float) -> None:
        """Save everything, give away what does not stay with the pod's next life, within so many seconds, and end."""
        if not self.running:
            return
        self.over.give()
        until = self._until = self._pod.now() + deadline_seconds
        try:
            if self.publisher.replaced is None:
                self._leave(until, deadline_seconds / 2)
        finally:
            self._end()

    def publish(self) -> None:
        """Publish the state now.

        Raises:
            Replaced: the pod has a successor.
            StoreUnavailable, StoreRejected: it is tried again soon.
        """
        life, known = self._holdings.life, self.publisher.seen is not None
        try:
            lapsed = self.publisher.publish()
        except Replaced:
            self._succeeded()
            raise
        self._publish_at = self._pod.now() + self.publisher.pause(failed=False)
        if self.publisher.lost:
            self._note_loss()
        if lapsed and known and self.publisher.floor is not RoutingState.SHUTDOWN:
            self._note_lapse(life)
            self._urgent = True
            self._comparing.wake()

    def publish_change(self) -> None:
        """Publish a new word of the app now; errors as `publish`."""
        try:
            self.publish()
        except StatefulRouteError:
            self._publish_now = True
            raise
        finally:
            self._publishing.wake()  # also since the service's word may be another one now

    def suspect(self, uid: str) -> None:
        """Look at once whether the pod owns the uid."""
        self._comparison.suspect(uid)
        self._comparing.wake()

    def gone(self, uid: str, epoch: int, to: int | None) -> None:
        """The uid went elsewhere with that epoch; ``to`` None: to nobody."""
        if self._holdings.left(uid, epoch):
            self._pod.lost(uid, to)

    # What the cache tells

    def changed(self, service: Service, before: Snapshot | None, now: Snapshot) -> None:
        """There is a newer snapshot."""
        me = self._me
        if service != me.target:
            return
        lost = self.publisher.is_lost(now)
        new_expiry = before is not None and before.config.expire_seconds != now.config.expire_seconds
        if lost or new_expiry or self.publisher.is_doubtful(now):
            self._publish_now = True
            self._publishing.wake()
        elif self.publisher.has_word_changed(now):
            self._publishing.wake()
        was, view = (None if snapshot is None else snapshot.pods.get(me.ordinal) for snapshot in (before, now))
        if lost:
            self._note_loss()
        if view is None or was is None or (view.record, view.effective) != (was.record, was.effective):
            told = before is not None and now.read_at == before.read_at
            if view is not None:
                self.publisher.notice(view.effective, now.read_at, told=told)
            self._record_changed = self._record_changed or told  # the message says the state, not what is asked for
            self._handing_over.wake()

    def concerned(self, service: Service, source: int, targets: Sequence[int]) -> bool:
        """Whether links have moved off or to this pod."""
        me = self._me
        return service == me.target and (source == me.ordinal or me.ordinal in targets)

    def moved(self, service: Service, moves: Sequence[Move], *, missed: bool) -> None:
        """Links have moved."""
        if service != self._me.target:
            return
        for move in moves:
            if move.purged is not None:
                self._purged(move.purged)
            for uid, to, epoch in move.links:
                if to == self._me.ordinal:
                    self._comparison.suspect(uid, move.source)
                else:
                    self.gone(uid, epoch, None if to == NOBODY else to)
        self._missed = self._missed or missed
        if missed or self._comparison.suspects:
            self._comparing.wake()

    def _purged(self, epoch: int) -> None:
        """All links of the service that are not later than the epoch were deleted on purpose."""
        for uid in self._holdings.uids():
            self.gone(uid, epoch, None)

    # In the background

    def _publish_step(self) -> float:
        now_due, self._publish_now = self._publish_now, False
        try:
            if now_due or self._pod.now() >= self._publish_at:
                self.publish()
        except Replaced:
            return IDLE_SECONDS
        except StatefulRouteError:  # it was logged
            self._publish_at = self._pod.now() + self.publisher.pause(failed=True)
        else:
            self._publish_word_if_possible()
        return max(0.0, self._publish_at - self._pod.now())

    def _watch_step(self) -> float:
        life = self._holdings.life
        left = self._holdings.seconds_left
        if self.publisher.replaced is not None:
            return IDLE_SECONDS
        if left <= 0:
            self._note_lapse(life)
        return max(left, LOOK_AGAIN_SECONDS)

    def _compare_step(self) -> float:
        missed, self._missed = self._missed, False
        urgent, self._urgent = self._urgent, False
        try:
            self._comparison.settle_suspects()
            if missed or urgent or self._pod.now() >= self._compare_at:
                self._comparison.compare_all(urgent=missed or urgent)
                self._compare_at = self._pod.now() + self._pod.options.update_seconds
            if missed:
                self._comparison.find_gained()
        except Replaced:
            return IDLE_SECONDS
        except StatefulRouteError as error:
            self._missed, self._urgent = self._missed or missed, self._urgent or urgent
            if not self._compare_failing:  # one outage is told once, not once a second by each pod
                log.warning("the links of %s cannot be compared: %s", self._me, error)
            self._compare_failing = True
            return RETRY_SECONDS
        if self._compare_failing:
            self._compare_failing = False
            log.info("the links of %s are compared again", self._me)
        if self._comparison.suspects:
            return LOOK_AGAIN_SECONDS
        return max(0.0, self._compare_at - self._pod.now())

    def _hand_over_step(self) -> float:
        if self._record_changed:
            self._record_changed = False
            try:
                self._pod.cache.read_pod(self._me.target)
            except StatefulRouteError:
                self._record_changed = True
                return RETRY_SECONDS
        order, now = self._order(), self._pod.now()
        if self._stop_order is not None or order is None or now >= order.until:
            self._handover.forget()
            return IDLE_SECONDS
        if now < order.begin:
            return order.begin - now
        with self._giving:
            self._handover.give_away(self._order)
        return RETRY_SECONDS

    def _order(self) -> Order | None:
        """Whether everything is to be given away: because the pod stops, or because the operator asks for it."""
        if self.hurry.given:
            return Order(-math.inf, -math.inf, keep=self._stays)
        if self._stop_order is not None:
            return replace(self._stop_order, keep=self._stays)
        snapshot = self._pod.cache.known(self._me.target)
        view = None if snapshot is None else snapshot.pods.get(self._me.ordinal)
        if snapshot is None or view is None or view.record is None or view.record.release is None:
            self._asked_at = None
            return None
        until = snapshot.read_at + (view.record.release - snapshot.time_ms) / 1000
        if self._asked_at is None:
            self._asked_at = self._pod.now()
        return Order(self._asked_at + min(self._pod.options.settle_seconds, (until - self._asked_at) / 2), until)

    @property
    def _stays(self) -> bool:
        """Whether the uids of this pod stay linked to it when it stops."""
        snapshot = self._pod.cache.known(self._me.target)
        if snapshot is None:
            return False
        view = snapshot.pods.get(self._me.ordinal)
        return stay_linked(None if view is None else view.record, snapshot.config.on_replace, self._me.pod_uid)

    def _note_loss(self) -> None:
        """The store has lost the pod's state, and so links, too: all are compared at once."""
        self._comparison.note_loss()
        self._urgent = True
        self._comparing.wake()

    def _note_lapse(self, life: int) -> None:
        if self._lapse_told != life:
            self._lapse_told = life
            self._pod.tally.add("lapses")
            log.warning(
                "%s could publish nothing for longer than the expiry: it assumes that it was replaced", self._me
            )
            self._pod.telling.assume_replaced()

    def _succeeded(self) -> None:
        if not self._replaced_told:
            self._replaced_told = True
            log.error("%s has a successor: it owns nothing any more", self._me)
            self._pod.telling.replaced()
            self.over.give()

    # Ending

    def _leave(self, until: float, settle_at_most: float) -> None:
        self.publisher.floor = RoutingState.DENY_NEW_CALL
        self._publish_if_possible()
        self._record_changed = True  # by the time that callers know of it, what the operator says of it is read, too
        self._handing_over.wake()
        settled = self.publisher.settled_at(min(self._pod.options.settle_seconds, settle_at_most))
        self.hurry.wait(settled - self._pod.now())
        self._handover.forget()
        self._stop_order = Order(settled, until)
        with self._giving:
            for self._closed in (False, True):  # what is taken until it closes is given away, too
                if self._closed and self._stays and self._has_time(until):
                    self._read_record_if_possible()  # the last chance to give away what does not stay after all
                while self._has_time(until) and self._has_something():
                    self._handover.give_away(self._order)
                    if self._has_something():
                        pause = RETRY_SECONDS if self._handover.left() else LOOK_AGAIN_SECONDS
                        self.hurry.wait(min(pause, until - self._pod.now()))

    def _has_time(self, until: float) -> bool:
        return not self.hurry.given and self._pod.now() < until

    def _has_something(self) -> bool:
        """Uids are to be saved or given away, or one may just be taken."""
        return not self._handover.is_done(keep=self._stays) or self._holdings.acting

    def _end(self) -> None:
        kept = self._handover.end()
        left = len(self._holdings) - kept
        self._pod.tally.add("kept", kept)
        for loop in (self._watching, self._comparing, self._handing_over):
            loop.stop()
        self._holdings.end()
        if self.publisher.replaced is None:
            if not self._stays:  # SHUTDOWN says that its uids are to move
                self.publisher.floor = RoutingState.SHUTDOWN
            self._publish_if_possible()
            self._publish_word_if_possible()
        self._halt()
        log.info("%s has stopped, %d uids are saved and stay, %d are left on it", self._me, kept, left)

    def _halt(self) -> None:
        """Let nothing run any more."""
        self._pod.cache.unlisten(self)
        self._chores.stop()
        for loop in (self._publishing, self._watching, self._comparing, self._handing_over):
            loop.stop()
        self._holdings.end()
        self._pod.telling.finish(max(LEAST_LAST_WORDS_SECONDS, self._until - self._pod.now()))
        self.over, self.hurry = Notice(), Notice()
        self.running = False

    def _looked_after(self) -> Sequence[Service]:
        """The pod's service, if it is this pod's turn: the one that says the word for all looks after it."""
        target = self._me.target
        return (target,) if self.publisher.word_for_all(self._pod.cache.known(target)) is not None else ()

    def _begin(self) -> None:
        self.publisher.begin()
        self._comparison.begin()
        self._closed = False
        self._until = math.inf
        self._stop_order = self._asked_at = None
        self._urgent = self._missed = self._record_changed = False
        self._lapse_told = self._holdings.life
        self._compare_at = self._pod.now() + self._pod.options.update_seconds
        self._pod.telling.start()
        self._pod.cache.listen(self)

    def _publish_if_possible(self) -> None:
        try:
            self.publish()
        except StatefulRouteError as error:
            log.warning("the state of %s cannot be published: %s", self._me, error)

    def _read_record_if_possible(self) -> None:
        try:
            self._pod.cache.read_pod(self._me.target)
        except StatefulRouteError as error:
            log.warning("what the operator says of %s cannot be read: %s", self._me, error)

    def _publish_word_if_possible(self) -> None:
        try:
            self.publisher.publish_word(self._pod.cache.known(self._me.target))
        except StatefulRouteError as error:
            if not self._word_failing:
                log.warning("the workload state of %s cannot be published: %s", self._me.target, error)
            self._word_failing = True
        else:
            self._word_failing = False
