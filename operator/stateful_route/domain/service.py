"""All pods of a service at once: what no single pod's facts can decide."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from stateful_route.domain.drain import shared_with_app
from stateful_route.domain.lifecycle import CONDITION_TIME_SECONDS, Situation, Verdict, judge, without_loss
from stateful_route.domain.policy import Policy
from stateful_route.domain.routing import DOWN, LinkAction, Reason, RoutingState

SUSPECT = frozenset({Reason.UNREADY, Reason.UNREACHABLE})


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict for each ordinal, and the ordinals whose failover the brake holds back (empty: it is off)."""

    verdicts: Mapping[int, Verdict]
    paused: frozenset[int]


def judge_service(situations: Mapping[int, Situation], policy: Policy) -> Judgement:
    """The verdicts of all pods: each by its own facts, then what follows from all of them together."""
    verdicts = {ordinal: judge(at, policy) for ordinal, at in situations.items()}
    verdicts |= _successors_stay_when_nobody_else_can(situations, verdicts, policy)
    held = _brake(situations, verdicts, policy)
    verdicts = {ordinal: shared_with_app(situations[ordinal], verdict, policy) for ordinal, verdict in verdicts.items()}
    return Judgement(verdicts | held, frozenset(held))


def keeping(judgement: Judgement, ordinals: Collection[int]) -> Judgement:
    """The same, but for the links of these pods: they stay for now, since it is not known yet who takes them."""
    kept = {ordinal: replace(judgement.verdicts[ordinal], links=LinkAction.STAY) for ordinal in ordinals}
    return replace(judgement, verdicts={**judgement.verdicts, **kept})


def _successors_stay_when_nobody_else_can(
    situations: Mapping[int, Situation], verdicts: Mapping[int, Verdict], policy: Policy
) -> dict[int, Verdict]:
    """When every pod was replaced or restarted, links have nowhere to go: each successor takes over its own."""
    if any(verdict.state is RoutingState.READY for verdict in verdicts.values()):
        return {}
    anew = {
        ordinal: judge(without_loss(at), policy) for ordinal, at in situations.items() if at.memory.loss is not None
    }
    return {ordinal: verdict for ordinal, verdict in anew.items() if verdict.state is RoutingState.READY}


def _brake(situations: Mapping[int, Situation], verdicts: Mapping[int, Verdict], policy: Policy) -> dict[int, Verdict]:
    """Unready pods stay when there are too many at once: then the network or a probe is broken, not the pods.

    Those that do not answer the operator's own probe count likewise: its own network may be what is broken.

    Times are exact to a second only: who will have been so for too long within one counts already, or the first of
    many that failed together would fail over before the others count.
    Pods that are SHUTDOWN for it already stay so (their links have moved); pods that are gone still move.
    """
    down = {ordinal for ordinal, verdict in verdicts.items() if verdict.reason in DOWN}
    pods = sum(at.pod is not None and not at.pod.finished for at in situations.values())
    soon = {
        ordinal
        for ordinal, verdict in verdicts.items()
        if verdict.reason in SUSPECT and verdict.due and verdict.due <= situations[ordinal].now + CONDITION_TIME_SECONDS
    }
    if not policy.max_unavailable.exceeded(len(down | soon), pods):
        return {}
    held = Verdict(RoutingState.DENY_NEW_CALL, LinkAction.STAY, Reason.FAILOVER_PAUSED)
    return {ordinal: held for ordinal in down if not situations[ordinal].memory.held_down}
