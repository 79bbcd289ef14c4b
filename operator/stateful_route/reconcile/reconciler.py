"""Reconciles one StatefulRoute: gather the facts, ask the domain, write the difference; again when something wakes it.

Level-triggered: what it keeps in memory is a copy of what Kubernetes and Redis hold, read anew on each full pass.
"""

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from stateful_route.api.conditions import ConditionType
from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.domain.drain import asks, beginning
from stateful_route.domain.errors import (
    Deposed,
    LayoutMismatch,
    OwnedElsewhere,
    StoreBusy,
    StoreRejected,
    StoreUnavailable,
)
from stateful_route.domain.lifecycle import Situation
from stateful_route.domain.meter import RouteReading
from stateful_route.domain.pod import PodFacts
from stateful_route.domain.policy import Policy
from stateful_route.domain.routing import LinkAction
from stateful_route.domain.service import Judgement, judge_service, keeping
from stateful_route.domain.startup import begins
from stateful_route.domain.urgency import Urgency
from stateful_route.kube.client import KubeError, NotLeading
from stateful_route.kube.objects import FINALIZER, Notice, set_finalizers
from stateful_route.kube.server_clock import steady
from stateful_route.reconcile.arrivals import Arrivals
from stateful_route.reconcile.attempt import (
    Attempt,
    held_back,
    hindered,
    outranked,
    owned_elsewhere,
    refused,
    starting,
    store_failed,
)
from stateful_route.reconcile.budget import Turn
from stateful_route.reconcile.chores import Chores
from stateful_route.reconcile.claims import LeftAlone
from stateful_route.reconcile.ending import give_up, keys_left
from stateful_route.reconcile.environment import Environment
from stateful_route.reconcile.hearing import Ear
from stateful_route.reconcile.hints import Hints
from stateful_route.reconcile.history import History
from stateful_route.reconcile.inventory import Inventory
from stateful_route.reconcile.ledger import Ledger
from stateful_route.reconcile.migrations import Outcome, measure
from stateful_route.reconcile.moving import Moving
from stateful_route.reconcile.oddities import missing, oddities, without_ordinals
from stateful_route.reconcile.problem import Problem
from stateful_route.reconcile.reporter import Reporter
from stateful_route.reconcile.sightings import STEP_MS
from stateful_route.reconcile.soundness import amiss
from stateful_route.reconcile.spec import config_of, policy_of, probe_of
from stateful_route.reconcile.standstill import StoodStill
from stateful_route.reconcile.status import Finding, Findings, build_status, resolved
from stateful_route.store.connection import Store
from stateful_route.store.index import issued_epochs
from stateful_route.store.keys import Service
from stateful_route.store.layout import check_layout
from stateful_route.store.states import claim

log = logging.getLogger(__name__)

FIRST_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 5.0
MIGRATION_REPORT_SECONDS = 1.0
LOOKS = 5
"""So often pods that begin anew are looked at before what is known is written; one look takes a round trip."""
"""Between two reports of how far the migrations under way have come."""

Rival = Callable[[StatefulRoute, str], StatefulRoute | None]
"""The other StatefulRoute that has the service of the given one, as far as is known or by being the owner
(``<cluster id>/<uid>``) that the store names; None: there is none."""


class Reconciler:
    """One StatefulRoute's task; `wake` it when something may have changed, `run` it until it is cancelled."""

    def __init__(self, env: Environment, route: StatefulRoute, rival: Rival) -> None:
        self._env = env
        self.route = route
        self.serves = route.status.serves
        """It has the service, as far as is known: as its status says at first, then as the store does."""
        self.ended = False
        """The finalizer is off: nothing is left to do."""
        self.dismissed = False
        """It should end: its cancellation may be swallowed, by redis-py's connecting in Python 3.11."""
        self.left = False
        """Another release of the operator serves it: nothing is written any more, not even the last words."""
        self._rival = rival
        meta = route.metadata
        self.owner = f"{env.cluster}/{meta.uid}"
        self.service = Service(meta.namespace, route.service_name)
        self._inventory = Inventory(env, meta.namespace)
        self.workload = self._inventory.workload
        self._ledger = Ledger(self.service, self.owner, 2 * env.timing.resync_seconds, env.kube.clock.latest)
        self._moving = Moving(self._ledger, self._migrated, env.timing.refresh_seconds, self._turn_to_move)
        self._chores = Chores(env, self._ledger, self.wake, self._moving.look_again)
        self._moving.holds = self._chores.search.holds
        self._ledger.has_none = lambda store: self._env.stores.vacancies(store).has_none(self.service)
        self._hints = Hints(self.service, self.workload, self.wake, env.meter)
        self._arrivals = Arrivals(env.meter)
        self._store_heard = asyncio.Event()
        """The store is heard again, after it was not, since the last attempt began."""
        self._ear = Ear(lambda: self._ledger.records, self._hints.look, self._look_at_store, self._heard_again)
        names = {"namespace": meta.namespace, "name": meta.name, "uid": meta.uid}
        self._reporter = Reporter(env.kube, names, route.status.body(), env.watchdog)
        self._status = route.status
        self._found = Findings(migration=route.status.last_migration)
        self._history = History(route.workload_name, route.status.last_migration)
        self._store: Store | None = None
        self._wake = asyncio.Event()
        self._wanted_since: float | None = steady()
        """Since when it should run; None: it need not, or is running because of that."""
        self._full_at = 0.0
        self._resynced = False
        """The first resync has been planned: those of services that were taken up together do not come together."""
        self._turn: Turn | None = None
        """Of the pass that is under way on the store; None: none is."""
        self._ending_since: float | None = None
        """Since when the StatefulRoute has been seen to be deleted."""
        self._next_due: float | None = None
        self._starts_until = (-math.inf, datetime.now(UTC))
        """When a start is over at the latest, by `steady`, and as people are told."""
        self._recount = False
        self._reread = False
        """Others have changed what stands in the store."""
        self.passed = False
        """It has tried once, whatever came of it."""

    # What others tell it

    def wake(self, *, full: bool = False) -> None:
        """Look again soon; ``full``: read everything anew."""
        if full:
            self._full_at = 0.0
        self._wanted_since = self._wanted_since or steady()
        self._wake.set()
        if self._turn is not None:
            self._turn.hurry()

    def _look_at_store(self) -> None:
        self._reread = True
        self.wake()

    def _heard_again(self) -> None:
        self._ledger.interrupted()
        self._store_heard.set()

    def observe_route(self, route: StatefulRoute) -> None:
        """The resource has changed, or its status has."""
        changed = route.metadata.generation != self.route.metadata.generation
        ending = route.metadata.deletion_timestamp is not None
        self.route = route
        if changed or ending:
            self.wake(full=True)

    def observe_pod(self, body: Mapping[str, Any], *, deleted: bool) -> None:
        """An event of one of the workload's pods."""
        ref, container = self.route.workload, self.route.spec.health.container
        pod = self._inventory.observe(body, ref, container, deleted=deleted)
        if pod is None:
            return
        ends = False
        if isinstance(pod, PodFacts):
            self._arrivals.came(pod.ordinal)
            ends = deleted or pod.terminating
        self.wake(full=ends and not ref.built_in)  # how many it wants by now is told by no watch

    def reading(self) -> RouteReading:
        """How things are with it."""
        states = {ordinal: record.written or record.state for ordinal, record in self._ledger.records.items()}
        meta, now = self.route.metadata, steady()
        return RouteReading(
            namespace=meta.namespace,
            route=meta.name,
            service=self.service.name,
            workload=self.route.workload_name,
            conditions={condition.type: condition.status == "True" for condition in self._status.conditions},
            states=states,
            links={ordinal: self._ledger.counts.get(ordinal, 0) for ordinal in states.keys() | self._ledger.counts},
            unreachable=len(self._hints.unreachable),
            migrations=len(self._moving.busy),
            waiting_seconds=max(0.0, now - (self._wanted_since or now)),
        )

    def _turn_to_move(self, store: Store) -> Turn:
        return self._env.stores.budget(store).turn(Urgency.MOVE)

    # Its task

    async def run(self) -> None:
        """Reconcile until cancelled, or until the StatefulRoute is gone; one failure never ends it."""
        backoff = FIRST_BACKOFF_SECONDS
        async with asyncio.TaskGroup() as group:
            reporting = group.create_task(self._reporter.run(), name=f"report {self.service}")
            try:
                while not self.ended and not self.dismissed:
                    await self._wait()
                    self._store_heard.clear()
                    if await self._attempt():
                        backoff = FIRST_BACKOFF_SECONDS
                    elif not self.dismissed:
                        backoff = await self._back_off(backoff)
                        self._wake.set()
            finally:
                reporting.cancel()
                await self._env.stores.unlisten(self._ear)
                self._ear.close()
                await self._chores.stop()
                await self._hints.stop()
                await self._moving.stop()
                self._inventory.close()
                if self.passed and not self.left:  # how far the migrations have come is the next life's beginning
                    self._report(self._found.stalled, self._found.redis)
                if not self.left:
                    await self._reporter.close()
                await self._env.stores.forget(self.route)

    async def _wait(self) -> None:
        due = min(at for at in (self._full_at, self._next_due, self._moving.next_look()) if at is not None)
        with contextlib.suppress(TimeoutError):  # not by wait_for: in Python 3.11 it swallows cancellations
            async with asyncio.timeout(max(0.0, due - steady())):
                await self._wake.wait()
        self._wake.clear()
        self._wanted_since = None

    async def _back_off(self, seconds: float) -> float:
        """Rest after an attempt that failed, no longer than until the store is heard again; how long the next time."""
        jitter = random.uniform(0.8, 1.2)  # noqa: S311
        try:
            async with asyncio.timeout(seconds * jitter):
                await self._store_heard.wait()
        except TimeoutError:
            return min(2 * seconds, MAX_BACKOFF_SECONDS)
        await asyncio.sleep(FIRST_BACKOFF_SECONDS * jitter)  # all others that use the store have heard it, too
        return FIRST_BACKOFF_SECONDS

    async def _attempt(self) -> bool:
        """One pass; False when it should be tried again soon."""
        generation, began = self.route.metadata.generation, time.monotonic()
        outcome = await self._outcome()
        self._env.meter.reconciled("again" if outcome.again else "done", time.monotonic() - began)
        if outcome.left:  # a moment before this reconciler itself is ended, or the other's claim
            await self._moving.stop()
            self._ledger.known, self.passed = False, True
            return False
        if outcome.again:
            self._full_at = 0.0
            self._wanted_since = self._wanted_since or steady()
        if outcome.again or outcome.redis or outcome.lost:
            self._ledger.known = False
        if outcome.redis:
            self._ledger.interrupted()
        if outcome.redis or outcome.lost:
            await self._moving.stop()
        if outcome.lost:
            await self._chores.stop()
            self.serves = False
            self._ledger.records, self._ledger.counts = {}, {}
            self._arrivals.forget()
        self.passed = True
        self._found.generation = generation
        self._report(outcome.stalled, outcome.redis)
        return not outcome.again

    async def _outcome(self) -> Attempt:
        """Do one pass; what came of it, whatever that was."""
        outcome = Attempt(stalled=self._found.stalled, redis=self._found.redis, again=True)
        try:
            with self._env.stores.judged(self.route):
                outcome = Attempt(stalled=await self._pass())
        except Problem as problem:
            outcome = hindered(problem)
        except LeftAlone as left:
            log.debug("left alone", extra={"service": str(self.service), "operator": left.operator})
            outcome = Attempt(left=True, again=True)
        except OwnedElsewhere as error:
            if not error.owner or self._of_this_cluster(error.owner):
                outcome = Attempt(again=True)  # the store was emptied under us, or another one took over: look anew
            else:
                outcome = owned_elsewhere(self.service, error.owner)
        except (Deposed, NotLeading, StoreBusy, StoodStill) as error:
            # It is about us, not about the service or its store: the conditions stay as they are.
            log.debug("put off", extra={"service": str(self.service), "error": str(error)})
        except (LayoutMismatch, StoreUnavailable, StoreRejected) as error:
            outcome = store_failed(error)
        except KubeError as error:
            if error.forbidden:
                outcome = refused(error)
            level = logging.DEBUG if error.conflict or error.forbidden else logging.WARNING
            log.log(level, "API server", extra={"service": str(self.service), "error": str(error)})
        except Exception:
            log.exception("reconciliation failed", extra={"service": str(self.service)})
        return outcome

    async def _pass(self) -> Finding | None:
        """Gather, ask, write; why the StatefulRoute is stalled although the pass went through, or None."""
        full = steady() >= self._full_at or not self._ledger.known or not self._inventory.current
        if full:  # before anything is read: who asks for a full pass from here on gets another one
            self._full_at = steady() + self._until_resync()
        self._next_due = None
        if self.route.metadata.deletion_timestamp is not None:
            await self._take()
            await self._end()
            return None
        if (other := self._rival(self.route, "")) is not None:
            raise outranked(other.metadata.name, self.service)
        if not full and self._store is not None:
            urgency, store = Urgency.EVENT, self._store
        else:
            store = await self._env.stores.of(self._env.kube, self.route)
            await self._inventory.take(self.route.workload, self.route.spec.health.container)
            urgency = self._urgency()
        self._turn = self._env.stores.budget(store).turn(urgency)
        try:
            async with self._turn:
                await self._take()
                return await self._work(store, full=full)
        finally:
            self._turn = None

    def _until_resync(self) -> float:
        """Seconds until everything is read anew."""
        period = self._env.timing.resync_seconds
        if self._resynced or not self.workload.listed:
            return period
        self._resynced = True
        return random.uniform(0.5, 1.0) * period  # noqa: S311

    def _urgency(self) -> Urgency:
        """How soon everything has to be read anew, now that the pods are known."""
        waits = bool(self.workload.by_ordinal()) and not self._ledger.known
        return Urgency.PODS if waits else Urgency.ROUTINE

    async def _work(self, store: Store, *, full: bool) -> Finding | None:
        """The pass itself, when it is its turn on the store."""
        reread = full or self._reread
        await self._inform(store, full=full)
        policy, now = policy_of(self.route), steady()
        situations, judgement = await self._judged(store, policy, counted=reread)
        await self._write(store, situations, judgement, full=reread)
        self._moving.targets_changed()
        self._moving.plan(store, self.route, judgement, full=reread)
        if full:
            await self._ledger.refresh(store)
            await self._ledger.forget_gone(store, policy.expire_seconds, self._moving.busy)
        self._found.paused = self._paused(judgement)
        self._history.close(self._moving.ordered, datetime.now(UTC))
        self._due_at(min((v.due for v in judgement.verdicts.values() if v.due and v.due > now), default=None))
        if self._moving.busy:
            self._due_at(now + MIGRATION_REPORT_SECONDS)
        self._due_at(self._chores.look_after(store, self.route, self.workload))
        ref, facts = self.route.workload, self.workload.facts
        if facts is None:
            return missing(ref, self.service.namespace, self.workload.aside())
        return without_ordinals(ref, facts, self.workload.by_ordinal())

    async def _inform(self, store: Store, *, full: bool) -> None:
        """Have everything read anew, or what is in doubt."""
        if not full and store is self._store:
            if self._reread:
                self._reread = False  # before it is read: who asks from here on has it read again
                await self._ledger.read(store)
            elif self._recount and not self._moving.busy:
                await self._ledger.recount(store)
                self._recount = False
            return
        if store is not self._store:
            await self._moving.stop()
            await self._env.stores.unlisten(self._ear)
            self._store = store
        self._reread = False
        await self._gather(store)
        if self._chores.search.late:
            highest = (await issued_epochs(store, self.service)).highest
            self._ledger.raise_losses(self._chores.search.include(self._ledger.records, highest))
        self._hints.prepare(store, probe_of(self.route), self._ledger.records, self._ledger.moment)
        self._hints.look()
        self._recount = False

    async def _judged(
        self, store: Store, policy: Policy, *, counted: bool
    ) -> tuple[Mapping[int, Situation], Judgement]:
        """The verdicts; what a drain, or a start, depends on is looked at anew: apps publish, links are made."""
        situations, judgement = await self._judged_with_cuts(store, policy)
        if policy.drain.by_app and (pods := beginning(situations, judgement.verdicts)):
            if not self._ledger.has_apps:  # as far as is known nobody runs the library: deny first, then make sure
                await self._write(store, situations, keeping(judgement, pods))
            await self._ledger.look_at_apps(store, pods)
            situations, judgement = await self._judged_with_cuts(store, policy)
        if not counted and (asks(situations, judgement.verdicts) or begins(situations, judgement.verdicts)):
            await self._ledger.recount(store)
            situations, judgement = await self._judged_with_cuts(store, policy)
        return situations, judgement

    async def _judged_with_cuts(self, store: Store, policy: Policy) -> tuple[Mapping[int, Situation], Judgement]:
        """The verdicts, once it is known where the lives of pods begin that have begun anew; more may come meanwhile.

        What is decided of several pods together is written together: a pod of which that is not known is left out, and
        if the others were written without it, the next look would find another service.
        """
        situations, judgement = self._judge(policy)
        for _ in range(LOOKS):
            if not (pods := self._ledger.begun_anew(situations)):
                break
            await self._ledger.take_cuts(store, situations, pods, policy)
            situations, judgement = self._judge(policy)
        return situations, judgement

    async def _write(
        self, store: Store, situations: Mapping[int, Situation], judgement: Judgement, *, full: bool = False
    ) -> None:
        decisions = self._ledger.decisions(self.route, self.workload, situations, judgement, full=full)
        with self._arrivals.written(decisions):
            await self._ledger.write(store, decisions)
        if self._ledger.clock_was_set:  # what apps have just been told in its time has to be told anew
            self._ledger.clock_was_set = False
            self.wake()
        if self._ledger.stop_heard:
            self._ledger.stop_heard = False
            self._look_at_store()

    def _judge(self, policy: Policy) -> tuple[Mapping[int, Situation], Judgement]:
        if not (self._inventory.current and self._hints.confirmed(self._env.pulse.went_on_at)):
            raise StoodStill("this process stood still since the pods were looked at")
        lost, unreachable = self._chores.lost_nodes, self._hints.unreachable
        situations = self._ledger.situations(self.workload, policy, lost, steady(), unreachable)
        replicas = self.workload.facts.replicas if self.workload.facts else None
        return situations, judge_service(situations, policy, replicas)

    def _paused(self, judgement: Judgement) -> Finding | None:
        """Why users of failed pods are not being moved; None: they are."""
        start = judgement.start
        if start is not None and abs(start.until - self._starts_until[0]) > STEP_MS / 1000:
            self._starts_until = start.until, datetime.now(UTC) + timedelta(seconds=start.until - steady())
        return held_back(judgement.paused) or starting(start, self._starts_until[1]) or self._moving.stuck

    async def _gather(self, store: Store) -> None:
        """Read what stands in the store anew, and own the service there."""
        await self._env.stores.listen(store, self.service.channel, self._ear)  # before the look: nothing is missed
        await check_layout(store)  # each time: it may have been emptied, or replaced by another
        self._found.reached = True
        await self._hold()
        await self._claim(store)
        await self._ledger.read(store)

    async def _claim(self, store: Store) -> None:
        """Own the service; displace an owner of this cluster that does not claim it any more."""
        try:
            await claim(store, self.service, self.owner, config_of(self.route))
        except OwnedElsewhere as error:
            if not self._of_this_cluster(error.owner):
                raise
            if (other := self._rival(self.route, error.owner)) is not None:
                raise outranked(other.metadata.name, self.service) from error
            await claim(store, self.service, self.owner, config_of(self.route), take_over=error.owner)
        self.serves = True

    def _of_this_cluster(self, owner: str) -> bool:
        return owner.startswith(f"{self._env.cluster}/")

    async def _take(self) -> None:
        """Be the one release of the operator that serves it.

        Raises:
            LeftAlone: another is.
        """
        meta = self.route.metadata
        version = await self._env.claims.take(meta.uid)
        if version is not None and int(version) > int(meta.resource_version):
            update = {"metadata": meta.model_copy(update={"resource_version": version})}
            self.route = self.route.model_copy(update=update)

    async def _hold(self) -> None:
        """Put our finalizer on the resource, so that what we write can be cleaned up."""
        meta = self.route.metadata
        if FINALIZER in meta.finalizers:
            return
        finalizers = [*meta.finalizers, FINALIZER]
        await set_finalizers(self._env.kube, meta.namespace, meta.name, finalizers, meta.resource_version)
        self.route = self.route.model_copy(
            update={"metadata": meta.model_copy(update={"finalizers": tuple(finalizers)})}
        )

    async def _end(self) -> None:
        """The StatefulRoute is being deleted: clean up what is ours, then let it go, in any case after a while."""
        meta = self.route.metadata
        if FINALIZER not in meta.finalizers or meta.deletion_timestamp is None:
            self.ended = True
            return
        await self._moving.stop()
        await self._chores.stop()
        delete_links = self.route.spec.links.deletion_policy == "Delete"
        self._ending_since = self._ending_since or steady()
        give_up_at = self._ending_since + self._env.timing.finish_seconds
        self._due_at(give_up_at)
        try:
            store = await self._last_store()
            async with self._env.stores.budget(store).turn(Urgency.ROUTINE):
                await check_layout(store)
                deleted = await give_up(store, self.service, self.owner, delete_links=delete_links)
            log.info("service released", extra={"service": str(self.service), "links_deleted": deleted})
        except Deposed:  # its cleanup is not ours to give up
            raise
        except (Problem, LayoutMismatch, StoreUnavailable, StoreRejected) as error:
            if steady() < give_up_at:
                raise
            waited = steady() - self._ending_since
            left = keys_left(self.service, delete_links=delete_links)
            log.warning("cleanup given up", extra={"service": str(self.service), "keys": left, "error": str(error)})
            note = f"the store could not be cleaned up for {waited:.0f} s ({error}); these keys are left: {left}"
            self._reporter.notice(Notice("Warning", "CleanupIncomplete", note))
            with contextlib.suppress(KubeError):
                await self._reporter.flush()
        finalizers = [name for name in meta.finalizers if name != FINALIZER]
        try:
            await set_finalizers(self._env.kube, meta.namespace, meta.name, finalizers, meta.resource_version)
        except KubeError as error:
            if not error.not_found:  # a conflict, for one: the next event brings the newer object
                raise
        self.ended = True

    async def _last_store(self) -> Store:
        """The store that is to be cleaned up, although its Secret may have gone first."""
        try:
            return await self._env.stores.of(self._env.kube, self.route)
        except Problem:
            if (known := self._env.stores.last(self.route)) is None:
                raise
            return known

    def _due_at(self, moment: float | None) -> None:
        """Look again at that time (by `steady`) at the latest; None: it does not matter."""
        self._next_due = min((at for at in (self._next_due, moment) if at is not None), default=None)

    # What it tells others

    def _migrated(self, outcome: Outcome) -> None:
        moved = outcome.progress.total
        self._history.note(outcome, running=False)
        measure(self._env.meter, self.service, outcome)
        if moved and outcome.order.action is not LinkAction.STAY:
            pod = f"{self.route.workload_name}-{outcome.source}"
            to = ", ".join(f"{links} to {target}" for target, links in sorted(outcome.progress.moved.items()))
            note = f"{moved} links moved off {pod} ({outcome.order.reason}): by pod index {to}"
            self._reporter.notice(Notice("Normal", "LinksMoved", note))
        self._recount = self._recount or bool(moved or outcome.progress.drift)
        self.wake()

    def _report(self, stalled: Finding | None, redis: Finding | None) -> None:
        before = self._found
        if self._ledger.time_ms:  # else nothing has been read yet, and the former status knows more
            self._found.links = sum(self._ledger.counts.values())
            self._found.records = self._ledger.records
        for under_way in self._moving.under_way():
            self._history.note(under_way, running=True)
        self._found.migration = self._history.latest
        paused = (before.announced, before.paused)
        self._found.announced = before.paused
        was_stuck = None if before.stalled == before.redis else before.stalled
        stuck = None if stalled == redis else stalled  # what keeps the store from being used is told once, as such
        watch = self._env.watches.refused(self.service.namespace)
        denied = (watch, self._inventory.refused, self._chores.refused)
        pods, aside, facts = self.workload.by_ordinal().values(), self.workload.aside(), self.workload.facts
        odd = oddities(pods, aside, facts, self.route.spec.health.container)
        degraded = amiss(self.service.namespace, self._env.claims, self._env.definition, denied, odd)
        for name, old, new in (
            (ConditionType.STALLED, was_stuck, stuck),
            (ConditionType.REDIS_CONNECTED, before.redis, redis),
            (ConditionType.FAILOVER_PAUSED, *paused),
            (ConditionType.DEGRADED, before.degraded, degraded),
        ):
            if new is not None and (old is None or old[0] != new[0]):
                log.warning(name, extra={"service": str(self.service), "reason": new[0], "why": new[1]})
                self._reporter.notice(Notice("Warning", new[0], new[1]))
            elif new is None and old is not None:
                self._reporter.notice(Notice("Normal", f"{name}Resolved", resolved(name, old)))
        self._found.stalled, self._found.redis, self._found.degraded = stalled, redis, degraded
        if not self.ended:
            now = datetime.now(UTC)
            self._status = build_status(self._status, self._found, now)
            self._reporter.report(self._status.body())

    def probe(self) -> None:
        """Write something of our own that the watch must bring back."""
        self._found.probed = self._env.kube.clock.now() or datetime.now(UTC)
        if self.passed and not self.left:  # else the first pass is about to report anyway
            self._report(self._found.stalled, self._found.redis)
