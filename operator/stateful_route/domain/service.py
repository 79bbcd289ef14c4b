"""All pods of a service at once: what no single pod's facts can decide."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from stateful_route.domain.drain import shared_with_app
from stateful_route.domain.lifecycle import Situation, Verdict, judge, without_loss
from stateful_route.domain.placement import Target, room
from stateful_route.domain.policy import Policy
from stateful_route.domain.routing import DOWN, DRAINING, LinkAction, Reason, RoutingState
from stateful_route.domain.startup import Start, held, start_of, stranded

NOT_YET_DOWN = frozenset({Reason.UNREADY, Reason.UNREACHABLE})


@dataclass(frozen=True, slots=True)
class Judgement:
    """What has been decided about all pods.

    Attributes:
        verdicts: One for each ordinal.
        paused: The ordinals whose failover the brake holds back; empty: it is off. Those of pods that are not Ready for
            `failover.delaySeconds` yet are among them: pods that fail together are seen to fail one after the other,
            and are named together.
        start: What the links of failed pods wait for in a service that starts; None: they need not wait.
    """

    verdicts: Mapping[int, Verdict]
    paused: frozenset[int]
    start: Start | None = None


def judge_service(situations: Mapping[int, Situation], policy: Policy, replicas: int | None = None) -> Judgement:
    """The verdicts of all pods: each by its own facts, then what follows from all of them together.

    ``replicas``: how many pods the workload wants; None: nobody says.
    """
    verdicts = {ordinal: judge(at, policy) for ordinal, at in situations.items()}
    verdicts |= _successors_stay(situations, verdicts, policy)
    paused = _brake(situations, verdicts, policy)
    verdicts = {ordinal: shared_with_app(situations[ordinal], verdict, policy) for ordinal, verdict in verdicts.items()}
    soon = {ordinal for ordinal, verdict in verdicts.items() if paused and verdict.reason in NOT_YET_DOWN}
    verdicts |= paused
    start = None
    if waiting := stranded(situations, verdicts):
        takers = [ordinal for ordinal, at in situations.items() if _takes_links(at, verdicts[ordinal])]
        start = start_of(situations, waiting, takers, policy.start, replicas)
        if start is not None or not takers:
            verdicts |= held(verdicts, waiting, start)
    return Judgement(verdicts, frozenset(paused) | soon, start)


def keeping(judgement: Judgement, ordinals: Collection[int]) -> Judgement:
    """The same, but for the links of these pods: they stay for now, since it is not known yet who takes them."""
    kept = {ordinal: replace(judgement.verdicts[ordinal], links=LinkAction.STAY) for ordinal in ordinals}
    return replace(judgement, verdicts={**judgement.verdicts, **kept})


def _successors_stay(
    situations: Mapping[int, Situation], verdicts: Mapping[int, Verdict], policy: Policy
) -> dict[int, Verdict]:
    """When nobody else has room for links of a former life, each successor takes over those that are left of its own.

    So it is when every pod was replaced or restarted, and when the others are full; also with one that is drained. In a
    service that starts, a pod that comes back takes over its own in any case: they are lost to the others as well.
    """
    others = [Target(o, links=at.links) for o, at in situations.items() if _takes_links(at, verdicts[o])]
    full = room(others, policy.placement) <= 0
    anew = {
        ordinal: judge(without_loss(at), policy)
        for ordinal, at in situations.items()
        if at.memory.loss is not None and (full or at.memory.stranded)
    }
    return {ordinal: verdict for ordinal, verdict in anew.items() if _serves_on(situations[ordinal], verdict)}


def _serves_on(at: Situation, verdict: Verdict) -> bool:
    """Whether the pod can serve the users that it has: it is Ready, also if it is to be emptied when others can."""
    if verdict.state is RoutingState.READY:
        return True
    return verdict.reason in DRAINING - {Reason.TERMINATING, Reason.STOPPING} and at.memory.unready_since is None


def _takes_links(at: Situation, verdict: Verdict) -> bool:
    """Whether callers give the pod new uids, as far as its facts say: what the mover finds when that is written."""
    return verdict.state is RoutingState.READY and at.word in {None, RoutingState.READY} and not at.silent


def _brake(situations: Mapping[int, Situation], verdicts: Mapping[int, Verdict], policy: Policy) -> dict[int, Verdict]:
    """Unready pods stay when there are too many at once: then the network or a probe is broken, not the pods.

    Those that do not answer the operator's own probe count likewise: its own network may be what is broken; and those
    that do not publish any more, or say by themselves that they serve nobody: their common back end may be.
    Each counts at once, however short it has been so: pods that fail for one cause are noticed one after the other.
    Pods that are SHUTDOWN for it already stay so (their links have moved); pods that are gone still move.
    """
    down = {ordinal for ordinal, verdict in verdicts.items() if verdict.reason in DOWN}
    counted = [o in down or at.memory.unready_since is not None for o, at in situations.items() if _counts(at)]
    if not policy.max_unavailable.exceeded(sum(counted), len(counted)):
        return {}
    held = Verdict(RoutingState.DENY_NEW_CALL, LinkAction.STAY, Reason.FAILOVER_PAUSED)
    return {ordinal: held for ordinal in down if not situations[ordinal].memory.held_down}


def _counts(at: Situation) -> bool:
    """Whether the brake counts the pod: it has served, and its not being Ready would say something.

    Left out are pods that have ended, that were never Ready or were added while the brake was on (whoever adds pods
    must not take it off), and those that stop: they are not Ready because they were asked to stop. One whose container
    has restarted has served: it fails as long as it is not Ready again, and must not drop out of the count for that.
    """
    pod = at.pod
    if pod is None or pod.finished or not at.memory.served or at.memory.added:
        return False
    stops = pod.terminating or at.stopping is not None
    return not (stops and at.memory.unready_since is not None)
