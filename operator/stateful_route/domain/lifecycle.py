"""From what Kubernetes knows of a pod to its routing state: an ordered chain of small rules, first match wins."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from stateful_route.domain.aliveness import ServiceState
from stateful_route.domain.pod import PodFacts
from stateful_route.domain.policy import OnLoss, Policy
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import DOWN, DRAINING, FAILED, LinkAction, Reason, RoutingState


@dataclass(frozen=True, slots=True)
class Verdict:
    """The operator's layer for one pod.

    Attributes:
        state: What callers may do with it, as far as the operator is concerned.
        links: What becomes of its links.
        reason: Why.
        due: When time alone may change it, in the time of `Situation.now`; None: it does not.
        release: Until then (ms by the clock of Redis) the app itself gives its uids away; None: it is not asked to.
        stranded: Its links were to move when no pod of the service served, and have not yet (`domain.startup`).
    """

    state: RoutingState
    links: LinkAction
    reason: Reason
    due: float | None = None
    release: int | None = None
    stranded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is known of the pod's past, carried from the record that stands in Redis to the next one.

    Attributes:
        ever_ready: This incarnation has been Ready (policy Keep: any incarnation).
        unready_since: Since when it has been seen not to be Ready or not reachable, in the time of `Situation.now`;
            None: it is both.
        loss: Links of an earlier incarnation remain: `Reason.REPLACED` or `Reason.RESTARTED`; else None.
        held_down: The pod already is SHUTDOWN for one of the reasons `DOWN`, in this incarnation.
        failed: That reason is being unready or unreachable for too long.
        took_over: It has been told that those links are its own now, since nobody else could take them.
        serves: It served already when it was first seen, so that it goes on while those links leave it.
        release: In the drain under way its app has been asked to give its uids away until then (ms by the clock of
            Redis); None: it has not.
        drained: In the drain under way the operator itself has begun to move its links.
        served: The pod has been Ready, in this incarnation or an earlier one of the same pod. While failovers of the
            service are held back its successor has its place.
        added: Nothing of it was known yet when failovers of the service began to be held back.
        ready_since: Since when this life of it has been READY, in the time of `Situation.now`; None: it was not, when
            it was last written.
        stranded: As of the last `Verdict`.
    """

    ever_ready: bool
    unready_since: float | None
    loss: Reason | None
    held_down: bool
    failed: bool = False
    took_over: bool = False
    serves: bool = False
    release: int | None = None
    drained: bool = False
    served: bool = False
    added: bool = False
    ready_since: float | None = None
    stranded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One ordinal at one moment.

    Attributes:
        pod: Its pod; None: there is none.
        memory: What is remembered.
        wanted: Whether the StatefulSet wants the ordinal; None: there is no StatefulSet that could say so.
        now: The moment, in seconds by a clock that is never set: all times here are by it.
        store_ms: The same moment by the clock of Redis.
        app: What the pod's app last published, if it runs the library; None: nothing, in this incarnation.
        links: About how many links it has.
        word: What the pod says of itself, by our library or as a foreign client; None: nothing, in this incarnation.
        silent: Callers count it as dead, because it does not publish its state (`domain.aliveness.is_silent`).
        was_serving: This life of the pod was not SHUTDOWN when it was last written.
        stopping: Until then what its preStop hook has said counts: that this life of it stops; None: it has not.
    """

    pod: PodFacts | None
    memory: Memory
    wanted: bool | None
    now: float
    store_ms: int = 0
    app: ServiceState | None = None
    links: int = 0
    word: RoutingState | None = None
    silent: bool = False
    was_serving: bool = False
    stopping: float | None = None


Rule = Callable[[Situation, Policy], Verdict | None]


def remember(
    pod: PodFacts | None,
    record: OperatorRecord | None,
    policy: Policy,
    now: float,
    *,
    braked: bool = False,
    wanted: bool | None = None,
) -> Memory:
    """What of ``record`` (None: nothing is known) still holds for the pod as it is now.

    ``braked``: failovers of the service are being held back. ``wanted``: as of `Situation`.
    The delay until a pod counts as failed begins when it is first seen: a kubelet's clock may be wrong. It goes on from
    the record, so a restarted operator does not count it anew, unless the pod has been Ready in between.
    """
    same = is_same_life(pod, record)
    loss = record.loss if record else None
    carried = same
    if pod is not None and record is not None and record.incarnation is not None and not same:
        replaced = is_replaced(pod, record)
        loss = Reason.REPLACED if replaced else Reason.RESTARTED
        carried = _policy_of(loss, policy) is OnLoss.KEEP
        if carried and record.loss is not None and _policy_of(record.loss, policy) is OnLoss.MOVE:
            loss = record.loss  # those links wait to be moved still: their memory does not come back
    since = record.unready_since / 1000 if record and record.unready_since is not None and carried else None
    if pod and record and not pod.ready and None not in (record.ready_changed, pod.ready_changed):
        since = since if record.ready_changed == pod.ready_changed else None
    if record is not None and record.reason is Reason.TERMINATING and not (same and pod and _still_serves(pod, now)):
        since = now  # not to be Ready while it stops is no failure: the wait for a successor begins when it has stopped
    if pod is not None and pod.ready and not pod.finished and pod.unreachable_since is None:
        since = None
    elif since is None:
        since = _unready_since(pod, now)
    was_ready = bool(record and record.ever_ready and carried)
    was_ready = was_ready or (pod is not None and _ceased_to_be_ready(pod))
    had_served = bool(record and record.served and (braked or not (pod and is_replaced(pod, record))))
    if pod is None and wanted is False:  # whoever has the ordinal next is no successor
        had_served = False
    return Memory(
        ever_ready=(pod is not None and pod.ready) or was_ready,
        unready_since=since,
        loss=loss,
        held_down=bool(record and same and record.reason in DOWN),
        failed=bool(record and same and record.reason in FAILED),
        took_over=bool(pod and record and same and record.loss and record.state is not RoutingState.SHUTDOWN),
        serves=bool(record and same and record.serves),
        release=record.release if record and same and record.reason in DRAINING else None,
        drained=bool(record and same and record.reason in DRAINING and record.links is LinkAction.DRAIN),
        served=(pod is not None and (pod.ready or _ceased_to_be_ready(pod))) or had_served,
        added=braked and (record is None or record.added),
        ready_since=_ready_since(record) if pod and same else None,
        stranded=bool(record and record.stranded),
    )


def _ready_since(record: OperatorRecord | None) -> float | None:
    if record is None or record.state is not RoutingState.READY or not record.since:
        return None
    return record.since / 1000


def _unready_since(pod: PodFacts | None, now: float) -> float:
    if pod is None:
        return now
    return now if pod.unreachable_since is None else min(now, pod.unreachable_since)


def _ceased_to_be_ready(pod: PodFacts) -> bool:
    """Whether its condition Ready has become False since its container started: both are its kubelet's own times."""
    started = pod.container.started_at
    changed = pod.ready_changed
    return not pod.ready and started is not None and changed is not None and changed > started


def is_same_life(pod: PodFacts | None, record: OperatorRecord | None) -> bool:
    """Whether the record is about the pod's present life, or nobody can tell."""
    if pod is None or record is None or record.incarnation is None:
        return True
    return record.incarnation == pod.incarnation and not pod.container.follows(record.container)


def was_serving(pod: PodFacts | None, record: OperatorRecord | None, *, first_look: bool = False) -> bool:
    """Whether the pod's present life served users when it was last written.

    ``first_look``: nothing is known of any pod of the service. One that is Ready has served, as far as can be told.
    """
    if first_look:
        return pod is not None and pod.ready and not pod.finished
    known = pod is not None and record is not None and record.state is not RoutingState.SHUTDOWN
    return known and is_same_life(pod, record)


def is_replaced(pod: PodFacts, record: OperatorRecord) -> bool:
    """Whether the record is about another pod of that name."""
    return record.incarnation is not None and record.incarnation.pod_uid != pod.uid


def moves_on(loss: Reason, policy: Policy) -> bool:
    """Whether links of a life that has ended so leave the pod, or stay with the next one."""
    return _policy_of(loss, policy) is OnLoss.MOVE


def _still_serves(pod: PodFacts, now: float) -> bool:
    return not pod.finished and _end_of(pod, now) is None


def _end_of(pod: PodFacts, now: float) -> Reason | None:
    """Why a Terminating pod surely serves nobody any more, or None."""
    if pod.deletion_time is None:
        return None
    if pod.containers_terminated:
        return Reason.CONTAINERS_TERMINATED
    if now >= pod.deletion_time:
        return Reason.FORCE_DELETED if pod.grace_seconds == 0 else Reason.GRACE_PERIOD_OVER
    return Reason.NODE_LOST if pod.node_lost else None


def _policy_of(loss: Reason, policy: Policy) -> OnLoss:
    return policy.on_restart if loss is Reason.RESTARTED else policy.on_replace


def gone(at: Situation, policy: Policy) -> Verdict | None:
    """No pod has the ordinal, or its phase is Failed or Succeeded: nobody is served there."""
    if at.pod is not None and not at.pod.finished:
        return None
    if (waits := _awaits_successor(at, policy)) is not None:
        return waits
    return Verdict(RoutingState.SHUTDOWN, LinkAction.MOVE, Reason.GONE if at.pod is None else Reason.FINISHED)


def lost_memory(at: Situation, policy: Policy) -> Verdict | None:
    """The process was replaced or restarted and has forgotten its users: they move before it takes new ones."""
    loss = at.memory.loss
    if loss is None or at.memory.took_over or at.memory.serves or _policy_of(loss, policy) is OnLoss.KEEP:
        return None
    return Verdict(RoutingState.SHUTDOWN, LinkAction.MOVE, loss)


def terminated(at: Situation, policy: Policy) -> Verdict | None:
    """Terminating, and surely not serving any more: out of time, off its node, or out of containers."""
    reason = None if at.pod is None else _end_of(at.pod, at.now)
    if reason is None:
        return None
    return _awaits_successor(at, policy) or Verdict(RoutingState.SHUTDOWN, LinkAction.MOVE, reason)


def never_ready(at: Situation, policy: Policy) -> Verdict | None:  # noqa: ARG001  a rule's shape
    """Not Ready yet in this incarnation: it holds nobody."""
    if at.memory.ever_ready:
        return None
    return Verdict(RoutingState.SHUTDOWN, LinkAction.MOVE, Reason.NEVER_READY)


def unready_too_long(at: Situation, policy: Policy) -> Verdict | None:
    """Not Ready, or not reachable, for the delay or longer.

    A Terminating pod stops being Ready while it drains, so it is left out.
    """
    pod, since = at.pod, at.memory.unready_since
    if pod is None or since is None or (pod.terminating and not at.memory.failed):
        return None
    if at.now < since + policy.delay_seconds and not at.memory.failed:
        return None
    reason = Reason.UNREACHABLE_TOO_LONG if pod.ready else Reason.UNREADY_TOO_LONG
    return Verdict(RoutingState.SHUTDOWN, LinkAction.MOVE, reason)


def terminating(at: Situation, policy: Policy) -> Verdict | None:
    """A pod that is asked to stop takes no new uids; those it has are drained while its grace period runs."""
    if at.pod is None or at.pod.deletion_time is None:
        return None
    stays = policy.on_replace is OnLoss.KEEP and at.wanted is True and not at.pod.drain_requested
    action = LinkAction.STAY if stays else LinkAction.DRAIN
    return Verdict(RoutingState.DENY_NEW_CALL, action, Reason.TERMINATING, due=at.pod.deletion_time)


def draining(at: Situation, policy: Policy) -> Verdict | None:
    """Somebody asked to drain it, it has left its workload, the workload no longer wants the ordinal, or it stops.

    That it stops its preStop hook says: its kubelet stops the pod, or restarts the container, and tells the API server
    later. Nobody knows yet which of the two, so its users stay only if they would after both.
    """
    action = LinkAction.DRAIN
    due = None if at.memory.unready_since is None else at.memory.unready_since + policy.delay_seconds
    if at.pod is not None and at.pod.drain_requested:
        reason = Reason.DRAIN_REQUESTED
    elif at.pod is not None and at.pod.disowned:
        reason = Reason.DISOWNED
    elif at.wanted is False:
        reason = Reason.SCALED_DOWN
    elif at.stopping is not None:
        reason = Reason.STOPPING
        if policy.on_replace is OnLoss.KEEP and policy.on_restart is OnLoss.KEEP:
            action = LinkAction.STAY
        due = at.stopping if due is None else min(due, at.stopping)
    else:
        return None
    return Verdict(RoutingState.DENY_NEW_CALL, action, reason, due=due)


def app_shutdown(at: Situation, policy: Policy) -> Verdict | None:  # noqa: ARG001  a rule's shape
    """Its application says that it serves nobody.

    The operator's layer does not say SHUTDOWN itself, so the application's next word is an effective change that the
    operator hears of; until then the pod takes nobody new.
    """
    if at.word is not RoutingState.SHUTDOWN:
        return None
    return Verdict(RoutingState.DENY_NEW_CALL, LinkAction.MOVE, Reason.APP_SHUTDOWN)


def heartbeat_lost(at: Situation, policy: Policy) -> Verdict | None:  # noqa: ARG001  a rule's shape
    """Its library has published in this incarnation, and does not any more: the process hangs or is cut off."""
    if at.app is None or not at.silent:
        return None
    return Verdict(RoutingState.SHUTDOWN, LinkAction.MOVE, Reason.HEARTBEAT_LOST)


def unready(at: Situation, policy: Policy) -> Verdict | None:
    """Not Ready or not reachable, but perhaps only for a moment: it keeps its users and takes no new ones."""
    if at.memory.unready_since is None:
        return None
    due = at.memory.unready_since + policy.delay_seconds
    reason = Reason.UNREACHABLE if at.pod is not None and at.pod.ready else Reason.UNREADY
    return Verdict(RoutingState.DENY_NEW_CALL, LinkAction.STAY, reason, due=due)


def ready(at: Situation, policy: Policy) -> Verdict | None:  # noqa: ARG001  a rule's shape
    """Ready for traffic: it takes new uids."""
    return Verdict(RoutingState.READY, LinkAction.STAY, Reason.READY)


RULES: tuple[Rule, ...] = (
    gone,
    lost_memory,
    terminated,
    never_ready,
    unready_too_long,
    terminating,
    draining,
    app_shutdown,
    heartbeat_lost,
    unready,
    ready,
)


def judge(at: Situation, policy: Policy) -> Verdict:
    """The verdict of the first rule that applies; the last one always does."""
    return next(verdict for rule in RULES if (verdict := rule(at, policy)) is not None)


def without_loss(at: Situation) -> Situation:
    """The same situation as if the process had kept its memory."""
    return replace(at, memory=replace(at.memory, loss=None))


def _awaits_successor(at: Situation, policy: Policy) -> Verdict | None:
    if policy.on_replace is not OnLoss.KEEP or at.wanted is not True:
        return None
    if at.memory.held_down:  # it has failed before: its links are under way to others already
        return None
    since = at.memory.unready_since
    if since is None and at.pod is not None:  # it is past its end and still reported Ready
        since = at.pod.deletion_time
    if since is None:
        return None
    due = since + policy.delay_seconds
    if at.now >= due or not at.memory.ever_ready:
        return None
    return Verdict(RoutingState.SHUTDOWN, LinkAction.STAY, Reason.REPLACING, due=due)
