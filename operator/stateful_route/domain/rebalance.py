"""Which links to move from full pods to emptier ones when somebody asks for it: as few as even them out."""

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from stateful_route.domain.placement import Placement, Strategy, Target


@dataclass(frozen=True, slots=True)
class Shift:
    """So many links go from one pod to another; pods are their indexes."""

    source: int
    to: int
    links: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What evens a service out.

    Attributes:
        shifts: What moves, the fullest pods' links first; empty: nothing needs to, or may.
        before: Pod index → links now, of all READY pods.
        after: The same when the plan has been carried out.
        needed: How many moves would even it out, if as many were allowed.
    """

    shifts: Sequence[Shift]
    before: Mapping[int, int]
    after: Mapping[int, int]
    needed: int

    @property
    def moves(self) -> int:
        """How many links move."""
        return sum(shift.links for shift in self.shifts)


def plan_rebalance(ready: Sequence[Target], placement: Placement, max_moves: int) -> Plan:
    """What to move among the READY pods, so that each comes as near to its fair share of their links as it may.

    A fair share is an equal one; with the strategy WeightedRoundRobin one by weight. No pod is filled over
    ``placement.max_links``, no pod falls under its share, and no link moves that need not.

    Args:
        ready: The pods that take new users, with the links that they have.
        placement: How the service places users.
        max_moves: Move no more links than this.
    """
    before = {target.ordinal: target.links for target in sorted(ready, key=lambda target: target.ordinal)}
    shares = _shares(before, placement)
    over = [(shares[o] - links, o) for o, links in before.items() if links > shares[o]]
    under = [(links - shares[o], o) for o, links in before.items() if links < shares[o]]
    needed = min(-sum(gap for gap, _ in over), -sum(gap for gap, _ in under))
    moved = Counter(_paired(over, under, max(0, min(needed, max_moves))))
    after = Counter(before)
    for (source, to), links in moved.items():
        after[source] -= links
        after[to] += links
    shifts = [Shift(source, to, links) for (source, to), links in sorted(moved.items())]
    shifts.sort(key=lambda shift: -before[shift.source])
    return Plan(shifts, before, dict(after), needed)


def _paired(over: list[tuple[int, int]], under: list[tuple[int, int]], moves: int) -> Iterator[tuple[int, int]]:
    """(from, to), link by link: always from the pod that has most too many to the one that has most too few."""
    heapq.heapify(over)
    heapq.heapify(under)
    for _ in range(moves):
        too_many, source = over[0]
        too_few, to = under[0]
        yield source, to
        heapq.heapreplace(over, (too_many + 1, source))
        heapq.heapreplace(under, (too_few + 1, to))


def _shares(links: Mapping[int, int], placement: Placement) -> dict[int, int]:
    """How many links each pod should have: whole numbers whose sum is that of the links, unless the limit forbids."""
    weights = dict.fromkeys(links, 1)
    if placement.strategy is Strategy.WEIGHTED_ROUND_ROBIN:
        given = {ordinal: placement.weights.get(ordinal, 1) for ordinal in links}
        weights = given if any(given.values()) else weights
    limit = placement.max_links if placement.max_links > 0 else None
    shares: dict[int, int] = {}
    left, open_to = sum(links.values()), dict(weights)
    while open_to:
        capped = [o for o, w in open_to.items() if limit is not None and left * w > limit * sum(open_to.values())]
        if limit is None or not capped:
            break
        for ordinal in capped:
            shares[ordinal] = limit
            left -= limit
            del open_to[ordinal]
    total = sum(open_to.values())
    for ordinal, weight in open_to.items():
        shares[ordinal] = left * weight // total if total else 0
    rest = left - sum(shares[ordinal] for ordinal in open_to)
    # What does not divide goes to those that have the most already: it need not move.
    for ordinal in sorted((o for o, w in open_to.items() if w), key=lambda o: (shares[o] - links[o], o))[:rest]:
        shares[ordinal] += 1
    return shares
