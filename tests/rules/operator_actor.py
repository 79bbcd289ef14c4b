"""The operator of this model: the real decisions, in the order in which `reconcile.reconciler` asks for them.

Real are how a body becomes facts, the `Workload`, the `Ledger`, all that the domain decides, and `Moving`. Not real are
what carries events and commands, and time.
"""

import contextlib
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from types import SimpleNamespace
from typing import Any
from unittest import mock

from rules.clocks import Time
from rules.cluster import REF, SELECTOR, Cluster, Seen
from rules.store import MemoryStore
from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.domain.drain import asks, beginning
from stateful_route.domain.lifecycle import Situation
from stateful_route.domain.pod import PodFacts
from stateful_route.domain.service import Judgement, judge_service, keeping
from stateful_route.domain.workload_ref import WorkloadFacts
from stateful_route.reconcile import ledger as ledger_module
from stateful_route.reconcile import moving as moving_module
from stateful_route.reconcile.ledger import Ledger
from stateful_route.reconcile.migrations import Migration, Order, Outcome, TurnOn, at_once
from stateful_route.reconcile.moving import Moving
from stateful_route.reconcile.roster import Criteria, classify
from stateful_route.reconcile.spec import policy_of
from stateful_route.reconcile.workload import Workload
from stateful_route.router.failover import Progress
from stateful_route.store.keys import Service

RESYNC_SECONDS = 30.0
REFRESH_SECONDS = 5.0
NODE_LOOK_SECONDS = 5.0
MOVE_SECONDS = 0.05
"""What a migration takes."""

CRITERIA = Criteria(REF, "app", SELECTOR, ("app",))

Move = Callable[[int, Order, Migration], Progress]


def done(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that waits for nothing."""
    try:
        work.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits for something")


async def _gather(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    return [await each for each in work]


@contextlib.contextmanager
def in_time() -> Iterator[Time]:
    """Let the operator's parts go by a time of their own, and by a store in memory."""
    time = Time()

    def over(call: Callable[..., Any]) -> Callable[..., Any]:
        async def called(store: MemoryStore, *args: Any) -> Any:
            return call(store, *args)

        return called

    scripts = {
        "get_service": over(lambda store, _service: store.read()),
        "get_service_pod": over(lambda store, _service, ordinal: store.view(ordinal)),
        "set_operator_states": over(lambda store, _service, _owner, decisions: store.write(decisions)),
        "refresh_states": over(lambda store, _service, _owner, ordinals: store.refresh(ordinals)),
        "remove_states": over(lambda store, _service, _owner, ordinals: store.remove(ordinals)),
        "counted_links": over(lambda store, _service, _has_none: store.counts()),
        "issued_epochs": over(lambda store, _service: store.issued()),
        "asyncio": SimpleNamespace(gather=_gather),
    }
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    clock = {"time": time, "steady": time.steady}
    try:
        with (
            mock.patch.multiple(ledger_module, **scripts, **clock),
            mock.patch.multiple(moving_module, **clock, Migrations=Jobs),
        ):
            yield time
    finally:
        logging.disable(disabled)


class Jobs:
    """In place of `Migrations`: each goes through at once, some time after it was ordered."""

    after: Callable[[float, Callable[[], None]], None]
    move: Move
    now: Callable[[], float]

    def __init__(self, on_end: Callable[[Outcome], None], _turn: TurnOn = at_once) -> None:
        self._on_end = on_end
        self._jobs: dict[int, Order] = {}

    def running(self, source: int) -> Order | None:
        """As of `Migrations`."""
        return self._jobs.get(source)

    def start(self, order: Order, migration: Migration) -> None:
        """As of `Migrations`."""
        self._jobs[migration.task.source] = order
        self.after(MOVE_SECONDS, lambda: self._run(order, migration))

    def under_way(self) -> list[Outcome]:
        """As of `Migrations`."""
        return [self._outcome(source, order, Progress(), 0) for source, order in self._jobs.items()]

    def cancel(self, source: int) -> None:
        """As of `Migrations`."""
        if (order := self._jobs.pop(source, None)) is not None:
            self.after(0, lambda: self._on_end(self._outcome(source, order, Progress(), 0)))

    def clear(self) -> None:
        """The operator has ended."""
        self._jobs.clear()

    def _run(self, order: Order, migration: Migration) -> None:
        source = migration.task.source
        if self._jobs.get(source) is not order:
            return
        progress = self.move(source, order, migration)
        del self._jobs[source]
        self._on_end(self._outcome(source, order, progress, progress.unplaced, complete=not progress.unplaced))

    def _outcome(self, source: int, order: Order, progress: Progress, left: int, *, complete: bool = False) -> Outcome:
        now = self.now()
        return Outcome(source, order, progress, now, now, left, complete, None)


class Operator:
    """One process of it, from its start to its end.

    Attributes:
        workload: What it knows of the pods.
        facts_known: What it knows of the StatefulSet.
        since: When it has started.
    """

    def __init__(self, time: Time, cluster: Cluster, store: MemoryStore, route: StatefulRoute, move: Move) -> None:
        self._time, self._cluster, self._store = time, cluster, store
        self.route = route
        self.since = time.now
        self.workload = Workload()
        service = Service("games", "room")
        self.ledger = Ledger(service, "owner", 2 * RESYNC_SECONDS, lambda moment: moment + 1.0)
        self.moving = Moving(self.ledger, self._moved, REFRESH_SECONDS)
        self._jobs: Any = self.moving._migrations
        self._jobs.after, self._jobs.move, self._jobs.now = time.after, move, time.steady
        self.before_judging: Callable[[Mapping[int, PodFacts], Mapping[int, float]], None] = lambda _pods, _silent: None
        self.after_judging: Callable[[Judgement], None] = lambda _judgement: None
        self.unreachable: dict[int, float] = {}
        self._lost: frozenset[str] = frozenset()
        self._lost_at = 0.0
        self._full_at = time.now
        self._next_due: float | None = time.now
        self._recount = False

    def stop(self) -> None:
        """It is killed."""
        self._jobs.clear()

    # What it is told

    def observe(self, seen: Seen) -> None:
        """An event of a pod."""
        pod = classify(seen.body, CRITERIA.of(self.workload.facts))
        if pod is None:
            self.workload.forget(seen.body["metadata"]["uid"])
        else:
            self.workload.observe(pod, deleted=seen.deleted)
        self.wake()

    def observe_set(self, facts: WorkloadFacts | None) -> None:
        """An event of the StatefulSet."""
        self.workload.facts = facts
        self.wake(full=True)

    def wake(self, *, full: bool = False) -> None:
        """Something may have changed."""
        self._next_due = self._time.now
        if full:
            self._full_at = self._time.now

    @property
    def due(self) -> float:
        """When it looks again by itself."""
        waiting = (self._full_at, self._next_due, self.moving.next_look())
        return min(at for at in waiting if at is not None)

    # A pass

    def run(self, listed: list[Seen] | None) -> None:
        """One pass, as ``Reconciler._pass``.

        Args:
            listed: What a LIST answers; None: the API server does not answer.
        """
        full = self._time.now >= self._full_at or not self.ledger.known
        self._next_due = None
        if full:
            self._full_at = self._time.now + RESYNC_SECONDS
            self._take(listed)
            done(self.ledger.read(self._store))  # type: ignore[arg-type]
        elif self._recount and not self.moving.busy:
            done(self.ledger.recount(self._store))  # type: ignore[arg-type]
        self._recount = False
        policy, store = policy_of(self.route), self._store
        situations, judgement = self._judged(counted=full)
        self.after_judging(judgement)
        self._write(situations, judgement, full=full)
        self.moving.targets_changed()
        self.moving.plan(store, self.route, judgement, full=full)  # type: ignore[arg-type]
        if full:
            done(self.ledger.refresh(store))  # type: ignore[arg-type]
            done(self.ledger.forget_gone(store, policy.expire_seconds, self.moving.busy))  # type: ignore[arg-type]
        dues = [v.due for v in judgement.verdicts.values() if v.due and v.due > self._time.now]
        self._due_at(min(dues, default=None))
        self._look_at_nodes()

    def _take(self, listed: list[Seen] | None) -> None:
        self.workload.begin_listing()
        if listed is None:
            return
        self.workload.facts = self._cluster.facts
        criteria = CRITERIA.of(self.workload.facts)
        pods = [pod for seen in listed if (pod := classify(seen.body, criteria)) is not None]
        self.workload.end_listing(pods, self._cluster.version)

    def _judged(self, *, counted: bool) -> tuple[Mapping[int, Situation], Judgement]:
        policy, store, ledger = policy_of(self.route), self._store, self.ledger
        situations, judgement = self._judge()
        if pods := ledger.begun_anew(situations):
            done(ledger.take_cuts(store, situations, pods, policy))  # type: ignore[arg-type]
            situations, judgement = self._judge()
        if policy.drain.by_app and (pods := beginning(situations, judgement.verdicts)):
            if not ledger.has_apps:
                self._write(situations, keeping(judgement, pods))
            done(ledger.look_at_apps(store, pods))  # type: ignore[arg-type]
            situations, judgement = self._judge()
        if not counted and asks(situations, judgement.verdicts):
            done(ledger.recount(store))  # type: ignore[arg-type]
            situations, judgement = self._judge()
        return situations, judgement

    def _judge(self) -> tuple[Mapping[int, Situation], Judgement]:
        policy, now = policy_of(self.route), self._time.now
        self.before_judging(self.workload.by_ordinal(), self.unreachable)
        situations = self.ledger.situations(self.workload, policy, self._lost, now, self.unreachable)
        return situations, judge_service(situations, policy)

    def _write(self, situations: Mapping[int, Situation], judgement: Judgement, *, full: bool = False) -> None:
        decisions = self.ledger.decisions(self.route, self.workload, situations, judgement, full=full)
        done(self.ledger.write(self._store, decisions))  # type: ignore[arg-type]
        if self.ledger.clock_was_set:
            self.ledger.clock_was_set = False
            self.wake()

    def _look_at_nodes(self) -> None:
        """As ``Chores._look_at_nodes``; the answer is there at once."""
        pods = self.workload.by_ordinal().values()
        nodes = {pod.node for pod in pods if pod.terminating and not pod.ready and pod.node}
        if not nodes:
            self._lost = frozenset()
            return
        if self._time.now >= self._lost_at + NODE_LOOK_SECONDS:
            self._lost_at = self._time.now
            lost = frozenset(name for name in nodes if self._cluster.nodes[name].lost)
            if lost != self._lost:
                self._lost = lost
                self.wake()
        self._due_at(self._time.now + NODE_LOOK_SECONDS)

    def _due_at(self, moment: float | None) -> None:
        self._next_due = min((at for at in (self._next_due, moment) if at is not None), default=None)

    def _moved(self, outcome: Outcome) -> None:
        self._recount = self._recount or bool(outcome.progress.total or outcome.progress.drift)
        self.wake()
