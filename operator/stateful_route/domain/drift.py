"""Where Kubernetes and the store tell different stories of a service, and whether its pods may drain in time."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from stateful_route.domain.aliveness import PodView
from stateful_route.domain.diagnosis import Finding, Severity
from stateful_route.domain.pod import PodFacts
from stateful_route.domain.policy import DrainPolicy
from stateful_route.domain.routing import RoutingState

CHECK = "drift"
WAIT = "if it stays so, look at the operator's log; it compares all facts each 30 s"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFacts:
    """One service as both sides tell of it.

    Attributes:
        name: The StatefulRoute's, for findings.
        pods: Pod index → the pod in Kubernetes.
        views: Pod index → what stands in the store.
        owner: ``<cluster id>/<StatefulRoute uid>`` as the store has it; None: nobody.
        wanted_owner: The same as it should be; a cluster id of ``?`` stands for any.
        links: Pod index → how many links it has.
    """

    name: str
    pods: Mapping[int, PodFacts]
    views: Mapping[int, PodView]
    owner: str | None
    wanted_owner: str
    links: Mapping[int, int]


def judge_drift(facts: ServiceFacts) -> Iterator[Finding]:
    """What differs; one finding that nothing does, if so.

    Some of it is the normal state of a moment in which something happens: look twice.
    """
    found = [*_of_owner(facts), *_of_pods(facts)]
    yield from found
    if not found:
        message = f"{len(facts.pods)} pods, as Kubernetes says; {sum(facts.links.values()):,} links"
        yield Finding(Severity.OK, CHECK, facts.name, message)


def judge_grace(
    name: str, grace_seconds: int, drain: DrainPolicy, links: Mapping[int, int] | None, pods: Mapping[int, str]
) -> Finding:
    """Whether a pod that is deleted has the time to give its users away.

    Args:
        name: The StatefulRoute's, for findings.
        grace_seconds: ``terminationGracePeriodSeconds`` of the pods.
        drain: How they are drained.
        links: Pod index → links; None: nobody could count them.
        pods: Pod index → the pod's name.
    """
    check = "grace period"
    if links is None:
        message = f"pods have {grace_seconds} s to stop; how many links they have to give away could not be looked at"
        return Finding(Severity.UNKNOWN, check, name, message)
    fullest = max(links, key=lambda ordinal: links[ordinal], default=None)
    most = 0 if fullest is None else links[fullest]
    needs = min(most / drain.links_per_second, drain.deadline_seconds)
    if drain.by_app:  # a pod with the library may take all the time that it is given
        needs = drain.deadline_seconds
    if needs <= grace_seconds:
        message = f"{grace_seconds} s for at most {most:,} links a pod, which are to be gone in {needs:.3g} s"
        return Finding(Severity.OK, check, name, message)
    where = "" if fullest is None else f" ({pods.get(fullest, fullest)} has {most:,} links)"
    return Finding(
        Severity.WARNING,
        check,
        name,
        f"pods have {grace_seconds} s to stop, a drain may take {needs:.3g} s{where}: the rest moves when they end",
        f"terminationGracePeriodSeconds: {int(needs) + 10}, or a lower drain.deadlineSeconds, or more linksPerSecond",
    )


def _of_owner(facts: ServiceFacts) -> Iterator[Finding]:
    if facts.owner is None:
        yield Finding(
            Severity.ERROR,
            CHECK,
            facts.name,
            "the store knows no owner of the service: no operator has served it there",
            "is an operator running, does it serve this namespace, and does it use this store?",
        )
        return
    cluster, _, route = facts.wanted_owner.partition("/")
    owner_cluster, _, owner_route = facts.owner.partition("/")
    if owner_route != route or cluster not in {"?", owner_cluster}:
        yield Finding(
            Severity.ERROR,
            CHECK,
            facts.name,
            f"another owner has the service in this store: {facts.owner}",
            "another spec.serviceName or another store; if that cluster is gone: stateful-route store adopt --help",
        )


def _of_pods(facts: ServiceFacts) -> Iterator[Finding]:
    for ordinal in sorted({*facts.pods, *facts.views, *facts.links}):
        pod, view = facts.pods.get(ordinal), facts.views.get(ordinal)
        record = view.record if view else None
        name = pod.name if pod else f"index {ordinal}"
        what, severity, advice = "", Severity.ERROR, WAIT
        if view is None and pod is None:
            what = f"{facts.links[ordinal]:,} links name a pod of which nobody knows anything"
            advice = "the operator moves them once it has a READY pod; stateful-route store repair"
        elif record is None:
            what = "the operator has written no state for it"
        elif pod is None:
            serves = view is not None and view.effective is not RoutingState.SHUTDOWN
            what = f"there is no such pod, and its state is {view.effective}" if serves and view else ""
        elif record.incarnation is not None and record.incarnation != pod.incarnation:
            what = "the store tells of an earlier pod of this name, or of before its container restarted"
        elif record.state is RoutingState.READY and (not pod.ready or pod.terminating or pod.drain_requested):
            doing = "Terminating" if pod.terminating else "asked to drain" if pod.drain_requested else "not Ready"
            what = f"Kubernetes calls it {doing}, its state is READY"
        elif pod.ready and not pod.terminating and not pod.drain_requested and record.state is RoutingState.SHUTDOWN:
            what, severity = f"it is Ready, its state is SHUTDOWN ({record.reason})", Severity.WARNING
            advice = "its reason says why: docs/reasons.md"
        if what:
            yield Finding(severity, CHECK, f"{facts.name} {name}", what, advice)
