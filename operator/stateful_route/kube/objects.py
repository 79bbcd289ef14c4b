"""The other objects that the operator reads and writes: StatefulRoutes, Secrets, nodes, Events."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

from stateful_route.domain.errors import StatefulRouteError
from stateful_route.kube.client import Kube, KubeError

GROUP, VERSION, PLURAL, KIND = "statefulroute.io", "v1alpha1", "statefulroutes", "StatefulRoute"
FINALIZER = f"{GROUP}/cleanup"
COMPONENT = "stateful-route"

MAX_NOTE_BYTES = 1024
"""What the API server takes of an Event's note."""

Body = Mapping[str, Any]


class SecretLacking(StatefulRouteError):  # noqa: N818  names the fact
    """There is no such Secret, it has no such key, or what the key holds is no text; the message says which of them."""


async def list_routes(kube: Kube, namespace: str | None) -> list[Body]:
    """All StatefulRoutes of a namespace (None: of all)."""
    where = f"/namespaces/{namespace}" if namespace else ""
    listed = await kube.get(f"/apis/{GROUP}/{VERSION}{where}/{PLURAL}")
    return list(listed.get("items") or ())


async def patch_status(kube: Kube, namespace: str, name: str, status: Body, resource_version: str = "") -> Body:
    """Merge into the status of a StatefulRoute; what this made of it.

    ``resource_version``: only if nobody has changed the object since (`KubeError.conflict`); empty: in any case.
    """
    meta = {"metadata": {"resourceVersion": resource_version}} if resource_version else {}
    return await kube.merge(f"{_route(namespace, name)}/status", {**meta, "status": status})


async def list_crds(kube: Kube, name: str) -> list[Body]:
    """The CustomResourceDefinition of that name, if there is one; by ``list``, which the operator may, not ``get``."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    return list((await kube.get(path, fieldSelector=f"metadata.name={name}")).get("items") or ())


async def set_finalizers(kube: Kube, namespace: str, name: str, finalizers: list[str], resource_version: str) -> None:
    """Replace the finalizers, unless somebody has changed the object since (`KubeError.conflict`)."""
    meta = {"finalizers": finalizers, "resourceVersion": resource_version}
    await kube.merge(_route(namespace, name), {"metadata": meta})


async def read_secret(kube: Kube, namespace: str, name: str, key: str) -> str:
    """The text under ``key`` of a Secret, without spaces around it; never empty.

    Raises:
        SecretLacking: there is no such Secret, key or text.
        KubeError: the Secret cannot be read.
    """
    try:
        body = await kube.get_quickly(f"/api/v1/namespaces/{namespace}/secrets/{name}")
    except KubeError as error:
        if not error.not_found:
            raise
        raise SecretLacking(f"there is no Secret {name!r} in namespace {namespace!r}") from None
    return text_of_secret(body, key)


def text_of_secret(body: Body, key: str) -> str:
    """The text under ``key`` in a Secret's body, without spaces around it; never empty.

    Raises:
        SecretLacking: there is no such key, or no text under it.
    """
    meta, data = body["metadata"], body.get("data") or {}
    which = f"Secret {meta['name']!r} in namespace {meta['namespace']!r}"
    if key not in data:
        there = ", ".join(repr(name) for name in sorted(data)) or "none at all"
        raise SecretLacking(f"{which} has no key {key!r}, its keys are: {there}")
    try:
        text = base64.b64decode(data[key]).decode().strip()
    except (binascii.Error, UnicodeDecodeError):
        raise SecretLacking(f"key {key!r} of {which} holds no text in UTF-8") from None
    if not text:
        raise SecretLacking(f"key {key!r} of {which} is empty")
    return text


async def is_node_lost(kube: Kube, name: str) -> bool:
    """True when the node is gone, or its Ready condition is not True; False when nobody answers.

    Raises:
        KubeError: ``forbidden``: we may not look.
    """
    try:
        node = await kube.get(f"/api/v1/nodes/{name}")
    except KubeError as error:
        if error.forbidden:
            raise
        return error.not_found
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") != "True" for c in conditions)


async def cluster_id(kube: Kube) -> str:
    """The uid of the namespace kube-system: the usual name of a cluster that has none."""
    body = await kube.get_quickly("/api/v1/namespaces/kube-system")
    return str(body["metadata"]["uid"])


async def is_namespace_ending(kube: Kube, name: str) -> bool:
    """True while the namespace is being deleted, or when it is gone."""
    try:
        return "deletionTimestamp" in (await kube.get_quickly(f"/api/v1/namespaces/{name}"))["metadata"]
    except KubeError as error:
        if error.not_found:
            return True
        raise


@dataclass(frozen=True, slots=True)
class Notice:
    """A Kubernetes Event to post: how it is meant, a fixed reason, and what happened, for people."""

    kind: Literal["Normal", "Warning"]
    reason: str
    message: str


async def post_event(kube: Kube, regarding: Body, notice: Notice) -> None:
    """Post an Event on a StatefulRoute, given by its metadata (name, namespace, uid)."""
    now = datetime.now(UTC)
    await kube.create(
        f"/apis/events.k8s.io/v1/namespaces/{regarding['namespace']}/events",
        {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "name": f"{regarding['name'][:200]}.{uuid4().hex[:16]}",
                "namespace": regarding["namespace"],
            },
            "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "type": notice.kind,
            "reason": notice.reason,
            "action": notice.reason,
            "note": notice.message.encode()[:MAX_NOTE_BYTES].decode(errors="ignore"),
            "regarding": {
                "apiVersion": f"{GROUP}/{VERSION}",
                "kind": KIND,
                "name": regarding["name"],
                "namespace": regarding["namespace"],
                "uid": regarding["uid"],
            },
            "reportingController": f"{GROUP}/operator",
            "reportingInstance": COMPONENT,
        },
    )


def _route(namespace: str, name: str) -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{PLURAL}/{name}"
