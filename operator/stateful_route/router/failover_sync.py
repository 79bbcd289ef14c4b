# Generated from failover.py by tools/twins.py: change that one, then run: make twins
"""The one migration loop: moves the links of a pod to others, by the reverse index and compare-and-set.

Resumable at any point without a memory of its own: the index is the list of what is left to do.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from time import monotonic

from stateful_route.domain.errors import Deposed, StoreRejected, StoreUnavailable
from stateful_route.router.failover import (
    REFUSED_IN_A_ROW,
    TELL_AGAIN_SECONDS,
    TELL_SECONDS,
    TRIPS_AT_ONCE,
    WAKE_SECONDS,
    Progress,
    Task,
    _assigned,
    _trips,
)
from stateful_route.router.pace import Pace
from stateful_route.router.runtime_sync import Trips
from stateful_route.store.connection_sync import Store
from stateful_route.store.index_sync import links_of_pod
from stateful_route.store.keys import Service
from stateful_route.store.migrate import Batch, Moved, Outcome
from stateful_route.store.migrate_sync import append_moves, migrate
from stateful_route.store.runtime_sync import sleep


def move_links(
    store: Store, service: Service, task: Task, pace: Pace, progress: Progress | None = None, left: int = 0
) -> Progress:
    """Move the links of one pod until its index is empty, or nobody can take more.

    Args:
        store: Where.
        service: Whose.
        task: What.
        pace: How fast.
        progress: Is updated as it goes; cancel the task to stop: what has moved stays moved and is told.
        left: About how many links there are (for a deadline); 0: unknown.

    Raises:
        StoreUnavailable: the store went away; call again to go on.
        StoreRejected: it has refused to move some; all others have moved, unless it refused several times in a row.
        OwnedElsewhere: the service has another owner now.
    """
    progress = progress or Progress()
    work = _Work(store, service, task, progress)
    sent = 0

    def rate() -> float:
        return pace.rate(max(0, left - sent))

    with Trips(TRIPS_AT_ONCE) as trips:  # cancelled or failed: what has moved is told all the same
        for buckets in links_of_pod(store, service, task.source, task.before):
            for trip in _trips(buckets, task.batch_size, rate):
                batches, unplaced = _assigned(trip, task.spread())
                progress.unplaced += unplaced
                if not batches:
                    continue
                trips.start(partial(work.move, batches))
                links = sum(len(batch.uids) for batch in batches)
                sent += links
                wait = pace.wait_seconds(links, max(0, left - sent))
                sleep(wait if wait > WAKE_SECONDS else 0)
    if work.refusal is not None:
        raise work.refusal
    return progress


class _Work:
    """The round trips of one migration.

    Attributes:
        refusal: Why the store has carried out nothing of a round trip; None: there was no such trip.
    """

    def __init__(self, store: Store, service: Service, task: Task, progress: Progress) -> None:
        self._store = store
        self._service = service
        self._task = task
        self._progress = progress
        self._refused_in_a_row = 0
        self.refusal: StoreRejected | None = None

    def move(self, batches: Sequence[Batch]) -> None:
        """Move the links of some batches, and tell it."""
        task, progress = self._task, self._progress
        links = sum(len(batch.uids) for batch in batches)
        try:
            results = migrate(self._store, self._service, task.source, batches, task.before, task.max_links)
        except StoreRejected as error:
            progress.refused += links
            self._measure(0, Counter(), links)
            self.refusal = error
            self._refused_in_a_row += 1
            if self._refused_in_a_row >= REFUSED_IN_A_ROW:
                raise
            return
        self._refused_in_a_row = 0
        moved = [link for result in results for link in result.moved]
        progress.moved.update(link.to for link in moved)
        exceptions = Counter(outcome for result in results for outcome in result.exceptions.values())
        progress.drift += exceptions[Outcome.DRIFT]
        progress.overtaken += exceptions[Outcome.OVERTAKEN]
        progress.foreign += exceptions[Outcome.FOREIGN]
        progress.unplaced += exceptions[Outcome.FULL]
        refused = links - sum(len(result.batch.uids) for result in results)
        progress.refused += refused
        self._measure(sum(link.to != task.source for link in moved), exceptions, refused)
        self._tell(moved)

    def _tell(self, moved: Sequence[Moved]) -> None:
        """Tell what has moved, also when the store goes away between the two: nobody else knows it."""
        task, until = self._task, monotonic() + TELL_SECONDS
        while True:
            try:
                return append_moves(self._store, self._service, task.source, task.reason, moved, task.owner)
            except Deposed:
                raise
            except StoreUnavailable:
                if monotonic() >= until:
                    raise
            sleep(TELL_AGAIN_SECONDS)

    def _measure(self, moved: int, exceptions: Counter[Outcome], refused: int) -> None:
        """``moved``: without links that stay with their pod, and only get a higher epoch."""
        meter, service = self._store.meter, self._service
        if moved:
            meter.links_moved(service, self._task.reason, moved)
        if drift := exceptions[Outcome.DRIFT]:
            meter.drift_repaired(service, "migration", drift)
        overtaken, foreign = exceptions[Outcome.OVERTAKEN], exceptions[Outcome.FOREIGN]
        for cause, links in (("overtaken", overtaken), ("foreign", foreign), ("refused", refused)):
            if links:
                meter.links_not_moved(service, cause, links)
