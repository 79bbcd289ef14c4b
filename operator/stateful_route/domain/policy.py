"""What the user's spec asks for, as plain values."""

from dataclasses import dataclass, field
from enum import StrEnum

from stateful_route.domain.placement import Placement


class OnLoss(StrEnum):
    """What becomes of a pod's links when its memory is lost."""

    MOVE = "Move"
    KEEP = "Keep"
    """The state is somewhere safe (a volume): links stay with the ordinal, their epochs rise."""


@dataclass(frozen=True, slots=True)
class MaxUnavailable:
    """How many pods may be SHUTDOWN for being unready: a number, or a percentage of the pods."""

    value: int
    percent: bool = False

    def exceeded(self, unavailable: int, pods: int) -> bool:
        """True when ``unavailable`` of ``pods`` pods are more than allowed (exactly half of them is not over 50 %)."""
        return unavailable * 100 > self.value * pods if self.percent else unavailable > self.value


@dataclass(frozen=True, slots=True)
class MinAvailable:
    """How many pods must be READY: a number, or a percentage of those that the workload wants."""

    value: int
    percent: bool = False

    def of(self, replicas: int) -> int:
        """How many of ``replicas`` pods these are: a part of a pod counts as one; at least 1, at most all of them."""
        needed = -(-self.value * replicas // 100) if self.percent else self.value
        return max(1, min(needed, replicas))


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPolicy:
    """How long the users of failed pods wait when none of the service's pods served.

    Attributes:
        min_available: Until so many pods are READY.
        timeout_seconds: No longer than this after the first pod became READY.
    """

    min_available: MinAvailable = field(default=MinAvailable(100, percent=True))
    timeout_seconds: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainPolicy:
    """How a pod is emptied that still serves.

    Attributes:
        by_app: Its own app saves and releases the users first, where it runs the library.
        deadline_seconds: From the start of the drain until nobody is left.
        links_per_second: How fast the operator moves links off it.
    """

    by_app: bool = True
    deadline_seconds: float = 20.0
    links_per_second: float = 2000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The part of a StatefulRoute's spec that decides states and moves."""

    delay_seconds: float = 10.0
    on_restart: OnLoss = OnLoss.MOVE
    on_replace: OnLoss = OnLoss.MOVE
    max_unavailable: MaxUnavailable = field(default=MaxUnavailable(50, percent=True))
    expire_seconds: float = 60.0
    drain: DrainPolicy = field(default_factory=DrainPolicy)
    start: StartPolicy = field(default_factory=StartPolicy)
    placement: Placement = field(default_factory=Placement)
