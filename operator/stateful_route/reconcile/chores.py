"""What goes on beside a reconciler's passes: repair of the index, the search for foreign links, a look at nodes."""

import asyncio
import logging
import math
import random
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.domain.errors import StatefulRouteError, StoreRejected, StoreUnavailable
from stateful_route.domain.routing import LinkAction
from stateful_route.domain.urgency import Urgency
from stateful_route.kube.client import KubeError
from stateful_route.kube.objects import is_node_lost
from stateful_route.kube.server_clock import steady
from stateful_route.reconcile.environment import Environment
from stateful_route.reconcile.key_walk import Found, KeyWalk
from stateful_route.reconcile.ledger import Ledger
from stateful_route.reconcile.search import Losses, Search
from stateful_route.reconcile.upkeep import age_moves, has_entries, repair_index
from stateful_route.reconcile.workload import Workload
from stateful_route.store.connection import Store

log = logging.getLogger(__name__)

NODE_LOOK_SECONDS = 5.0
FOREIGN_LOOK_SECONDS = 10.0
"""The least time between two looks at all keys of the store for links that foreign clients made without our index."""

CLEARED_PART = 0.2
"""At most this part of the time is spent on dropping the expired links of services that are full."""

EMPTY_WALK_SECONDS = 3600.0
"""How often the index of a service is walked that has no entries by its counts: a client of an earlier version, which
does not keep them, may have made some. With a thousand such services a walk in each repair takes a server's time."""


class Wake(Protocol):
    """Has the reconciler look again soon; ``full``: at everything."""

    def __call__(self, *, full: bool = False) -> None:
        """Look again."""


class Chores:
    """Those of one service.

    Attributes:
        lost_nodes: Nodes with terminating pods that are not Ready themselves.
        search: What is known of links that are not in the index.
        refused: What could not be looked at for want of a right; None: all could.
    """

    def __init__(self, env: Environment, ledger: Ledger, wake: Wake, searched: Callable[[set[int]], None]) -> None:
        """``searched`` is called with the pods whose lost links have been searched for."""
        self._env = env
        self._ledger = ledger
        self._wake = wake
        self.lost_nodes: frozenset[str] = frozenset()
        self.search = Search()
        self.refused: str | None = None
        self._tell_searched = searched
        self._tasks: set[asyncio.Task[None]] = set()
        self._walk: KeyWalk | None = None
        """Which looks at all keys of the store, for all services there."""
        self._before: Losses = {}
        """What was missing when the present look at all keys began."""
        self._unreadable = 0
        """Links that hold no pod index, as of the last look at all keys."""
        self._walk_at = steady() + random.uniform(0, EMPTY_WALK_SECONDS)  # noqa: S311  not all services at once
        """When the index is walked in spite of counts that know of no entry."""
        self._nodes_looked_at = self._repair_at = self._foreign_at = self._clear_at = 0.0
        self._searched_at = -math.inf

    def look_after(self, store: Store, route: StatefulRoute, workload: Workload) -> float | None:
        """Begin what is due; when to ask again at the latest (by `steady`), None: with the next pass."""
        now = steady()
        period = route.spec.repair.period_seconds
        if period and now >= self._repair_at:
            self._repair_at = now + period
            self._begin(self._repair(store))
        elif now >= self._clear_at and self._is_crowded(route):
            self._clear_at = math.inf
            self._begin(self._clear(store))
        self._look_for_links(store, period, now)
        return self._look_at_nodes(workload, now)

    async def stop(self) -> None:
        """Give up what is under way, and wait until it has ended: nothing of it is written any more."""
        self._leave_walk()
        if tasks := list(self._tasks):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        service = str(self._ledger.service)

        async def guarded() -> None:
            try:
                await work
            except (StoreUnavailable, StoreRejected, KubeError) as error:
                log.warning("chore put off", extra={"service": service, "error": str(error)})
            except Exception:
                log.exception("chore failed", extra={"service": service})

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Nodes

    def _look_at_nodes(self, workload: Workload, now: float) -> float | None:
        nodes = {pod.node for pod in workload.by_ordinal().values() if pod.terminating and not pod.ready and pod.node}
        if not nodes:
            self.lost_nodes = frozenset()  # what was so of a node may no longer be when a pod there stops next time
            return None
        if now >= self._nodes_looked_at + NODE_LOOK_SECONDS:
            self._nodes_looked_at = now
            self._begin(self._ask_for_nodes(frozenset(nodes)))
        return now + NODE_LOOK_SECONDS

    async def _ask_for_nodes(self, nodes: frozenset[str]) -> None:
        try:
            lost = frozenset([name for name in sorted(nodes) if await is_node_lost(self._env.kube, name)])
        except KubeError as error:
            if not error.forbidden:
                raise
            if self.refused is None:
                log.warning("lost nodes are not noticed", extra={"error": str(error)})
                self.refused = str(error)
                self._wake()
            return
        self.refused = None
        if lost != self.lost_nodes:
            self.lost_nodes = lost
            self._wake()

    # Links

    def _fresh_failures(self) -> bool:
        """True while a pod's links have begun to move a short while ago: a foreign client's may be among them."""
        horizon = self._ledger.store_ms - (FOREIGN_LOOK_SECONDS + self._env.timing.resync_seconds) * 1000
        return any(r.links is LinkAction.MOVE and r.since > horizon for r in self._ledger.records.values())

    def _is_crowded(self, route: StatefulRoute) -> bool:
        """Whether a pod seems full: links that have expired are counted until a repair has dropped them."""
        limit = route.spec.placement.max_links_per_pod
        return limit > 0 and any(links >= limit for links in self._ledger.counts.values())

    async def _clear(self, store: Store) -> None:
        """Drop the links that have expired; have the rest counted if there were any."""
        began = steady()
        try:
            repaired = await repair_index(store, self._ledger.service)  # users wait for room: it does not queue
        finally:
            now = steady()
            self._clear_at = now + max(
                self._env.timing.resync_seconds, (now - began) * (1 - CLEARED_PART) / CLEARED_PART
            )
        if repaired.expired:
            self._wake(full=True)

    async def _repair(self, store: Store) -> None:
        """Walk the index in turn with the other services of the store; seldom where there is nothing in it."""
        if steady() < self._walk_at and not await has_entries(store, self._ledger.service):
            await age_moves(store, self._ledger.service)
            return
        self._walk_at = steady() + EMPTY_WALK_SECONDS
        async with self._env.stores.budget(store).turn(Urgency.UPKEEP):
            await repair_index(store, self._ledger.service)

    # Links that are not in the index

    def _look_for_links(self, store: Store, period: int, now: float) -> None:
        """Take part in the walks over all keys of the store, and ask for one when it is time to."""
        walk = self._env.stores.key_walk(store)
        if walk is not self._walk:
            self._leave_walk()
            self._walk = walk
            walk.join(self._ledger.service, self)
        if self.search.missing(self._ledger.records):
            walk.ask(soon=True)
        elif now >= self._foreign_at and self._fresh_failures():
            self._foreign_at = now + FOREIGN_LOOK_SECONDS
            walk.ask(soon=True)
        elif period and now >= self._searched_at + period:
            walk.ask(soon=False)

    def _leave_walk(self) -> None:
        if self._walk is not None:
            self._walk.leave(self._ledger.service, self)
            self._walk = None

    def walk_begins(self) -> None:
        """All keys are about to be looked at."""
        self._before = self.search.missing(self._ledger.records)

    def walk_ended(self, found: Found) -> None:
        """All keys have been looked at since."""
        service = self._ledger.service
        self._searched_at = steady()
        if isinstance(found, StatefulRouteError):
            return
        self._foreign_at = max(self._foreign_at, self._searched_at + FOREIGN_LOOK_SECONDS)
        before, meanwhile = self._before, self.search.missing(self._ledger.records)
        self.search.ended(before, found.found)
        if found.foreign and found.foreign != self._unreadable:
            facts = {"service": str(service), "links": found.foreign, "keys": service.link("*")}
            log.warning("links that hold no pod index are left untouched", extra=facts)
        self._unreadable = found.foreign
        if found.found or before:
            self._tell_searched({*before, *meanwhile})
            self._wake(full=bool(found.found))
