"""Which Kubernetes rights the commands, and the operator, need; whether this user has them."""

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.cli.inspect.session import Session
from stateful_route.domain.diagnosis import Finding, Severity
from stateful_route.kube.lease import account_namespace
from stateful_route.kube.objects import GROUP, PLURAL
from stateful_route.kube.workloads import UnsupportedWorkload, plural_of


@dataclass(frozen=True, slots=True)
class Right:
    """A verb on a resource of a namespace.

    Attributes:
        verb: As in a Role.
        group: The API group; empty: the core.
        resource: In the plural; a subresource after a slash.
        what_for: What does not work without it.
        name: Of the one object; empty: of any.
        everywhere: It is a cluster's resource, not a namespace's.
        namespace: Where; empty: in the namespace that is looked at.
    """

    verb: str
    group: str
    resource: str
    what_for: str
    name: str = ""
    everywhere: bool = False
    namespace: str = ""

    def __str__(self) -> str:
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        where = f" in namespace {self.namespace!r}" if self.namespace else ""
        return f"{self.verb} {resource}{f' {self.name!r}' if self.name else ''}{where}"


COMMANDS = (
    Right("list", GROUP, PLURAL, "all commands"),
    Right("list", "", "pods", "status, doctor"),
    Right("get", "", "pods", "links, drain, undrain"),
    Right("patch", "", "pods", "drain, undrain"),
    Right("get", "apps", "statefulsets", "status, doctor"),
    Right("get", "", "services", "doctor"),
)

WATCH = ("list", "watch")
CRD_LATER = "beginning when the resource definition is installed later"

OPERATOR = (
    *(Right(verb, GROUP, PLURAL, "the operator") for verb in ("list", "watch", "patch")),
    Right("patch", GROUP, f"{PLURAL}/status", "conditions and counts"),
    *(Right(verb, "", "pods", "the operator") for verb in WATCH),
    *(Right(verb, "apps", "statefulsets", "the operator") for verb in ("get", "list", "watch")),
    Right("create", "events.k8s.io", "events", "Events"),
    Right("get", "", "nodes", "telling that a node is lost", everywhere=True),
    Right("get", "", "namespaces", "the cluster's id", name="kube-system", everywhere=True),
    *(Right(verb, "apiextensions.k8s.io", "customresourcedefinitions", CRD_LATER, everywhere=True) for verb in WATCH),
)


def operator_rights(environment: Mapping[str, str]) -> tuple[Right, ...]:
    """What an operator needs that is started with these variables: fewer or more by what it serves, and its Lease."""
    rights = list(OPERATOR)
    if environment.get("STATEFUL_ROUTE_NAMESPACES"):
        later = "beginning when one of its namespaces is made later"
        rights += [Right(verb, "", "namespaces", later, everywhere=True) for verb in WATCH]
    where = ""
    if name := environment.get("STATEFUL_ROUTE_LEASE_NAME"):
        where = environment.get("STATEFUL_ROUTE_LEASE_NAMESPACE") or account_namespace() or ""
        lease = partial(Right, group="coordination.k8s.io", resource="leases", what_for="leading", namespace=where)
        rights += [lease(verb="create"), *(lease(verb=verb, name=name) for verb in ("get", "patch"))]
    home = (environment.get("STATEFUL_ROUTE_RELEASE") or where).partition("/")[0]
    served = [each.strip() for each in environment.get("STATEFUL_ROUTE_NAMESPACES", "").split(",") if each.strip()]
    if home and (not served or home in served):
        going = "letting go of its StatefulRoutes when its own namespace is deleted"
        rights.append(Right("get", "", "namespaces", going, name=home, everywhere=True))
    return tuple(rights)


async def examine_rights(session: Session, routes: Sequence[StatefulRoute], *, operator: bool) -> list[Finding]:
    """One finding for each right that is missing; one in all where none is."""
    secrets = [
        Right("get", "", "secrets", f"the store of {route.metadata.name}", name=route.spec.redis.url_secret_ref.name)
        for route in routes
        if route.spec.redis.url_secret_ref is not None
    ]
    workloads = [right for route in routes for right in await _of_workload(session, route)]
    mine = [*COMMANDS, *workloads, *([] if session.access.redis_url else secrets)]
    found = await _examined(session, mine, "your rights")
    if operator:
        rights = [*operator_rights(os.environ), *workloads, *secrets]
        found += await _examined(session, rights, "operator's rights")
    return found


async def _of_workload(session: Session, route: StatefulRoute) -> list[Right]:
    """What reading its workload needs, where that is no StatefulSet; none if it cannot be routed anyway."""
    ref = route.workload
    if ref.built_in:
        return []
    try:
        plural = await plural_of(session.kube, ref)
    except UnsupportedWorkload:
        return []
    what_for = f"the workload of {route.metadata.name} (the chart's value workloads)"
    return [Right("get", ref.group, resource, what_for) for resource in (plural, f"{plural}/scale")]


async def _examined(session: Session, rights: Sequence[Right], check: str) -> list[Finding]:
    missing = [right for right, granted in await _granted(session, rights) if not granted]
    if not missing:
        return [Finding(Severity.OK, check, session.namespace, "all that is needed")]
    severity = Severity.WARNING if check == "your rights" else Severity.ERROR
    return [
        Finding(
            severity,
            check,
            session.namespace,
            f"you may not {right}: without it {right.what_for} does not work",
            "have it granted by a Role, or for what is not a namespace's by a ClusterRole",
        )
        for right in missing
    ]


async def _granted(session: Session, rights: Iterable[Right]) -> list[tuple[Right, bool]]:
    async def ask(right: Right) -> tuple[Right, bool]:
        resource, _, subresource = right.resource.partition("/")
        attributes = {
            "verb": right.verb,
            "group": right.group,
            "resource": resource,
            "subresource": subresource,
            "name": right.name,
            "namespace": "" if right.everywhere else right.namespace or session.namespace,
        }
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = await session.kube.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
        return right, bool(answer["status"].get("allowed"))

    return list(await asyncio.gather(*map(ask, rights)))
