"""Routing states, what happens to a pod's links, and why: the words that Redis, status and Events share."""

from enum import StrEnum


class RoutingState(StrEnum):
    """What callers may do with a pod; each word is more severe than the one before."""

    READY = "READY"
    """Takes new uids."""
    DENY_NEW_CALL = "DENY_NEW_CALL"
    """Keeps its uids, takes no new ones."""
    SHUTDOWN = "SHUTDOWN"
    """Serves nobody; its uids must move."""

    @property
    def severity(self) -> int:
        """0 for READY, 1 for DENY_NEW_CALL, 2 for SHUTDOWN."""
        return _SEVERITY[self]


_SEVERITY = {state: rank for rank, state in enumerate(RoutingState)}


def effective(*layers: RoutingState | None) -> RoutingState:
    """The most severe of the layers; READY where no layer says anything (None)."""
    return max((layer for layer in layers if layer is not None), key=_SEVERITY.__getitem__, default=RoutingState.READY)


class LinkAction(StrEnum):
    """What becomes of the links that name a pod."""

    STAY = "stay"
    DRAIN = "drain"
    """They move while the pod still serves, before a deadline."""
    MOVE = "move"
    """They move at once: the pod serves nobody."""


class Reason(StrEnum):
    """Why a pod has its state; shown by kubectl, metrics, Events and docs, so part of the interface."""

    READY = "Ready"
    """Kubernetes says that the pod is Ready."""
    GONE = "Gone"
    """No pod has this ordinal."""
    FINISHED = "Finished"
    """The pod's phase is Failed or Succeeded."""
    REPLACING = "Replacing"
    """The pod is gone or going, its successor is expected, and the policy keeps its links (onReplace: Keep)."""
    REPLACED = "Replaced"
    """Another pod has taken this name; links of its predecessor are being moved."""
    RESTARTED = "Restarted"
    """The routed container has restarted; links from before are being moved."""
    GRACE_PERIOD_OVER = "GracePeriodOver"
    """Terminating, and past the end of its grace period."""
    FORCE_DELETED = "ForceDeleted"
    """Deleted without a grace period; its process may run on for a moment."""
    NODE_LOST = "NodeLost"
    """Terminating on a node that is not Ready or unreachable."""
    CONTAINERS_TERMINATED = "ContainersTerminated"
    """Terminating, and all of its containers have ended."""
    NEVER_READY = "NeverReady"
    """This incarnation of the pod has not been Ready yet."""
    UNREADY_TOO_LONG = "UnreadyTooLong"
    """Not Ready for failover.delaySeconds or longer."""
    UNREACHABLE_TOO_LONG = "UnreachableTooLong"
    """Ready, but it has not answered the operator's own probe for failover.delaySeconds or longer."""
    FAILOVER_PAUSED = "FailoverPaused"
    """Down for too long, but so are more pods than failover.maxUnavailable allows: nothing moves."""
    TERMINATING = "Terminating"
    """Asked to stop; its grace period runs."""
    STOPPING = "Stopping"
    """Its preStop hook runs, and nobody has deleted it: its kubelet stops it, or only its container."""
    DRAIN_REQUESTED = "DrainRequested"
    """The annotation statefulroute.io/drain asks for it."""
    SCALED_DOWN = "ScaledDown"
    """The StatefulSet no longer wants this ordinal."""
    DISOWNED = "Disowned"
    """Its labels have left the selector of its workload, which makes no other pod in its place."""
    UNREADY = "Unready"
    """Not Ready, for less than failover.delaySeconds."""
    UNREACHABLE = "Unreachable"
    """Ready, but a caller could not reach it and it does not answer the operator's own probe; not for long yet."""
    APP_SHUTDOWN = "AppShutdown"
    """The pod's application says that it serves nobody (SHUTDOWN), and nobody has asked it to stop."""
    HEARTBEAT_LOST = "HeartbeatLost"
    """Ready, but its library has published nothing for health.expireSeconds: callers count it as dead."""
    POD_FAILURE = "PodFailure"
    """A route manager was told that the pod has failed, in a service that no operator owns."""
    UNKNOWN = "Unknown"
    """A word of a later version; its record counts all the same."""
    REBALANCE = "Rebalance"
    """Somebody asked to even out the links of READY pods; no pod's state, only why links have moved."""
    TAKEN = "Taken"
    """A pod, or somebody by `set_linked_pod`, has linked a uid of another pod; likewise only why a link has moved."""
    RELEASED = "Released"
    """A pod has saved a uid and given it up."""
    REMOVED = "Removed"
    """Somebody has removed a uid's link."""
    REROUTED = "Rerouted"
    """A caller's call has moved its user off a pod that is to be left; no pod's state, only why a link has moved."""


FAILED = frozenset({Reason.UNREADY_TOO_LONG, Reason.UNREACHABLE_TOO_LONG})
"""The pod does not answer, for too long."""

DOWN = FAILED | {Reason.APP_SHUTDOWN, Reason.HEARTBEAT_LOST}
"""The pod is there and does not serve: what the brake counts and holds back."""

DRAINING = frozenset({Reason.TERMINATING, Reason.DRAIN_REQUESTED, Reason.DISOWNED, Reason.SCALED_DOWN, Reason.STOPPING})
"""The pod serves and should be emptied."""
