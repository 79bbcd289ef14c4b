"""What one pod is to the workload that is routed: one judgement for the watch and for the LIST."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from stateful_route.domain.pod import PodFacts
from stateful_route.domain.selector import Selector
from stateful_route.domain.workload_ref import WorkloadFacts, WorkloadRef
from stateful_route.kube.membership import Membership, controller, membership
from stateful_route.kube.pods import pod_facts


@dataclass(frozen=True, slots=True)
class Aside:
    """A pod that has one of the workload's names, and is not routed.

    Attributes:
        name: Its name.
        uid: Its uid.
        resource_version: Of its object.
        owner: The other workload that controls it, in words; None: none does, it is its ordinal that cannot be stored.
    """

    name: str
    uid: str
    resource_version: int
    owner: str | None


@dataclass(frozen=True, slots=True)
class Criteria:
    """What a pod is judged by; two looks at the same pod agree if these do.

    Attributes:
        ref: The workload.
        container: ``health.container``; None: the spec names none.
        selector: The workload's; None: there is no workload now.
        template: Names of the containers in its pod template; empty: not known.
    """

    ref: WorkloadRef
    container: str | None = None
    selector: Selector | None = None
    template: tuple[str, ...] = ()

    def of(self, facts: WorkloadFacts | None) -> "Criteria":
        """Those of the same workload as it is now; None: there is none, and pods are those of the template it had."""
        if facts is None:
            return replace(self, selector=None)
        return replace(self, selector=facts.selector, template=facts.containers)


def classify(body: Mapping[str, Any], criteria: Criteria) -> PodFacts | Aside | None:
    """The pod as one of the workload, or as one that only has a name of it; None: it has nothing to do with it."""
    what = membership(body, criteria.ref, criteria.selector)
    if what is Membership.NONE:
        return None
    if what is not Membership.STRANGER:
        disowned = what is Membership.DISOWNED
        facts = pod_facts(body, criteria.container, criteria.template, disowned=disowned)
        if facts is not None:
            return facts
    meta, owner = body["metadata"], controller(body)
    words = None
    if what is Membership.STRANGER and owner is not None:
        words = f"{owner.get('kind')} {owner.get('name')!r} ({owner.get('apiVersion')})"
    return Aside(str(meta["name"]), str(meta["uid"]), int(meta.get("resourceVersion", 0)), words)
