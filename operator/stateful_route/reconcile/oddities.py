"""What is odd about a workload's pods, and somebody should know, in the words of conditions."""

from collections.abc import Collection, Iterable, Iterator

from stateful_route.api.conditions import Reason
from stateful_route.domain.names import MAX_ORDINAL
from stateful_route.domain.pod import PodFacts
from stateful_route.domain.workload_ref import WorkloadFacts, WorkloadRef
from stateful_route.reconcile.roster import Aside
from stateful_route.reconcile.status import Finding

SHOWN = 5
"""So many pods are named; more are counted."""


def oddities(
    pods: Iterable[PodFacts], aside: Collection[Aside], facts: WorkloadFacts | None, container: str | None
) -> Iterator[Finding]:
    """What users should put right although they are routed.

    Args:
        pods: Those of the workload.
        aside: Those that only have its names.
        facts: The workload's; None: there is none.
        container: ``health.container``; None: the spec names none.
    """
    if container is not None and (lacking := {pod.name: pod.routed for pod in pods if pod.routed != container}):
        counted = ", ".join(sorted({repr(name) for name in lacking.values() if name}))
        text = (
            f"health.container names {container!r}, and no container of that name runs as long as the pod in "
            f"{named(lacking)}: restarts of {counted} count there; correct the name, or take it out"
        )
        yield Reason.CONTAINER_NOT_FOUND, text
    if facts is not None and (foreign := foreign_pods(aside)) is not None:
        yield foreign
    beyond = [pod.name for pod in aside if pod.owner is None]
    if beyond or (facts is not None and (facts.last or 0) > MAX_ORDINAL):
        which = f": {named(beyond)}" if beyond else ""
        text = f"pods with an ordinal over {MAX_ORDINAL:,} are not routed{which}; scale down, or lower ordinals.start"
        yield Reason.ORDINAL_OUT_OF_RANGE, text


def foreign_pods(aside: Collection[Aside]) -> Finding | None:
    """Pods that have the workload's names and belong to another one; None: there are none."""
    strangers = {pod.name: pod.owner for pod in aside if pod.owner is not None}
    if not strangers:
        return None
    owners = ", ".join(sorted({owner for owner in strangers.values() if owner}))
    text = (
        f"not routed: {named(strangers)} of {owners}, since spec.workloadRef names another workload; make a "
        "StatefulRoute that names theirs by apiVersion and kind, or correct this one"
    )
    return Reason.FOREIGN_PODS, text


def missing(ref: WorkloadRef, namespace: str, aside: Collection[Aside]) -> Finding:
    """There is no such workload."""
    absent = f"no {ref.kind} {ref.name!r} in namespace {namespace!r} (yet)"
    if not ref.built_in:
        absent = f"no {ref} in namespace {namespace!r} (yet)"
    if (foreign := foreign_pods(aside)) is not None:
        return foreign[0], f"{absent}; {foreign[1]}"
    return Reason.WORKLOAD_NOT_FOUND, absent


def without_ordinals(ref: WorkloadRef, facts: WorkloadFacts, pods: Collection[object]) -> Finding | None:
    """It says that it has pods, and none of them has a lasting name and ordinal; None: all is well."""
    if not facts.running or pods:
        return None
    text = (
        f"{ref} has {facts.running} pods, and none of them is named as a StatefulSet's (with its ordinal at the end, "
        "and in the label statefulset.kubernetes.io/pod-name): users cannot be linked to them"
    )
    return Reason.UNSUPPORTED_WORKLOAD, text


def named(pods: Collection[str]) -> str:
    """``pods rooms-0, rooms-1``; of many only the first ones."""
    names = sorted(pods)
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"pod{'s' if len(names) > 1 else ''} {', '.join(names[:SHOWN])}{more}"
