"""Pods that are to stop: no new links, those they have leave while they still serve, and the rest when they do not."""

from datetime import datetime

import pytest

from stateful_route.devcluster import ControlPlane
from stateful_route.devcluster.errors import NotOurs
from stateful_route.domain.routing import Reason
from support.scene import DENY, READY, SHUTDOWN, Scene

pytestmark = pytest.mark.usefixtures("operator")

DRAIN = "statefulroute.io/drain"
SLOWLY = {"drain": {"linksPerSecond": 1, "deadlineSeconds": 3600}}


async def linked_scene(scene: Scene, spec: dict[str, object] | None = None, *, by_hand: bool = False) -> None:
    """Three Ready pods with 100 links each."""
    await scene.make_workload(3, by_hand=by_hand)
    await scene.make_route(spec)
    if by_hand:
        await scene.run_pods(range(3))
    await scene.wait_all_ready(range(3))
    await scene.link(300, range(3))


async def check_left(scene: Scene, ordinal: int) -> None:
    """All links of that pod are elsewhere, and no other link has moved."""
    await scene.wait_links_off(ordinal)
    assert await scene.moved_off() == {ordinal: 100}
    await scene.check_links(on={0, 1, 2} - {ordinal})


async def test_a_pod_whose_drain_is_called_off_takes_links_again_and_gets_none_back(scene: Scene) -> None:
    await linked_scene(scene)
    await scene.annotate_pod(1, DRAIN, "true")
    await scene.wait_states({0: READY, 1: (DENY, Reason.DRAIN_REQUESTED), 2: READY})
    await check_left(scene, 1)
    await scene.annotate_pod(1, DRAIN, None)
    await scene.wait_states({1: (READY, Reason.READY)})
    await scene.wait_resyncs(1)
    await check_left(scene, 1)
    await scene.link(10, [1], prefix="new")
    await scene.wait_resyncs(1)
    assert (await scene.placed())[1] == 10, "new links are allowed there"


async def test_a_drain_that_is_called_off_half_way_stops(scene: Scene) -> None:
    await linked_scene(scene, SLOWLY)
    await scene.annotate_pod(1, DRAIN, "true")
    await scene.wait_states({1: (DENY, Reason.DRAIN_REQUESTED)})
    await scene.annotate_pod(1, DRAIN, None)
    await scene.wait_states({1: (READY, Reason.READY)})
    moved = await scene.moved_off()
    await scene.wait_resyncs(1)
    assert await scene.moved_off() == moved
    assert moved.get(1, 0) < 20
    await scene.check_links()


async def test_a_draining_pod_that_dies_loses_the_rest_at_once(scene: Scene) -> None:
    await linked_scene(scene, SLOWLY, by_hand=True)
    await scene.annotate_pod(1, DRAIN, "true")
    await scene.wait_states({1: (DENY, Reason.DRAIN_REQUESTED)})
    assert (await scene.placed())[1] > 80, "most of its links wait for their turn"
    await scene.delete_pod(1, grace_seconds=0)
    await check_left(scene, 1)
    assert (await scene.states())[1][0] is SHUTDOWN
    reasons = {move["reason"] for move in await scene.moves()}
    assert reasons - {"DrainRequested"}, "the rest moved because the pod was gone, not at the pace of the drain"


async def test_a_terminating_pod_denies_and_when_its_grace_period_is_over_the_rest_of_its_links_move(
    scene: Scene,
) -> None:
    await linked_scene(scene, SLOWLY, by_hand=True)
    await scene.delete_pod(1, grace_seconds=3)
    await scene.wait_states({0: READY, 1: (DENY, Reason.TERMINATING), 2: READY})
    assert (await scene.placed())[1] > 80
    await scene.wait_states({1: (SHUTDOWN, Reason.GRACE_PERIOD_OVER)})
    end = (await scene.pod(1))["metadata"]["deletionTimestamp"]
    assert (await scene.records())[1].since / 1000 >= datetime.fromisoformat(end).timestamp() - 0.1
    await check_left(scene, 1)
    assert await scene.history(1) == ["READY", "DENY_NEW_CALL", "SHUTDOWN"]


async def test_a_terminating_pod_whose_containers_have_ended_serves_nobody(scene: Scene) -> None:
    await linked_scene(scene, SLOWLY, by_hand=True)
    await scene.delete_pod(1, grace_seconds=60)
    await scene.wait_states({1: (DENY, Reason.TERMINATING)})
    await scene.end_containers(1)
    await scene.wait_states({1: (SHUTDOWN, Reason.CONTAINERS_TERMINATED)})
    await check_left(scene, 1)


async def test_a_terminating_pod_whose_node_is_gone_serves_nobody(scene: Scene) -> None:
    await linked_scene(scene, SLOWLY, by_hand=True)
    await scene.delete_pod(1, grace_seconds=60)
    await scene.wait_states({1: (DENY, Reason.TERMINATING)})
    await scene.set_ready(1, ready=False)  # as the node controller does with all pods of a lost node
    await scene.wait_states({1: (SHUTDOWN, Reason.NODE_LOST)})
    await check_left(scene, 1)


async def test_a_terminating_pod_whose_node_is_not_ready_serves_nobody(
    scene: Scene, control_plane: ControlPlane
) -> None:
    await scene.make_workload(3)
    await scene.make_route(SLOWLY)
    await scene.wait_all_ready(range(3))
    node = await scene.make_node()  # its own: what the node controller has once seen is felt by later tests' pods
    former = await scene.pod_uid(1)
    await scene.change_template({"nodeName": node})
    await scene.delete_pod(1, grace_seconds=0)
    await scene.wait_successor(1, former)
    await scene.wait_taken_over(1)
    await scene.link(300, range(3))
    try:
        control_plane.pause_nodes()
    except NotOurs as error:
        pytest.skip(str(error))
    try:
        await scene.delete_pod(1, grace_seconds=60)
        await scene.set_ready(1, ready=False)
        await scene.wait_states({0: READY, 1: (DENY, Reason.TERMINATING), 2: READY})
        await scene.wait_resyncs(1)
        assert (await scene.states())[1] == (DENY, Reason.TERMINATING), "its node is Ready"
        await scene.set_node_unknown(node)
        await scene.wait_states({0: READY, 1: (SHUTDOWN, Reason.NODE_LOST), 2: READY})
        await check_left(scene, 1)
    finally:
        control_plane.resume_nodes()
        await scene.kube.delete(f"/api/v1/nodes/{node}")
