"""Which pods belong to the workload, and what becomes of those that do not, or not any more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stateful_route.domain.routing import Reason
from stateful_route.kube.client import KubeError
from support.doctor import doctor
from support.hand_pods import end_pods, make_pod
from support.process import OperatorProcess
from support.scene import DENY, READY, SHUTDOWN, Scene, TestKube
from support.waiting import eventually

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

# Labels


async def relabel(scene: Scene, ordinal: int, app: str) -> None:
    await scene.kube.merge(scene.pod_path(ordinal), {"metadata": {"labels": {"app": app}}})


async def test_a_pod_whose_labels_leave_the_selector_is_drained_once_and_for_all(
    scene: Scene, operator: OperatorProcess
) -> None:
    await scene.make_workload(3)
    await scene.make_route()
    await scene.wait_all_ready(range(3))
    await scene.link(90, range(3))

    await relabel(scene, 0, "quarantine")
    await scene.wait_states({0: (DENY, Reason.DISOWNED)})
    await scene.wait_links_off(0)
    assert not (await scene.pod(0))["metadata"].get("ownerReferences"), "the StatefulSet has let go of it"
    await scene.wait_resyncs(3)
    await scene.annotate_pod(0, "example.org/note", "an event of the watch")
    await scene.wait_resyncs(1)
    assert await scene.history(0) == ["READY", "DENY_NEW_CALL"]
    assert await scene.moved_off() == {0: 30}
    assert {move["reason"] for move in await scene.moves()} == {"Disowned"}

    operator.stop()
    operator.start()
    await scene.wait_resyncs(2)
    assert await scene.history(0) == ["READY", "DENY_NEW_CALL"], "an operator that comes anew sees the same"

    await relabel(scene, 0, "rooms")
    await scene.wait_states({0: (READY, Reason.READY)})
    assert await scene.moved_off() == {0: 30}
    await scene.check_links(on=(1, 2))


@pytest.mark.usefixtures("operator")
async def test_a_selector_may_be_an_expression(scene: Scene) -> None:
    expressions = [{"key": "track", "operator": "NotIn", "values": ["out"]}]
    template = {"metadata": {"labels": {"app": "rooms"}}, "spec": {"containers": [{"name": "app", "image": "none"}]}}
    spec = {
        "replicas": 2,
        "serviceName": "rooms",
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": {"app": "rooms"}, "matchExpressions": expressions},
        "template": template,
    }
    body = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "rooms"}, "spec": spec}
    await scene.kube.create(scene.workload_path, body)
    await scene.make_route()
    await scene.wait_all_ready(range(2))
    await scene.link(20, range(2))
    await scene.kube.merge(scene.pod_path(1), {"metadata": {"labels": {"track": "out"}}})
    await scene.wait_states({1: (DENY, Reason.DISOWNED)})
    await scene.wait_resyncs(2)
    assert await scene.history(1) == ["READY", "DENY_NEW_CALL"]
    assert await scene.moved_off() == {1: 10}


# Ordinals that cannot be stored


@pytest.mark.usefixtures("operator")
async def test_pods_over_the_last_ordinal_are_told_and_the_others_routed(scene: Scene) -> None:
    await scene.make_workload(3, start=8190)
    await scene.make_route()
    await scene.wait_all_ready((8190, 8191))
    degraded = await scene.wait_condition("Degraded", "True", "OrdinalOutOfRange")
    assert "over 8,191 are not routed" in degraded["message"]
    await scene.wait_status(lambda status: "pod rooms-8192;" in str(status["conditions"]))
    assert set(await scene.states()) == {8190, 8191}
    await scene.scale(2)
    await scene.wait_condition("Degraded", "False", "Sound")


# Other groups


@dataclass(frozen=True)
class Api:
    """An API of another group, whose kind has a scale subresource; nobody serves it."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def ref(self) -> dict[str, str]:
        return {"apiVersion": f"{self.group}/{self.version}", "kind": self.kind}

    @property
    def listed(self) -> dict[str, Any]:
        """The chart's value with it."""
        return {"workloads": [{"group": self.group, "resources": [self.plural]}]}

    def path(self, scene: Scene) -> str:
        return f"/apis/{self.group}/{self.version}/namespaces/{scene.namespace}/{self.plural}"

    @asynccontextmanager
    async def installed(self, kube: TestKube) -> AsyncIterator[None]:
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        scale = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.labelSelector",
        }
        version = {
            "name": self.version,
            "served": True,
            "storage": True,
            "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}, "scale": scale},
        }
        names = {"plural": self.plural, "kind": self.kind}
        name = f"{self.plural}.{self.group}"
        body = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": name},
            "spec": {"group": self.group, "scope": "Namespaced", "names": names, "versions": [version]},
        }
        await kube.create(CRDS, body)
        await eventually(lambda: self._served(kube), bool, "the API server serves it")
        yield
        await kube.delete(f"{CRDS}/{name}")
        await eventually(lambda: self._served(kube), lambda there: not there, "it is gone")

    async def _served(self, kube: TestKube) -> bool:
        try:
            resources = (await kube.get(f"/apis/{self.group}/{self.version}"))["resources"]
            return any(resource["name"] == f"{self.plural}/scale" for resource in resources)
        except KubeError as error:
            if error.status not in {404, 503}:
                raise
            return False

    async def make(self, scene: Scene, ordinals: tuple[int, ...], **spec: Any) -> dict[str, Any]:
        """A workload with its pods, as its controller would leave them."""
        body = {**self.ref, "metadata": {"name": "rooms"}, "spec": {"replicas": len(ordinals), **spec}}

        async def create() -> dict[str, Any]:
            try:
                return await scene.kube.create(self.path(scene), body)
            except KubeError as error:
                if error.status not in {404, 429, 503}:
                    raise
                return {}

        made = await eventually(create, bool, "the API server takes the new kind")
        status = {"replicas": len(ordinals), "labelSelector": "app=rooms"}
        await scene.kube.merge(f"{self.path(scene)}/rooms/status", {"status": status})
        for ordinal in ordinals:
            await make_pod(scene, ordinal, owner=made)
        return made

    async def scale(self, scene: Scene, replicas: int) -> None:
        await scene.kube.merge(f"{self.path(scene)}/rooms", {"spec": {"replicas": replicas}})


KRUISE = Api("apps.kruise.io", "v1beta1", "statefulsets", "StatefulSet")
GAMES = Api("game.kruise.io", "v1alpha1", "gameserversets", "GameServerSet")


@pytest.fixture
async def kruise(kube: TestKube) -> AsyncIterator[None]:
    async with KRUISE.installed(kube):
        yield


@pytest.fixture
async def games(kube: TestKube) -> AsyncIterator[None]:
    async with GAMES.installed(kube):
        yield


@pytest.mark.usefixtures("kruise", "operator")
async def test_pods_of_another_group_are_never_half_served(scene: Scene) -> None:
    await KRUISE.make(scene, (0, 2, 3), serviceName="rooms", reserveOrdinals=[1])
    await scene.make_route()
    stalled = await scene.wait_condition("Stalled", "True", "ForeignPods")
    assert "no StatefulSet 'rooms'" in stalled["message"]
    assert (
        "not routed: pods rooms-0, rooms-2, rooms-3 of StatefulSet 'rooms' (apps.kruise.io/v1beta1)"
        in stalled["message"]
    )
    await scene.wait_condition("Ready", "False", "Stalled")
    assert await scene.states() == {}

    await scene.make_workload(2, start=5)
    await scene.wait_condition("Stalled", "False")
    degraded = await scene.wait_condition("Degraded", "True", "ForeignPods")
    assert "rooms-3" in degraded["message"]
    await scene.wait_all_ready((5, 6))
    await scene.wait_resyncs(2)
    assert set(await scene.states()) == {5, 6}
    await end_pods(scene, (0, 2, 3))
    await scene.wait_condition("Degraded", "False", "Sound")


@pytest.mark.usefixtures("kruise")
async def test_a_workload_of_another_group_is_served_by_its_scale_and_its_pods_own_ordinals(
    make_scene: Any, start_operator: Any
) -> None:
    scene: Scene = await make_scene(values=KRUISE.listed)
    start_operator(scene)
    await KRUISE.make(scene, (0, 2, 3), serviceName="rooms", reserveOrdinals=[1])
    await scene.make_route({"workloadRef": KRUISE.ref, "address": {"port": 7777}})
    await scene.wait_all_ready((0, 2, 3))
    await scene.wait_condition("Ready", "True", "Routing")
    assert (await scene.records())[3].address == f"rooms-3.rooms.{scene.namespace}.svc:7777"
    await scene.link(90, (0, 2, 3))

    await KRUISE.scale(scene, 2)
    await scene.wait_states({3: (DENY, Reason.SCALED_DOWN)})
    await scene.wait_links_off(3)
    await end_pods(scene, (3,))
    await scene.wait_states({3: (SHUTDOWN, Reason.GONE)})

    await scene.make_workload(2, start=5)  # one of the same name, of Kubernetes itself
    degraded = await scene.wait_condition("Degraded", "True", "ForeignPods")
    assert "not routed: pod" in degraded["message"]
    assert "of StatefulSet 'rooms' (apps/v1)" in degraded["message"]
    await scene.wait_resyncs(2)
    assert {ordinal for ordinal, (state, _) in (await scene.states()).items() if state is READY} == {0, 2}
    assert await scene.moved_off() == {3: 30}
    await scene.check_links(on=(0, 2))


@pytest.mark.usefixtures("games")
@pytest.mark.parametrize("policy", ["Move", "Keep"])
async def test_where_only_the_pods_tell_their_ordinals_a_pod_that_goes_for_good_is_drained(
    make_scene: Any, start_operator: Any, policy: str
) -> None:
    scene: Scene = await make_scene(values=GAMES.listed)
    start_operator(scene)
    await GAMES.make(scene, (0, 4, 7), reserveGameServerIds=[1])
    await scene.make_route({"workloadRef": GAMES.ref, "failover": {"onReplace": policy, "delaySeconds": 60}})
    await scene.wait_all_ready((0, 4, 7))
    await scene.link(90, (0, 4, 7))

    await GAMES.scale(scene, 2)
    await scene.delete_pod(4, grace_seconds=60)  # which one goes is up to its controller
    await scene.wait_states({4: (DENY, Reason.TERMINATING)})
    await scene.wait_links_off(4)
    await end_pods(scene, (4,))
    await scene.wait_states({4: (SHUTDOWN, Reason.GONE)})
    assert await scene.moved_off() == {4: 30}

    await scene.delete_pod(7, grace_seconds=60)  # an update: another one will take its place
    await scene.wait_states({7: (DENY, Reason.TERMINATING)})
    if policy == "Move":
        await scene.wait_links_off(7)
        return
    await end_pods(scene, (7,))
    await scene.wait_states({7: (SHUTDOWN, Reason.REPLACING)})
    await scene.wait_resyncs(2)
    assert await scene.moved_off() == {4: 30}, "users wait for the successor"


@pytest.mark.usefixtures("kruise")
async def test_what_the_operator_may_not_read_is_refused_with_the_way_out(make_scene: Any, start_operator: Any) -> None:
    scene: Scene = await make_scene(lacks=("statefulsets",))
    start_operator(scene)
    await KRUISE.make(scene, (0,))
    await scene.make_route({"workloadRef": KRUISE.ref})
    stalled = await scene.wait_condition("Stalled", "True", "MissingPermission")
    assert "chart's value workloads" in stalled["message"]
    assert await scene.states() == {}


@pytest.mark.usefixtures("kruise")
async def test_the_doctor_sees_what_no_operator_has_told(scene: Scene, kubeconfig: Path, redis_url: str) -> None:
    await KRUISE.make(scene, (0,))
    await make_pod(scene, 1)
    await scene.make_workload(2, start=1, by_hand=True, on_delete=True)
    await scene.make_route({"health": {"container": "ap"}})
    found = await asyncio.to_thread(doctor, scene.namespace, kubeconfig, "--redis-url", redis_url)
    messages = [
        finding["message"] for finding in found if finding["severity"] == "error" and finding["check"] == "pods"
    ]
    assert len(messages) == 2
    assert "names 'ap'" in messages[0]
    assert "pod rooms-0 of StatefulSet 'rooms' (apps.kruise.io/v1beta1)" in messages[1]


UNFIT = {
    "an API that nobody serves": ("games.example/v1", "GameServerSet", "does not serve games.example/v1"),
    "a kind that nobody knows": ("batch/v1", "Room", "no kind Room in batch/v1"),
    "a kind that cannot be scaled": ("batch/v1", "Job", "no scale subresource"),
}


@pytest.mark.usefixtures("operator")
@pytest.mark.parametrize(("api", "kind", "words"), UNFIT.values(), ids=UNFIT)
async def test_what_cannot_be_routed_is_refused_with_words(scene: Scene, api: str, kind: str, words: str) -> None:
    await scene.make_workload(1)
    await scene.make_route({"workloadRef": {"apiVersion": api, "kind": kind}})
    stalled = await scene.wait_condition("Stalled", "True", "UnsupportedWorkload")
    assert words in stalled["message"]
    assert await scene.states() == {}
