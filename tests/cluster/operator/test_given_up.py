"""Pods that Kubernetes calls Ready, and that serve nobody: by their app's own word, or silent."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from stateful_route.domain.routing import Reason, RoutingState
from stateful_route.store.states import set_state
from support.process import OperatorProcess
from support.scene import DENY, READY, SHUTDOWN, Scene

StartOperator = Callable[..., OperatorProcess]
EXPIRE_SECONDS = 5


async def served(scene: Scene, pods: int) -> None:
    """Ready pods with 100 links each."""
    await scene.make_workload(pods)
    await scene.make_route({"health": {"expireSeconds": EXPIRE_SECONDS}})
    await scene.wait_all_ready(range(pods))
    await scene.link(100 * pods, range(pods))
    await scene.wait_resyncs(1)


async def say(scene: Scene, ordinal: int, word: RoutingState = READY) -> None:
    await set_state(scene.store, scene.service, ordinal, word, incarnation=await scene.pod_uid(ordinal))


@asynccontextmanager
async def publishing(scene: Scene, *ordinals: int) -> AsyncIterator[None]:
    """Apps that go on publishing."""

    async def beat() -> None:
        until = time.monotonic() + 90
        while time.monotonic() < until:
            for ordinal in ordinals:
                await say(scene, ordinal)
            await asyncio.sleep(1)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


async def test_when_its_app_says_that_it_serves_nobody_its_users_move(
    scene: Scene, start_operator: StartOperator
) -> None:
    start_operator(scene, resync_seconds=50)
    await scene.make_workload(3)
    await scene.make_route()
    await scene.wait_all_ready(range(3))
    await scene.link(300, range(3))
    await say(scene, 1, SHUTDOWN)
    await scene.wait_links_off(1, seconds=5)
    assert await scene.moved_off() == {1: 100}
    await scene.wait_states({0: READY, 1: (SHUTDOWN, Reason.APP_SHUTDOWN), 2: READY})
    await say(scene, 1)
    await scene.wait_states({1: (READY, Reason.READY)}, seconds=5)


async def test_the_brake_holds_when_most_apps_say_so(scene: Scene, start_operator: StartOperator) -> None:
    start_operator(scene)
    await served(scene, 3)
    for ordinal in (1, 2):
        await say(scene, ordinal)
    await scene.set_ready(2, ready=False)
    await scene.wait_states({2: (DENY, Reason.UNREADY)})
    await say(scene, 1, SHUTDOWN)
    await scene.wait_condition("FailoverPaused", "True", "TooManyUnready")
    await scene.wait_resyncs_of(0, 1)
    assert await scene.check_links() == scene.linked


async def test_a_pod_whose_library_has_fallen_silent_is_left_and_gets_nobody(
    scene: Scene, start_operator: StartOperator
) -> None:
    start_operator(scene)
    await served(scene, 4)
    await say(scene, 1)
    async with publishing(scene, 2):
        await scene.wait_links_off(1)
        assert await scene.moved_off() == {1: 100}
        await scene.wait_states({1: (SHUTDOWN, Reason.HEARTBEAT_LOST), 2: READY})
        await scene.annotate_pod(3, "statefulroute.io/drain", "true")
        await scene.wait_links_off(3)
        assert 1 not in await scene.placed()
        await say(scene, 1)
        await scene.wait_states({1: (READY, Reason.READY)})
