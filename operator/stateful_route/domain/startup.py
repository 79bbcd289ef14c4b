"""A service that starts: none of its pods served, and they come back one after the other.

The first pod that is READY would get the users of all pods that are not there yet. So these users wait until enough
pods are READY, and each pod that comes back takes over its own. Only links wait: a caller that asks for one of these
users gets a READY pod at once.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from stateful_route.domain.lifecycle import Situation, Verdict
from stateful_route.domain.policy import StartPolicy
from stateful_route.domain.routing import LinkAction, Reason, RoutingState


@dataclass(frozen=True, slots=True)
class Start:
    """What the links of a service that starts wait for.

    Attributes:
        waiting: The pod indexes whose links wait.
        ready: How many pods are READY.
        needed: How many must be READY before the links move.
        until: When they move in any case, in the time of `Situation.now`.
    """

    waiting: frozenset[int]
    ready: int
    needed: int
    until: float


def stranded(situations: Mapping[int, Situation], verdicts: Mapping[int, Verdict]) -> frozenset[int]:
    """The pods with links that were to move at a moment when no pod of the service served anybody.

    A pod that became READY only now has not served yet: an operator that was away may see the first one so.
    """
    serving = _is_serving(situations, verdicts)
    return frozenset(
        ordinal
        for ordinal, at in situations.items()
        if (verdicts[ordinal].links is LinkAction.MOVE and at.links > 0 and not serving)
        or (at.memory.stranded and _still_waits(verdicts[ordinal]))
    )


def begins(situations: Mapping[int, Situation], verdicts: Mapping[int, Verdict]) -> bool:
    """Whether the first pod is READY and others are away: which of them have links has to be known now."""
    states = {verdict.state for verdict in verdicts.values()}
    away = any(verdict.links is LinkAction.MOVE for verdict in verdicts.values())
    return away and RoutingState.READY in states and not _is_serving(situations, verdicts)


def start_of(
    situations: Mapping[int, Situation],
    waiting: frozenset[int],
    takers: Collection[int],
    policy: StartPolicy,
    replicas: int | None,
) -> Start | None:
    """What stranded links wait for; None: for nothing any more, or no pod is READY yet and none can move anyway.

    Args:
        situations: All pods.
        waiting: Those that are stranded.
        takers: Those that take links now.
        policy: What the spec says.
        replicas: How many pods the workload wants; None: nobody says, so nothing is waited for.
    """
    if not takers or replicas is None:
        return None
    needed = policy.min_available.of(replicas)
    now = next(iter(situations.values())).now
    since = (situations[ordinal].memory.ready_since for ordinal in takers)
    until = min(now if moment is None else moment for moment in since) + policy.timeout_seconds
    return None if len(takers) >= needed or now >= until else Start(waiting, len(takers), needed, until)


def held(verdicts: Mapping[int, Verdict], ordinals: Collection[int], start: Start | None) -> dict[int, Verdict]:
    """The verdicts on stranded pods: their links stay while something is waited for.

    ``start`` None while no pod is READY: that they are stranded is remembered, and nothing else is changed.
    """
    if start is None:
        return {ordinal: replace(verdicts[ordinal], stranded=True) for ordinal in ordinals}
    waiting = {}
    for ordinal in ordinals:
        due = min(at for at in (verdicts[ordinal].due, start.until) if at is not None)
        waiting[ordinal] = replace(verdicts[ordinal], links=LinkAction.STAY, due=due, stranded=True)
    return waiting


def _still_waits(verdict: Verdict) -> bool:
    """Whether the pod is not back yet; one that is back and drains serves its users until they have moved."""
    return verdict.state is not RoutingState.READY and verdict.links is not LinkAction.DRAIN


def _is_serving(situations: Mapping[int, Situation], verdicts: Mapping[int, Verdict]) -> bool:
    return any(_serves(at, verdicts[ordinal]) for ordinal, at in situations.items())


def _serves(at: Situation, verdict: Verdict) -> bool:
    """Whether the pod has served before and serves still; one that the brake holds is not known to."""
    if not at.was_serving or at.silent or at.word is RoutingState.SHUTDOWN:
        return False
    return verdict.state is not RoutingState.SHUTDOWN and verdict.reason is not Reason.FAILOVER_PAUSED
