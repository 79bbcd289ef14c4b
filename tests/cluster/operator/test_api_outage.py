"""The API server stops, freezes, or keeps an event to itself."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stateful_route.devcluster import ControlPlane
from stateful_route.domain.routing import Reason
from stateful_route.store.links import get_link, set_link_if_absent
from stateful_route.store.states import ServiceView
from support.apiproxy import ApiProxy
from support.privileges import Privileges
from support.process import OperatorProcess
from support.scene import READY, SHUTDOWN, Scene
from support.waiting import always, eventually

StartOperator = Callable[..., OperatorProcess]
OUTAGE_SECONDS = 10

OUTAGES = {
    "killed": (ControlPlane.stop_api_server, ControlPlane.start_api_server),
    "frozen": (ControlPlane.pause_api_server, ControlPlane.resume_api_server),
}


@pytest.fixture(params=OUTAGES)
def outage(
    request: pytest.FixtureRequest, control_plane: ControlPlane, privileges: Privileges
) -> Iterator[tuple[Callable[[], None], ...]]:
    """How it begins and how it ends; it has ended afterwards, whatever the test did."""
    begin, end = OUTAGES[request.param]
    going_on = False

    def started() -> None:
        nonlocal going_on
        going_on = True
        begin(control_plane)

    def ended() -> None:
        nonlocal going_on
        with privileges.api_server_starts():
            end(control_plane)
        going_on = False

    yield started, ended
    if going_on:
        ended()


async def test_links_and_states_go_on_without_the_api_server(
    scene: Scene, start_operator: StartOperator, outage: tuple[Callable[[], None], ...], redis_url: str
) -> None:
    begin, end = outage
    start_operator(scene, resync_seconds=1)
    await scene.make_secret("store", {"url": redis_url})
    await scene.make_workload(3)
    await scene.make_route({"redis": {"urlSecretRef": {"name": "store"}}})
    await scene.wait_all_ready(range(3))
    await scene.link(90, range(3))
    begin()
    assert await set_link_if_absent(scene.store, scene.service, "new", 1, 300)
    link = await get_link(scene.store, scene.service, "user-1")
    assert link is not None
    assert link.ordinal == 1

    def routed(view: ServiceView) -> bool:
        return {pod.effective for pod in view.pods.values()} == {READY}

    def renewed(view: ServiceView) -> bool:
        ages = [pod.age_seconds for pod in view.pods.values()]
        return all(age is not None and age < OUTAGE_SECONDS / 2 for age in ages)

    await always(scene.view, routed, "all pods take users", seconds=OUTAGE_SECONDS)
    await eventually(scene.view, renewed, "states are renewed during the outage")
    await scene.wait_resyncs(1)
    assert not await scene.moved()
    end()
    await scene.delete_pod(1)
    await scene.wait_links_off(1)
    await scene.wait_all_ready(range(3))
    await scene.check_links(on=[0, 2])
    await scene.wait_condition("Ready", "True")


async def test_an_operator_that_starts_before_the_api_server_serves_when_it_comes(
    scene: Scene, start_operator: StartOperator, outage: tuple[Callable[[], None], ...]
) -> None:
    begin, end = outage
    await scene.make_workload(2)
    await scene.make_route()
    begin()
    operator = start_operator(scene)
    await eventually(_text(operator), lambda text: "waiting for the API server" in text, "it says what it waits for")
    end()
    await scene.wait_all_ready(range(2))
    await scene.wait_condition("Ready", "True")


def _text(operator: OperatorProcess) -> Callable[[], Any]:
    async def text() -> str:
        assert operator.running, operator.text()
        return operator.text()

    return text


@pytest.fixture
def proxy(scene: Scene, tmp_path: Path) -> Iterator[ApiProxy]:
    """Between the scene's operator and the API server."""
    assert scene.access is not None
    with ApiProxy(scene.access.kubeconfig, tmp_path) as proxy:
        yield proxy


@pytest.fixture
async def served(scene: Scene, start_operator: StartOperator, proxy: ApiProxy) -> Scene:
    """Three pods with 30 links each, behind a proxy."""
    start_operator(scene, kubeconfig=proxy.kubeconfig, resync_seconds=1)
    await scene.make_workload(3)
    await scene.make_route()
    await scene.wait_all_ready(range(3))
    await scene.link(90, range(3))
    return scene


def about(kind: str, name: str) -> Callable[[Any], bool]:
    return lambda event: event["object"].get("kind") == kind and event["object"]["metadata"].get("name") == name


async def test_a_pod_whose_events_are_lost_is_found_by_the_list(served: Scene, proxy: ApiProxy) -> None:
    proxy.drops = about("Pod", "rooms-1")
    former = await served.pod_uid(1)
    await served.delete_pod(1)
    await served.wait_successor(1, former)
    await served.wait_links_off(1)
    await served.wait_all_ready(range(3))
    await served.check_links(on=[0, 2])


async def test_a_pod_whose_end_is_lost_is_found_by_the_list(served: Scene, proxy: ApiProxy) -> None:
    proxy.drops = lambda event: event["type"] == "DELETED"
    await served.scale(2)
    await served.wait_states({2: (SHUTDOWN, Reason.GONE)})
    await served.wait_links_off(2)
    await served.check_links(on=[0, 1])


async def test_a_change_of_the_workload_that_is_lost_is_found_by_the_list(served: Scene, proxy: ApiProxy) -> None:
    proxy.drops = about("StatefulSet", "rooms")
    await served.hold_pod(2)  # it stays, so that only the StatefulSet can tell
    await served.scale(2)
    await served.wait_links_off(2)
    await served.check_links(on=[0, 1])
    await served.let_go(2)


async def test_a_route_whose_events_are_lost_is_found_by_the_list(
    scene: Scene, start_operator: StartOperator, proxy: ApiProxy
) -> None:
    proxy.drops = about("StatefulRoute", "rooms")
    start_operator(scene, kubeconfig=proxy.kubeconfig, resync_seconds=1)
    await scene.make_workload(3)
    await scene.make_route({"failover": {"delaySeconds": 600}})
    await scene.wait_all_ready(range(3))
    await scene.link(90, range(3))
    await scene.set_ready(2, ready=False)
    await scene.change_route({"failover": {"delaySeconds": 1}})
    await scene.wait_links_off(2)
    await scene.delete_route()
    await eventually(scene.route, lambda body: not body, "the StatefulRoute is gone")
    assert (await scene.view()).owner is None
    await scene.check_links(on=[0, 1])


async def test_watches_that_the_server_has_forgotten_are_begun_anew(served: Scene, proxy: ApiProxy) -> None:
    proxy.expire_watches()
    await served.delete_pod(1)
    await served.wait_links_off(1)
    await served.wait_all_ready(range(3))
    await served.check_links(on=[0, 2])
