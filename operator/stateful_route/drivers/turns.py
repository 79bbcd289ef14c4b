"""Which pod a caller gives its next new uid."""

import random
from collections import Counter
from collections.abc import Collection, Sequence

from stateful_route.domain.placement import Spread, Target, eligible
from stateful_route.domain.snapshot import Snapshot
from stateful_route.store.links import Candidates

ATTEMPTS = 3
"""To find a pod that is alive for a uid: its pod may fail between our looking and our linking, and once more."""

LOOKS = 2 * ATTEMPTS
"""At the link: before a uid is moved, the caller makes sure that its pod is to be left, and asks again."""


class Turns:
    """Whose turn it is, by one snapshot."""

    def __init__(self, snapshot: Snapshot, avoided: Collection[int], before: "Turns | None") -> None:
        self.snapshot = snapshot
        self.outdated = False
        """Other pods are to be avoided now."""
        self.taken: int = before.taken if before else random.randrange(2**16)  # noqa: S311  callers need not begin alike
        self.counts = {target.ordinal: target.links for target in snapshot.targets()}
        self.placed: Counter[int] = Counter()
        """Since the operator has counted a pod's links."""
        for ordinal, links in self.counts.items() if before else ():
            if before is not None and before.counts.get(ordinal) == links:
                self.placed[ordinal] = before.placed[ordinal]
        self._avoided = frozenset(avoided)
        self._spread = self._over(frozenset())
        self._candidates: dict[tuple[int | None, int | None], Candidates] = {}

    def take(self, failed: frozenset[int], source: int | None = None) -> Candidates:
        """A pod for a new uid, none of those that have just failed; empty: nobody takes any.

        Pods that are dead or have failed are only doubted, but for ``source``, which is left for certain.
        """
        self.taken += 1
        ordinal = (self._over(failed) if failed else self._spread).take()
        if failed:
            return self.only(self.snapshot, ordinal, failed, source, self._targets(failed))
        known = self._candidates.get((ordinal, source))
        if known is None:
            others = self._targets(failed)
            known = self._candidates[ordinal, source] = self.only(self.snapshot, ordinal, failed, source, others)
        return known

    @staticmethod
    def only(
        snapshot: Snapshot,
        ordinal: int | None,
        failed: frozenset[int],
        source: int | None = None,
        others: Sequence[Target] = (),
    ) -> Candidates:
        """That pod for a uid that needs one; None: nobody takes any, then a pod that is drained keeps its own.

        Args:
            snapshot: What is known of the pods.
            ordinal: The pod.
            failed: Pods that have just failed.
            source: The pod that is left for certain.
            others: Pods that take its place where it is full, those with the fewest links first: what is known of their
                links may be late, and the store has the last word. Without a limit they do not matter.
        """
        left = frozenset() if source is None else frozenset({source})
        placement = snapshot.config.placement
        loads = {other.ordinal: 1.0 + other.links for other in eligible(others, placement) if placement.max_links > 0}
        if ordinal is not None:
            loads[ordinal] = 0.0
        if not loads:
            left -= snapshot.alive
            return Candidates({}, left, doubted=(snapshot.dead - snapshot.alive | failed) - left)
        return Candidates(loads, left, doubted=(snapshot.dead | failed) - left, limit=max(0, placement.max_links))

    def _over(self, failed: frozenset[int]) -> Spread:
        return Spread(self._targets(failed), self.snapshot.config.placement, self.taken, at_least=1)

    def _targets(self, failed: frozenset[int]) -> list[Target]:
        targets = self.snapshot.targets(self._avoided | failed) or self.snapshot.targets(failed)
        return [target._replace(links=target.links + self.placed[target.ordinal]) for target in targets]


def serves(snapshot: Snapshot, ordinal: int, candidates: Candidates) -> bool:
    """Whether a pod that a link leads to may be answered, when these were the candidates for a new one."""
    return ordinal in snapshot.alive and (ordinal not in snapshot.dead or not candidates.loads)
