"""Where links that must move go: the placement strategies, as one stream of targets."""

import heapq
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from itertools import accumulate, cycle, repeat
from types import MappingProxyType
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Strategy(StrEnum):
    """How targets are picked among READY pods."""

    GOOD_RANGE = "GoodRange"
    """Round robin over the pods whose load is within loadRange of the lowest."""
    ROUND_ROBIN = "RoundRobin"
    WEIGHTED_ROUND_ROBIN = "WeightedRoundRobin"
    """Each pod its weight's share of any ``sum of weights`` picks in a row, spread evenly; all zero: round robin.

    A few pods: smooth weighted round robin, as of nginx. Many: the golden ratio policy (Itai and Rosberg, 1984), which
    gives a pick at any place of the order without those before it.
    """
    LEAST_CONNECTIONS = "LeastConnections"
    """The pod with the fewest links, counting those just placed."""
    LEAST_LOAD = "LeastLoad"
    """The pod with the lowest load; those of the same load take turns."""
    LEAST_RESPONSE_TIME = "LeastResponseTime"
    """The pod that answered its last health check soonest; those never asked come last."""


SMOOTH_STEPS = 2000
"""So many looks at a pod may it take to write down a whole period of smooth weighted round robin."""

GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


class Placement(NamedTuple):
    """The user's choice; ``max_links`` 0 means no limit, a pod without a weight counts 1."""

    strategy: Strategy = Strategy.GOOD_RANGE
    load_range: float = 500
    weights: Mapping[int, int] = MappingProxyType({})
    max_links: int = 0


class Target(NamedTuple):
    """A READY pod: its ordinal, its load (smaller is less) and how many links it has."""

    ordinal: int
    load: float = 0.0
    links: int = 0
    response_seconds: float = math.inf
    """How long its last health check took; infinite: it was not asked."""


class Spread:
    """Hands out targets one by one; it knows what it has handed out, so no pod is filled over its limit.

    ``take()`` gives an ordinal, or None when there is no READY pod with room.
    """

    def __init__(self, targets: Sequence[Target], placement: Placement, start: int = 0, at_least: int = 2) -> None:
        """All targets are READY.

        Args:
            targets: Who can take links.
            placement: How they are chosen.
            start: At whose turn it begins, where pods take turns or are as good: many callers that see the same pods
                would else all begin with the same one.
            at_least: Over how many pods the good range spreads, even if only one is in it: a whole pod's users on the
                one least loaded pod would be the next failure. 1: the reference's rule, for new users, who come singly.
        """
        self.ordinals = frozenset(target.ordinal for target in targets)
        self._limited = placement.max_links > 0
        candidates = eligible(targets, placement)
        self._left = {target.ordinal: placement.max_links - target.links for target in candidates}
        if self._limited:
            candidates = [target for target in candidates if self._left[target.ordinal] > 0]
        self._open = len(candidates)
        """How many have room, if there is a limit."""
        self._ordered: Callable[[Sequence[Target]], Iterator[int]] = lambda among: _order(
            among, placement, start, at_least
        )
        self._candidates = candidates
        self._order = self._ordered(candidates)

    def take(self) -> int | None:
        """The ordinal for the next link, or None: nobody is READY, or all are full."""
        if not self._limited:
            return next(self._order, None)
        passed_over = 0
        while self._open:
            ordinal = next(self._order)
            if self._left[ordinal] > 0:
                self._left[ordinal] -= 1
                self._open -= not self._left[ordinal]
                return ordinal
            passed_over += 1
            if passed_over >= self._open:  # an order of those that are left takes no longer than this has taken
                self._candidates = [target for target in self._candidates if self._left[target.ordinal] > 0]
                self._order, passed_over = self._ordered(self._candidates), 0
        return None


def is_blind(placement: Placement) -> bool:
    """Whether only the pods' indexes count, not their loads, links or answers: then `in_turn` has their order."""
    turns = placement.strategy in {Strategy.ROUND_ROBIN, Strategy.WEIGHTED_ROUND_ROBIN}
    return turns and placement.max_links <= 0


def counts_links(placement: Placement) -> bool:
    """Whether it matters how many links pods have."""
    return placement.max_links > 0 or placement.strategy is Strategy.LEAST_CONNECTIONS


def in_turn(ordinals: Iterable[int], placement: Placement, start: int = 0) -> Iterator[int]:
    """What a `Spread` hands out over these READY pods where `is_blind`: without end, but for no pods."""
    order = sorted(ordinals)
    if not order:
        return iter(())
    if placement.strategy is Strategy.WEIGHTED_ROUND_ROBIN:
        weights = list(map(placement.weights.get, order, repeat(1)))
        if min(weights) <= 0 < max(weights):
            order, weights = _parted((o, w) for o, w in zip(order, weights, strict=True) if w > 0)
        if max(weights) > 0:
            return _weighted(order, weights, start)
    return cycle(_turned(order, start))


def nobody_takes(links: Mapping[int, int], max_links: int) -> str | None:
    """Why no link can move to another pod, in words; None: one can.

    Args:
        links: How many links each other READY pod has.
        max_links: As in `Placement`.
    """
    if not links:
        return "no other pod is READY"
    if max_links > 0 and min(links.values()) >= max_links:
        return "every other READY pod is full (placement.maxLinksPerPod)"
    return None


def room(targets: Sequence[Target], placement: Placement) -> float:
    """How many links a `Spread` over these pods hands out; infinite without a limit, 0 for no pods."""
    candidates = eligible(targets, placement)
    if placement.max_links <= 0:
        return math.inf if candidates else 0
    return sum(max(0, placement.max_links - target.links) for target in candidates)


def eligible(targets: Sequence[Target], placement: Placement) -> list[Target]:
    """Those that the strategy may choose, by ordinal: with weights, pods without one of zero, if there are any."""
    wanted: Sequence[Target] = ()
    if placement.strategy is Strategy.WEIGHTED_ROUND_ROBIN:
        wanted = [target for target in targets if placement.weights.get(target.ordinal, 1) > 0]
    return sorted(wanted or targets, key=lambda target: target.ordinal)


def good_range(targets: Sequence[Target], load_range: float) -> list[Target]:
    """The targets within ``load_range`` of the lowest load, by load (reference §5); empty for no targets."""
    ranked = _by_load(targets)
    return [target for target in ranked if target.load <= ranked[0].load + load_range]


def _order(targets: Sequence[Target], placement: Placement, start: int, at_least: int) -> Iterator[int]:
    """``targets`` by ordinal."""
    order: Iterator[int] = iter(())
    if not targets:
        return order
    match placement.strategy:
        case Strategy.GOOD_RANGE:
            order = _best_first(targets, placement, start, lambda left: _good(left, placement.load_range, at_least))
        case Strategy.LEAST_LOAD:
            order = _best_first(targets, placement, start, _least_loaded)
        case Strategy.LEAST_RESPONSE_TIME:
            order = _best_first(targets, placement, start, _quickest)
        case Strategy.ROUND_ROBIN | Strategy.WEIGHTED_ROUND_ROBIN:
            order = in_turn([target.ordinal for target in targets], placement, start)
        case Strategy.LEAST_CONNECTIONS:
            order = _fewest_first(_turned(targets, start))
    return order


def _best_first(
    targets: Sequence[Target], placement: Placement, start: int, best: Callable[[Sequence[Target]], Sequence[Target]]
) -> Iterator[int]:
    """The best ones in turn; who is full makes room for the next best."""
    room = {target.ordinal: placement.max_links - target.links for target in targets}
    if placement.max_links <= 0:
        yield from cycle(_turned([target.ordinal for target in best(targets)], start))
    while targets := [target for target in targets if room[target.ordinal] > 0]:
        chosen = _turned([target.ordinal for target in best(targets)], start)
        while all(room[ordinal] > 0 for ordinal in chosen):
            for ordinal in chosen:
                room[ordinal] -= 1
                yield ordinal


def _good(targets: Sequence[Target], load_range: float, at_least: int) -> Sequence[Target]:
    good = good_range(targets, load_range)
    return good if len(good) >= at_least else _by_load(targets)[:at_least]


def _by_load(targets: Sequence[Target]) -> list[Target]:
    return sorted(targets, key=lambda target: (target.load, target.ordinal))


def _least_loaded(targets: Sequence[Target]) -> list[Target]:
    lowest = min(target.load for target in targets)
    return [target for target in targets if target.load == lowest]


def _quickest(targets: Sequence[Target]) -> list[Target]:
    quickest = min(target.response_seconds for target in targets)
    return [target for target in targets if target.response_seconds == quickest]


def _turned(items: Sequence[T], start: int) -> list[T]:
    """The same in a circle, beginning with the ``start``-th."""
    first = start % len(items)
    return [*items[first:], *items[:first]]


def _parted(pairs: Iterable[tuple[int, int]]) -> tuple[list[int], list[int]]:
    ordinals, weights = zip(*pairs, strict=True)
    return list(ordinals), list(weights)


def _weighted(ordinals: Sequence[int], weights: Sequence[int], start: int) -> Iterator[int]:
    """Beginning with the ``start``-th pick; all weights are positive."""
    shared = math.gcd(*weights)
    if shared > 1:
        weights = [weight // shared for weight in weights]
    total = sum(weights)
    if total * len(weights) <= SMOOTH_STEPS:
        return map(ordinals.__getitem__, cycle(_turned(_smooth_period(tuple(weights)), start)))
    return _golden(ordinals, weights, start)


@lru_cache(maxsize=64)
def _smooth_period(weights: Sequence[int]) -> Sequence[int]:
    """A period of smooth weighted round robin, as places in ``weights``.

    A pod of weight 3 is not picked three times in a row when others are there.
    """
    total, current, picks = sum(weights), [0] * len(weights), []
    for _ in range(total):
        current = [now + weight for now, weight in zip(current, weights, strict=True)]
        best = max(range(len(weights)), key=current.__getitem__)
        current[best] -= total
        picks.append(best)
    return picks


def _golden(ordinals: Sequence[int], weights: Sequence[int], start: int) -> Iterator[int]:
    """Each pod has as many neighbouring slots of a ring as its weight; each pick is a golden section further.

    The step has no divisor in common with the ring: so many picks as it has slots are one of each, whichever is first.
    """
    ends = list(accumulate(weights))
    slots = ends[-1]
    step = max(1, round(slots * GOLDEN_RATIO))
    while math.gcd(step, slots) > 1:
        step += 1
    slot = start * step % slots
    while True:
        yield ordinals[bisect_right(ends, slot)]
        slot = (slot + step) % slots


def _fewest_first(targets: Sequence[Target]) -> Iterator[int]:
    """Of those with as few links, the one that stands first in ``targets``."""
    heap = [(target.links, place, target.ordinal) for place, target in enumerate(targets)]
    heapq.heapify(heap)
    while True:
        links, place, ordinal = heap[0]
        heapq.heapreplace(heap, (links + 1, place, ordinal))
        yield ordinal
