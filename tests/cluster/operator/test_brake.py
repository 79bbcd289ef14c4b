"""The brake: too many pods unready at once are no reason to move anybody."""

import asyncio

import pytest

from stateful_route.domain.routing import Reason
from support.scene import DENY, READY, SHUTDOWN, Scene

pytestmark = pytest.mark.usefixtures("operator")


@pytest.fixture
async def braked(scene: Scene) -> Scene:
    """Three of five pods are unready for longer than the delay: they deny, and their links stay."""
    await scene.make_workload(5)
    await scene.make_route({"failover": {"delaySeconds": 1}})
    await scene.wait_all_ready(range(5))
    await scene.link(500, range(5))
    await scene.set_unready_at_once(2, 3, 4)
    await scene.wait_states({0: READY, 1: READY, **dict.fromkeys((2, 3, 4), (DENY, Reason.FAILOVER_PAUSED))})
    paused = await scene.wait_condition("FailoverPaused", "True", "TooManyUnready")
    assert "ordinals 2, 3, 4" in paused["message"]
    assert "ordinals 2, 3, 4" in (await scene.wait_event("TooManyUnready"))["note"]
    await scene.wait_resyncs(1)
    assert await scene.check_links() == scene.linked
    assert [await scene.history(ordinal) for ordinal in (2, 3, 4)] == [["READY", "DENY_NEW_CALL"]] * 3
    return scene


async def test_links_of_pods_that_are_gone_move_in_spite_of_the_brake(braked: Scene) -> None:
    await braked.scale(2)
    await braked.wait_links_off(2, 3, 4)
    await braked.wait_states(dict.fromkeys((2, 3, 4), (SHUTDOWN, Reason.GONE)))
    assert await braked.moved_off() == {2: 100, 3: 100, 4: 100}
    await braked.check_links(on=[0, 1])
    await braked.wait_condition("FailoverPaused", "False")
    await braked.wait_event("FailoverPausedResolved")


async def test_pods_that_are_added_do_not_take_the_brake_off(braked: Scene) -> None:
    await braked.change_template({"nodeName": f"by-hand-{braked.namespace}"})  # whose pods stay Pending
    await braked.scale(7)
    await braked.wait_states(dict.fromkeys((5, 6), (SHUTDOWN, Reason.NEVER_READY)))
    await braked.wait_resyncs(1)
    assert await braked.check_links() == braked.linked
    await braked.run_pods([5, 6])
    await braked.wait_states(dict.fromkeys((5, 6), READY))
    await braked.wait_resyncs(1)
    assert await braked.check_links() == braked.linked
    await braked.wait_condition("FailoverPaused", "True", "TooManyUnready")
    await braked.set_ready(2, ready=True)
    await braked.wait_links_off(3, 4)
    await braked.check_links(on=[0, 1, 2, 5, 6])


async def test_the_first_pod_of_a_service_that_fails_before_another_is_ready_fails_over_when_others_are(
    scene: Scene,
) -> None:
    await scene.make_workload(3, by_hand=True)
    await scene.make_route({"failover": {"delaySeconds": 2, "startup": {"timeoutSeconds": 1}}})
    await scene.run_pods([0])
    await scene.wait_states({0: READY, 1: (SHUTDOWN, Reason.NEVER_READY), 2: (SHUTDOWN, Reason.NEVER_READY)})
    await scene.link(30, [0])
    await scene.set_ready(0, ready=False)
    await scene.wait_states({0: (DENY, Reason.FAILOVER_PAUSED)})
    await scene.run_pods([1, 2])
    await scene.wait_links_off(0)
    await scene.check_links(on=[1, 2])


async def test_pods_that_fail_one_after_the_other_are_held_from_the_first_one_on(scene: Scene) -> None:
    await scene.make_workload(5)
    await scene.make_route({"failover": {"delaySeconds": 6}})
    await scene.wait_all_ready(range(5))
    await scene.link(500, range(5))
    for ordinal in (2, 3, 4):  # their probes are sent at different times
        await scene.set_ready(ordinal, ready=False)
        await asyncio.sleep(1.5)
    await scene.wait_states(dict.fromkeys((2, 3, 4), (DENY, Reason.FAILOVER_PAUSED)))
    assert await scene.check_links() == scene.linked
    assert [await scene.history(ordinal) for ordinal in (2, 3, 4)] == [["READY", "DENY_NEW_CALL"]] * 3


async def test_the_brake_is_released_when_a_pod_recovers_and_those_still_unready_fail_over(braked: Scene) -> None:
    await braked.set_ready(2, ready=True)
    await braked.wait_states({2: (READY, Reason.READY), **dict.fromkeys((3, 4), (SHUTDOWN, Reason.UNREADY_TOO_LONG))})
    await braked.wait_links_off(3, 4)
    assert await braked.moved_off() == {3: 100, 4: 100}
    await braked.check_links(on=[0, 1, 2])
    await braked.wait_condition("FailoverPaused", "False")
