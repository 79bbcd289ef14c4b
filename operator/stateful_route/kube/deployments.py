"""Deployments: how one is stopped, and how one sees that it has."""

from dataclasses import dataclass

from stateful_route.kube.client import Kube, KubeError

ENDED = frozenset({"Succeeded", "Failed"})


@dataclass(frozen=True, slots=True)
class Deployment:
    """A Deployment, and the label selector of its pods (``name=value,…``)."""

    namespace: str
    name: str
    selector: str


async def scale_to_zero(kube: Kube, deployment: Deployment) -> None:
    """Have its pods ended; they are asked, and take their time. One that does not exist is stopped already."""
    path = f"/apis/apps/v1/namespaces/{deployment.namespace}/deployments/{deployment.name}/scale"
    try:
        await kube.merge(path, {"spec": {"replicas": 0}})
    except KubeError as error:
        if not error.not_found:
            raise


async def running_pods(kube: Kube, deployment: Deployment) -> list[str]:
    """The names of its pods that have not ended, Terminating ones among them."""
    listed = await kube.get(f"/api/v1/namespaces/{deployment.namespace}/pods", labelSelector=deployment.selector)
    pods = listed.get("items") or ()
    return sorted(pod["metadata"]["name"] for pod in pods if (pod.get("status") or {}).get("phase") not in ENDED)
