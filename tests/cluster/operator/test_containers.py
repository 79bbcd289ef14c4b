"""Which container's restart makes a pod forget its users, whatever else is injected into the pod."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from stateful_route.domain.routing import Reason
from support.doctor import doctor
from support.hand_pods import make_pod, restart
from support.scene import READY, Scene
from support.waiting import eventually

pytestmark = pytest.mark.usefixtures("operator")

DEFAULT = {"kubectl.kubernetes.io/default-container": "app"}


async def adopted(scene: Scene, health: dict[str, Any] | None = None, **pods: Any) -> None:
    """Three pods as a webhook has left them, under a StatefulSet whose template has the container ``app`` alone."""
    for ordinal in range(3):
        await make_pod(scene, ordinal, **pods)
    await scene.make_workload(3, by_hand=True, on_delete=True)
    await eventually(lambda: owners(scene), lambda kinds: kinds == ["StatefulSet"] * 3, "the pods are adopted")
    await scene.make_route({"failover": {"delaySeconds": 60}, "health": health or {}})
    await scene.wait_all_ready(range(3))
    await scene.link(30, range(3))


async def owners(scene: Scene) -> list[str]:
    bodies = [await scene.pod(ordinal) for ordinal in range(3)]
    return [owner["kind"] for body in bodies for owner in body["metadata"].get("ownerReferences") or ()]


INJECTED: dict[str, dict[str, Any]] = {
    "a proxy comes first, and the pod names its default container": {
        "containers": ("istio-proxy", "app"),
        "annotations": DEFAULT,
    },
    "a proxy comes first, and only the template tells": {"containers": ("linkerd-proxy", "app")},
    "the default container is one that was injected": {
        "containers": ("agent", "app"),
        "annotations": {"kubectl.kubernetes.io/default-container": "agent"},
    },
    "the proxy is a native sidecar": {"containers": ("app",), "sidecars": ("istio-proxy",)},
}


@pytest.mark.parametrize("pods", INJECTED.values(), ids=INJECTED)
async def test_users_move_when_the_application_restarts_and_not_when_a_proxy_does(
    scene: Scene, pods: dict[str, Any]
) -> None:
    await adopted(scene, **pods)
    (proxy,) = {*pods["containers"], *pods.get("sidecars", ())} - {"app"}
    await restart(scene, 1, proxy)
    await scene.wait_resyncs(2)
    assert await scene.moved_off() == {}
    assert await scene.history(1) == ["READY"]

    await restart(scene, 0, "app")
    await scene.wait_links_off(0)
    await scene.wait_taken_over(0, restarts=1)
    assert await scene.moved_off() == {0: 10}
    assert {move["reason"] for move in await scene.moves()} == {"Restarted"}
    await scene.check_links(on=(1, 2))


async def test_a_native_sidecar_that_is_named_is_the_one_that_counts(scene: Scene) -> None:
    await adopted(scene, {"container": "holder"}, containers=("app",), sidecars=("holder", "proxy"))
    await restart(scene, 1, "app")
    await restart(scene, 2, "proxy")
    await restart(scene, 0, "holder")
    await scene.wait_links_off(0)
    await scene.wait_taken_over(0, restarts=1)
    assert await scene.moved_off() == {0: 10}
    assert (await scene.condition("Degraded")) == {}


@pytest.mark.parametrize("named", ["ap", "setup"], ids=["a slip of the pen", "an init container that ends"])
async def test_a_name_that_no_pod_has_is_told_and_restarts_count_all_the_same(
    scene: Scene, named: str, kubeconfig: Path, redis_url: str
) -> None:
    await adopted(scene, {"container": named}, containers=("proxy", "app"), annotations=DEFAULT)
    degraded = await scene.wait_condition("Degraded", "True", "ContainerNotFound")
    assert f"'{named}'" in degraded["message"]
    assert "pods rooms-0, rooms-1, rooms-2" in degraded["message"]
    assert "restarts of 'app' count" in degraded["message"]
    await scene.wait_event("ContainerNotFound")
    found = await asyncio.to_thread(doctor, scene.namespace, kubeconfig, "--redis-url", redis_url)
    (told,) = (finding for finding in found if f"'{named}'" in finding["message"])
    assert (told["severity"], told["check"]) == ("error", "condition")

    await restart(scene, 0, "app")
    await scene.wait_links_off(0)
    await scene.wait_states({0: READY, 1: (READY, Reason.READY)})
    assert await scene.moved_off() == {0: 10}

    await scene.change_route({"health": {"container": "app"}})
    await scene.wait_condition("Degraded", "False", "Sound")
    await scene.wait_resyncs(2)
    assert await scene.moved_off() == {0: 10}, "the same container counts as before"
