"""The one word for a whole service, and which pod says it."""

from collections.abc import Collection, Iterable

from stateful_route.domain.routing import RoutingState


def workload_state(states: Iterable[RoutingState]) -> RoutingState:
    """The mildest of the effective states of the pods that are alive: READY if one takes new uids.

    SHUTDOWN where none is alive.
    """
    return min(states, key=lambda state: state.severity, default=RoutingState.SHUTDOWN)


def speaks_for_all(ordinal: int, alive: Collection[int]) -> bool:
    """Whether this pod publishes the word: pod 0 does, or while it is away the live one with the lowest ordinal.

    ``alive``: the pods that are; it does not matter whether the pod itself is among them.
    """
    return all(ordinal <= other for other in alive)
