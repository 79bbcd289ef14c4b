"""Clients that write through executors while something happens to the store, and the count of what became of it."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from stateful_route.domain.epoch import split
from stateful_route.domain.errors import StoreRejected, StoreUnavailable
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.index import all_links, linked_uids
from stateful_route.store.keys import Service
from stateful_route.store.links import PERSISTENT, Candidates
from support.history import History
from support.link_model import Answer, asked_of
from support.waiting import PATIENCE_SECONDS

PODS = 4
SECONDS = (PERSISTENT, 300)
KEEPS = (0, 60)
FAILURE_PAUSE_SECONDS = 0.01

Ask = Callable[[StatefulExecutor, Service, str, str, Sequence[Any]], Awaitable[Answer]]


@dataclass
class Numbered:
    """A uid that one client alone writes: its n-th write links it to pod n, so each answer tells which was the last.

    Attributes:
        acknowledged: Number → moment of the answer.
        denied: Numbers whose write failed, for certain without having been carried out.
        lost: Acknowledged writes that had gone at a later look: number → moment of their answer.
        forged: Denied writes that were found carried out.
        fallen: Epochs that were not later than all before.
    """

    uid: str
    number: int = 0
    epoch: int = 0
    acknowledged: dict[int, int] = field(default_factory=dict)
    denied: set[int] = field(default_factory=set)
    lost: dict[int, int] = field(default_factory=dict)
    forged: int = 0
    fallen: int = 0

    def found(self, number: int) -> None:
        """Of all writes before, this is the one that stands; 0: none."""
        self.forged += number in self.denied
        gone = [mine for mine in self.acknowledged if mine > number]
        self.lost |= {mine: self.acknowledged.pop(mine) for mine in gone}

    def told(self, number: int, epoch: int, moment: int) -> None:
        """The write was acknowledged."""
        self.fallen += epoch <= self.epoch
        self.epoch = max(self.epoch, epoch)
        self.acknowledged[number] = moment


@dataclass(frozen=True)
class Count:
    """What became of the writes to `Numbered` uids."""

    acknowledged: int
    lost: int
    excused: int
    forged: int
    fallen: int


class Writers:
    """Clients at work until the block ends: each on uids of its own, and all of them on some shared ones.

    Args:
        executors: One for each client.
        once_only: As many that repeat nothing, for the shared uids: a repeat of `set_link_if_absent` may set a link a
            second time, when somebody has removed the first one meanwhile; that is allowed, and no single step.
        service: Where.
        own: How many `Numbered` uids each client has.
        shared: How many uids all of them do any of the model's operations on, recorded in ``history``; 0 for none.
    """

    def __init__(
        self,
        executors: Sequence[StatefulExecutor],
        once_only: Sequence[StatefulExecutor],
        service: Service,
        own: int = 5,
        shared: int = 12,
    ) -> None:
        self.service = service
        self.history = History()
        self._executors = executors
        self._once_only = once_only
        self.own = [[Numbered(f"own-{client}-{n}") for n in range(own)] for client in range(len(executors))]
        self._shared = [f"shared-{n}" for n in range(shared)]
        self._stopped = False
        self._tasks: list[asyncio.Task[None]] = []
        self.answered = Counter[int]()

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._work(client)) for client in range(len(self._executors))]
        await self.go_on(5)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopped = True
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    @property
    def failures(self) -> Counter[tuple[str, bool]]:
        return self.history.failures

    @property
    def uids(self) -> list[str]:
        return [mine.uid for client in self.own for mine in client] + self._shared

    async def go_on(self, times: int = 20) -> None:
        """Wait until every client has been answered so many times more."""
        goal = {client: self.answered[client] + times for client in range(len(self._executors))}
        async with asyncio.timeout(PATIENCE_SECONDS):
            while any(self.answered[client] < count for client, count in goal.items()):
                self.look_for_trouble()
                await asyncio.sleep(0.005)

    async def fail(self, times: int = 1) -> None:
        """Wait until so many calls more have failed."""
        goal = self.failures.total() + times
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.failures.total() < goal:
                self.look_for_trouble()
                await asyncio.sleep(0.002)

    def look_for_trouble(self) -> None:
        """Raise what no client should have met: anything but our errors."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def _work(self, client: int) -> None:
        choose = random.Random(client)
        executor = self._executors[client]
        while not self._stopped:
            if self._shared and choose.random() < 0.6:
                done = await self._share(client, choose)
            else:
                done = await self._write(executor, choose.choice(self.own[client]))
            self.answered[client] += done
            await asyncio.sleep(0 if done else FAILURE_PAUSE_SECONDS)

    async def _write(self, executor: StatefulExecutor, mine: Numbered) -> bool:
        mine.number += 1
        number = mine.number
        try:
            done = await executor.set_link(self.service.namespace, mine.uid, self.service.name, number)
        except (StoreUnavailable, StoreRejected) as error:
            self.failures[type(error).__name__, error.maybe_written] += 1
            if not error.maybe_written:
                mine.denied.add(number)
            return False
        mine.found(done.previous or 0)
        mine.told(number, done.epoch, self.history.moment())
        return True

    async def _share(self, client: int, choose: random.Random) -> bool:
        uid, (name, args) = choose.choice(self._shared), any_operation(choose)
        work = asked_of(self._once_only[client], self.service, uid, name, args)
        return await self.history.record(uid, name, args, work) is not None

    async def settle(self, executor: StatefulExecutor, confirmed: int | None = None) -> Count:
        """Look at every uid once more, and count; ``confirmed``: what was answered before it was replicated."""
        everybody = [mine for client in self.own for mine in client]
        written = sum(len(mine.acknowledged) + len(mine.lost) for mine in everybody)
        for mine in everybody:
            link = await executor.get_link(self.service.namespace, mine.uid, self.service.name)
            mine.found(0 if link is None else link.ordinal)
            if link is not None and link.ordinal in mine.acknowledged and not mine.lost:
                assert link.epoch == mine.epoch, f"{mine.uid}: {link} has not the epoch that was told"
        for uid in self._shared:
            work = asked_of(executor, self.service, uid, "get_link", ())
            await self.history.record(uid, "get_link", (), work)
        lost = [moment for mine in everybody for moment in mine.lost.values()]
        excused = 0 if confirmed is None else sum(moment > confirmed for moment in lost)
        return Count(written, len(lost), excused, sum(m.forged for m in everybody), sum(m.fallen for m in everybody))

    async def everywhere(self, executor: StatefulExecutor) -> tuple[dict[str, int], dict[str, int]]:
        """uid → pod, by the whole index and by a SCAN over all links; fails when a uid is in either of them twice."""
        return await everywhere(executor, self.service)


async def everywhere(executor: StatefulExecutor, service: Service) -> tuple[dict[str, int], dict[str, int]]:
    """uid → pod, by the whole index and by a SCAN over all links; fails when a uid is in either of them twice."""
    store = await executor.store()
    uids = [uid async for buckets in all_links(store, service) for bucket in buckets for uid in bucket.uids]
    keyed = [uid async for buckets in linked_uids(store, service) for bucket in buckets for uid in bucket.uids]
    assert len(set(uids)) == len(uids), "a uid with two entries"
    assert len(set(keyed)) == len(keyed), "a uid with two links"
    scores = await store.pipeline([("ZSCORE", service.index(service.bucket(uid)), uid) for uid in uids])
    values = await store.pipeline([("GET", service.link(uid)) for uid in keyed])
    indexed = {uid: split(float(score))[0] for uid, score in zip(uids, scores, strict=True)}
    return indexed, {uid: int(value) for uid, value in zip(keyed, values, strict=True)}


def any_operation(choose: random.Random) -> tuple[str, tuple[Any, ...]]:
    """One of the model's operations, with arguments."""
    pod, other = choose.randrange(PODS), choose.randrange(PODS)
    dead = frozenset(choose.sample(range(PODS), choose.randrange(3)))
    operations: Iterable[tuple[str, tuple[Any, ...]]] = (
        ("set_link", (pod, choose.choice(SECONDS))),
        ("try_set_link", (pod, choose.choice(SECONDS))),
        ("set_link_if_absent", (pod, 300)),
        ("compute_link_if_absent", (Candidates({pod: 1, other: 1}, dead), 300)),
        ("get_link", ()),
        ("get_link_if_persist", ()),
        ("remove_linked_pod", (choose.choice(KEEPS),)),
        ("remove_linked_pod_with_id", (pod, choose.choice(KEEPS))),
        ("migrate", (pod, other)),
    )
    return choose.choice(list(operations))
