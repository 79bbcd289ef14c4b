"""Where links that must move go: the placement strategies, as one stream of targets."""

import heapq
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import cycle, islice
from types import MappingProxyType
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Strategy(StrEnum):
    """How targets are picked among READY pods."""

    GOOD_RANGE = "GoodRange"
    """Round robin over the pods whose load is within loadRange of the lowest."""
    ROUND_ROBIN = "RoundRobin"
    WEIGHTED_ROUND_ROBIN = "WeightedRoundRobin"
    """Smooth; a total weight of zero falls back to round robin."""
    LEAST_CONNECTIONS = "LeastConnections"
    """The pod with the fewest links, counting those just placed."""
    LEAST_LOAD = "LeastLoad"
    """The pod with the lowest load; those of the same load take turns."""
    LEAST_RESPONSE_TIME = "LeastResponseTime"
    """The pod that answered its last health check soonest; those never asked come last."""


MOST_TURNS_SKIPPED = 1000
"""Skipping takes time, and a thousand places to begin at are enough for any number of callers."""


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
        self._order = _order(candidates, placement, start, at_least)
        if self._limited and not any(left > 0 for left in self._left.values()):
            self._order = iter(())

    def take(self) -> int | None:
        """The ordinal for the next link, or None: nobody is READY, or all are full."""
        for ordinal in self._order:
            if not self._limited:
                return ordinal
            if self._left[ordinal] > 0:
                self._left[ordinal] -= 1
                return ordinal
            if not any(left > 0 for left in self._left.values()):
                break
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
        case Strategy.ROUND_ROBIN:
            order = cycle(_turned([target.ordinal for target in targets], start))
        case Strategy.WEIGHTED_ROUND_ROBIN:
            order = _smooth({target.ordinal: placement.weights.get(target.ordinal, 1) for target in targets}, start)
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


def _smooth(weights: Mapping[int, int], start: int) -> Iterator[int]:
    """Smooth weighted round robin: a pod of weight 3 is not picked three times in a row when others are there."""
    total = sum(weights.values())
    if total <= 0:
        return cycle(_turned(list(weights), start))
    return islice(_smoothly(weights, total), start % min(total, MOST_TURNS_SKIPPED), None)


def _smoothly(weights: Mapping[int, int], total: int) -> Iterator[int]:
    current = dict.fromkeys(weights, 0)
    while True:
        for ordinal, weight in weights.items():
            current[ordinal] += weight
        best = max(current, key=lambda ordinal: current[ordinal])
        current[best] -= total
        yield best


def _fewest_first(targets: Sequence[Target]) -> Iterator[int]:
    """Of those with as few links, the one that stands first in ``targets``."""
    heap = [(target.links, place, target.ordinal) for place, target in enumerate(targets)]
    heapq.heapify(heap)
    while True:
        links, place, ordinal = heap[0]
        heapq.heapreplace(heap, (links + 1, place, ordinal))
        yield ordinal
