"""A StatefulSet that grows, shrinks, vanishes and comes back."""

import pytest

from stateful_route.domain.routing import Reason
from support.scene import READY, SHUTDOWN, Scene
from support.waiting import eventually

pytestmark = pytest.mark.usefixtures("operator")


async def linked_scene(scene: Scene, replicas: int, spec: dict[str, object] | None = None, *, start: int = 0) -> None:
    """Ready pods with 100 links each."""
    ordinals = range(start, start + replicas)
    await scene.make_workload(replicas, start=start)
    await scene.make_route(spec)
    await scene.wait_all_ready(ordinals)
    await scene.link(100 * replicas, ordinals)


async def test_scaled_down_pods_are_drained_and_forgotten_after_one_expiry(scene: Scene) -> None:
    await linked_scene(scene, 5, {"health": {"expireSeconds": 5}})
    await scene.scale(3)
    await scene.wait_links_off(3, 4)
    await scene.wait_states({3: (SHUTDOWN, Reason.GONE), 4: (SHUTDOWN, Reason.GONE)})
    assert await scene.moved_off() == {3: 100, 4: 100}
    await scene.check_links(on=range(3))
    ended = {"ForceDeleted", "Gone"}  # nobody runs the containers here, of which a kubelet says first that they ended
    assert {move["reason"] for move in await scene.moves()} <= {"ScaledDown", "Terminating", *ended}
    records = await scene.records()
    gone_since = max(records[3].since, records[4].since)
    await eventually(scene.records, lambda records: records.keys() == {0, 1, 2}, "the records of 3 and 4 are removed")
    view = await scene.view()
    assert view.pods.keys() == {0, 1, 2}, "their states, too"
    assert view.time_ms - gone_since >= 5000
    assert (await scene.history(3))[-2:] == ["SHUTDOWN", ""]
    assert [await scene.history(ordinal) for ordinal in range(3)] == [["READY"]] * 3


async def test_scaled_to_zero_links_stay_and_everybody_knows_why(scene: Scene) -> None:
    await linked_scene(scene, 3)
    await scene.scale(0)
    await scene.wait_states(dict.fromkeys(range(3), (SHUTDOWN, Reason.GONE)))
    paused = await scene.wait_condition("FailoverPaused", "True", "NoTarget")
    assert "no pod is READY" in paused["message"]
    await scene.wait_event("NoTarget")
    await scene.wait_condition("Ready", "False", "NoReadyPod")
    await scene.wait_resyncs(1)
    await scene.check_links(on=range(3))
    await scene.scale(3)
    await scene.wait_all_ready(range(3))
    await scene.wait_condition("FailoverPaused", "False")
    await scene.wait_condition("Ready", "True")
    await scene.wait_event("FailoverPausedResolved")
    await scene.check_links(on=range(3))


async def test_the_one_pod_that_comes_back_takes_all_links_and_stays_ready(scene: Scene) -> None:
    await linked_scene(scene, 3)
    await scene.scale(0)
    await scene.wait_states(dict.fromkeys(range(3), (SHUTDOWN, Reason.GONE)))
    before = await scene.epochs()
    await scene.scale(1)
    await scene.wait_links_off(1, 2)
    await scene.check_links(on=[0])
    after = await eventually(
        scene.epochs, lambda now: all(now[uid] > before[uid] for uid in before), "the former processes are fenced"
    )
    await scene.scale(3)
    await scene.wait_all_ready(range(3))
    await scene.wait_resyncs(1)
    await scene.check_links(on=[0])
    assert await scene.epochs() == after
    assert (await scene.history(0))[-2:] == ["SHUTDOWN", "READY"]
    assert (await scene.history(0)).count("READY") == 2, "what it has taken over it keeps when others come"


async def test_pods_that_come_while_links_are_being_moved_get_their_share(scene: Scene) -> None:
    await scene.make_workload(3)
    await scene.make_route({"failover": {"delaySeconds": 0, "maxLinksPerSecond": 1000}})
    await scene.wait_all_ready(range(3))
    await scene.link(4000, [2])
    await scene.link(200, [0, 1], prefix="other")
    await scene.set_ready(2, ready=False)
    await eventually(scene.placed, lambda placed: placed[0] > 100, "its links begin to move")
    await scene.scale(5)
    await scene.wait_all_ready([3, 4])
    assert (await scene.placed())[2] > 0, "there are links left to move"
    await scene.wait_links_off(2)
    placed = await scene.placed()
    assert placed[3] > 100
    assert placed[4] > 100
    assert await scene.moved_off() == {2: 4000}
    await scene.check_links(on=[0, 1, 3, 4])


async def test_a_deleted_stateful_set_leaves_its_links_and_they_are_usable_when_it_is_back(scene: Scene) -> None:
    await linked_scene(scene, 3)
    before = await scene.epochs()
    await scene.kube.delete(f"{scene.workload_path}/{scene.name}", propagationPolicy="Background")
    await scene.wait_condition("Stalled", "True", "WorkloadNotFound")
    await scene.wait_event("WorkloadNotFound")
    await scene.wait_states(dict.fromkeys(range(3), (SHUTDOWN, Reason.GONE)))
    await scene.wait_condition("FailoverPaused", "True", "NoTarget")
    await scene.check_links(on=range(3))
    await scene.make_workload(3)
    await scene.wait_all_ready(range(3))
    await scene.wait_condition("Stalled", "False")
    await scene.wait_condition("FailoverPaused", "False")
    await scene.wait_condition("Ready", "True")
    await scene.check_links(on=range(3))
    await eventually(
        scene.epochs, lambda now: all(now[uid] > before[uid] for uid in before), "the former processes are fenced"
    )


async def test_pods_that_outlive_their_stateful_set_go_on_serving(scene: Scene) -> None:
    await linked_scene(scene, 3)
    before = await scene.epochs()
    await scene.kube.delete(f"{scene.workload_path}/{scene.name}", propagationPolicy="Orphan")
    await scene.wait_condition("Stalled", "True", "WorkloadNotFound")
    await eventually(
        lambda: scene.pod(2), lambda body: not body["metadata"].get("ownerReferences"), "the pods are nobody's"
    )
    await scene.wait_resyncs(1)
    await scene.wait_states(dict.fromkeys(range(3), (READY, Reason.READY)))
    await scene.make_workload(3)
    await scene.wait_condition("Stalled", "False")
    await eventually(
        lambda: scene.pod(2), lambda body: bool(body["metadata"].get("ownerReferences")), "the pods are taken in again"
    )
    await scene.wait_resyncs(1)
    assert await scene.check_links() == scene.linked
    assert await scene.epochs() == before
    assert [await scene.history(ordinal) for ordinal in range(3)] == [["READY"]] * 3


async def test_ordinals_that_do_not_begin_at_zero(scene: Scene) -> None:
    await linked_scene(scene, 3, start=5)
    assert set(await scene.records()) == {5, 6, 7}
    assert await scene.placed() == {5: 100, 6: 100, 7: 100}
    await scene.scale(2)
    await scene.wait_links_off(7)
    assert await scene.moved_off() == {7: 100}
    await scene.check_links(on=[5, 6])
    await scene.kube.merge(f"{scene.workload_path}/{scene.name}", {"spec": {"ordinals": {"start": 6}}})
    await scene.wait_states({6: READY, 7: READY})
    await scene.wait_links_off(5)
    await scene.check_links(on=[6, 7])
    assert await scene.history(6) == ["READY"]
