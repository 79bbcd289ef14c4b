"""The migrations of one service that are under way: one task for each pod whose links must move."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass

from stateful_route.domain.errors import OwnedElsewhere, StoreUnavailable
from stateful_route.domain.meter import Meter
from stateful_route.domain.routing import LinkAction, Reason
from stateful_route.router.failover import Progress, Task, move_links
from stateful_route.router.pace import Pace
from stateful_route.store.connection import Store
from stateful_route.store.keys import Service

log = logging.getLogger(__name__)

TurnOn = Callable[[Store], AbstractAsyncContextManager[object]]
"""Gives a turn on a store, to be waited for."""


def at_once(_store: Store) -> AbstractAsyncContextManager[object]:
    """No wait: nobody shares the store."""
    return nullcontext()


@dataclass(frozen=True, slots=True)
class Order:
    """That the links of a pod should move, and how.

    Attributes:
        action: DRAIN or MOVE; STAY raises the epochs of links that stay with the pod's next incarnation.
        before: Only links with a lower epoch; None: all.
        reason: Why.
    """

    action: LinkAction
    before: int | None
    reason: Reason


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a migration ended.

    Attributes:
        source: The pod index.
        order: What was asked.
        progress: What was done.
        started: Seconds since the epoch.
        ended: Likewise.
        left: About how many links still have to move; 0 once it is complete, or when nobody has counted them.
        complete: It went through, and every link found a pod.
        error: Why it stopped early; None: it went through, or was cancelled.
    """

    source: int
    order: Order
    progress: Progress
    started: float
    ended: float
    left: int
    complete: bool
    error: Exception | None


@dataclass(frozen=True, slots=True)
class Migration:
    """All that a migration needs; ``left``: about how many links there are."""

    store: Store
    service: Service
    task: Task
    pace: Pace
    left: int


@dataclass(slots=True)
class _Job:
    order: Order
    running: asyncio.Task[None]
    progress: Progress
    left: int
    started: float


class Migrations:
    """Starts, watches and stops the migration tasks of one service."""

    def __init__(self, on_end: Callable[[Outcome], None], turn: TurnOn = at_once) -> None:
        """``on_end``: is called with each outcome; ``turn``: on a store, for which each migration waits."""
        self._on_end = on_end
        self._turn = turn
        self._jobs: dict[int, _Job] = {}

    def running(self, source: int) -> Order | None:
        """The order being carried out for this pod, or None."""
        job = self._jobs.get(source)
        return job.order if job else None

    def start(self, order: Order, migration: Migration) -> None:
        """Begin; there must be none running for the same pod."""
        source, progress = migration.task.source, Progress()
        name = f"migrate {migration.service} pod {source}"
        running = asyncio.create_task(self._run(order, migration, progress), name=name)
        self._jobs[source] = _Job(order, running, progress, migration.left, time.time())

    def under_way(self) -> list[Outcome]:
        """How far each of them has come."""
        return [
            Outcome(
                source=source,
                order=job.order,
                progress=job.progress,
                started=job.started,
                ended=time.time(),
                left=max(0, job.left - job.progress.total),
                complete=False,
                error=None,
            )
            for source, job in self._jobs.items()
        ]

    def cancel(self, source: int) -> None:
        """Stop moving this pod's links; what has moved stays moved."""
        if (job := self._jobs.get(source)) is not None:
            job.running.cancel()

    async def stop(self) -> None:
        """Stop all of them, and wait until they have stopped."""
        jobs = [job.running for job in self._jobs.values()]
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    async def _run(self, order: Order, migration: Migration, progress: Progress) -> None:
        source, started = migration.task.source, time.time()
        error: Exception | None = None
        through = False
        try:
            async with self._turn(migration.store):
                await move_links(
                    migration.store, migration.service, migration.task, migration.pace, progress, migration.left
                )
            through = True
        except (StoreUnavailable, OwnedElsewhere) as expected:
            error = expected
        except Exception as unexpected:
            log.exception("migration failed", extra={"service": str(migration.service), "ordinal": source})
            error = unexpected
        finally:
            del self._jobs[source]
            left = progress.unplaced if through else max(0, migration.left - progress.total)
            complete = through and not progress.unplaced
            self._on_end(Outcome(source, order, progress, started, time.time(), left, complete, error))


def measure(meter: Meter, service: Service, outcome: Outcome) -> None:
    """Tell how a migration ended.

    A look at an index that had nothing to move is none, nor are higher epochs of links that stay.
    """
    progress, order = outcome.progress, outcome.order
    failed = outcome.error is not None
    if order.action is LinkAction.STAY or not (progress.total or progress.unplaced or failed):
        return
    result = "complete" if outcome.complete else "stopped"
    if failed or progress.unplaced:
        result = "failed" if failed else "unplaced"
    meter.migrated(service, order.reason, result, outcome.ended - outcome.started)
