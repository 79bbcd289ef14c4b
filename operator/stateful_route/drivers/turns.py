"""Which pod a caller gives its next new uid."""

import random
from collections import Counter
from collections.abc import Collection

from stateful_route.domain.placement import Spread
from stateful_route.domain.snapshot import Snapshot
from stateful_route.store.links import Candidates


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
        self._candidates: dict[int | None, Candidates] = {}

    def take(self, failed: frozenset[int]) -> Candidates:
        """A pod for a new uid, none of those that have just failed; empty: nobody takes any."""
        self.taken += 1
        ordinal = (self._over(failed) if failed else self._spread).take()
        if failed:
            return self._only(ordinal, failed)
        known = self._candidates.get(ordinal)
        if known is None:
            known = self._candidates[ordinal] = self._only(ordinal, failed)
        return known

    def _only(self, ordinal: int | None, failed: frozenset[int]) -> Candidates:
        if ordinal is None:
            return Candidates({}, self.snapshot.dead - self.snapshot.alive | failed)
        return Candidates({ordinal: 0.0}, self.snapshot.dead | failed)

    def _over(self, failed: frozenset[int]) -> Spread:
        targets = self.snapshot.targets(self._avoided | failed) or self.snapshot.targets(failed)
        targets = [target._replace(links=target.links + self.placed[target.ordinal]) for target in targets]
        return Spread(targets, self.snapshot.config.placement, self.taken, at_least=1)


def serves(snapshot: Snapshot, ordinal: int, candidates: Candidates) -> bool:
    """Whether a pod that a link leads to may be answered, when these were the candidates for a new one."""
    return ordinal in snapshot.alive and (ordinal not in snapshot.dead or not candidates.loads)
