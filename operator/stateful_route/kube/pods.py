"""Pods: how a body becomes facts, and how the pods of a workload are listed."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from stateful_route.domain.incarnation import Container
from stateful_route.domain.names import MAX_ORDINAL
from stateful_route.domain.pod import PodFacts
from stateful_route.domain.selector import Selector
from stateful_route.kube.client import Kube
from stateful_route.kube.containers import routed_container, status_of
from stateful_route.kube.membership import POD_NAME_LABEL

POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"
DRAIN_ANNOTATION = "statefulroute.io/drain"

Body = Mapping[str, Any]


def pod_facts(
    body: Body, container: str | None = None, template: Sequence[str] = (), *, disowned: bool = False
) -> PodFacts | None:
    """What the domain wants to know of a pod, or None when it has no ordinal that we can store.

    Args:
        body: The pod as the API server sends it.
        container: ``health.container``; None: the spec names none.
        template: Names of the containers in the workload's pod template; empty: not known.
        disowned: Its labels have left the selector of its workload.
    """
    meta, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    ordinal = ordinal_of(body)
    if ordinal is None or ordinal > MAX_ORDINAL:
        return None
    routed = routed_container(body, container, template)
    ends = list(status.get("containerStatuses") or ())
    if ends and (last := status_of(body, routed)) not in ends:  # a native sidecar ends after the others
        ends.append(last)
    ready = next((c for c in status.get("conditions") or () if c.get("type") == "Ready"), None)
    return PodFacts(
        name=meta["name"],
        ordinal=ordinal,
        uid=meta["uid"],
        resource_version=int(meta.get("resourceVersion", 0)),
        restarts=int(status_of(body, routed).get("restartCount", 0)),
        phase=status.get("phase", "Pending"),
        ready=ready is not None and ready.get("status") == "True",
        ready_changed=timestamp(ready["lastTransitionTime"]) if ready and ready.get("lastTransitionTime") else None,
        deletion_time=timestamp(meta["deletionTimestamp"]) if meta.get("deletionTimestamp") else None,
        grace_seconds=_grace_seconds(meta, spec),
        container=_container_now(status_of(body, routed)),
        containers_terminated=bool(ends) and all("terminated" in (c.get("state") or {}) for c in ends),
        drain_requested=_asks((meta.get("annotations") or {}).get(DRAIN_ANNOTATION)),
        node=spec.get("nodeName"),
        ip=status.get("podIP"),
        routed=routed,
        disowned=disowned,
    )


def timestamp(text: str) -> float:
    """Seconds since the epoch of an API server's time, e.g. ``2026-11-21T10:00:00Z``."""
    return datetime.fromisoformat(text).timestamp()


def ordinal_of(body: Body) -> int | None:
    """The pod's own index, by its label or its name; None: it has none."""
    meta = body["metadata"]
    text = (meta.get("labels") or {}).get(POD_INDEX_LABEL) or meta["name"].rpartition("-")[2]
    return int(text) if text.isascii() and text.isdecimal() else None


async def list_pods(kube: Kube, namespace: str, selector: Selector) -> tuple[list[Body], int]:
    """The bodies of all pods in the namespace that are selected and named as a StatefulSet's, and how new the list is.

    Raises:
        KubeError: see there.
    """
    path = f"/api/v1/namespaces/{namespace}/pods"
    listed = await kube.get(path, labelSelector=selector.query([POD_NAME_LABEL]))
    return list(listed.get("items") or ()), int(listed["metadata"]["resourceVersion"])


async def pages_of_pods(kube: Kube, namespace: str | None) -> AsyncIterator[tuple[list[Body], int]]:
    """All pods of a namespace (None: of all) that are named as a StatefulSet's, some at a time, as of one moment.

    Each page comes with how new the list is. What was noted of who has set which field is left out.

    Raises:
        KubeError: see there; also when the pages take so long that the API server has forgotten the moment.
    """
    where = f"/namespaces/{namespace}" if namespace else ""
    async for page in kube.pages(f"/api/v1{where}/pods", labelSelector=POD_NAME_LABEL):
        bodies = list(page.get("items") or ())
        for body in bodies:
            body["metadata"].pop("managedFields", None)
        yield bodies, int(page["metadata"]["resourceVersion"])


def _container_now(status: Body) -> Container:
    running = (status.get("state") or {}).get("running") or {}
    return Container(status.get("containerID") or "", running.get("startedAt") or "", status.get("name") or "")


def _grace_seconds(meta: Body, spec: Body) -> float | None:
    if not meta.get("deletionTimestamp"):
        return None
    stated = meta.get("deletionGracePeriodSeconds", spec.get("terminationGracePeriodSeconds"))
    return None if stated is None else float(stated)


def _asks(value: str | None) -> bool:
    return value is not None and value.strip().lower() not in {"", "false", "no", "0"}
