"""Which pods belong to a workload: one answer for the watch and for the LIST."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from stateful_route.domain.selector import Selector
from stateful_route.domain.workload_ref import WorkloadRef

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
"""On every pod of a StatefulSet, and of what is made after its model: the server-side selector of the watch."""

Body = Mapping[str, Any]


class Membership(Enum):
    """What a pod is to a workload."""

    MEMBER = "member"
    """It is one of its pods."""
    DISOWNED = "disowned"
    """It was, and has the name still, so that no other takes its place; its labels have left the selector."""
    STRANGER = "stranger"
    """It has the name of one of its pods, and another workload controls it."""
    NONE = "none"
    """It has nothing to do with it."""


def membership(body: Body, ref: WorkloadRef, selector: Selector | None) -> Membership:
    """What the pod is to the workload.

    A pod that nobody controls serves on when its workload was deleted alone (``--cascade=orphan``, to make it anew with
    other immutable fields): it still belongs to that name, and is adopted when the workload is back. What is no
    StatefulSet of Kubernetes itself may have its pods controlled by another object of its own name that it makes, as a
    GameServerSet does.

    Args:
        body: The pod.
        ref: The workload.
        selector: The workload's; None: there is no workload now.
    """
    owner = controller(body)
    selected = selector is None or selector.matches(body["metadata"].get("labels") or {})
    if owner is None:
        if not _has_its_name(body, ref.name):
            return Membership.NONE
    elif not _controls(owner, ref):
        return Membership.STRANGER if _has_its_name(body, ref.name) else Membership.NONE
    return Membership.MEMBER if selected else Membership.DISOWNED


def controller(body: Body) -> Body | None:
    """The ownerReference of the object that controls the pod; None: nothing does."""
    owners = body["metadata"].get("ownerReferences") or ()
    return next((owner for owner in owners if owner.get("controller")), None)


def workload_names(body: Body) -> set[str]:
    """Names that a workload may have to which the pod is anything: its controller's, and that in its own name."""
    names = {name_part} if (name_part := _name_part(body)) else set()
    return names if (owner := controller(body)) is None else names | {str(owner["name"])}


def group_of(owner: Body) -> str:
    """The API group of an ownerReference; empty: the core."""
    group, slash, _ = str(owner.get("apiVersion") or "").rpartition("/")
    return group if slash else ""


def _controls(owner: Body, ref: WorkloadRef) -> bool:
    if owner.get("name") != ref.name:
        return False
    if (group_of(owner), owner.get("kind")) == (ref.group, ref.kind):
        return True
    return not ref.built_in and group_of(owner) not in {"apps", "batch", ""}


def _has_its_name(body: Body, workload: str) -> bool:
    return _name_part(body) == workload


def _name_part(body: Body) -> str:
    """What stands before the ordinal in the name of a StatefulSet's pod, or of one like it; empty: it is none."""
    meta = body["metadata"]
    name, _, ordinal = str(meta["name"]).rpartition("-")
    return name if ordinal.isdecimal() and (meta.get("labels") or {}).get(POD_NAME_LABEL) == meta["name"] else ""
