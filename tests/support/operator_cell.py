"""One cell of the matrix *topology × fault* with an operator at work: users leave a failed pod all the same."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from stateful_route.store.connection import Store
from support.health import ask
from support.process import OperatorProcess
from support.recovery import clock
from support.scene import READY, SHUTDOWN, Scene
from support.topologies.movable import MANAGED_AT, plain_client
from support.topologies.topology import Topology, takes_writes, wait_until
from support.waiting import eventually

PODS = range(3)
LINKS = 60
FAILED, DELETED = 1, 0
"""The pod that becomes unready as soon as the fault has struck, and the one that is deleted when all works again."""
SPEC = {"failover": {"delaySeconds": 0}}
UNKNOWN_SECONDS = 6.0
"""So long after a pod has changed, readiness may not know yet that the store is away, as documented."""
LAG_SECONDS = 0.5
"""Between what the operator has done and what the test sees of it, on a busy machine."""
BACK_SECONDS = 15.0


@dataclass
class Readiness:
    """What ``/readyz`` has answered, and when, by the monotonic clock."""

    seen: list[tuple[float, int, str]] = field(default_factory=list)

    def failed(self) -> list[float]:
        """The moments at which it said that not all is well."""
        return [at for at, status, _ in self.seen if status != 200]

    def failing(self) -> float:
        """Seconds from the first look that failed to the last one; 0: none failed."""
        failed = self.failed()
        return failed[-1] - failed[0] if failed else 0.0

    def falsely_ok(self, known: float, back: float) -> list[tuple[float, str]]:
        """When it said that all is well, and what it said: after it has failed once, or had to, until all was well.

        Args:
            known: From here on it had to know.
            back: Until here the operator had not done its work.
        """
        since = min([known, *self.failed()])
        return [(at, text) for at, status, text in self.seen if status == 200 and since <= at < back]


@dataclass(frozen=True)
class Outcome:
    """What became of one cell; times are seconds since the fault.

    Attributes:
        detected: When a plain client that knew nothing could write.
        followed: When the store had the state of the failed pod, which is the operator's work.
        moved: When none of the failed pod's users was left there.
        unready: How long readiness failed, seconds.
        falsely_ready: The looks at readiness that found it ok when it should have known better.
    """

    detected: float
    followed: float
    moved: float
    unready: float
    falsely_ready: list[tuple[float, str]]

    def figures(self) -> dict[str, object]:
        """For a person to read."""
        return {
            "detected": f"{self.detected:.2f} s",
            "operator back": f"{self.moved - self.detected:+.2f} s",
            "not ready for": f"{self.unready:.2f} s",
        }


async def endure(
    scene: Scene, operator: OperatorProcess, health_port: int, topology: Topology, strike: Callable[[], None]
) -> Outcome:
    """Let a fault strike the operator's store and a pod fail, and wait until the operator has done its work there.

    Args:
        scene: A new one; it looks at the store through a client of its own, always at the place where the data is.
        operator: It serves the scene.
        health_port: Where it is asked for its health.
        topology: Its store.
        strike: Causes the fault.

    Raises:
        AssertionError: the operator did not come back, or has left something as it should not be.
    """
    async with AsyncExitStack() as stack:
        scene.store = await stack.enter_async_context(_straight(topology))
        await _at_work(scene, health_port)
        await asyncio.to_thread(replicate, topology)
        pid, links = operator.pid, await scene.check_links(PODS)
        readiness = await stack.enter_async_context(_watched(health_port))
        former = topology.primary_port
        struck = clock()
        striking = asyncio.create_task(asyncio.to_thread(strike))  # which may go on for seconds
        await asyncio.to_thread(wait_until, lambda: not _writable(topology, former), "the fault has struck")
        await scene.set_ready(FAILED, ready=False)
        changed = clock()
        await striking
        await asyncio.to_thread(wait_until, topology.serves, "a plain client can write")
        detected = clock()
        scene.store = await stack.enter_async_context(_straight(topology))
        await scene.wait_states({FAILED: SHUTDOWN}, BACK_SECONDS)
        followed = clock()
        await scene.wait_links_off(FAILED, seconds=BACK_SECONDS)
        moved = clock()
        after = await scene.check_links(set(PODS) - {FAILED})
        strayed = {uid for uid, pod in links.items() if pod != FAILED and after[uid] != pod}
        assert not strayed, f"users of sound pods were moved: {sorted(strayed)[:3]}"
        await _works_as_before(scene, health_port)
        assert operator.running, "it was not restarted"
        assert operator.pid == pid, "it was not restarted"
        return Outcome(
            detected=detected - struck,
            followed=followed - struck,
            moved=moved - struck,
            unready=readiness.failing(),
            falsely_ready=readiness.falsely_ok(changed + UNKNOWN_SECONDS, followed - LAG_SECONDS),
        )


def replicate(topology: Topology) -> None:
    """Have all replicas of the server that will be in trouble get what it has: nothing of that may be lost."""
    with plain_client(MANAGED_AT, topology.primary_port, BACK_SECONDS) as primary:
        primary.set(topology.marker(), "1")
        replicas = primary.execute_command("WAIT", topology.replicas, round(BACK_SECONDS * 1000))
    assert replicas >= topology.replicas, f"{replicas} replicas have all there is"


def _writable(topology: Topology, port: int) -> bool:
    return takes_writes(MANAGED_AT, port, topology.marker())


async def _at_work(scene: Scene, health_port: int) -> None:
    await scene.make_workload(len(PODS))
    await scene.make_route(SPEC)
    await scene.wait_all_ready(PODS)
    await scene.link(LINKS, PODS)
    await _all_is_well(scene, health_port)


async def _works_as_before(scene: Scene, health_port: int) -> None:
    """The failed pod is Ready again, and the next one that is deleted loses its users."""
    await scene.set_ready(FAILED, ready=True)
    await scene.wait_states({FAILED: READY}, BACK_SECONDS)
    of_deleted = {uid for uid, pod in (await scene.links()).items() if pod == DELETED}
    former = await scene.pod_uid(DELETED)
    await scene.delete_pod(DELETED)
    await scene.wait_successor(DELETED, former)
    await eventually(
        scene.links,
        lambda links: not any(links[uid] == DELETED for uid in of_deleted),
        "the users of the deleted pod have moved",
        seconds=BACK_SECONDS,
    )
    await scene.wait_all_ready(PODS)
    await scene.check_links(PODS)
    await _all_is_well(scene, health_port)


async def _all_is_well(scene: Scene, health_port: int) -> None:
    await eventually(lambda: ask(health_port, "/readyz"), lambda seen: seen == (200, "ok"), "the operator is ready")
    await scene.wait_condition("RedisConnected", "True", "Connected")


@asynccontextmanager
async def _straight(topology: Topology) -> AsyncIterator[Store]:
    """A client of the place where the data is now."""
    store = Store.from_url(topology.straight_url())
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def _watched(health_port: int) -> AsyncIterator[Readiness]:
    """Look at readiness all the time."""
    readiness = Readiness()

    async def look() -> None:
        while True:
            readiness.seen.append((clock(), *await ask(health_port, "/readyz")))
            await asyncio.sleep(0.05)

    looking = asyncio.create_task(look())
    try:
        yield readiness
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
