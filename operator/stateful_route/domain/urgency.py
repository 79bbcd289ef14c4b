"""What the operator does first on a store that many services share, and how much of each kind at a time."""

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType


class Urgency(IntEnum):
    """How soon a piece of work should be done; the lower one is the more urgent."""

    EVENT = 0
    """Something has happened to a service: a pod has changed, an app has spoken, a migration has ended."""
    MOVE = 1
    """The links of a pod have to move."""
    PODS = 2
    """A service with pods has not been looked at since the operator started, or since its store was away."""
    ROUTINE = 3
    """It is time to look at a service again, or it has no pods for which anybody waits."""
    UPKEEP = 4
    """The index is repaired."""


AT_ONCE: Mapping[Urgency, int] = MappingProxyType(
    {Urgency.EVENT: 8, Urgency.MOVE: 6, Urgency.PODS: 4, Urgency.ROUTINE: 2, Urgency.UPKEEP: 1}
)
"""So many pieces of each kind are under way on one store: together they take fewer connections than a store has, so
that no call waits for one. More would end no sooner, as one process and one server do the work."""

YIELDS: Mapping[Urgency, frozenset[Urgency]] = MappingProxyType(
    {
        Urgency.ROUTINE: frozenset({Urgency.PODS}),
        Urgency.UPKEEP: frozenset({Urgency.PODS, Urgency.ROUTINE}),
    }
)
"""Work that does not begin while work of other kinds waits; all other kinds begin as soon as they have room."""


def next_in_turn(waiting: Mapping[Urgency, int], running: Mapping[Urgency, int]) -> Urgency | None:
    """Which kind of work begins next: the most urgent one that has room and need not yield; None: none may begin.

    Args:
        waiting: How many pieces of each kind wait; of a missing kind none does.
        running: How many of each kind are under way, likewise.
    """
    for kind in Urgency:
        yields = any(waiting.get(other) for other in YIELDS.get(kind, ()))
        if waiting.get(kind) and running.get(kind, 0) < AT_ONCE[kind] and not yields:
            return kind
    return None
