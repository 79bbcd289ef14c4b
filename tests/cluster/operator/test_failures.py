"""Pods that fail: which of their links move, where to, and what happens when nobody can take them."""

import asyncio
import itertools
import json
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable

import pytest

from stateful_route import StatefulRoute
from stateful_route.domain.routing import Reason
from support.process import OperatorProcess
from support.scene import DENY, READY, SHUTDOWN, Scene
from support.waiting import eventually

StartOperator = Callable[..., OperatorProcess]


@pytest.mark.usefixtures("operator")
async def test_a_pod_whose_phase_becomes_failed_loses_its_links_and_its_successor_begins_empty(scene: Scene) -> None:
    await scene.make_workload(3)
    await scene.make_route()
    await scene.wait_all_ready(range(3))
    await scene.link(300, range(3))
    former = await scene.pod_uid(1)
    await scene.hold_pod(1)
    await scene.set_phase(1, "Failed")
    await scene.wait_states({0: READY, 1: (SHUTDOWN, Reason.FINISHED), 2: READY})
    await scene.wait_links_off(1)
    await scene.let_go(1)
    await scene.wait_successor(1, former)
    await scene.wait_taken_over(1)
    assert await scene.moved_off() == {1: 100}
    await scene.check_links(on=[0, 2])
    assert {move["reason"] for move in await scene.moves()} == {"Finished"}


@pytest.mark.usefixtures("operator")
async def test_when_all_pods_are_unready_links_stay_and_move_to_the_first_that_comes_back(scene: Scene) -> None:
    await scene.make_workload(3)
    startup = {"timeoutSeconds": 1}
    await scene.make_route({"failover": {"delaySeconds": 1, "maxUnavailable": "100%", "startup": startup}})
    await scene.wait_all_ready(range(3))
    await scene.link(300, range(3))
    await scene.set_unready_at_once(0, 1, 2)
    await scene.wait_states(dict.fromkeys(range(3), (SHUTDOWN, Reason.UNREADY_TOO_LONG)))
    paused = await scene.wait_condition("FailoverPaused", "True", "NoTarget")
    assert "no pod is READY" in paused["message"]
    assert "no pod is READY" in (await scene.wait_event("NoTarget"))["note"]
    await scene.wait_condition("Ready", "False", "NoReadyPod")
    assert await scene.check_links() == scene.linked
    await scene.set_ready(1, ready=True)
    await scene.wait_links_off(0, 2)
    assert await scene.moved_off() == {0: 100, 2: 100}, "links of the pod that came back stay"
    await scene.check_links(on=[1])
    await scene.wait_condition("FailoverPaused", "False")
    await scene.wait_event("FailoverPausedResolved")


async def test_an_operator_that_stood_still_reads_the_pods_before_it_judges_them(
    scene: Scene, start_operator: StartOperator
) -> None:
    operator = start_operator(scene, resync_seconds=50)  # else it reads them anew because it is time to
    await scene.make_workload(3)
    await scene.make_route({"failover": {"delaySeconds": 3}})
    await scene.wait_all_ready(range(3))
    await scene.link(300, range(3))
    for _ in range(3):  # it wakes to its timer and to what the watch has brought: which comes first is chance
        await scene.set_ready(1, ready=False)
        await scene.wait_states({1: (DENY, Reason.UNREADY)})
        operator.signal(signal.SIGSTOP)
        await scene.set_ready(1, ready=True)
        await asyncio.sleep(4)  # the delay passes by its clock, and nothing that could be waited for happens
        operator.signal(signal.SIGCONT)
        await scene.wait_states({1: (READY, Reason.READY)})
    assert set(await scene.history(1)) == {READY, DENY}
    assert await scene.moved_off() == {}


async def test_an_operator_that_stood_still_moves_the_users_of_a_pod_that_is_unready_still(
    scene: Scene, start_operator: StartOperator
) -> None:
    operator = start_operator(scene, resync_seconds=50)
    await scene.make_workload(3)
    await scene.make_route({"failover": {"delaySeconds": 3}})
    await scene.wait_all_ready(range(3))
    await scene.link(300, range(3))
    await scene.set_ready(1, ready=False)
    await scene.wait_states({1: (DENY, Reason.UNREADY)})
    operator.signal(signal.SIGSTOP)
    await asyncio.sleep(4)
    operator.signal(signal.SIGCONT)
    await scene.wait_states({1: (SHUTDOWN, Reason.UNREADY_TOO_LONG)})
    await scene.wait_links_off(1)
    await scene.check_links(on=[0, 2])


@pytest.mark.usefixtures("operator")
async def test_when_all_pods_have_failed_links_stay_until_successors_are_there(scene: Scene) -> None:
    await scene.make_workload(3)
    await scene.make_route()
    await scene.wait_all_ready(range(3))
    await scene.link(300, range(3))
    before = await scene.epochs()
    for ordinal in range(3):
        await scene.hold_pod(ordinal)
    former = [await scene.pod_uid(ordinal) for ordinal in range(3)]
    for ordinal in range(3):
        await scene.set_phase(ordinal, "Failed")
    await scene.wait_states(dict.fromkeys(range(3), (SHUTDOWN, Reason.FINISHED)))
    await scene.wait_condition("FailoverPaused", "True", "NoTarget")
    await scene.wait_event("NoTarget")
    await scene.check_links()
    for ordinal in range(3):
        await scene.let_go(ordinal)
    for ordinal in range(3):
        await scene.wait_successor(ordinal, former[ordinal])
        await scene.wait_taken_over(ordinal)
    await scene.wait_condition("FailoverPaused", "False")
    await scene.check_links(on=range(3))
    after = await scene.epochs()
    assert all(after[uid] > before[uid] for uid in before), "every process that held a link is another one now"


@pytest.mark.usefixtures("operator")
async def test_links_moved_to_a_pod_that_fails_next_move_again_and_epochs_only_rise(scene: Scene) -> None:
    await scene.make_workload(4)
    await scene.make_route({"failover": {"delaySeconds": 0, "maxLinksPerSecond": 2000}})
    await scene.wait_all_ready(range(4))
    await scene.link(3000, [3])
    await scene.link(300, [0, 1, 2], prefix="other")
    before = await scene.epochs()
    await scene.set_ready(3, ready=False)
    await eventually(scene.placed, lambda placed: placed[2] > 100, "some of its links are on pod 2")
    await scene.set_ready(2, ready=False)
    await scene.wait_links_off(2, 3)
    await scene.check_links(on=[0, 1])
    assert await scene.moved_off() == {2: 100, 3: 3000}
    epochs: dict[str, list[int]] = defaultdict(list)
    for move in await scene.moves():
        for uid, _, epoch in json.loads(move["moves"]):
            epochs[uid].append(epoch)
    assert any(len(of_uid) == 2 for of_uid in epochs.values()), "some links moved twice"
    after = await scene.epochs()
    for uid, of_uid in epochs.items():
        path = [before[uid], *of_uid]
        assert all(earlier < later for earlier, later in itertools.pairwise(path)), uid
        assert after[uid] == path[-1]


@pytest.mark.usefixtures("operator")
async def test_a_pod_that_recovers_while_its_links_are_being_moved_keeps_the_rest(scene: Scene) -> None:
    await scene.make_workload(3)
    await scene.make_route({"failover": {"delaySeconds": 0, "maxLinksPerSecond": 300}})
    await scene.wait_all_ready(range(3))
    await scene.link(3000, [2])
    await scene.set_ready(2, ready=False)
    await eventually(scene.placed, lambda placed: placed[0] > 50, "some of its links have moved")
    await scene.set_ready(2, ready=True)
    await scene.wait_states({2: (READY, Reason.READY)})
    await scene.wait_status(lambda status: "completionTime" in status["lastMigration"])
    kept = (await scene.placed())[2]
    assert kept > 1000
    await scene.wait_resyncs(1)
    assert (await scene.placed())[2] == kept
    await scene.check_links(on=range(3))


@pytest.mark.usefixtures("operator")
async def test_a_migration_under_way_goes_as_fast_as_the_spec_says_now(scene: Scene) -> None:
    await scene.make_workload(3)
    await scene.make_route({"failover": {"delaySeconds": 0, "maxLinksPerSecond": 20}})
    await scene.wait_all_ready(range(3))
    await scene.link(3000, [2])
    await scene.set_ready(2, ready=False)
    await eventually(scene.placed, lambda placed: placed[0] > 0, "its links begin to move")
    assert (await scene.placed())[2] > 2800
    await scene.change_route({"failover": {"maxLinksPerSecond": 20000}})
    await scene.wait_links_off(2)
    await scene.check_links(on=[0, 1])


@pytest.mark.usefixtures("operator")
async def test_a_pod_that_was_never_ready_holds_nobody(scene: Scene) -> None:
    await scene.make_workload(2)
    await eventually(scene.ready_pods, lambda ready: ready == {0, 1}, "two pods are Ready")
    await scene.change_template({"nodeSelector": {"no": "such-node"}})
    await scene.scale(3)
    await eventually(lambda: scene.pod(2), bool, "a third pod exists, and will never start")
    await scene.link(300, range(3))
    await scene.make_route()
    await scene.wait_states({0: READY, 1: READY, 2: (SHUTDOWN, Reason.NEVER_READY)})
    await scene.wait_links_off(2)
    assert await scene.moved_off() == {2: 100}
    await scene.link(20, [2], prefix="astray")
    await scene.wait_links_off(2)
    await scene.check_links(on=[0, 1])
    assert {move["reason"] for move in await scene.moves()} == {"NeverReady"}


async def test_a_restarted_operator_does_not_count_the_delay_anew(scene: Scene, operator: OperatorProcess) -> None:
    await scene.make_workload(3)
    await scene.make_route({"failover": {"delaySeconds": 6}})
    await scene.wait_all_ready(range(3))
    await scene.link(90, range(3))
    await scene.set_ready(1, ready=False)
    await scene.wait_states({1: (DENY, Reason.UNREADY)})
    since = (await scene.records())[1].unready_since
    assert since is not None

    async def unready_for() -> float:
        return time.time() - since / 1000

    await eventually(unready_for, lambda seconds: seconds > 3, "half of the delay has gone by")
    operator.kill()
    operator.start()
    await scene.wait_states({1: (SHUTDOWN, Reason.UNREADY_TOO_LONG)})
    record = (await scene.records())[1]
    assert record.unready_since == since
    assert 6 <= (record.since - since) / 1000 < 9
    await scene.wait_links_off(1)
    assert await scene.moved_off() == {1: 30}


@pytest.mark.usefixtures("operator")
async def test_links_that_have_expired_fill_no_pod(scene: Scene, redis_url: str) -> None:
    await scene.make_workload(2)
    await scene.make_route({"placement": {"maxLinksPerPod": 50}, "repair": {"periodSeconds": 0}})
    await scene.wait_all_ready(range(2))
    await scene.link(100, range(2), seconds=20)
    await scene.wait_status(lambda status: status["links"] == 100)
    await scene.wait_status(lambda status: status["links"] < 100)
    await eventually(scene.links, lambda links: not links, "all have expired")
    uids = [f"new-{n}" for n in range(100)]
    async with StatefulRoute.connect(redis_url) as route:
        placed = await route.client.compute_linked_pods(scene.namespace, uids, scene.name)
    assert Counter(placed.values()) == {0: 50, 1: 50}
