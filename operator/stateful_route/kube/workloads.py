"""Workloads: StatefulSets, and what else owns pods with lasting ordinals and can be scaled."""

from collections.abc import Mapping
from typing import Any

from stateful_route.domain.errors import StatefulRouteError
from stateful_route.domain.selector import Selector
from stateful_route.domain.workload_ref import WorkloadFacts, WorkloadRef, reserved_ordinals
from stateful_route.kube.client import Kube, KubeError

Body = Mapping[str, Any]
NOTHING: Body = {}
RESERVED = ("reserveOrdinals", "reserveGameServerIds")
"""Fields in which workloads name the ordinals that they leave out."""


class UnsupportedWorkload(StatefulRouteError):  # noqa: N818  names the fact, as the package's other errors
    """What a StatefulRoute names cannot be routed; the message says why, and what can be."""


def stateful_set_facts(body: Body) -> WorkloadFacts:
    """The facts in a StatefulSet's body."""
    spec = body["spec"]
    replicas, selector = int(spec.get("replicas", 1)), Selector.from_body(spec.get("selector"))
    return _facts(body, replicas, selector, numbered=True)


async def list_stateful_sets(kube: Kube, namespace: str | None) -> dict[tuple[str, str], WorkloadFacts]:
    """The facts of all StatefulSets of a namespace (None: of all), by namespace and name.

    Raises:
        KubeError: see there.
    """
    where = f"/namespaces/{namespace}" if namespace else ""
    return {
        (body["metadata"]["namespace"], body["metadata"]["name"]): stateful_set_facts(body)
        async for page in kube.pages(f"/apis/apps/v1{where}/statefulsets", quickly=True)
        for body in page.get("items") or ()
    }


async def get_workload(kube: Kube, namespace: str, ref: WorkloadRef) -> WorkloadFacts | None:
    """The workload's facts, or None when it does not exist.

    Raises:
        KubeError: it cannot be read.
        UnsupportedWorkload: the API server knows no such kind, or it cannot be scaled.
    """
    try:
        if ref.built_in:
            path = f"/apis/apps/v1/namespaces/{namespace}/statefulsets/{ref.name}"
            return stateful_set_facts(await kube.get_quickly(path))
        path = f"/apis/{ref.group}/{ref.version}/namespaces/{namespace}/{await plural_of(kube, ref)}/{ref.name}"
        body, scale = await kube.get_quickly(path), await kube.get_quickly(f"{path}/scale")
    except KubeError as error:
        if error.not_found:
            return None
        raise
    return _scaled_facts(ref, body, scale)


def _scaled_facts(ref: WorkloadRef, body: Body, scale: Body) -> WorkloadFacts:
    """The facts of what is no StatefulSet of Kubernetes itself, in its body and its scale subresource."""
    text = (scale.get("status") or NOTHING).get("selector") or ""
    try:
        selector = Selector.parse(text) if text else Selector.from_body((body.get("spec") or NOTHING).get("selector"))
    except (ValueError, KeyError, TypeError, AttributeError):
        selector = Selector()
    if not selector.requirements:
        raise UnsupportedWorkload(f"the scale subresource of {ref} names no selector, by which its pods could be found")
    replicas = int((scale.get("spec") or NOTHING).get("replicas", 0))
    running = int((scale.get("status") or NOTHING).get("replicas", 0))
    return _facts(body, replicas, selector, numbered=ref.kind == "StatefulSet", running=running)


def _facts(
    body: Body, replicas: int, selector: Selector, *, numbered: bool, running: int | None = None
) -> WorkloadFacts:
    meta, spec = body["metadata"], body.get("spec") or NOTHING
    template = (spec.get("template") or NOTHING).get("spec") or NOTHING
    return WorkloadFacts(
        name=meta["name"],
        uid=meta["uid"],
        resource_version=int(meta.get("resourceVersion", 0)),
        start=int((spec.get("ordinals") or NOTHING).get("start", 0)),
        replicas=replicas,
        selector=selector,
        governing_service=spec.get("serviceName") or "",
        containers=tuple(str(container["name"]) for container in template.get("containers") or ()),
        reserved=frozenset[int]().union(*(reserved_ordinals(spec.get(field) or ()) for field in RESERVED)),
        numbered=numbered,
        running=running,
        grace_seconds=template.get("terminationGracePeriodSeconds"),
    )


async def plural_of(kube: Kube, ref: WorkloadRef) -> str:
    """The resource of that kind, by what the API server tells everybody of its APIs.

    Raises:
        KubeError: it cannot be asked.
        UnsupportedWorkload: it knows no such kind, or it cannot be scaled.
    """
    try:
        served = (await kube.get_quickly(f"/apis/{ref.group}/{ref.version}")).get("resources") or ()
    except KubeError as error:
        if not error.not_found:
            raise
        raise UnsupportedWorkload(f"the API server does not serve {ref.group}/{ref.version}") from error
    names = {str(resource["name"]) for resource in served if resource.get("kind") == ref.kind}
    plural = next((name for name in sorted(names) if "/" not in name), None)
    if plural is None:
        raise UnsupportedWorkload(f"the API server knows no kind {ref.kind} in {ref.group}/{ref.version}")
    scalable = f"{plural}/scale" in {str(resource["name"]) for resource in served}
    if not scalable:
        raise UnsupportedWorkload(f"{plural}.{ref.group} has no scale subresource, which says how many pods it wants")
    return plural
