# Generated from failover_handler.py by tools/twins.py: change that one, then run: make twins
"""What is done about a pod that has failed where no operator looks after it: its uids move, and it is written down."""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from stateful_route.domain.errors import StatefulRouteError
from stateful_route.domain.history import EventKind, FailoverEvent, History
from stateful_route.domain.names import check_ordinal, check_word
from stateful_route.domain.option_checks import check_kind
from stateful_route.domain.placement import Placement, Strategy
from stateful_route.domain.routing import Reason, RoutingState
from stateful_route.domain.snapshot import Snapshot
from stateful_route.drivers.cache_sync import ServiceStateCache
from stateful_route.drivers.runtime_sync import Guard, Loop
from stateful_route.router.balancer import found_strategy, spread_over
from stateful_route.router.failover import Progress, Task
from stateful_route.router.failover_handler import (
    IDLE_SECONDS,
    FailoverOptions,
    _Careful,
    _Failure,
    _summary,
    log,
)
from stateful_route.router.failover_sync import move_links
from stateful_route.router.health_sync import HealthBook
from stateful_route.router.link_counts_sync import LinkCounts
from stateful_route.router.pace import Pace
from stateful_route.store.failed_pods_sync import mark_failed, mark_recovered
from stateful_route.store.index_sync import repair_service
from stateful_route.store.keys import Service, service_of
from stateful_route.store.states_sync import get_service, report_unreachable


class FailoverHandler:
    """Moves the uids of pods that have failed, and keeps the events.

    A service that an operator owns is left to it: `OwnedElsewhere`. Two who decide by different facts would move links
    to and fro, and the operator knows more (Kubernetes, its own probes, how many pods fail at once): tell it by
    `ClientDriver.report_unreachable`, which makes it look.

    Without an operator, the pod is first made SHUTDOWN for all callers, by a record of the operator's kind with the
    reason ``PodFailure``: one that publishes READY all the same (its heart beats, and it serves nobody; or it stood
    still, and wakes up) stays out of service until `recover_pod`. From then on no caller who has heard of it links a
    uid there, and uids that were there get another pod at their next call, or by the move, whichever comes first. It
    takes the permissions of an operator (see the page on tenants).

    What has moved stays moved: where uids go back to is nobody's memory.
    """

    def __init__(
        self,
        cache: ServiceStateCache,
        options: FailoverOptions | None = None,
        *,
        book: HealthBook | None = None,
        counts: LinkCounts | None = None,
    ) -> None:
        """Nothing is done before a pod fails.

        Args:
            cache: Knows the pods.
            options: How fast, and where to.
            book: Pods that are judged unhealthy there get none of the uids; None: none is.
            counts: Counts the pods' links; None: one of its own.
        """
        check_kind(options, FailoverOptions)
        self.options = options or FailoverOptions()
        self._strategy = None if self.options.strategy is None else found_strategy(self.options.strategy)
        self._cache = cache
        self._book = book or HealthBook(cache)
        self._counts = counts or LinkCounts(cache)
        self._history = History(self.options.history)
        self._guard = Guard()
        self._failures: dict[tuple[Service, int], _Failure] = {}
        self._starts = itertools.count()
        self._loop = Loop("late links of failed pods", self._look_again)

    def handle_pod_failure(
        self, namespace: str, service: str, pod: int, reason: str = "failed", *, overrule: bool = False
    ) -> FailoverEvent:
        """Move every uid that is linked to the pod to others, each only if it is still linked there.

        It comes back when the index lists no more of them, or nobody takes any; links that come late (of callers who
        have not heard of it yet), and those that found nobody, are looked for in the background until `close`. Links
        that one move cannot carry along are counted, and keep no other from moving.

        Args:
            namespace: Whose.
            service: Likewise.
            pod: Its index.
            reason: Why, for people; in the event. In the stream of moves stands ``PodFailure``.
            overrule: Move them although an operator owns the service. The pod's state stays the operator's, who gets a
                hint: while the pod is READY for it, callers link new uids there, and uids may come back.

        Returns:
            What was done so far; `events` tells what became of it later.

        Raises:
            InvalidArgument: no pod index, or an empty reason; nothing was done.
            OwnedElsewhere: an operator owns the service; nothing was done.
            StoreUnavailable, StoreRejected: the pod could not be made SHUTDOWN; nothing was moved.
        """
        target, ordinal = service_of(namespace, service), check_ordinal(pod)
        check_word(reason, "reason")
        store = self._cache.executor.store()
        if overrule:
            report_unreachable(store, target, ordinal)
            time_ms = (self._cache.refresh(target)).time_ms
        else:
            known = (get_service(store, target)).pods.get(ordinal)
            time_ms = mark_failed(store, target, ordinal, known)
            snapshot = self._cache.refresh(target)
            if snapshot.state(ordinal) is not RoutingState.SHUTDOWN:  # it had been asked for before
                self._cache.refresh(target)
        event = self._event(target, ordinal, EventKind.POD_FAILURE, reason, time_ms)
        failure = _Failure(target, ordinal, event, overrule)
        with self._guard:
            self._failures[target, ordinal] = failure
        self._loop.start()
        self._move(failure, anew=True)
        self._loop.wake()
        return failure.event

    def recover_pod(self, namespace: str, service: str, pod: int, reason: str = "recovered") -> FailoverEvent | None:
        """Let a pod take uids again, as far as it says READY itself and publishes that; None: it had not failed.

        Raises:
            InvalidArgument: no pod index, or an empty reason; nothing was done.
            OwnedElsewhere: an operator owns the service: it takes its pods back by itself.
            StoreUnavailable, StoreRejected: call again.
        """
        target, ordinal = service_of(namespace, service), check_ordinal(pod)
        check_word(reason, "reason")
        store = self._cache.executor.store()
        had_failed = mark_recovered(store, target, ordinal)
        snapshot = self._cache.refresh(target)
        with self._guard:
            failure = self._failures.pop((target, ordinal), None)
        if failure is not None:
            failure.over = True
        if (health := self._book.of(target).get(ordinal)) is not None and not health.healthy:
            self._book.forget(target, ordinal)  # a good judgement stays: else the next look would be told as the first
        if not had_failed:
            return None
        return self._event(target, ordinal, EventKind.POD_RECOVERY, reason, snapshot.time_ms)

    def events(self, namespace: str, service: str) -> list[FailoverEvent]:
        """What was done in this process about the pods of a service, the oldest first; the last 100."""
        return self._history.events(service_of(namespace, service))

    def close(self) -> None:
        """Look for late links no more."""
        self._loop.stop()
        self._counts.close()

    def _event(self, service: Service, ordinal: int, kind: EventKind, reason: str, time_ms: int) -> FailoverEvent:
        with self._guard:
            event = FailoverEvent(
                number=self._history.next_number(service),
                time=datetime.fromtimestamp(time_ms / 1000, UTC),
                kind=kind,
                namespace=service.namespace,
                service=service.name,
                pod=ordinal,
                reason=reason,
            )
            self._history.add(service, event)
        return event

    def _look_again(self) -> float:
        """Move what has come late, or found nobody before; the seconds until something is due again."""
        for failure in list(self._failures.values()):
            with self._guard:
                due = not failure.busy and failure.due <= self._cache.clock()
                failure.busy = failure.busy or due
            if due:
                self._move(failure, anew=False)
        now = self._cache.clock()
        waiting = [failure.due - now for failure in list(self._failures.values()) if not failure.busy]
        return max(0.0, min(waiting, default=IDLE_SECONDS))

    def _move(self, failure: "_Failure", *, anew: bool) -> None:
        """One walk over the pod's links; the event tells what it has done, and when to look next is noted."""
        service, before, progress, error = failure.service, failure.event, Progress(), None
        try:
            self._moved(failure, progress, anew=anew)
        except StatefulRouteError as trouble:
            error = str(trouble)
        finally:
            failure.moved.update(progress.moved)
            moved, unplaced, refused = dict(sorted(failure.moved.items())), progress.unplaced, progress.refused
            event = replace(before, moved=moved, unplaced=unplaced, refused=refused, error=error)
            failure.event = event
            failure.plan(self._cache.clock(), self._cache.options.refresh_seconds)
            with self._guard:
                self._history.revise(service, event)
                if failure.over and self._failures.get((service, failure.ordinal)) is failure:
                    del self._failures[service, failure.ordinal]
            failure.busy = False
        if event != before:
            log.warning("pod %s of %s has failed (%s): %s", failure.ordinal, service, event.reason, _summary(event))

    def _moved(self, failure: "_Failure", progress: Progress, *, anew: bool) -> None:
        service = failure.service
        store = self._cache.executor.store()
        if not anew and not failure.overrule:
            view = (self._cache.snapshot(service)).pods.get(failure.ordinal)
            if view is None or view.record is None or view.record.reason is not Reason.POD_FAILURE:
                failure.over = True  # an operator has come, or somebody has taken the pod back
                return
        if anew and self.options.foreign_links:
            repair_service(store, service, foreign=True, index=False)
        snapshot = self._cache.snapshot(service)
        placement = self._placement(snapshot)
        if placement.max_links > 0 or placement.strategy is Strategy.LEAST_CONNECTIONS:
            self._counts.recounted(service)
        task = Task(
            source=failure.ordinal,
            reason=Reason.POD_FAILURE,
            spread=self._live_targets(failure),
            max_links=placement.max_links,
        )
        move_links(store, service, task, Pace(self.options.links_per_second, self._cache.clock), progress)

    def _placement(self, snapshot: Snapshot) -> Placement:
        placement = snapshot.config.placement
        return placement._replace(strategy=self._strategy) if isinstance(self._strategy, Strategy) else placement

    def _live_targets(self, failure: "_Failure") -> Callable[[], "_Careful"]:
        """The targets as they are when they are asked for: who has failed meanwhile gets no more."""
        seen: Snapshot | None = None
        avoided: frozenset[int] = frozenset()
        start, assigned = next(self._starts), Counter[int]()
        targets = _Careful(None, assigned)

        def now() -> _Careful:
            nonlocal seen, avoided, targets
            service = failure.service
            snapshot = self._cache.known(service)
            if failure.over or snapshot is None:
                return _Careful(None, assigned)
            avoid = self._book.unhealthy(service, snapshot) | {failure.ordinal}
            if snapshot is seen and avoid == avoided:
                return targets
            seen, avoided = snapshot, avoid
            counts = self._counts.known(service) or {}
            room = [
                target._replace(links=counts.get(target.ordinal, target.links) + assigned[target.ordinal])
                for target in snapshot.targets(avoid)
            ]
            placement = self._placement(snapshot)
            strategy = self._strategy or placement.strategy
            targets = _Careful(spread_over(room, strategy, placement, start + assigned.total()), assigned)
            return targets

        return now
