"""A StatefulRoute from its creation to its end: before or after its workload, changed, shared, deleted."""

from collections.abc import Awaitable, Callable

import pytest

from stateful_route.domain.routing import Reason
from stateful_route.store.keys import Service
from support.process import OperatorProcess
from support.scene import DENY, READY, SHUTDOWN, Scene
from support.waiting import always, eventually

MakeScene = Callable[..., Awaitable[Scene]]
ROUTES = "statefulroutes.statefulroute.io"


def state_keys(service: Service) -> set[str]:
    return {
        service.states,
        service.records,
        service.owner,
        service.config,
        service.changes,
        service.moves,
    }


async def wait_gone(scene: Scene, name: str | None = None, seconds: float = 10.0) -> None:
    await eventually(lambda: scene.route(name), lambda body: not body, "the StatefulRoute is gone", seconds=seconds)


async def wait_observed(scene: Scene) -> None:
    def is_observed(body: dict) -> bool:
        return body["status"].get("observedGeneration") == body["metadata"]["generation"]

    await eventually(scene.route, is_observed, "the operator has observed the present spec")


@pytest.mark.usefixtures("operator")
async def test_a_route_before_its_workload_waits_and_then_serves_it(scene: Scene) -> None:
    await scene.make_route()
    stalled = await scene.wait_condition("Stalled", "True", "WorkloadNotFound")
    assert "no StatefulSet 'rooms'" in stalled["message"]
    assert (await scene.condition("Ready"))["reason"] == "WorkloadNotFound"
    assert (await scene.condition("RedisConnected"))["status"] == "True"
    event = await scene.wait_event("WorkloadNotFound")
    assert event["type"] == "Warning"
    await scene.make_workload(2)
    await scene.wait_all_ready(range(2))
    await scene.wait_condition("Stalled", "False", "Progressing")
    await scene.wait_condition("Ready", "True", "Routing")
    await scene.link(20, range(2))
    await scene.delete_pod(1)
    await scene.wait_links_off(1)
    await scene.check_links(on=[0])


@pytest.mark.usefixtures("operator")
async def test_a_route_after_its_pods_finds_the_links_that_a_dead_pod_left(scene: Scene) -> None:
    await scene.make_workload(2)
    await eventually(scene.ready_pods, lambda ready: ready == {0, 1}, "both pods are Ready")
    await scene.link(90, [0, 1, 7])
    await scene.make_route()
    await scene.wait_links_off(7)
    links = await scene.check_links(on=[0, 1])
    assert {uid for uid, (was, _) in (await scene.moved()).items() if was != 7} == set()
    assert len(links) == 90
    await scene.wait_states({7: (SHUTDOWN, Reason.GONE)})
    status = await scene.wait_status(
        lambda s: s["links"] == 90 and s["pods"]["shutdown"] == 1 and "completionTime" in s["lastMigration"]
    )
    assert status["pods"]["ready"] == 2
    assert status["lastMigration"]["moved"] == 30
    assert status["lastMigration"]["pod"] == "rooms-7"


@pytest.mark.usefixtures("operator")
async def test_a_shorter_failover_delay_takes_effect_on_a_pod_that_waits_already(scene: Scene) -> None:
    await scene.make_workload(3)
    await scene.make_route({"failover": {"delaySeconds": 600}})
    await scene.wait_all_ready(range(3))
    await scene.link(60, range(3))
    await scene.set_ready(2, ready=False)
    await scene.wait_states({2: (DENY, Reason.UNREADY)})
    await scene.change_route({"failover": {"delaySeconds": 1}})
    await scene.wait_states({2: (SHUTDOWN, Reason.UNREADY_TOO_LONG)})
    await scene.wait_links_off(2)
    await scene.check_links(on=[0, 1])
    await wait_observed(scene)


@pytest.mark.usefixtures("operator")
async def test_a_changed_placement_reaches_callers_and_the_next_migration(scene: Scene) -> None:
    await scene.make_workload(3)
    await scene.make_route()
    await scene.wait_all_ready(range(3))
    await scene.link(60, [2])
    weights = {"0": 1, "1": 0}
    await scene.change_route({"placement": {"strategy": "WeightedRoundRobin", "weights": weights}})
    await eventually(
        scene.config, lambda config: config.get("strategy") == "WeightedRoundRobin", "callers see the strategy"
    )
    await wait_observed(scene)
    await scene.hold_pod(2)
    await scene.delete_pod(2)
    await scene.wait_links_off(2)
    await scene.check_links(on=[0])
    await scene.let_go(2)


@pytest.mark.usefixtures("operator")
async def test_a_deleted_route_takes_its_states_along_and_leaves_the_links(scene: Scene, make_scene: MakeScene) -> None:
    await scene.make_workload(3)
    await scene.make_route()
    await scene.wait_all_ready(range(3))
    await scene.link(60, range(3))
    await scene.scale(2)  # a move, so that there is a stream of moves to remove
    await scene.wait_links_off(2)
    assert await scene.existing(state_keys(scene.service)) == state_keys(scene.service)
    neighbour = await make_scene("lobby", namespace=scene.namespace)
    await neighbour.store.command("HSET", neighbour.service.states, 0, '{"routingState":"READY"}')
    await neighbour.store.command("SET", neighbour.service.owner, "other/cluster")
    await neighbour.link(3, range(3))
    before = await neighbour.dump()
    await scene.delete_route()
    await wait_gone(scene)
    assert await scene.existing(state_keys(scene.service)) == set()
    assert len(await scene.check_links(on=[0, 1])) == 60
    assert await neighbour.dump() == before


@pytest.mark.usefixtures("operator")
async def test_a_deleted_route_leaves_what_an_app_has_said(scene: Scene) -> None:
    await scene.make_workload(2)
    await scene.make_route()
    await scene.wait_all_ready(range(2))
    record = '{"state":7,"routingState":"READY","updateTime":1790000000000,"mood":"good"}'
    await scene.store.command("HSET", scene.service.states, 1, record)
    await scene.set_ready(1, ready=False)
    await scene.wait_states({1: DENY})
    await scene.delete_route()
    await wait_gone(scene)
    states = await scene.raw_states()
    assert states == {"1": record}, "the app's own word is back, byte for byte, and ours is gone"


@pytest.mark.usefixtures("operator")
async def test_with_the_deletion_policy_delete_the_links_go_too(scene: Scene, make_scene: MakeScene) -> None:
    await scene.make_workload(2)
    await scene.make_route({"links": {"deletionPolicy": "Delete"}})
    await scene.wait_all_ready(range(2))
    await scene.link(50, range(2))
    await scene.store.command("SET", scene.service.link("foreign"), "1")  # by a client that knows no index
    await scene.store.command("HSET", scene.service.links("foreign"), "rooms", "1")
    neighbour = await make_scene("lobby", namespace=scene.namespace)
    await neighbour.link(50, range(2))  # the same uids
    kept = await neighbour.dump()
    await scene.delete_route()
    await wait_gone(scene)
    assert await scene.links() == {}
    left = await scene.existing(state_keys(scene.service))
    assert left == {scene.service.moves}, "it tells of the purge, for an hour"
    assert await scene.keys(f"sf:*ix:{scene.namespace}:rooms") == set()
    uid_hash = await scene.store.command("HGETALL", scene.service.links("user-1"))
    assert uid_hash == {b"lobby": b"1"} or list(uid_hash) == [b"lobby", b"1"]
    assert await scene.existing({scene.service.links("foreign")}) == set()
    assert await neighbour.dump() == kept


@pytest.mark.usefixtures("operator")
async def test_two_routes_of_different_service_names_share_a_workload(scene: Scene, make_scene: MakeScene) -> None:
    await scene.make_workload(3)
    await scene.make_route()
    chat = await make_scene("chat", namespace=scene.namespace)
    await chat.make_route({"serviceName": "chat", "workloadRef": {"name": "rooms"}}, name="second")
    for each in (scene, chat):
        await each.wait_all_ready(range(3))
        await each.link(60, range(3))
    await scene.delete_route()
    await wait_gone(scene)
    await scene.delete_pod(1)
    await chat.wait_links_off(1)
    await chat.check_links(on=[0, 2])
    assert not await scene.moved(), "nobody routes the deleted one's links any more"
    await chat.wait_condition("Ready", "True", name="second")


async def test_routes_of_one_name_in_two_namespaces_do_not_meet(
    make_scene: MakeScene, start_operator: Callable[..., OperatorProcess]
) -> None:
    here = await make_scene()
    there = await make_scene(beside=here)
    start_operator(here, there)
    for scene in (here, there):
        await scene.make_workload(2)
        await scene.make_route({"links": {"deletionPolicy": "Delete"}})
    for scene in (here, there):
        await scene.wait_all_ready(range(2))
        await scene.link(40, range(2))
    await here.delete_pod(0)
    await here.wait_links_off(0)
    await here.check_links(on=[1])
    await always(there.moved, lambda moved: not moved, "nothing moves in the other namespace", seconds=0.5)
    await here.delete_route()
    await wait_gone(here)
    assert await here.links() == {}
    assert len(await there.check_links(on=[0, 1])) == 40
    await there.wait_states({0: READY, 1: READY})


async def test_a_namespace_whose_role_is_gone_does_not_hold_up_the_others(
    make_scene: MakeScene, start_operator: Callable[..., OperatorProcess]
) -> None:
    here = await make_scene()
    there = await make_scene(beside=here, lacks={"statefulroutes", "statefulsets", "pods"})
    bindings = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{there.namespace}/rolebindings"
    name = f"{here.namespace}:stateful-route"
    binding = await here.kube.get(f"{bindings}/{name}")
    await here.kube.delete(f"{bindings}/{name}")
    operator = start_operator(there, here, resync_seconds=1)
    for scene in (here, there):
        await scene.make_workload(2)
        await scene.make_route()
    await here.wait_all_ready(range(2))
    await here.wait_condition("Ready", "True")
    assert await there.dump_namespace() == {}
    what = f"the StatefulRoutes of namespace '{there.namespace}' cannot be listed"
    assert len(operator.lines(f"{what}: grant the operator's ServiceAccount list on {ROUTES}")) == 1, "it is said once"
    body = {"metadata": {"name": name}, "roleRef": binding["roleRef"], "subjects": binding["subjects"]}
    await here.kube.create(bindings, body)
    await there.wait_all_ready(range(2))
