"""Which pod a caller gives its next new uid."""

import random
from collections import Counter
from collections.abc import Callable, Collection, Sequence

from stateful_route.domain.placement import Spread, Target, counts_links, eligible, in_turn, is_blind
from stateful_route.domain.snapshot import Snapshot
from stateful_route.store.links import Candidates

ATTEMPTS = 3
"""To find a pod that is alive for a uid: its pod may fail between our looking and our linking, and once more."""

LOOKS = 2 * ATTEMPTS
"""At the link: before a uid is moved, the caller makes sure that its pod is to be left, and asks again."""

CHANGING = "the pods of {} are changing: each that was chosen had stopped taking uids when it was asked; try again"


class Turns:
    """Whose turn it is, by one snapshot."""

    def __init__(self, snapshot: Snapshot, avoided: Collection[int], before: "Turns | None") -> None:
        self.snapshot = snapshot
        self.outdated = False
        """Other pods are to be avoided now."""
        self.taken: int = before.taken if before else random.randrange(2**16)  # noqa: S311  callers need not begin alike
        self._blind = is_blind(snapshot.config.placement)
        self._counted = counts_links(snapshot.config.placement)
        self._limited = snapshot.config.placement.max_links > 0
        self.counts = {target.ordinal: target.links for target in snapshot.targets()} if self._counted else {}
        self.placed: Counter[int] = Counter()
        """Since the operator has counted a pod's links."""
        for ordinal, links in self.counts.items() if before else ():
            if before is not None and before.counts.get(ordinal) == links:
                self.placed[ordinal] = before.placed[ordinal]
        self._avoided = frozenset(avoided)
        goes_on = before is not None and self._blind and before.is_over(snapshot, self._avoided)
        self.next_pod: Callable[[], int | None] = (
            before.next_pod if before is not None and goes_on else self._over(frozenset())
        )
        """Whose turn it is; None: nobody takes any."""
        self._candidates: dict[tuple[int | None, int | None], Candidates] = {}

    def take(self, failed: frozenset[int], source: int | None = None) -> Candidates:
        """A pod for a new uid, none of those that have just failed; empty: nobody takes any.

        Pods that are dead or have failed are only doubted, but for ``source``, which is left for certain.
        """
        self.taken += 1
        ordinal = (self._over(failed) if failed else self.next_pod)()
        known = None if failed else self._candidates.get((ordinal, source))
        if known is None:
            others = self._targets(failed) if self._limited else ()
            known = self.only(self.snapshot, ordinal, failed, source, others)
            if not failed and not self._limited:  # where there is a limit, who stands in for a full one changes
                self._candidates[ordinal, source] = known
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
        limited = placement.max_links > 0
        loads = {other.ordinal: 1.0 + other.links for other in eligible(others, placement)} if limited else {}
        if ordinal is not None:
            loads[ordinal] = 0.0
        if not loads:
            left -= snapshot.alive
            return Candidates({}, left, doubted=(snapshot.dead - snapshot.alive | failed) - left)
        return Candidates(loads, left, doubted=(snapshot.dead | failed) - left, limit=max(0, placement.max_links))

    def is_over(self, snapshot: Snapshot, avoided: frozenset[int]) -> bool:
        """Whether these pods take their turns here, in the same order."""
        mine = self.snapshot
        same_order = mine.config.placement == snapshot.config.placement and self._avoided == avoided
        return same_order and (mine.routable is snapshot.routable or mine.routable.keys() == snapshot.routable.keys())

    def _over(self, failed: frozenset[int]) -> Callable[[], int | None]:
        """Gives a pod at each call, none that has failed; None: there is none."""
        snapshot, placement = self.snapshot, self.snapshot.config.placement
        if self._blind:
            ordinals = snapshot.routable.keys() - self._avoided - failed or snapshot.routable.keys() - failed
            order = in_turn(ordinals, placement, self.taken)
            return lambda: next(order, None)
        return Spread(self._targets(failed), placement, self.taken, at_least=1).take

    def _targets(self, failed: frozenset[int]) -> list[Target]:
        """The pods that take new uids, none that has failed, with the links that are known of each."""
        targets = self.snapshot.targets(self._avoided | failed) or self.snapshot.targets(failed)
        if not self._counted:
            return targets
        return [target._replace(links=target.links + self.placed[target.ordinal]) for target in targets]


def serves(snapshot: Snapshot, ordinal: int, candidates: Candidates) -> bool:
    """Whether a pod that a link leads to may be answered, when these were the candidates for a new one."""
    return ordinal in snapshot.alive and (ordinal not in snapshot.dead or not candidates.loads)
