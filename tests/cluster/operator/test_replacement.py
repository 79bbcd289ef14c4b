"""Another process under the same name: replaced pods and restarted containers, with policy Move and with Keep."""

import signal
from datetime import UTC, datetime, timedelta

import pytest

from stateful_route.domain.routing import Reason
from support.process import OperatorProcess
from support.scene import DENY, READY, SHUTDOWN, Scene
from support.waiting import eventually

KEEP_REPLACED = {"failover": {"onReplace": "Keep"}}
KEEP_RESTARTED = {"failover": {"onRestart": "Keep"}}


async def linked_scene(scene: Scene, spec: dict[str, object] | None = None, *, by_hand: bool = False) -> dict[str, int]:
    """Three Ready pods with 100 links each; the epoch of each link."""
    await scene.make_workload(3, by_hand=by_hand)
    await scene.make_route(spec)
    if by_hand:
        await scene.run_pods(range(3))
    await scene.wait_all_ready(range(3))
    await scene.link(300, range(3))
    return await scene.epochs()


async def check_moved_off(scene: Scene, ordinal: int, before: dict[str, int]) -> None:
    """All links of that pod are on others with new epochs; no other link was touched."""
    assert await scene.moved_off() == {ordinal: 100}
    await scene.check_links(on={0, 1, 2} - {ordinal})
    check_epochs(scene, ordinal, before, await scene.epochs())


async def check_kept(scene: Scene, ordinal: int, before: dict[str, int]) -> None:
    """No link has moved; those of that pod have new epochs, the others their old ones."""
    assert await scene.check_links() == scene.linked
    assert {move["from"] for move in await scene.moves()} == {str(ordinal)}, "the new epochs are told"
    check_epochs(scene, ordinal, before, await scene.epochs())


def check_epochs(scene: Scene, ordinal: int, before: dict[str, int], after: dict[str, int]) -> None:
    for uid, pod in scene.linked.items():
        assert after[uid] > before[uid] if pod == ordinal else after[uid] == before[uid], (uid, pod)


@pytest.mark.usefixtures("operator")
async def test_a_pod_deleted_by_force_comes_back_under_its_name_without_its_links(scene: Scene) -> None:
    before = await linked_scene(scene)
    former = await scene.pod_uid(1)
    await scene.delete_pod(1, grace_seconds=0)
    await scene.wait_successor(1, former)
    await scene.wait_taken_over(1)
    await check_moved_off(scene, 1, before)
    assert {move["reason"] for move in await scene.moves()} <= {"ForceDeleted", "Gone", "Replaced"}
    assert await scene.history(0) == ["READY"]


@pytest.mark.usefixtures("operator")
async def test_a_pod_deleted_by_force_is_called_so_and_no_advice_is_given_about_its_grace_period(scene: Scene) -> None:
    await linked_scene(scene)
    await scene.hold_pod(1)
    await scene.delete_pod(1, grace_seconds=0)
    await scene.wait_states({1: (SHUTDOWN, Reason.FORCE_DELETED)})
    await scene.wait_links_off(1)
    assert {move["reason"] for move in await scene.moves()} == {"ForceDeleted"}
    await scene.let_go(1)


@pytest.mark.usefixtures("operator")
async def test_a_pod_deleted_by_force_whose_successor_is_slow_serves_nobody_until_it_is_ready(scene: Scene) -> None:
    before = await linked_scene(scene, by_hand=True)
    former = await scene.pod_uid(1)
    await scene.delete_pod(1, grace_seconds=0)
    await scene.wait_links_off(1)
    await scene.wait_states({1: (SHUTDOWN, Reason.NEVER_READY)})
    await scene.run_pods([1])
    await scene.wait_successor(1, former)
    await scene.wait_taken_over(1)
    await check_moved_off(scene, 1, before)
    assert [state for state in await scene.history(1) if state] == ["READY", "SHUTDOWN", "READY"]


@pytest.mark.usefixtures("operator")
async def test_a_container_that_restarts_in_place_has_forgotten_its_users(scene: Scene) -> None:
    before = await linked_scene(scene)
    await scene.restart_container(1)
    await scene.wait_taken_over(1, restarts=1)
    await check_moved_off(scene, 1, before)
    assert {move["reason"] for move in await scene.moves()} == {"Restarted"}
    assert await scene.history(1) == ["READY", "SHUTDOWN", "READY"]


@pytest.mark.usefixtures("operator")
async def test_with_keep_a_container_that_restarts_in_place_keeps_its_links_under_new_epochs(scene: Scene) -> None:
    before = await linked_scene(scene, KEEP_RESTARTED)
    await scene.restart_container(1)
    await scene.wait_taken_over(1, restarts=1)
    await check_kept(scene, 1, before)
    after = await scene.epochs()
    await scene.wait_resyncs(2)
    assert await scene.epochs() == after, "the epochs rise once"
    assert (await scene.records())[1].loss is None, "it is settled in Redis, too"
    assert await scene.history(1) == ["READY"]


async def replaced_unseen(scene: Scene, operator: OperatorProcess) -> None:
    """Pod 1 is replaced while the operator looks away; it is told of both ends at once."""
    former = await scene.pod_uid(1)
    operator.signal(signal.SIGSTOP)
    await scene.delete_pod(1, grace_seconds=0)
    await scene.wait_successor(1, former)
    operator.signal(signal.SIGCONT)


async def test_a_pod_that_was_replaced_unseen_has_forgotten_its_users(scene: Scene, operator: OperatorProcess) -> None:
    before = await linked_scene(scene)
    await replaced_unseen(scene, operator)
    await scene.wait_taken_over(1)
    await check_moved_off(scene, 1, before)


async def test_with_keep_a_pod_that_was_replaced_unseen_keeps_its_links_under_new_epochs(
    scene: Scene, operator: OperatorProcess
) -> None:
    before = await linked_scene(scene, KEEP_REPLACED)
    await replaced_unseen(scene, operator)
    await scene.wait_taken_over(1)
    await check_kept(scene, 1, before)


@pytest.mark.usefixtures("operator")
async def test_with_keep_links_stay_with_the_ordinal_of_a_deleted_pod(scene: Scene) -> None:
    before = await linked_scene(scene, KEEP_REPLACED, by_hand=True)
    former = await scene.pod_uid(1)
    await scene.delete_pod(1)
    await scene.wait_states({1: (DENY, Reason.TERMINATING)})
    await scene.end_pod(1)
    await scene.run_pods([1])
    await scene.wait_successor(1, former)
    await scene.wait_taken_over(1)
    await check_kept(scene, 1, before)


@pytest.mark.usefixtures("operator")
async def test_with_keep_a_pod_may_be_unready_for_long_while_it_stops(scene: Scene) -> None:
    spec = {"failover": {"onReplace": "Keep", "delaySeconds": 5}}
    before = await linked_scene(scene, spec, by_hand=True)
    former = await scene.pod_uid(1)
    await scene.delete_pod(1)
    await scene.wait_states({1: (DENY, Reason.TERMINATING)})
    await scene.set_ready(1, ready=False, since=datetime.now(UTC) - timedelta(seconds=20))
    await eventually(scene.records, lambda records: records[1].unready_since is not None, "it is seen as unready")
    await scene.end_pod(1)
    await scene.run_pods([1])
    await scene.wait_successor(1, former)
    await scene.wait_taken_over(1)
    await check_kept(scene, 1, before)


@pytest.mark.usefixtures("operator")
async def test_with_keep_links_wait_for_a_successor_no_longer_than_the_delay(scene: Scene) -> None:
    spec = {"failover": {"onReplace": "Keep", "delaySeconds": 1}}
    before = await linked_scene(scene, spec, by_hand=True)
    former = await scene.pod_uid(1)
    await scene.delete_pod(1, grace_seconds=0)
    await scene.wait_states({1: (SHUTDOWN, Reason.UNREADY_TOO_LONG)})
    await scene.wait_links_off(1)
    await scene.run_pods([1])
    await scene.wait_successor(1, former)
    await scene.wait_taken_over(1)
    await check_moved_off(scene, 1, before)


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize("restarts", [True, False], ids=["container restarts", "pod is replaced"])
async def test_what_the_others_have_no_room_for_its_successor_takes_over(scene: Scene, restarts: bool) -> None:
    before = await linked_scene(scene, {"placement": {"maxLinksPerPod": 120}}, by_hand=True)
    await scene.wait_status(lambda status: status["links"] == 300)
    if restarts:
        await scene.restart_container(1)
    else:
        await scene.end_pod(1)
        await scene.run_pods([1])
    await scene.wait_taken_over(1, restarts=int(restarts))
    await scene.wait_states(dict.fromkeys(range(3), READY))
    assert await scene.placed() == {0: 120, 1: 60, 2: 120}
    after = await scene.epochs()
    assert all(after[uid] > before[uid] for uid, pod in scene.linked.items() if pod == 1), "all of another life"
    await scene.wait_condition("FailoverPaused", "False")
