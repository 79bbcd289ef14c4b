"""From what a reconciler knows to a StatefulRoute's status and conditions."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from stateful_route.api.conditions import Condition, ConditionType, Reason, set_condition
from stateful_route.api.status import LastMigration, PodCounts, StatefulRouteStatus
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import RoutingState

OK = (Reason.PROGRESSING, "the operator goes on by itself")
SOUND = (Reason.SOUND, "nothing has to be put right any more")
REACHED = (Reason.CONNECTED, "the store answers")
FAILING_OVER = (Reason.WITHIN_LIMIT, "users of failed pods are moved")
Finding = tuple[Reason, str]

FINE: Mapping[ConditionType, Finding] = {
    ConditionType.STALLED: OK,
    ConditionType.REDIS_CONNECTED: REACHED,
    ConditionType.FAILOVER_PAUSED: FAILING_OVER,
    ConditionType.DEGRADED: SOUND,
}
"""What a condition says while nothing is wrong with it."""


@dataclass(slots=True, kw_only=True)
class Findings:
    """What a reconciler has found out; None means that this aspect is fine, unless said otherwise.

    Attributes:
        stalled: Why somebody has to act.
        redis: Why the store cannot be used.
        paused: Why users of failed pods are not being moved.
        degraded: What should be put right all the same.
        migration: The latest migration.
        probed: When we last wrote something of our own for the watch to bring.
        generation: Of the spec that all this is about.
        links: How many there are; None: not counted yet.
        records: Of all pods; None: not read yet.
        reached: The store has answered at least once.
    """

    stalled: Finding | None = None
    redis: Finding | None = None
    paused: Finding | None = None
    degraded: Finding | None = None
    announced: Finding | None = None
    """What an Event has been posted for, of ``paused``."""
    migration: LastMigration | None = None
    probed: datetime | None = None
    generation: int = 0
    links: int | None = None
    records: Mapping[int, OperatorRecord] | None = None
    reached: bool = False


def build_status(former: StatefulRouteStatus, found: Findings, now: datetime) -> StatefulRouteStatus:
    """The status; conditions keep their transition time where their status has not changed."""
    pods = former.pods or PodCounts(ready=0, denying=0, shutdown=0)
    if found.records is not None:
        states = Counter(record.written or record.state for record in found.records.values())
        pods = PodCounts(
            ready=states[RoutingState.READY],
            denying=states[RoutingState.DENY_NEW_CALL],
            shutdown=states[RoutingState.SHUTDOWN],
        )
    unknown = set()
    if found.redis is None and not found.reached:
        unknown.add(ConditionType.REDIS_CONNECTED)
        if found.stalled is None:
            unknown.add(ConditionType.READY)
    conditions = former.conditions
    degraded = [(ConditionType.DEGRADED, found.degraded is not None, found.degraded or SOUND)]
    if found.degraded is None and not any(c.type == ConditionType.DEGRADED for c in conditions):
        degraded = []  # nobody need read of what has never been
    for kind, holds, (reason, message) in (
        (ConditionType.READY, *_ready(found, pods)),
        (ConditionType.REDIS_CONNECTED, found.redis is None, found.redis or REACHED),
        (ConditionType.STALLED, found.stalled is not None, found.stalled or OK),
        (
            ConditionType.FAILOVER_PAUSED,
            found.paused is not None,
            found.paused or FAILING_OVER,
        ),
        *degraded,
    ):
        if kind in unknown:  # nothing has been found out yet: the former word stands
            continue
        new = Condition(
            type=kind,
            status="True" if holds else "False",
            reason=reason,
            message=message,
            last_transition_time=now,
            observed_generation=found.generation,
        )
        conditions = set_condition(conditions, new)
    return StatefulRouteStatus(
        observed_generation=found.generation,
        conditions=conditions,
        pods=pods,
        links=former.links if found.links is None else found.links,
        last_migration=found.migration,
        last_probe_time=found.probed,
    )


def resolved(kind: ConditionType, was: Finding) -> str:
    """What an Event says of a condition that is fine again: what is so now, as what was said before is not."""
    _, now = FINE[kind]
    reason, _ = was
    return f"{now}; no longer {reason}"


def refusal(former: StatefulRouteStatus, generation: int, why: str, now: datetime) -> StatefulRouteStatus:
    """The status of an object that does not fit this operator."""
    conditions = former.conditions
    for kind, status, reason in (
        (ConditionType.READY, "False", Reason.STALLED),
        (ConditionType.STALLED, "True", Reason.INVALID_RESOURCE),
    ):
        new = Condition(
            type=kind,
            status=status,
            reason=reason,
            message=why,
            last_transition_time=now,
            observed_generation=generation,
        )
        conditions = set_condition(conditions, new)
    return former.model_copy(update={"conditions": conditions, "observed_generation": generation})


def _ready(found: Findings, pods: PodCounts) -> tuple[bool, Finding]:
    if found.redis is not None:
        return False, (Reason.STORE_UNAVAILABLE, found.redis[1])
    if found.stalled is not None:
        reason = found.stalled[0]
        return False, (reason if reason is Reason.WORKLOAD_NOT_FOUND else Reason.STALLED, found.stalled[1])
    total = (pods.ready or 0) + (pods.denying or 0) + (pods.shutdown or 0)
    if not pods.ready:
        return False, (Reason.NO_READY_POD, f"none of {total} pods takes new users")
    return True, (Reason.ROUTING, f"{pods.ready} of {total} pods take new users")
