"""Which pod this process is, as Kubernetes tells it through the environment."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from stateful_route.domain.errors import InvalidArgument
from stateful_route.domain.names import check_ordinal, check_word, shown
from stateful_route.store.keys import Service, service_of

NAMESPACE = ("STATEFUL_ROUTE_NAMESPACE", "POD_NAMESPACE")
SERVICE = "STATEFUL_ROUTE_SERVICE"
NAME = "POD_NAME"
UID = "POD_UID"
INDEX = "POD_INDEX"

SNIPPET = """\
env:
  - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
  - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
  - {name: POD_UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
  - {name: POD_INDEX, valueFrom: {fieldRef: {fieldPath: "metadata.labels['apps.kubernetes.io/pod-index']"}}}"""
"""What a container of the routed StatefulSet needs; the last one only where pods do not have their ordinal's name."""

_POD_NAME = re.compile(r"(?P<service>.+)-(?P<ordinal>0|[1-9]\d*)")


@dataclass(frozen=True, slots=True)
class Identity:
    """One pod of a routed service, checked.

    Attributes:
        namespace: Its namespace.
        service: The service's name: that of the StatefulSet, unless the StatefulRoute says otherwise.
        ordinal: Its pod index; 0 is a valid one.
        pod_uid: Kubernetes' uid of the pod, by which its successor of the same name is told apart; empty: nobody can
            tell them apart, as where processes are started by hand.

    Raises:
        InvalidArgument: one of them cannot be stored.
    """

    namespace: str
    service: str
    ordinal: int
    pod_uid: str = ""

    def __post_init__(self) -> None:
        service_of(self.namespace, self.service)
        check_ordinal(self.ordinal)
        if self.pod_uid != "":
            check_word(self.pod_uid, "pod uid")

    def __str__(self) -> str:
        return f"pod {self.ordinal} of {self.namespace}/{self.service}"

    @property
    def target(self) -> Service:
        """The service, with its keys."""
        return service_of(self.namespace, self.service)

    @property
    def incarnation(self) -> str:
        """What is published: the pod's uid alone. A process cannot know how often its container was restarted."""
        return self.pod_uid

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The identity that the Downward API has put into the environment; an empty variable counts as absent.

        ``POD_NAME``, ``POD_UID`` and ``POD_NAMESPACE`` (or ``STATEFUL_ROUTE_NAMESPACE``, which wins) must be there. The
        index is ``POD_INDEX`` (the label ``apps.kubernetes.io/pod-index``), else the ordinal at the end of the pod's
        name. The service is ``STATEFUL_ROUTE_SERVICE``, else the pod's name without its ordinal.

        Raises:
            InvalidArgument: a variable is missing or cannot be used; the message says which, and what to put into the
                pod's template.
        """
        name = environment.get(NAME, "")
        match = _POD_NAME.fullmatch(name)
        index = environment.get(INDEX, "")
        service = environment.get(SERVICE, "") or (match["service"] if match else "")
        namespace = next((value for key in NAMESPACE if (value := environment.get(key, ""))), "")
        missing = [
            variable
            for variable, needed in (
                (NAMESPACE[1], not namespace),
                (NAME, not name and not (index and service)),
                (UID, not environment.get(UID, "")),
            )
            if needed
        ]
        if missing:
            raise _unusable(f"the environment lacks {' and '.join(missing)}")
        if index and not (index.isascii() and index.isdigit()):
            raise _unusable(f"{INDEX} is {shown(index)}, which is no pod index")
        if not index and not match:
            raise _unusable(
                f"{NAME} is {shown(name)}, which does not end with an ordinal as the names of a StatefulSet's pods do; "
                f"set {INDEX} and {SERVICE}"
            )
        if not service:
            raise _unusable(f"{NAME} is {shown(name)}, which names no StatefulSet; set {SERVICE}")
        ordinal = int(index) if index else int(match["ordinal"]) if match else -1
        return cls(namespace, service, ordinal, environment[UID])


def _unusable(why: str) -> InvalidArgument:
    return InvalidArgument(f"{why}. Put this into the container of the StatefulSet's pod template:\n{SNIPPET}")
