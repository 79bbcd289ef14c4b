"""Pods: how a body becomes facts, and how the pods of a StatefulSet are listed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from stateful_route.domain.names import MAX_ORDINAL
from stateful_route.domain.pod import PodFacts
from stateful_route.kube.client import Kube

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
"""On every pod of a StatefulSet and on no other: the server-side selector of the watch."""

POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"
DRAIN_ANNOTATION = "statefulroute.io/drain"

Body = Mapping[str, Any]


def stateful_set_of(body: Body) -> str | None:
    """The name of the StatefulSet that controls the pod, or None.

    A pod that nobody controls serves on when its StatefulSet was deleted alone (``--cascade=orphan``, to make it anew
    with other immutable fields): it still belongs to that name, and is adopted when the StatefulSet is back.
    """
    meta = body["metadata"]
    for owner in meta.get("ownerReferences") or ():
        if owner.get("controller"):
            return str(owner["name"]) if owner.get("kind") == "StatefulSet" else None
    orphan = meta["name"] if (meta.get("labels") or {}).get(POD_NAME_LABEL) == meta["name"] else ""
    return orphan.rpartition("-")[0] or None


def pod_facts(body: Body, container: str | None = None) -> PodFacts | None:
    """What the domain wants to know of a pod, or None when it has no ordinal that we can store.

    Args:
        body: The pod as the API server sends it.
        container: The routed container, whose restarts count; None: the first one.
    """
    meta, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    ordinal = _ordinal(meta)
    if ordinal is None:
        return None
    statuses = status.get("containerStatuses") or ()
    ready = next((c for c in status.get("conditions") or () if c.get("type") == "Ready"), None)
    return PodFacts(
        name=meta["name"],
        ordinal=ordinal,
        uid=meta["uid"],
        resource_version=int(meta.get("resourceVersion", 0)),
        created=timestamp(meta["creationTimestamp"]),
        restarts=_restarts(spec, statuses, container),
        phase=status.get("phase", "Pending"),
        ready=ready is not None and ready.get("status") == "True",
        ready_changed=timestamp(ready["lastTransitionTime"]) if ready and ready.get("lastTransitionTime") else None,
        deletion_time=timestamp(meta["deletionTimestamp"]) if meta.get("deletionTimestamp") else None,
        containers_terminated=bool(statuses) and all("terminated" in (c.get("state") or {}) for c in statuses),
        drain_requested=_asks((meta.get("annotations") or {}).get(DRAIN_ANNOTATION)),
        node=spec.get("nodeName"),
        ip=status.get("podIP"),
    )


def timestamp(text: str) -> float:
    """Seconds since the epoch of an API server's time, e.g. ``2026-11-21T10:00:00Z``."""
    return datetime.fromisoformat(text).timestamp()


async def list_pods(kube: Kube, namespace: str, selector: Mapping[str, str]) -> tuple[list[Body], int]:
    """The bodies of all StatefulSet pods in the namespace that have the given labels, and how new the list is.

    Raises:
        KubeError: see there.
    """
    labels = ",".join([POD_NAME_LABEL, *(f"{name}={value}" for name, value in sorted(selector.items()))])
    listed = await kube.get(f"/api/v1/namespaces/{namespace}/pods", labelSelector=labels)
    return list(listed.get("items") or ()), int(listed["metadata"]["resourceVersion"])


def _ordinal(meta: Body) -> int | None:
    text = (meta.get("labels") or {}).get(POD_INDEX_LABEL) or meta["name"].rpartition("-")[2]
    return int(text) if text.isdecimal() and int(text) <= MAX_ORDINAL else None


def _restarts(spec: Body, statuses: Any, container: str | None) -> int:
    containers = spec.get("containers") or ()
    name = container or (containers[0]["name"] if containers else None)
    return next((int(c.get("restartCount", 0)) for c in statuses if c.get("name") == name), 0)


def _asks(value: str | None) -> bool:
    return value is not None and value.strip().lower() not in {"", "false", "no", "0"}
