"""One cell of the matrix *topology × fault*: all users of a store at work while the fault comes and goes."""

import asyncio
import math
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from stateful_route.store import executor_sync
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.keys import Service
from support.recovery import clock
from support.replication import Replication
from support.store_users import COUNTS, NS, OPTIONS, ROOMS, StoreUsers, store_users
from support.topologies.topology import Topology, wait_until
from support.twins import Threaded
from support.waiting import PATIENCE_SECONDS, eventually
from support.writers import Count, everywhere

GENEROUS_SECONDS = PATIENCE_SECONDS
"""Within so long after the topology is at rest, all users work again."""
AT_WORK_SECONDS = 0.5
"""So long all have been at work before the fault."""
ON_ITS_WAY_SECONDS = 0.3
"""So long an answer may be on its way to a user, who counts it as of now."""
LOOKS, PAUSE_SECONDS = 3, 0.5
SLOW_SECONDS = 15.0
"""No try takes longer, of some calls with a deadline of 1.5 s each, on a machine that is busy otherwise."""


@dataclass(frozen=True)
class Outcome:
    """What became of one cell; times are seconds since the fault.

    Attributes:
        detected: When a plain client that knew nothing could write.
        back: When the last user worked again for good, which may be before; and who that was.
        failed: How many tries failed.
        newcomer: How long a client took that came afterwards.
        slowest: The longest try of all, and whose it was.
        count: What became of the acknowledged writes.
        wrong_reads: Sentences.
        owned_twice: Users that both pods hold to be their own.
        linked_twice: Users with more than one link, or with one that the index does not have.
    """

    detected: float
    back: tuple[float, str]
    failed: int
    newcomer: float
    slowest: tuple[float, str]
    count: Count
    wrong_reads: list[str]
    owned_twice: set[str]
    linked_twice: set[str]

    def figures(self) -> dict[str, object]:
        """For a person to read."""
        return {
            "detected": f"{self.detected:.2f} s",
            "all back": f"{self.back[0] - self.detected:+.2f} s ({self.back[1]})",
            "failed tries": self.failed,
            "newcomer": f"{self.newcomer:.2f} s",
            "slowest try": f"{self.slowest[0]:.2f} s ({self.slowest[1]})",
            "acknowledged": self.count.acknowledged,
            "lost": self.count.lost,
            "of these not replicated": self.count.excused,
            "wrong reads": len(self.wrong_reads),
            "twice": len(self.owned_twice) + len(self.linked_twice),
        }

    def faults(self) -> list[str]:
        """What must not be; empty: all is well."""
        count = self.count
        found = {
            f"{count.lost - count.excused} acknowledged writes are lost, from before or after the fault": (
                count.lost > count.excused
            ),
            f"{count.forged} writes were carried out that had been denied": count.forged,
            f"{count.fallen} epochs fell": count.fallen,
            f"{len(self.wrong_reads)} wrong reads, such as: {self.wrong_reads[:1]}": self.wrong_reads,
            f"both pods own {self.owned_twice}": self.owned_twice,
            f"linked twice, or not as the index says: {self.linked_twice}": self.linked_twice,
            f"a try took {self.slowest[0]:.1f} s ({self.slowest[1]})": self.slowest[0] > SLOW_SECONDS,
        }
        return [sentence for sentence, holds in found.items() if holds]


async def endure(
    topology: Topology, strike: Callable[[], None], heal: Callable[[], None] | None = None, *, may_lose: bool = False
) -> Outcome:
    """Let the fault strike while all users work, and wait until all of them work again.

    Args:
        topology: Where.
        strike: Causes the fault.
        heal: Is called when all work again, such as to bring back who was frozen; all must work after it, too.
        may_lose: Writes that were not replicated when the fault struck may be lost.

    Raises:
        AssertionError: somebody did not work again.
    """
    async with AsyncExitStack() as stack:
        users = await stack.enter_async_context(store_users(topology.url, topology.straight_url))
        await users.all_work(clock(), GENEROUS_SECONDS)
        await asyncio.sleep(AT_WORK_SECONDS)
        struck, confirmed = await _strike(topology, strike, users, may_lose=may_lose)
        await asyncio.to_thread(wait_until, topology.serves, "a plain client can write")
        detected = clock() - struck
        await asyncio.to_thread(wait_until, topology.at_rest, "nobody else takes writes")
        await asyncio.sleep(ON_ITS_WAY_SECONDS)
        rest, at_rest = clock(), users.counts.moment()
        await users.all_work(rest, GENEROUS_SECONDS)
        back, who = users.back_at(struck)
        if heal is not None:
            await asyncio.to_thread(heal)
            await users.all_work(clock(), GENEROUS_SECONDS)
        newcomer = await _arrive(topology.url)
        await _nobody_owned_twice(users)
        await users.stop()
        looker = await stack.enter_async_context(StatefulExecutor.from_url(topology.straight_url()))
        count = await users.counts.settle(looker, lambda moment: confirmed < moment < at_rest)
        return Outcome(
            detected=detected,
            back=(back - struck, who),
            failed=users.failed(struck),
            newcomer=newcomer,
            slowest=users.slowest(),
            count=count,
            wrong_reads=users.counts.wrong_reads(at_rest),
            owned_twice=users.owned_twice(),
            linked_twice=await _linked_twice(looker),
        )


async def _strike(
    topology: Topology, strike: Callable[[], None], users: StoreUsers, *, may_lose: bool
) -> tuple[float, float]:
    """When it struck, and the moment up to which nothing may be lost (infinite: nothing at all)."""
    if not may_lose:
        struck = clock()
        await asyncio.to_thread(strike)
        return struck, math.inf
    async with Replication(topology.primary_port, topology.marker(), users.counts, topology.replicas) as replication:
        struck = clock()
        await asyncio.to_thread(strike)
    return struck, replication.confirmed


async def _arrive(url: str) -> float:
    """How long a client takes that comes now, seconds: the slower of an asynchronous and a synchronous one."""
    plain = executor_sync.StatefulExecutor.from_url(url, OPTIONS)
    took = []
    for newcomer in (StatefulExecutor.from_url(url, OPTIONS), Threaded(plain, StatefulExecutor)):
        began = clock()
        try:
            await newcomer.set_link(NS, "newcomer", ROOMS, 0)
            took.append(clock() - began)
        finally:
            await newcomer.close()
    return max(took)


async def _nobody_owned_twice(users: StoreUsers) -> None:
    """A pod may find only when it compares that a user's link was lost and another pod has been given the user."""

    async def twice() -> set[str]:
        return users.owned_twice()

    await eventually(twice, lambda found: not found, "no user is owned by both pods", seconds=GENEROUS_SECONDS)


async def _linked_twice(looker: StatefulExecutor) -> set[str]:
    """Looks again where the pods' drivers, which go on, may have linked somebody between two scans."""
    found: set[str] = set()
    for _ in range(LOOKS):
        found = set()
        for name in (COUNTS, ROOMS):
            indexed, linked = await everywhere(looker, Service(NS, name))
            found |= {uid for uid, _ in indexed.items() ^ linked.items()}
        if not found:
            break
        await asyncio.sleep(PAUSE_SECONDS)
    return found
