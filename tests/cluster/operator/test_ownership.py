"""Two that claim one service: a second cluster on the same Redis, and two StatefulRoutes of one cluster."""

from collections.abc import Awaitable, Callable

import pytest

from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import LinkAction, Reason
from stateful_route.store.states import claim, release, set_operator_states
from support.process import OperatorProcess
from support.scene import READY, SHUTDOWN, Scene
from support.waiting import always, eventually

StartOperator = Callable[..., OperatorProcess]
MakeScene = Callable[..., Awaitable[Scene]]
OTHER = "11111111-2222-3333-4444-555555555555/66666666-7777-8888-9999-000000000000"
"""The owner that another cluster's operator writes: its cluster id, and the uid of its StatefulRoute."""


async def serve_from_another_cluster(scene: Scene) -> None:
    """What another cluster's operator writes of two pods, one of which is gone there."""
    await claim(scene.store, scene.service, OTHER, {"heartbeat": "Auto", "expireSeconds": 60})
    there = OperatorRecord(state=READY, reason=Reason.READY, ever_ready=True)
    gone = OperatorRecord(state=SHUTDOWN, reason=Reason.GONE, links=LinkAction.MOVE)
    await set_operator_states(scene.store, scene.service, OTHER, {0: there, 7: gone})
    await scene.link(40, [0, 7])


async def test_a_service_of_another_cluster_is_left_byte_for_byte_until_it_is_released(
    scene: Scene, start_operator: StartOperator
) -> None:
    await serve_from_another_cluster(scene)
    before = await scene.dump_namespace()
    operator = start_operator(scene, resync_seconds=1)
    await scene.make_workload(2)
    await scene.make_route()
    stalled = await scene.wait_condition("Stalled", "True", "OwnedElsewhere")
    assert OTHER in stalled["message"]
    assert "another cluster" in stalled["message"]
    assert (await scene.wait_event("OwnedElsewhere"))["type"] == "Warning"
    assert (await scene.condition("Ready"))["status"] == "False"
    await eventually(scene.ready_pods, lambda ready: ready == {0, 1}, "both pods are Ready")
    await scene.delete_pod(1)
    await always(scene.dump_namespace, lambda seen: seen == before, "nothing is written", seconds=3)
    assert await release(scene.store, scene.service, OTHER)
    await scene.wait_condition("Stalled", "False")
    await scene.wait_condition("Ready", "True")
    await scene.wait_all_ready(range(2))
    await scene.wait_links_off(7)
    await scene.check_links(on=[0, 1])
    assert len(operator.lines("Stalled")) == 1, "said once"


@pytest.mark.usefixtures("operator")
async def test_a_route_that_owns_nothing_is_deleted_without_a_trace(scene: Scene) -> None:
    await serve_from_another_cluster(scene)
    before = await scene.dump_namespace()
    await scene.make_route({"links": {"deletionPolicy": "Delete"}})
    await scene.wait_condition("Stalled", "True", "OwnedElsewhere")
    await scene.delete_route()
    await eventually(scene.route, lambda body: not body, "the StatefulRoute is gone")
    assert await scene.dump_namespace() == before


async def test_a_service_that_another_cluster_takes_is_let_go(scene: Scene, start_operator: StartOperator) -> None:
    start_operator(scene, resync_seconds=1)
    await scene.make_workload(2)
    await scene.make_route()
    await scene.wait_all_ready(range(2))
    await scene.link(20, range(2))
    await scene.store.command("SET", scene.service.owner, OTHER)  # an admin has decided so
    await scene.wait_condition("Stalled", "True", "OwnedElsewhere")
    before = await scene.dump_namespace()
    await scene.delete_pod(1)
    await always(scene.dump_namespace, lambda seen: seen == before, "nothing is written", seconds=2)
    status = await scene.status()
    assert status["pods"] == {"ready": 0, "denying": 0, "shutdown": 0}


async def test_of_two_routes_for_one_service_the_first_serves_and_the_other_says_so(
    scene: Scene, operator: OperatorProcess
) -> None:
    await scene.make_workload(2)
    first = await scene.make_route()
    await scene.wait_all_ready(range(2))
    await scene.link(40, range(2))
    copy = {"serviceName": "rooms", "workloadRef": {"name": "rooms"}, "links": {"deletionPolicy": "Delete"}}
    await scene.make_route(copy, name="copy")
    stalled = await scene.wait_condition("Stalled", "True", "OwnedElsewhere", name="copy")
    assert "the StatefulRoute 'rooms'" in stalled["message"]
    assert "serviceName" in stalled["message"]
    event = await scene.wait_event("OwnedElsewhere")
    assert event["regarding"]["name"] == "copy"

    operator.kill()
    operator.start()
    await scene.wait_resyncs(1)
    assert await scene.owner() == first, "whichever of the two a new operator hears of first"
    operator.kill()
    await scene.store.command("DEL", scene.service.owner)
    operator.start()
    await eventually(scene.owner, lambda owner: owner == first, "its status says that it had the service")
    await scene.wait_resyncs(1)
    assert await scene.owner() == first

    await scene.delete_route("copy")
    await eventually(lambda: scene.route("copy"), lambda body: not body, "the other one is gone")
    await scene.wait_resyncs(1)
    assert await scene.owner() == first
    assert len(await scene.check_links(on=[0, 1])) == 40
    await scene.wait_states({0: READY, 1: READY})

    other = await scene.make_route(copy | {"links": {}}, name="copy")
    await scene.wait_condition("Stalled", "True", "OwnedElsewhere", name="copy")
    await scene.delete_route()
    await eventually(scene.owner, lambda owner: owner == other, "the other one takes over")
    await scene.wait_condition("Stalled", "False", name="copy")
    await scene.wait_condition("Ready", "True", name="copy")
    await scene.delete_pod(1)
    await scene.wait_links_off(1)
    assert len(await scene.check_links(on=[0])) == 40


@pytest.mark.usefixtures("operator")
async def test_of_several_routes_made_at_once_exactly_one_serves_and_the_others_name_it(scene: Scene) -> None:
    await scene.make_workload(2)
    names = [f"rooms-{letter}" for letter in "abcde"]
    for name in names:
        await scene.make_route({"serviceName": "rooms", "workloadRef": {"name": "rooms"}}, name=name)
    owner = await eventually(scene.owner, bool, "one of them owns the service")
    uids = {(await scene.route(name))["metadata"]["uid"]: name for name in names}
    first = uids.pop(str(owner))
    await scene.wait_condition("Ready", "True", name=first)
    for name in uids.values():
        stalled = await scene.wait_condition("Stalled", "True", "OwnedElsewhere", name=name)
        assert repr(first) in stalled["message"]
    await scene.wait_all_ready(range(2))
    assert await scene.owner() == owner


async def test_the_one_that_serves_goes_on_also_where_the_urls_of_one_store_differ(
    scene: Scene, redis_url: str, start_operator: StartOperator
) -> None:
    operator = start_operator(scene, resync_seconds=1)
    await scene.make_workload(2)
    first = await scene.make_route({"redis": {"url": redis_url.replace("127.0.0.1", "localhost")}})
    await scene.wait_all_ready(range(2))
    copy = {"serviceName": "rooms", "workloadRef": {"name": "rooms"}}
    await scene.make_route(copy, name="copy")
    stalled = await scene.wait_condition("Stalled", "True", "OwnedElsewhere", name="copy")
    assert "the StatefulRoute 'rooms'" in stalled["message"]
    await scene.wait_resyncs(3)
    assert await scene.owner() == first
    assert (await scene.condition("Stalled", "copy"))["status"] == "True"
    operator.kill()
    await scene.store.command("DEL", scene.service.owner)  # whoever is quicker now has it, and keeps it
    operator.start()
    owner = await eventually(scene.owner, bool, "one of them owns it")
    await scene.wait_resyncs(3)
    assert await scene.owner() == owner
    ready, stalled_name = ("rooms", "copy") if owner == first else ("copy", "rooms")
    await scene.wait_condition("Ready", "True", name=ready)
    await scene.wait_condition("Stalled", "True", "OwnedElsewhere", name=stalled_name)


async def test_two_namespaces_may_have_the_same_service_name(
    make_scene: MakeScene, start_operator: StartOperator
) -> None:
    here = await make_scene()
    there = await make_scene(beside=here)
    start_operator(here, there)
    owners = {}
    for scene in (here, there):
        await scene.make_workload(1)
        owners[scene.namespace] = await scene.make_route()
    for scene in (here, there):
        await scene.wait_all_ready([0])
        assert await scene.owner() == owners[scene.namespace]


@pytest.mark.parametrize("owner", ["", "gibberish"])
async def test_an_owner_that_is_no_owner_is_treated_by_what_it_says(
    scene: Scene, start_operator: StartOperator, owner: str
) -> None:
    start_operator(scene, resync_seconds=1)
    await scene.make_workload(1)
    await scene.store.command("SET", scene.service.owner, owner)
    uid = await scene.make_route()
    if owner:
        await scene.wait_condition("Stalled", "True", "OwnedElsewhere")
        assert await scene.store.command("GET", scene.service.owner) == owner.encode()
    else:
        await scene.wait_all_ready([0])
        assert await scene.owner() == uid
