"""``/metrics`` of an operator at work."""

import re
from collections.abc import Callable

from stateful_route.metrics import families
from support.exposition import Samples, page, samples
from support.ports import free_port
from support.process import OperatorProcess
from support.scene import Scene
from support.waiting import eventually

StartOperator = Callable[..., OperatorProcess]


async def test_the_metrics_of_a_service_from_its_beginning_to_its_end(
    scene: Scene, start_operator: StartOperator
) -> None:
    port = free_port()
    start_operator(scene, metrics_port=port)
    service = (scene.namespace, "rooms")

    async def shown() -> Samples:
        return samples(await page(port))

    async def wait(what: str, *key: str, at_least: float = 1) -> Samples:
        return await eventually(shown, lambda found: found.get(key, 0) >= at_least, what)

    await scene.make_workload(3)
    await scene.make_route()
    await scene.wait_all_ready([0, 1, 2])
    await scene.link(12, [1], prefix="secret-user")
    await wait("the links are counted", "stateful_route_pod_links", *service, "rooms-1", at_least=12)
    found = await wait("the route is Ready", "stateful_route_condition", *service, "Ready")
    assert found["stateful_route_leader",] == 1
    assert found["stateful_route_condition", *service, "Stalled"] == 0
    assert found["stateful_route_pods", *service, "READY"] == 3

    await scene.delete_pod(1)
    await wait("the event is written", "stateful_route_event_to_store_seconds_count")

    def moved(found: Samples) -> float:
        head = ("stateful_route_links_moved_total", *service)
        return sum(value for key, value in found.items() if key[:3] == head)

    await eventually(shown, lambda found: moved(found) == 12, "all links have moved, each counted once")
    found = await eventually(
        shown,
        lambda found: any(k[0] == "stateful_route_migrations_total" and k[-1] == "complete" for k in found),
        "the migration is counted",
    )
    assert found["stateful_route_store_round_trip_seconds_count", "migrate"] >= 1
    assert found["stateful_route_reconcile_seconds_count", "done"] >= 1

    await scene.store.command("HDEL", scene.service.states, "0")
    await wait("the state is written again", "stateful_route_drift_repaired_total", *service, "state")

    text = await page(port)
    there = set(re.findall(r"^# TYPE (stateful_route_\w+) ", text, flags=re.MULTILINE))
    assert there == {one.name for one in (*families.OF_OPERATOR, *families.OF_BOTH)}
    assert "secret-user" not in text
    assert "redis://" not in text

    await scene.delete_route()
    text = await eventually(
        lambda: page(port), lambda text: bool(text) and scene.namespace not in text, "nothing of the service is left"
    )
    assert samples(text)["stateful_route_leader",] == 1
