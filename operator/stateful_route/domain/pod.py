"""What Kubernetes says of one pod."""

from dataclasses import dataclass

from stateful_route.domain.incarnation import UNKNOWN_CONTAINER, Container, Incarnation

FINISHED_PHASES = frozenset({"Failed", "Succeeded"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PodFacts:
    """One pod as the API server describes it; times are seconds since the Unix epoch, each by its writer's clock."""

    name: str
    ordinal: int
    uid: str
    resource_version: int
    restarts: int = 0
    """Of the routed container, not of its sidecars."""
    phase: str = "Pending"
    ready: bool = False
    ready_changed: float | None = None
    """When the Ready condition last changed, by the kubelet's clock, to the second; None: no such condition yet."""
    deletion_time: float | None = None
    """When its grace period ends, by the clock of whoever reads this; None: it is not asked to stop."""
    grace_seconds: float | None = None
    """How long its grace period is; None: it is not asked to stop, or nobody says."""
    container: Container = UNKNOWN_CONTAINER
    """Which container the routed one is now."""
    containers_terminated: bool = False
    drain_requested: bool = False
    node: str | None = None
    node_lost: bool = False
    """Known only for a Terminating pod; False until somebody has looked."""
    ip: str | None = None
    routed: str | None = None
    """What the routed container is called; None: the pod has none."""
    disowned: bool = False
    """Its labels have left the selector of its workload, which makes no other in its place."""
    unreachable_since: float | None = None
    """Since when it has not answered the operator's own probe; None: it answers, or nobody has complained."""

    @property
    def incarnation(self) -> Incarnation:
        """Which life of the routed process this is."""
        return Incarnation(self.uid, self.restarts)

    @property
    def terminating(self) -> bool:
        """True when it is asked to stop."""
        return self.deletion_time is not None

    @property
    def finished(self) -> bool:
        """True when its phase is Failed or Succeeded."""
        return self.phase in FINISHED_PHASES
