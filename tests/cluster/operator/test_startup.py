"""A service all of whose pods were away, and come back one after the other: nobody piles up on the first one."""

from collections.abc import Callable

import pytest

from stateful_route import StatefulRoute
from stateful_route.domain.routing import LinkAction, Reason
from support.process import OperatorProcess
from support.scene import READY, SHUTDOWN, Scene
from support.waiting import always, eventually

StartOperator = Callable[..., OperatorProcess]
SERVED = {0: 100, 1: 100, 2: 100}


async def served(scene: Scene, failover: dict[str, object] | None = None, replicas: int = 3) -> None:
    """Ready pods with 100 users each."""
    await scene.make_workload(replicas, by_hand=True)
    await scene.make_route({"failover": failover or {}})
    await scene.run_pods(range(replicas))
    await scene.wait_all_ready(range(replicas))
    await scene.link(100 * replicas, range(replicas))


async def stop(scene: Scene, replicas: int = 3) -> None:
    """All pods go, and everybody stays linked where nobody is."""
    await scene.scale(0)
    for ordinal in range(replicas):
        await eventually(lambda o=ordinal: scene.pod(o), lambda b: "deletionTimestamp" in b["metadata"], "it stops")  # type: ignore[misc]
        await scene.end_pod(ordinal)
    await scene.wait_states(dict.fromkeys(range(replicas), (SHUTDOWN, Reason.GONE)))


async def come_back(scene: Scene, ordinal: int) -> None:
    await scene.run_pods([ordinal])
    await scene.wait_states({ordinal: READY})


@pytest.mark.parametrize("placement", [{}, {"strategy": "LeastConnections"}])
async def test_each_pod_that_comes_back_keeps_its_own_users_and_the_others_wait(
    scene: Scene, start_operator: StartOperator, placement: dict[str, object]
) -> None:
    start_operator(scene)
    await served(scene)
    await scene.change_route({"placement": placement})
    await stop(scene)
    assert await scene.placed() == SERVED
    before = await scene.epochs()
    await scene.scale(3)
    await come_back(scene, 0)
    waits = await scene.wait_condition("FailoverPaused", "True", "ServiceStarting")
    assert (
        "no pod served; 1 of 3 is READY again, and users of ordinals 1, 2 stay linked there until 3 pods are READY"
        in waits["message"]
    )
    await scene.wait_resyncs(2)
    assert (await scene.records())[2].links is LinkAction.STAY
    await come_back(scene, 1)
    await scene.wait_resyncs(1)
    assert await scene.placed() == SERVED
    await come_back(scene, 2)
    await scene.wait_condition("FailoverPaused", "False")
    over = await scene.wait_event("FailoverPausedResolved")
    assert over["note"] == "users of failed pods are moved; no longer ServiceStarting"
    for ordinal in range(3):
        await scene.wait_taken_over(ordinal)
    assert await scene.placed() == SERVED
    after = await scene.epochs()
    assert all(after[uid] > epoch for uid, epoch in before.items()), "each is a new owner"
    await scene.check_links()


async def test_who_waits_for_a_pod_that_does_not_come_moves_when_the_time_is_over(
    scene: Scene, start_operator: StartOperator
) -> None:
    operator = start_operator(scene)
    await served(scene, {"startup": {"timeoutSeconds": 3600}})
    await stop(scene)
    await scene.scale(3)
    await come_back(scene, 0)
    await scene.wait_condition("FailoverPaused", "True", "ServiceStarting")
    operator.kill()  # its successor goes on with what stands in the store
    start_operator(scene)
    await come_back(scene, 1)
    await scene.wait_resyncs(1)
    assert await scene.placed() == SERVED
    await scene.change_route({"failover": {"startup": {"timeoutSeconds": 1}}})
    await scene.wait_links_off(2)
    assert await scene.moved_off() == {2: 100}
    placed = await scene.placed()
    assert abs(placed[0] - placed[1]) <= 1, "they are spread over those that are there"
    await scene.wait_condition("FailoverPaused", "False")
    await come_back(scene, 2)
    await scene.check_links(on=[0, 1])


async def test_who_is_asked_for_does_not_wait_and_a_share_of_the_pods_that_are_wanted_now_is_enough(
    scene: Scene, start_operator: StartOperator, redis_url: str
) -> None:
    start_operator(scene)
    await served(scene, {"startup": {"minAvailable": "50%", "timeoutSeconds": 3600}})
    await stop(scene)
    await scene.scale(3)
    await come_back(scene, 0)
    await scene.wait_condition("FailoverPaused", "True", "ServiceStarting")
    async with StatefulRoute.connect(redis_url) as route:
        asked = [await route.client.compute_linked_pod(scene.namespace, uid, "rooms") for uid in ("user-1", "new")]
    assert asked == [0, 0]

    async def stay() -> bool:
        return await scene.placed() == {0: 102, 1: 99, 2: 100}

    await always(stay, bool, "one of three is not half of them", seconds=2)
    await scene.scale(2)
    await scene.wait_links_off(1, 2)
    assert await scene.placed() == {0: 301}, "it is half of two"


async def test_the_only_pod_takes_all_at_once(scene: Scene, start_operator: StartOperator) -> None:
    start_operator(scene)
    await served(scene)
    await stop(scene)
    await scene.scale(1)
    await come_back(scene, 0)
    await scene.wait_links_off(1, 2)
    await scene.check_links(on=[0])


async def test_pods_that_all_come_back_at_once_keep_their_own_users(
    scene: Scene, start_operator: StartOperator
) -> None:
    start_operator(scene)
    await scene.make_workload(4)
    await scene.make_route()
    await scene.wait_all_ready(range(4))
    await scene.link(400, range(4))
    for _ in range(2):
        await scene.scale(0)
        await scene.wait_states(dict.fromkeys(range(4), (SHUTDOWN, Reason.GONE)))
        before = await scene.epochs()
        await scene.scale(4)
        await scene.wait_all_ready(range(4))
        for ordinal in range(4):
            await scene.wait_taken_over(ordinal)
        assert await scene.placed() == dict.fromkeys(range(4), 100)
        after = await scene.epochs()
        assert all(after[uid] > epoch for uid, epoch in before.items())
