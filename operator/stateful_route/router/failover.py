"""The one migration loop: moves the links of a pod to others, by the reverse index and compare-and-set.

Resumable at any point without a memory of its own: the index is the list of what is left to do.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Protocol

from stateful_route.domain.errors import Deposed, StoreRejected, StoreUnavailable
from stateful_route.router.pace import Pace
from stateful_route.router.runtime import Trips
from stateful_route.store.connection import Store
from stateful_route.store.index import Bucket, links_of_pod
from stateful_route.store.keys import Service
from stateful_route.store.migrate import MAX_BATCH, Batch, Moved, Outcome, append_moves, migrate
from stateful_route.store.runtime import sleep

LINKS_PER_TRIP = 1000
"""Links in one round trip: enough to keep the server busy, few enough to stop within milliseconds."""

TRIPS_AT_ONCE = 2
"""One is packed here while the server works on the other."""

WAKE_SECONDS = 0.05
"""A wait shorter than this is saved up: sleeping costs more than it slows."""

TELL_SECONDS = 60.0
"""For so long what has moved is tried to be told while the store is away; afterwards pods find out by comparing."""

TELL_AGAIN_SECONDS = 0.5

REFUSED_IN_A_ROW = 3
"""So many round trips of which nothing was carried out are not the fault of single links: the store refuses."""


class Targets(Protocol):
    """Says where links go, one by one; see `stateful_route.domain.placement.Spread`."""

    def take(self) -> int | None:
        """The pod index for the next link; None: nobody has room."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is to be moved off one pod.

    Attributes:
        source: The pod index.
        reason: Why, as it will stand in the stream of moves.
        before: Only links with a lower epoch (an earlier incarnation's); None: all.
        max_links: How many links a target may have: the store holds others' moves against it, too. 0: any number.
        spread: Gives the targets as they are now; asked before each round trip, so that a target that has failed
            meanwhile is left out from the next one on. A spread over the source itself only raises the epochs.
        owner: Who moves, as in ``#own``; empty: nobody owns the service.
        batch_size: Links per script, at most `MAX_BATCH`.
    """

    source: int
    reason: str
    spread: Callable[[], Targets]
    before: int | None = None
    owner: str = ""
    batch_size: int = MAX_BATCH
    max_links: int = 0


@dataclass(slots=True)
class Progress:
    """What a migration has done so far; counts are links.

    Attributes:
        moved: By target.
        drift: The index named the pod, the link did not (any more); mended.
        overtaken: Somebody else was quicker.
        foreign: Links that hold no pod index; left untouched.
        unplaced: No READY pod had room; still on the source.
        refused: The store has refused to move them (a key of another type under the name of one of ours); still there.
    """

    moved: Counter[int] = field(default_factory=Counter)
    drift: int = 0
    overtaken: int = 0
    foreign: int = 0
    unplaced: int = 0
    refused: int = 0

    @property
    def total(self) -> int:
        """Links moved in all."""
        return self.moved.total()


async def move_links(
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

    async with Trips(TRIPS_AT_ONCE) as trips:  # cancelled or failed: what has moved is told all the same
        async for buckets in links_of_pod(store, service, task.source, task.before):
            for trip in _trips(buckets, task.batch_size, rate):
                batches, unplaced = _assigned(trip, task.spread())
                progress.unplaced += unplaced
                if not batches:
                    continue
                await trips.start(partial(work.move, batches))
                links = sum(len(batch.uids) for batch in batches)
                sent += links
                wait = pace.wait_seconds(links, max(0, left - sent))
                await sleep(wait if wait > WAKE_SECONDS else 0)
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

    async def move(self, batches: Sequence[Batch]) -> None:
        """Move the links of some batches, and tell it."""
        task, progress = self._task, self._progress
        links = sum(len(batch.uids) for batch in batches)
        try:
            results = await migrate(self._store, self._service, task.source, batches, task.before, task.max_links)
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
        await self._tell(moved)

    async def _tell(self, moved: Sequence[Moved]) -> None:
        """Tell what has moved, also when the store goes away between the two: nobody else knows it."""
        task, until = self._task, monotonic() + TELL_SECONDS
        while True:
            try:
                return await append_moves(self._store, self._service, task.source, task.reason, moved, task.owner)
            except Deposed:
                raise
            except StoreUnavailable:
                if monotonic() >= until:
                    raise
            await sleep(TELL_AGAIN_SECONDS)

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


def _trips(buckets: Sequence[Bucket], batch_size: int, rate: Callable[[], float]) -> Iterator[list[Bucket]]:
    """The same uids, cut so that no script has too many, and no round trip more than a second's worth."""
    trip: list[Bucket] = []
    room = _room(rate())
    for bucket in buckets:
        start = 0
        while start < len(bucket.uids):
            part = bucket.uids[start : start + min(batch_size, room)]
            start += len(part)
            trip.append(Bucket(bucket.number, part))
            room -= len(part)
            if room == 0:
                yield trip
                trip, room = [], _room(rate())
    if trip:
        yield trip


def _room(links_per_second: float) -> int:
    return max(1, int(min(LINKS_PER_TRIP, links_per_second)))


def _assigned(trip: Sequence[Bucket], spread: Targets) -> tuple[list[Batch], int]:
    batches, unplaced = [], 0
    for bucket in trip:
        uids, targets = [], []
        for uid in bucket.uids:
            target = spread.take()
            if target is None:
                unplaced += 1
            else:
                uids.append(uid)
                targets.append(target)
        if uids:
            batches.append(Batch(bucket.number, uids, targets))
    return batches, unplaced
