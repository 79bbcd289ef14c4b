"""Which workload is routed, and which of its ordinals it wants."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

from stateful_route.domain.names import MAX_ORDINAL
from stateful_route.domain.selector import Selector

_RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")


class WorkloadRef(NamedTuple):
    """The workload that a StatefulRoute names.

    Attributes:
        name: Its name.
        group: Of its API: ``apps``, or another for what is no StatefulSet of Kubernetes itself.
        version: Of its API.
        kind: Its kind.
    """

    name: str
    group: str = "apps"
    version: str = "v1"
    kind: str = "StatefulSet"

    @property
    def built_in(self) -> bool:
        """Whether it is a StatefulSet of Kubernetes itself."""
        return self.group == "apps" and self.kind == "StatefulSet"

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} ({self.group}/{self.version})"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadFacts:
    """What a workload says: which ordinals it wants, and how its pods are found and reached.

    Attributes:
        name: Its name.
        uid: Its uid.
        resource_version: Of its object.
        start: The first ordinal.
        replicas: How many pods it wants.
        selector: Which pods are its own.
        governing_service: The headless Service of its pods; empty: none.
        containers: Names of the containers in its pod template, the first one first; empty: it does not say.
        reserved: Ordinals that it leaves out.
        numbered: Its pods have the first ordinals that are not reserved; else only the pods themselves tell theirs.
        running: How many pods it says that it has; None: it does not say.
        grace_seconds: ``terminationGracePeriodSeconds`` of its pod template; None: it does not say.
    """

    name: str
    uid: str
    resource_version: int
    start: int
    replicas: int
    selector: Selector
    governing_service: str
    containers: tuple[str, ...] = ()
    reserved: frozenset[int] = frozenset()
    numbered: bool = True
    running: int | None = None
    grace_seconds: int | None = None

    def wants(self, ordinal: int, staying: Collection[int] = ()) -> bool | None:
        """Whether it wants a pod with this ordinal; None: nobody can say.

        Of a workload that does not number its pods from the start, a pod that stays is not judged, and one that is gone
        or going is expected back while fewer stay than are wanted.

        Args:
            ordinal: The pod's.
            staying: Ordinals whose pods are there, and neither asked to stop nor finished.
        """
        if not self.numbered:
            return None if ordinal in staying else len(staying) < self.replicas
        before = sum(self.start <= other < ordinal for other in self.reserved)
        return ordinal not in self.reserved and 0 <= ordinal - self.start - before < self.replicas

    @property
    def last(self) -> int | None:
        """The highest ordinal that it wants; None: it wants none, or only its pods tell."""
        if not self.numbered or self.replicas < 1:
            return None
        end = self.start + self.replicas - 1
        for ordinal in sorted(self.reserved):
            if self.start <= ordinal <= end:
                end += 1
        return end


def reserved_ordinals(values: Collection[int | str]) -> frozenset[int]:
    """The ordinals in a list of numbers and ranges such as ``[1, "4-6"]``; what is neither counts as nothing."""
    return frozenset(chain.from_iterable(map(_ordinals, values)))


def _ordinals(value: int | str) -> Iterable[int]:
    found = _RANGE.fullmatch(str(value).strip())
    if found is None:
        return ()
    first = int(found[1])
    return range(first, min(int(found[2] or first), MAX_ORDINAL) + 1)
