"""Moments that others have written in their own clocks, as moments of the operator's steady one."""

from collections.abc import Callable, Collection
from dataclasses import replace

from stateful_route.domain.pod import PodFacts
from stateful_route.domain.record import OperatorRecord

STEP_MS = 1000
"""By so much at least the store's clock must differ from what it should say, to count as having been set."""

Latest = Callable[[float], float | None]
"""When, by the operator's clock, the API server's shows a time at the latest; None: nobody knows."""


class Terminations:
    """When the grace periods of terminating pods end.

    Each is counted from when the operator has first seen the pod terminate. The API server's stamp counts only for a
    pod that terminated already when the operator began to watch it, and as late as its clock may be.
    """

    def __init__(self, latest: Latest) -> None:
        self._latest = latest
        self._serving: set[str] = set()
        """uids of pods that were seen before they terminated."""
        self._ends: dict[str, float] = {}

    def seen(self, pod: PodFacts, now: float) -> PodFacts:
        """The pod with the end of its grace period by the operator's clock, if it has one."""
        if pod.deletion_time is None:
            self._serving.add(pod.uid)
            return pod
        if pod.grace_seconds is None:
            return pod
        end = self._ends.get(pod.uid, now + pod.grace_seconds)
        if pod.uid not in self._ends and pod.uid not in self._serving:
            stamped = self._latest(pod.deletion_time)
            end = end if stamped is None else min(end, stamped)
        if pod.grace_seconds == 0:  # deleted by force, perhaps only now; the kubelet heeds no other second deletion
            end = min(end, now)
        self._ends[pod.uid] = end
        return replace(pod, deletion_time=end)

    def keep(self, uids: Collection[str]) -> None:
        """Only these pods are there still."""
        self._serving.intersection_update(uids)
        for uid in self._ends.keys() - uids:
            del self._ends[uid]


class StoreMoments:
    """Moments in records, by the store's clock, and the same ones by the operator's; each is translated once.

    So a clock that is set later does not change them. All are in ms.
    """

    def __init__(self) -> None:
        self._own: dict[int, int] = {}
        self._stored: dict[int, int] = {}

    def own(self, stored: int, store_ms: int, now_ms: int) -> int:
        """A moment of the past that stands in a record, by the operator's clock.

        Args:
            stored: It, by the store's clock.
            store_ms: What that clock says now.
            now_ms: What the operator's says.
        """
        if stored not in self._own:
            self._note(stored, now_ms - max(0, store_ms - stored))
        return self._own[stored]

    def stored(self, own: int, store_ms: int, now_ms: int) -> int:
        """The inverse of `own`."""
        if own not in self._stored:
            self._note(store_ms - (now_ms - own), own)
        return self._stored[own]

    def keep(self, stored: Collection[int]) -> None:
        """Only these stand in records still."""
        self._own = {known: own for known, own in self._own.items() if known in stored}
        self._stored = {own: known for known, own in self._own.items()}

    def _note(self, stored: int, own: int) -> None:
        self._own[stored], self._stored[own] = own, stored


class Deadlines:
    """Until when apps give their uids away: when the store's clock is set, the same moment has another name."""

    def __init__(self) -> None:
        self._ends: dict[int, dict[int, int]] = {}
        """Ordinal → each name that its present end has had → the end by the operator's clock."""

    def name(self, ordinal: int, release: int | None, store_ms: int, now_ms: int) -> None:
        """The app of a pod is told this end, ms by the store's clock as it is known to go; None: it is told none."""
        if release is None:
            self._ends.pop(ordinal, None)
        else:
            self._ends.setdefault(ordinal, {}).setdefault(release, now_ms + release - store_ms)

    def renamed(self, ordinal: int, record: OperatorRecord, store_ms: int, now_ms: int) -> int | None:
        """The end that stands in the record of a pod, ms by the store's clock as it goes now; None: there is none."""
        told = record.release
        self.name(ordinal, told, store_ms, now_ms)
        if told is None:
            return None
        release = store_ms + self._ends[ordinal][told] - now_ms
        return told if abs(release - told) < STEP_MS else release
