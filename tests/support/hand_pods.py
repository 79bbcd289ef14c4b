"""Pods that a test makes itself, as a webhook or a controller of another group would leave them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from support.scene import Scene, _stamp

Body = Mapping[str, Any]


async def make_pod(
    scene: Scene,
    ordinal: int,
    *,
    containers: Sequence[str] = ("app",),
    sidecars: Sequence[str] = (),
    annotations: Mapping[str, str] | None = None,
    owner: Body | None = None,
) -> None:
    """A Running and Ready pod of the workload's name; kwok does not know its node.

    Args:
        scene: Whose workload.
        ordinal: Its own.
        containers: Their names, in their order.
        sidecars: Names of native sidecars.
        annotations: Of the pod.
        owner: The object that controls it; None: nobody, so that a StatefulSet adopts it.
    """
    name = f"{scene.name}-{ordinal}"
    labels = {
        "app": scene.name,
        "statefulset.kubernetes.io/pod-name": name,
        "apps.kubernetes.io/pod-index": str(ordinal),
    }
    meta: dict[str, Any] = {"name": name, "labels": labels, "annotations": dict(annotations or {})}
    if owner is not None:
        identity = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "controller": True}
        meta["ownerReferences"] = [{**identity, "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}]
    spec = {
        "nodeName": f"by-hand-{scene.namespace}",
        "hostname": name,
        "subdomain": scene.name,
        "containers": [{"name": container, "image": "none"} for container in containers],
        "initContainers": [{"name": sidecar, "image": "none", "restartPolicy": "Always"} for sidecar in sidecars],
    }
    await scene.kube.create(scene.pods_path, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
    status = {
        "phase": "Running",
        "containerStatuses": _running(containers),
        "initContainerStatuses": _running(sidecars),
    }
    await scene.kube.merge(f"{scene.pod_path(ordinal)}/status", {"status": status})
    await scene.set_ready(ordinal, ready=True)


async def restart(scene: Scene, ordinal: int, container: str) -> None:
    """One container, or native sidecar, has ended and was started again in place."""
    status = (await scene.pod(ordinal))["status"]
    lists = {name: status.get(name) or [] for name in ("containerStatuses", "initContainerStatuses")}
    statuses = [*lists["containerStatuses"], *lists["initContainerStatuses"]]
    (one,) = (each for each in statuses if each["name"] == container)
    one["restartCount"] += 1
    one["containerID"] = f"containerd://{container}-{one['restartCount']}"
    await scene.kube.merge(f"{scene.pod_path(ordinal)}/status", {"status": lists})


async def end_pods(scene: Scene, ordinals: Iterable[int]) -> None:
    """The pods leave the API."""
    for ordinal in ordinals:
        await scene.end_pod(ordinal)


def _running(containers: Iterable[str]) -> list[dict[str, Any]]:
    started = {"image": "none", "imageID": "", "ready": True, "restartCount": 0}
    state = {"running": {"startedAt": _stamp()}}
    return [{**started, "name": name, "containerID": f"containerd://{name}-0", "state": state} for name in containers]
