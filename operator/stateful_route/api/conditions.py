"""Conditions, the part of a status that people and ``kubectl wait`` read, and how one of them changes."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from stateful_route.api.model import Int64, Model, Time

MAX_MESSAGE = 32768
"""What the API server takes, in characters."""


class ConditionType(StrEnum):
    """The aspects that the operator reports."""

    READY = "Ready"
    """True: users of this service are routed."""
    REDIS_CONNECTED = "RedisConnected"
    """True: the operator reaches the store and may write to it."""
    STALLED = "Stalled"
    """True: somebody has to act before the operator can go on."""
    FAILOVER_PAUSED = "FailoverPaused"
    """True: users of failed pods are not being moved, on purpose or because no pod can take them."""
    DEGRADED = "Degraded"
    """True: users are routed, and something should be put right. It is there once there has been something."""


class Reason(StrEnum):
    """Why a condition has its status; the names are part of the interface: alerts and scripts match them."""

    ROUTING = "Routing"
    """Ready: the states of the pods are in the store and at least one pod takes new users."""
    WORKLOAD_NOT_FOUND = "WorkloadNotFound"
    """Not Ready: there is no such workload as ``workloadRef`` names yet."""
    FOREIGN_PODS = "ForeignPods"
    """Stalled (no such workload is there) or Degraded: pods with its names belong to another, and are not routed."""
    UNSUPPORTED_WORKLOAD = "UnsupportedWorkload"
    """Stalled: users cannot be linked to the pods of what ``workloadRef`` names."""
    NO_READY_POD = "NoReadyPod"
    """Not Ready: no pod takes new users."""
    STORE_UNAVAILABLE = "StoreUnavailable"
    """Not Ready, not RedisConnected: the store does not answer; callers go on with what they know."""
    STALLED = "Stalled"
    """Not Ready: the condition Stalled says why."""

    CONNECTED = "Connected"
    """RedisConnected: the store has answered."""
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105  a word for a status, no secret
    """Not RedisConnected: the Secret in ``redis.urlSecretRef``, or its key, is not there."""
    INVALID_URL = "InvalidURL"
    """Not RedisConnected: the URL of the store cannot be understood."""
    AUTHENTICATION_FAILED = "AuthenticationFailed"
    """Not RedisConnected: the store wants another user or password."""
    STORE_REJECTED = "StoreRejected"
    """Not RedisConnected: the store answers and refuses (out of memory, read-only, no permission)."""
    LAYOUT_MISMATCH = "LayoutMismatch"
    """Not RedisConnected: the store was written by a version whose layout this one cannot follow."""

    OWNED_ELSEWHERE = "OwnedElsewhere"
    """Stalled: another StatefulRoute, or another cluster on the same store, owns this service."""
    INVALID_RESOURCE = "InvalidResource"
    """Stalled: the object does not fit this operator; an older CRD let it in."""
    MISSING_PERMISSION = "MissingPermission"
    """Stalled or Degraded: the API server refuses the operator what it needs."""
    PROGRESSING = "Progressing"
    """Not Stalled: the operator goes on by itself."""

    TOO_MANY_UNREADY = "TooManyUnready"
    """FailoverPaused: more pods than ``failover.maxUnavailable`` are not Ready."""
    NO_TARGET = "NoTarget"
    """FailoverPaused: no pod can take the users of the failed ones."""
    SERVICE_STARTING = "ServiceStarting"
    """FailoverPaused: no pod served; users of failed pods wait until ``failover.startup.minAvailable`` are READY."""
    WITHIN_LIMIT = "WithinLimit"
    """Not FailoverPaused: users of failed pods are moved."""

    CONTESTED = "Contested"
    """Degraded: another release of the operator is set to serve this namespace, too; it leaves it alone."""
    OUTDATED_CRD = "OutdatedCRD"
    """Degraded: the cluster's CRD is older than the operator: what it does not know is not kept."""
    CONTAINER_NOT_FOUND = "ContainerNotFound"
    """Degraded: pods have no lasting container of the name in ``health.container``; another one's restarts count."""
    ORDINAL_OUT_OF_RANGE = "OrdinalOutOfRange"
    """Degraded: pods whose ordinal is too high to be stored are not routed."""
    SOUND = "Sound"
    """Not Degraded: nothing has to be put right any more."""


def _cut(message: Any) -> Any:
    return message[:MAX_MESSAGE] if isinstance(message, str) else message


class Condition(Model):
    """One aspect of the state of a resource, as in ``metav1.Condition``; a message that is too long is cut."""

    type: Annotated[
        str,
        Field(
            max_length=316,
            pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
            r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
        ),
    ]
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")]
    message: Annotated[str, BeforeValidator(_cut), Field(max_length=MAX_MESSAGE)]
    last_transition_time: Time
    observed_generation: Int64 | None = None


def set_condition(conditions: Iterable[Condition], new: Condition) -> tuple[Condition, ...]:
    """``conditions`` with ``new`` in the place of the one of its type, or at the end.

    ``new.last_transition_time`` is the time of now; it is kept only if the status has changed, so saying the same again
    gives conditions that equal the former ones, and nothing needs to be written.
    """
    former = tuple(conditions)
    for place, old in enumerate(former):
        if old.type == new.type:
            if old.status == new.status:
                new = new.model_copy(update={"last_transition_time": old.last_transition_time})
            return (*former[:place], new, *former[place + 1 :])
    return (*former, new)
