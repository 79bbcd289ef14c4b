"""What the doctor looks at in one service: the operator, both sides of the story, DNS, the time to drain."""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta

from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.cli.inspect.session import Session
from stateful_route.cli.inspect.status import bad_conditions
from stateful_route.domain.diagnosis import Finding, Severity, worst
from stateful_route.domain.drift import ServiceFacts, judge_drift, judge_grace
from stateful_route.kube.client import KubeError
from stateful_route.kube.objects import cluster_id
from stateful_route.kube.workloads import UnsupportedWorkload, get_workload
from stateful_route.reconcile.oddities import missing, oddities
from stateful_route.reconcile.spec import policy_of
from stateful_route.store.connection import Store
from stateful_route.store.index import count_links
from stateful_route.store.states import get_service

SECOND_LOOK_SECONDS = 3.0
"""What is still different then is no moment's difference: the operator needs milliseconds."""

SILENT = timedelta(seconds=180)
"""The operator writes into the status of one StatefulRoute, of all that it serves, once a minute."""

DEFAULT_GRACE_SECONDS = 30


async def examine_service(session: Session, route: StatefulRoute, store: Store) -> list[Finding]:
    """All that is known of one service; errors as of the calls."""
    facts = await _facts(session, route, store)
    drift = list(judge_drift(facts))
    if worst(drift) is not Severity.OK:
        await asyncio.sleep(SECOND_LOOK_SECONDS)
        facts = await _facts(session, route, store)
        drift = list(judge_drift(facts))
    return [*drift, *await examine_workload(session, route, facts)]


async def examine_workload(session: Session, route: StatefulRoute, facts: ServiceFacts | None = None) -> list[Finding]:
    """The workload and its Service; ``facts``: of the pods and their links, None: the store could not be asked."""
    name, namespace, ref = route.metadata.name, route.metadata.namespace, route.workload
    try:
        workload = await get_workload(session.kube, namespace, ref)
    except UnsupportedWorkload as error:
        advice = "name a StatefulSet, or what owns pods with ordinals and can be scaled, in spec.workloadRef"
        return [Finding(Severity.ERROR, "workload", name, f"{ref} cannot be routed: {error}", advice)]
    _, present, aside = await session.roster(route)
    told = {condition.reason for condition in route.status.conditions}
    odd = oddities(present.values(), aside, workload, route.spec.health.container)
    found = [Finding(Severity.ERROR, "pods", name, message) for reason, message in odd if reason not in told]
    if workload is None:
        advice = "create it, or name another in spec.workloadRef"
        _, message = missing(ref, namespace, aside)
        return [*found, Finding(Severity.ERROR, ref.kind, name, message, advice)]
    if "{ip}" not in (route.spec.address.template or ""):
        found.append(await _of_headless_service(session, route, workload.governing_service))
    grace = DEFAULT_GRACE_SECONDS if workload.grace_seconds is None else workload.grace_seconds
    pods = {o: pod.name for o, pod in facts.pods.items()} if facts else {}
    found.append(judge_grace(name, grace, policy_of(route).drain, facts.links if facts else None, pods))
    return found


def last_at_work(route: StatefulRoute, seen: Iterable[StatefulRoute]) -> datetime | None:
    """When the operator of a StatefulRoute last wrote into the status of any that it serves; None: nowhere to be seen.

    ``seen``: all StatefulRoutes that can be seen; those that name another operator say nothing of this one.
    """
    operator = _operator(route)
    times = [one.status.last_probe_time for one in (route, *seen) if _operator(one) == operator]
    return max((at for at in times if at is not None), default=None)


def examine_operator(route: StatefulRoute, wrote: datetime | None, now: datetime | None) -> list[Finding]:
    """Whether an operator is at work, and what it says is wrong.

    Args:
        route: Which it serves.
        wrote: `last_at_work`.
        now: By the API server's clock; None: unknown.
    """
    name, status = route.metadata.name, route.status
    if status.observed_generation is None:
        advice = "is an operator running, and does it serve this namespace (STATEFUL_ROUTE_NAMESPACES)?"
        return [Finding(Severity.ERROR, "operator", name, "no operator has seen this StatefulRoute", advice)]
    found = [
        Finding(
            Severity.ERROR,
            "condition",
            name,
            f"{kind}: {reason}: {message}",
            "its reason says what to do: docs/reasons.md",
        )
        for kind, reason, message in bad_conditions(route)
    ]
    silent = now - wrote if now and wrote else None
    if silent is not None and silent > SILENT:
        message = f"it last wrote into a status {int(silent.total_seconds())} s ago; it does so every 60 s"
        return [*found, Finding(Severity.ERROR, "operator", name, message, "look at its pod and its log")]
    if silent is None:
        message = "it has seen this StatefulRoute; no StatefulRoute that you may list says when it was last at work"
        return [*found, Finding(Severity.UNKNOWN, "operator", name, message)]
    message = f"it wrote into a status {max(0, int(silent.total_seconds()))} s ago"
    return [*found, Finding(Severity.OK, "operator", name, message)]


def _operator(route: StatefulRoute) -> str | None:
    return route.status.operator.name if route.status.operator else None


async def _facts(session: Session, route: StatefulRoute, store: Store) -> ServiceFacts:
    _, pods = await session.workload(route)
    target = session.service(route)
    view, links = await get_service(store, target), await count_links(store, target)
    try:
        cluster = await cluster_id(session.kube)
    except KubeError as error:
        if not error.forbidden:
            raise
        cluster = "?"
    return ServiceFacts(
        name=route.metadata.name,
        pods=pods,
        views=view.pods,
        owner=view.owner,
        wanted_owner=f"{cluster}/{route.metadata.uid}",
        links=links,
    )


async def _of_headless_service(session: Session, route: StatefulRoute, service: str) -> Finding:
    check, name = "headless Service", route.metadata.name
    if not service:
        message = "the StatefulSet has no serviceName: its pods have no names in DNS"
        advice = "set it (the StatefulSet must be made anew), or address.template: '{ip}'"
        return Finding(Severity.WARNING, check, name, message, advice)
    try:
        spec = (await session.kube.get(f"/api/v1/namespaces/{route.metadata.namespace}/services/{service}"))["spec"]
    except KubeError as error:
        if error.forbidden:
            return Finding(Severity.UNKNOWN, check, name, f"you may not read the Service {service!r}")
        if not error.not_found:
            raise
        message = f"there is no Service {service!r}: the pods' names are not in DNS"
        return Finding(Severity.WARNING, check, name, message, f"create it, headless (clusterIP: None): {service}")
    if spec.get("clusterIP") != "None":
        message = f"the Service {service!r} is not headless: its pods' names are not in DNS"
        return Finding(Severity.WARNING, check, name, message, "a Service with clusterIP: None, as serviceName")
    if not spec.get("publishNotReadyAddresses"):
        message = f"the Service {service!r} hides pods that are not Ready, which still have their users"
        return Finding(Severity.WARNING, check, name, message, "publishNotReadyAddresses: true in its spec")
    return Finding(Severity.OK, check, name, f"{service!r} publishes pods that are not Ready")
