"""Moments that others have written in their own clocks, as moments of the operator's steady one."""

from collections.abc import Callable, Collection
from dataclasses import replace

from stateful_route.domain.pod import PodFacts

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

    So a clock that is set later does not change them. It gives them other names (`rename`); the former ones are
    understood as long as they stand somewhere. All are in ms.
    """

    def __init__(self, *, past: bool = True) -> None:
        """``past``: they are over, so that one which the store's clock has not reached yet is now."""
        self._past = past
        self._own: dict[int, int] = {}
        """Each name → the moment by the operator's clock."""
        self._stored: dict[int, int] = {}
        """The moment by the operator's clock → its present name."""

    def own(self, stored: int, store_ms: int, now_ms: int) -> int:
        """A moment that stands in a record, by the operator's clock.

        Args:
            stored: It, by the store's clock.
            store_ms: What that clock says now.
            now_ms: What the operator's says.
        """
        if stored not in self._own:
            own = now_ms - (store_ms - stored)
            if self._past and own > now_ms:  # nobody knows what the clock showed then: its name is no good
                self._own[stored] = now_ms
                return now_ms
            while own in self._stored:  # another one's, of which the store's clock was read a little later
                own -= 1
            self._note(stored, own)
        return self._own[stored]

    def stored(self, own: int, store_ms: int, now_ms: int) -> int:
        """The inverse of `own`."""
        if own not in self._stored:
            name = store_ms - (now_ms - own)
            while self._own.get(name, own) != own:  # it was another moment's before the store's clock was set
                name += 1
            self._note(name, own)
        return self._stored[own]

    def renamed(self, stored: int, store_ms: int, now_ms: int) -> int:
        """The present name of a moment that stands in a record."""
        return self.stored(self.own(stored, store_ms, now_ms), store_ms, now_ms)

    def rename(self) -> None:
        """The store's clock was set: from now on each moment is called what that clock would have shown then."""
        self._stored.clear()

    def keep(self, stored: Collection[int]) -> None:
        """Only these stand in records still."""
        known = {self._own[name] for name in stored if name in self._own}
        self._stored = {own: name for own, name in self._stored.items() if own in known}
        self._own = {name: own for name, own in self._own.items() if name in stored or self._stored.get(own) == name}

    def _note(self, stored: int, own: int) -> None:
        self._own[stored], self._stored[own] = own, stored
