"""One operator, one store, many StatefulRoutes: who comes first, and that being busy is no failure of anybody's."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from stateful_route.domain.selector import Selector
from stateful_route.domain.urgency import AT_ONCE, Urgency
from stateful_route.domain.workload_ref import WorkloadRef
from stateful_route.kube.pods import list_pods
from stateful_route.reconcile.listings import Listings
from support.process import OperatorProcess
from support.scene import Scene, TestKube
from support.waiting import eventually

StartOperator = Callable[..., OperatorProcess]

ROUTES = 40


async def make_routes_without_pods(scene: Scene, count: int = ROUTES) -> list[str]:
    names = [f"empty-{number}" for number in range(count)]
    await asyncio.gather(*(scene.make_route(name=name) for name in names))
    return names


async def all_reported(scene: Scene, names: list[str]) -> None:
    async def reported() -> int:
        items = (await scene.kube.get(scene.routes_path))["items"]
        return sum(bool((item.get("status") or {}).get("conditions")) for item in items)

    await eventually(reported, lambda count: count >= len(names), "each StatefulRoute has conditions", seconds=90)


async def test_the_service_with_pods_comes_first_and_no_condition_is_wrong(
    scene: Scene, start_operator: StartOperator
) -> None:
    names = await make_routes_without_pods(scene)
    await scene.make_workload(3)
    await scene.make_route()  # the youngest of all
    await eventually(scene.ready_pods, lambda ready: len(ready) == 3, "the pods are Ready")
    operator = start_operator(scene, resync_seconds=50)
    await scene.wait_all_ready(range(3))
    await all_reported(scene, [*names, scene.name])

    lines = operator.lines()
    first = next(at for at, line in enumerate(lines) if line.get("message") == "pod state")
    before = [line for line in lines[:first] if line.get("message") == "Stalled"]
    assert len(before) <= AT_ONCE[Urgency.ROUTINE], "those that were under way before its pods were known"
    assert not [line for line in lines if line.get("message") == "RedisConnected"]
    assert {event["reason"] for event in await scene.events()} <= {"WorkloadNotFound"}
    for name in names:
        assert (await scene.condition("RedisConnected", name))["status"] == "True"


class CountingKube(TestKube):
    """The client, which counts what is read."""

    def count(self) -> Counter[str]:
        self._counted: Counter[str] = Counter()
        return self._counted

    async def get(self, path: str, **query: str | int) -> dict[str, Any]:
        self._counted[path] += 1
        return await super().get(path, **query)


@pytest.fixture
async def counting(kubeconfig: Path) -> Any:
    kube = await CountingKube.connect(str(kubeconfig))
    yield kube
    await kube.close()


def versions(bodies: list[Mapping[str, Any]]) -> dict[str, str]:
    return {body["metadata"]["name"]: body["metadata"]["resourceVersion"] for body in bodies}


@pytest.mark.parametrize("everywhere", [False, True], ids=["some namespaces", "all namespaces"])
async def test_those_who_ask_at_the_same_time_share_one_list(
    scene: Scene, counting: CountingKube, everywhere: bool
) -> None:
    await scene.make_workload(3)
    await eventually(scene.ready_pods, lambda ready: len(ready) == 3, "the pods are Ready")
    listings, counted = Listings(counting, everywhere=everywhere), counting.count()
    names = [scene.name, *(f"none-{number}" for number in range(ROUTES))]

    facts = await asyncio.gather(*(listings.workload(scene.namespace, WorkloadRef(name)) for name in names))
    pods = await asyncio.gather(*(listings.pods(scene.namespace, name, Selector()) for name in names))
    await listings.close()

    assert counted.total() == 2, "one list of workloads, one of pods"
    assert [found.name for found in facts if found is not None] == [scene.name]
    alone, _ = await list_pods(scene.kube, scene.namespace, Selector())
    assert versions(pods[0].bodies) == versions(alone)
    assert all(found.complete and not found.bodies for found in pods[1:])


async def test_who_asks_alone_reads_no_more_than_its_own(scene: Scene, counting: CountingKube) -> None:
    await scene.make_workload(2)
    await eventually(scene.ready_pods, lambda ready: len(ready) == 2, "the pods are Ready")
    listings, counted = Listings(counting, everywhere=True), counting.count()
    facts = await listings.workload(scene.namespace, WorkloadRef(scene.name))
    assert facts is not None
    pods = await listings.pods(scene.namespace, scene.name, facts.selector)
    assert len(pods.bodies) == 2
    assert set(counted) == {f"{scene.workload_path}/{scene.name}", scene.pods_path}
    await listings.close()
