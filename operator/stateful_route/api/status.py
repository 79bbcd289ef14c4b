"""What the operator has observed: ``StatefulRoute.status``, written by the operator alone."""

from typing import Annotated, Any

from pydantic import Field

from stateful_route.api.conditions import Condition, ConditionType, Reason
from stateful_route.api.model import Int64, Model, Ordinal, Seconds, Time
from stateful_route.domain.names import MAX_ORDINAL

Count = Annotated[int, Field(ge=0, le=MAX_ORDINAL + 1)]


class PodCounts(Model):
    """Number of pods in each routing state."""

    ready: Count | None = None
    denying: Count | None = None
    shutdown: Count | None = None


class LastMigration(Model):
    """The latest move of users off a pod; without a completion time it is still going on."""

    pod: Annotated[str, Field(min_length=1, max_length=253)]
    ordinal: Ordinal
    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    moved: Int64
    left: Int64 | None = None
    start_time: Time
    completion_time: Time | None = None


class OperatorClaim(Model):
    """Which release of the operator serves the resource: ``<namespace>/<name>``."""

    name: Annotated[str, Field(min_length=1, max_length=316)]
    renew_time: Time
    seconds: Seconds


class Contender(Model):
    """Another release that is set to serve the resource's namespace, and does not."""

    renew_time: Time


class StatefulRouteStatus(Model):
    """The whole status; None is what has not been observed yet."""

    observed_generation: Int64 | None = None
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16)] = ()
    pods: PodCounts | None = None
    links: Int64 | None = None
    last_migration: LastMigration | None = None
    last_probe_time: Time | None = None
    operator: OperatorClaim | None = None
    contenders: Annotated[dict[str, Contender] | None, Field(max_length=16)] = None

    @property
    def serves(self) -> bool:
        """Whether it says that an operator serves the resource: one has seen it, and no other has its service."""
        stalled = next((c for c in self.conditions if c.type == ConditionType.STALLED and c.status == "True"), None)
        return self.observed_generation is not None and (stalled is None or stalled.reason != Reason.OWNED_ELSEWHERE)

    def body(self) -> dict[str, Any]:
        """The status as JSON for the API server; what is None is left out."""
        return self.model_dump(mode="json", exclude_none=True)
