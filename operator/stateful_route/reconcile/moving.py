"""Decides which migrations run: starts one when a pod's links must move, stops it when they need not any more."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from stateful_route.api.conditions import Reason as Why
from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.domain.errors import StoreUnavailable
from stateful_route.domain.lifecycle import Verdict
from stateful_route.domain.placement import Placement, Spread, Target, room
from stateful_route.domain.routing import LinkAction, Reason
from stateful_route.domain.service import Judgement
from stateful_route.kube.server_clock import steady
from stateful_route.reconcile.ledger import Ledger
from stateful_route.reconcile.migrations import Migration, Migrations, Order, Outcome, TurnOn, at_once
from stateful_route.reconcile.spec import placement_of
from stateful_route.reconcile.status import Finding
from stateful_route.router.failover import Task
from stateful_route.router.pace import Pace
from stateful_route.store.connection import Store

log = logging.getLogger(__name__)

TRIP_SECONDS = 1.0
"""A round trip that began while a pod was still a target has surely ended after so long."""


class Moving:
    """The migrations of one service; ``on_end`` is called with each one's outcome, after the counts are kept up."""

    def __init__(
        self, ledger: Ledger, on_end: Callable[[Outcome], None], refresh_seconds: float, turn: TurnOn = at_once
    ) -> None:
        self._ledger = ledger
        self._notify = on_end
        self.holds: Callable[[int, int], bool] = lambda _ordinal, _before: False
        """Whether links of the pod's earlier incarnation (before an epoch) may still turn up."""
        self._again_after = (TRIP_SECONDS, 2 * refresh_seconds)
        """When an empty index is looked at again: another migration or a caller with an old view may add to it."""
        self._migrations = Migrations(self._ended, turn)
        self._orders: dict[int, Order] = {}
        self._look_at: dict[int, float] = {}
        self._looks: dict[int, int] = {}
        self._unplaced: dict[int, int] = {}
        """How many links found no target at the last attempt."""
        self._tried: dict[int, frozenset[int]] = {}
        """The pods that were READY then."""
        self._ready: frozenset[int] = frozenset()
        self._ready_at_start: dict[int, frozenset[int]] = {}
        self._spreads: dict[frozenset[int], Spread] = {}
        self._promised: dict[int, Counter[int]] = {}
        """Of each migration under way, by its source: what it has been given, target by target."""
        self._counted: dict[int, Counter[int]] = {}
        """What of it had moved when the links were last counted."""
        ledger.counting = self._note_moved
        self._placement = Placement()
        self._pace = Pace(1.0, time.monotonic)

    @property
    def busy(self) -> frozenset[int]:
        """Ordinals whose links are being moved, or should be."""
        return frozenset(ordinal for ordinal in self._orders if self._migrations.running(ordinal))

    @property
    def ordered(self) -> frozenset[int]:
        """Ordinals whose links should leave them: they are moving, or wait for a target or another look."""
        return frozenset(self._orders)

    def under_way(self) -> list[Outcome]:
        """How far each migration has come."""
        return self._migrations.under_way()

    @property
    def stuck(self) -> Finding | None:
        """Why links stay on pods that do not serve them: nobody can take them; None: they need not."""
        stuck = {ordinal: links for ordinal, links in self._unplaced.items() if links and self._has_no_target(ordinal)}
        if not stuck:
            return None
        links, pods = sum(stuck.values()), ", ".join(str(ordinal) for ordinal in sorted(stuck))
        if any(self._ready - {ordinal} for ordinal in stuck):
            why = "every READY pod is full (placement.maxLinksPerPod)"
        else:
            why = "no other pod is READY" if self._ready else "no pod is READY"
        return Why.NO_TARGET, f"{links} links stay on pods that do not serve them (ordinals {pods}): {why}"

    def next_look(self) -> float | None:
        """When an index should be looked at again (by `steady`); None: never, as things stand."""
        waiting = [at for ordinal, at in self._look_at.items() if not self._migrations.running(ordinal)]
        return min(waiting, default=None)

    def targets_changed(self) -> None:
        """States or counts were written: later round trips of running migrations must not use old targets."""
        ready = self._ledger.ready()
        if ready != self._ready:
            self._ready = ready
            for ordinal in self._unplaced if ready else ():
                self._look_at[ordinal] = 0.0
        self._spreads.clear()

    def plan(self, store: Store, route: StatefulRoute, judgement: Judgement, *, full: bool) -> None:
        """Bring what runs into agreement with the verdicts; ``full``: the links have just been counted."""
        failover = route.spec.failover
        if (placement := placement_of(route)) != self._placement:
            self._placement = placement
            self._tried.clear()
        self._pace.links_per_second = failover.max_links_per_second
        for ordinal, verdict in judgement.verdicts.items():
            self._revise(ordinal, self._order(ordinal, verdict), full=full)
        for ordinal in self._orders.keys() - judgement.verdicts.keys():
            self._revise(ordinal, None, full=full)
        now = steady()
        for ordinal, order in self._orders.items():
            if self._look_at.get(ordinal, now + 1) <= now and not self._migrations.running(ordinal):
                del self._look_at[ordinal]
                self._start(store, route, ordinal, order)

    def look_again(self, ordinals: Iterable[int]) -> None:
        """Links may have entered the index of these pods, or there are none to wait for."""
        for ordinal in self._orders.keys() & set(ordinals):
            self._look_at[ordinal] = 0.0

    async def stop(self) -> None:
        """Stop all migrations; a later `plan` starts those that are needed anew."""
        await self._migrations.stop()
        self._orders.clear()
        self._look_at.clear()
        self._unplaced.clear()

    def _order(self, ordinal: int, verdict: Verdict) -> Order | None:
        record = self._ledger.records.get(ordinal)
        before = record.before if record else None
        if verdict.reason in {Reason.REPLACED, Reason.RESTARTED}:
            return None if before is None else Order(verdict.links, before, verdict.reason)  # None: settled just now
        if verdict.links is not LinkAction.MOVE and before is not None and record is not None and record.loss:
            if not (record.serves and self._room_beside(ordinal)):  # they are this life's own from now on
                return Order(LinkAction.STAY, before, record.loss)
            if verdict.links is LinkAction.STAY:
                return Order(LinkAction.MOVE, before, record.loss)
        return None if verdict.links is LinkAction.STAY else Order(verdict.links, None, verdict.reason)

    def _room_beside(self, ordinal: int) -> bool:
        """Whether another pod takes links."""
        counts = self._ledger.counts
        others = [Target(other, links=counts.get(other, 0)) for other in self._ready - {ordinal}]
        return room(others, self._placement) > 0

    def _has_no_target(self, ordinal: int) -> bool:
        """Whether links that found no target would find none now; else they are looked at again already."""
        if not self._room_beside(ordinal):
            return True
        limited = self._placement.max_links > 0  # then the store has the last word, and counts may be late
        return limited and self._ready - {ordinal} <= self._tried.get(ordinal, frozenset())

    def _revise(self, ordinal: int, order: Order | None, *, full: bool) -> None:
        if order is None:
            if self._orders.pop(ordinal, None) is not None:
                self._migrations.cancel(ordinal)
            for forgotten in (self._look_at, self._unplaced, self._looks):
                forgotten.pop(ordinal, None)
        elif self._orders.get(ordinal) != order:
            self._orders[ordinal] = order
            self._look_at[ordinal] = 0.0
            self._looks.pop(ordinal, None)
            self._migrations.cancel(ordinal)
        elif full and self._ledger.counts.get(ordinal):
            self._look_at[ordinal] = 0.0

    def _start(self, store: Store, route: StatefulRoute, ordinal: int, order: Order) -> None:
        task = Task(
            source=ordinal,
            reason=order.reason,
            spread=self._own_spread(ordinal) if order.action is LinkAction.STAY else self._spread_for(ordinal),
            before=order.before,
            owner=self._ledger.owner,
            batch_size=route.spec.failover.batch_size,
            max_links=self._placement.max_links,
        )
        pace = self._pace
        if order.action is LinkAction.DRAIN:
            drain, record = route.spec.drain, self._ledger.records[ordinal]
            passed = max(0, self._ledger.time_ms - record.since) / 1000  # its clock may have been set back
            deadline = time.monotonic() + drain.deadline_seconds - passed
            pace = Pace(drain.links_per_second, time.monotonic, deadline)
        self._ready_at_start[ordinal] = self._ready
        left = self._ledger.counts.get(ordinal, 0)
        self._migrations.start(order, Migration(store, self._ledger.service, task, pace, left))

    def _spread_for(self, ordinal: int) -> Callable[[], "_Promising"]:
        """The shared spread, with a list of what this migration is given."""
        promised = self._promised[ordinal] = Counter[int]()
        return lambda: _Promising(self._shared_spread(self._ready - {ordinal}), promised)

    def _shared_spread(self, ordinals: frozenset[int]) -> Spread:
        """One for all migrations to these pods, so that together they keep to the limits.

        It is renewed when the targets change.
        """
        if ordinals not in self._spreads:
            loads = self._ledger.loads
            counts = Counter(self._ledger.counts)
            for source, promised in self._promised.items():
                counts.update(promised)
                counts.subtract(self._counted.get(source, {}))
            targets = [Target(o, loads.get(o, 0.0), counts[o]) for o in sorted(ordinals)]
            self._spreads[ordinals] = Spread(targets, self._placement)
        return self._spreads[ordinals]

    def _note_moved(self) -> None:
        """The links are about to be counted: what has moved so far will be among them, the rest is on its way."""
        self._counted = {at.source: Counter(at.progress.moved) for at in self.under_way()}

    @staticmethod
    def _own_spread(ordinal: int) -> Callable[[], Spread]:
        spread = Spread([Target(ordinal)], Placement())
        return lambda: spread

    def _ended(self, outcome: Outcome) -> None:
        source, order, progress = outcome.source, outcome.order, outcome.progress
        self._promised.pop(source, None)
        counted = self._counted.pop(source, Counter[int]())
        if order.action is not LinkAction.STAY:
            self._ledger.account(source, progress.moved - counted)
        if self._orders.get(source) == order:
            now = steady()
            if outcome.error is not None:
                self._look_at[source] = now + (1.0 if isinstance(outcome.error, StoreUnavailable) else 5.0)
            elif progress.unplaced:
                self._unplaced[source] = progress.unplaced
                self._tried[source] = self._ready_at_start.get(source, frozenset())
                if self._ready and self._ready != self._ready_at_start.get(source):
                    self._look_at[source] = 0.0  # somebody came after those had found nobody
            elif outcome.complete:  # else it was cancelled, and who did that says when to go on
                self._unplaced.pop(source, None)
                if progress.overtaken:
                    self._look_at[source] = 0.0
                elif order.before is not None:
                    self._settle(source, order, order.before)
                elif (looks := self._looks.get(source, 0)) < len(self._again_after):
                    self._looks[source] = looks + 1
                    self._look_at.setdefault(source, now + self._again_after[looks])
        _log(self._ledger, outcome)
        self._notify(outcome)

    def _settle(self, source: int, order: Order, before: int) -> None:
        if order.action is LinkAction.MOVE and self.holds(source, before):
            self._look_at[source] = steady() + TRIP_SECONDS
        else:
            self._ledger.settle(source, before)


class _Promising:
    """A spread that notes for whom it gives targets."""

    def __init__(self, spread: Spread, promised: Counter[int]) -> None:
        self._spread, self._promised = spread, promised

    def take(self) -> int | None:
        """As of the spread."""
        target = self._spread.take()
        if target is not None:
            self._promised[target] += 1
        return target


def _log(ledger: Ledger, outcome: Outcome) -> None:
    progress = outcome.progress
    if not (progress.total or progress.drift or progress.foreign or progress.unplaced or outcome.error):
        return
    facts: Mapping[str, object] = {
        "service": str(ledger.service),
        "ordinal": outcome.source,
        "reason": outcome.order.reason,
        "action": outcome.order.action,
        "moved": progress.total,
        "to": dict(sorted(progress.moved.items())),
        "drift": progress.drift,
        "foreign": progress.foreign,
        "unplaced": progress.unplaced,
        "seconds": round(outcome.ended - outcome.started, 3),
        "error": str(outcome.error) if outcome.error else None,
    }
    log.log(logging.WARNING if outcome.error or progress.unplaced else logging.INFO, "links moved", extra=facts)
