"""What happens to states and links when pods come, go, fail and come back."""

from stateful_route.domain.routing import Reason
from support.process import OperatorProcess
from support.scene import DENY, READY, SHUTDOWN, Scene
from support.waiting import always


async def test_a_pod_that_becomes_ready_takes_links(scene: Scene, operator: OperatorProcess) -> None:
    await scene.make_route()
    await scene.make_workload(2)
    await scene.wait_states({0: (READY, Reason.READY), 1: (READY, Reason.READY)})
    reasons = [(change["pod"], change["to"]) for change in await scene.changes()]
    assert ("0", "READY") in reasons
    assert ("1", "READY") in reasons


async def test_a_deleted_pod_is_drained_and_its_successor_begins_empty(scene: Scene, operator: OperatorProcess) -> None:
    await scene.make_workload(3, by_hand=True)
    await scene.make_route()
    await scene.run_pods(range(3))
    await scene.wait_all_ready(range(3))
    await scene.link(300, range(3))
    await scene.delete_pod(1, grace_seconds=30)
    await scene.wait_states({1: (DENY, Reason.TERMINATING)})
    await scene.wait_links_off(1)
    assert (await scene.states())[1] == (DENY, Reason.TERMINATING), "they left while it still served"
    assert await scene.moved_off() == {1: 100}, "only links of the deleted pod moved"
    await scene.end_pod(1)
    await scene.run_pods([1])
    await scene.wait_all_ready(range(3))
    placed = await scene.check_links(on=[0, 2])
    assert len(placed) == 300


async def test_a_pod_unready_for_less_than_the_delay_keeps_its_links(scene: Scene, operator: OperatorProcess) -> None:
    await scene.make_workload(3)
    await scene.make_route({"failover": {"delaySeconds": 60}})
    await scene.wait_all_ready(range(3))
    await scene.link(90, range(3))
    await scene.set_ready(1, ready=False)
    await scene.wait_states({1: (DENY, Reason.UNREADY)})
    await always(scene.moved, lambda moved: not moved, "no link moves", seconds=1.5)
    await scene.set_ready(1, ready=True)
    await scene.wait_states({1: (READY, Reason.READY)})
    assert not await scene.moved()


async def test_a_pod_unready_for_longer_than_the_delay_loses_its_links(scene: Scene, operator: OperatorProcess) -> None:
    await scene.make_workload(3)
    await scene.make_route({"failover": {"delaySeconds": 1}})
    await scene.wait_all_ready(range(3))
    await scene.link(90, range(3))
    await scene.set_ready(1, ready=False)
    await scene.wait_states({1: (DENY, Reason.UNREADY)})
    await scene.wait_states({1: (SHUTDOWN, Reason.UNREADY_TOO_LONG)})
    await scene.wait_links_off(1)
    assert {was for was, _ in (await scene.moved()).values()} == {1}
    await scene.check_links(on=[0, 2])
