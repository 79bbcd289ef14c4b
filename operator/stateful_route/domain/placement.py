"""Where links that must move go: the placement strategies, as one stream of targets."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Strategy(StrEnum):
    """How targets are picked among READY pods."""

    GOOD_RANGE = "GoodRange"
    """Round robin over the pods whose load is within loadRange of the lowest."""
    ROUND_ROBIN = "RoundRobin"
    WEIGHTED_ROUND_ROBIN = "WeightedRoundRobin"
    """Smooth; a total weight of zero falls back to round robin."""
    LEAST_CONNECTIONS = "LeastConnections"
    """The pod with the fewest links, counting those just placed."""


@dataclass(frozen=True, slots=True)
class Placement:
    """The user's choice; ``max_links`` 0 means no limit, a pod without a weight counts 1."""

    strategy: Strategy = Strategy.GOOD_RANGE
    load_range: float = 500
    weights: Mapping[int, int] = field(default_factory=dict)
    max_links: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """A READY pod: its ordinal, its load (smaller is less) and how many links it has."""

    ordinal: int
    load: float = 0.0
    links: int = 0


class Spread:
    """Hands out targets one by one; it knows what it has handed out, so no pod is filled over its limit.

    ``take()`` gives an ordinal, or None when there is no READY pod with room.
    """

    def __init__(self, targets: Sequence[Target], placement: Placement) -> None:
        self.ordinals = frozenset(target.ordinal for target in targets)
        self._limited = placement.max_links > 0
        weighted = placement.strategy is Strategy.WEIGHTED_ROUND_ROBIN
        wanted = [target for target in targets if placement.weights.get(target.ordinal, 1) > 0] if weighted else []
        ranked = sorted(wanted or targets, key=lambda target: (target.load, target.ordinal))
        self._left = {target.ordinal: placement.max_links - target.links for target in ranked}
        self._order = _order(ranked, placement)
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


def good_range(targets: Sequence[Target], load_range: float) -> list[Target]:
    """The targets within ``load_range`` of the lowest load, by load (reference §5); empty for no targets."""
    ranked = sorted(targets, key=lambda target: (target.load, target.ordinal))
    return [target for target in ranked if target.load <= ranked[0].load + load_range]


def _order(targets: Sequence[Target], placement: Placement) -> Iterator[int]:
    if not targets:
        return iter(())
    match placement.strategy:
        case Strategy.GOOD_RANGE:
            return _good_range_order(targets, placement)
        case Strategy.ROUND_ROBIN:
            return _cycle([target.ordinal for target in targets])
        case Strategy.WEIGHTED_ROUND_ROBIN:
            return _smooth({target.ordinal: placement.weights.get(target.ordinal, 1) for target in targets})
        case Strategy.LEAST_CONNECTIONS:
            return _fewest_first(targets)


def _good_range_order(targets: Sequence[Target], placement: Placement) -> Iterator[int]:
    """Never all on one: a whole pod's users on the one least loaded pod would be the next failure."""
    limited = placement.max_links > 0
    room = {target.ordinal: placement.max_links - target.links for target in targets}
    while limited and (targets := [target for target in targets if room[target.ordinal] > 0]):
        chosen = _good_or_two(targets, placement)
        while all(room[ordinal] > 0 for ordinal in chosen):  # who is full makes room for the next best
            for ordinal in chosen:
                room[ordinal] -= 1
                yield ordinal
    if not limited:
        yield from _cycle(_good_or_two(targets, placement))


def _good_or_two(ranked: Sequence[Target], placement: Placement) -> list[int]:
    good = good_range(ranked, placement.load_range)
    return [target.ordinal for target in (good if len(good) > 1 else ranked[:2])]


def _cycle(ordinals: Sequence[int]) -> Iterator[int]:
    while True:
        yield from ordinals


def _smooth(weights: Mapping[int, int]) -> Iterator[int]:
    """Smooth weighted round robin: a pod of weight 3 is not picked three times in a row when others are there."""
    total = sum(weights.values())
    if total <= 0:
        yield from _cycle(list(weights))
    current = dict.fromkeys(weights, 0)
    while True:
        for ordinal, weight in weights.items():
            current[ordinal] += weight
        best = max(current, key=lambda ordinal: current[ordinal])
        current[best] -= total
        yield best


def _fewest_first(targets: Sequence[Target]) -> Iterator[int]:
    heap = [(target.links, target.ordinal) for target in targets]
    heapq.heapify(heap)
    while True:
        links, ordinal = heap[0]
        heapq.heapreplace(heap, (links + 1, ordinal))
        yield ordinal
