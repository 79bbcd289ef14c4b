"""What is known of a pod's health: what one look at it has found, and what a row of looks says."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from stateful_route.domain.aliveness import PodView
from stateful_route.domain.placement import Target
from stateful_route.domain.routing import RoutingState

NOT_ASKED = math.inf
"""In place of a response time: the pod itself was not asked."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one look at a pod has found.

    Attributes:
        healthy: Whether it serves.
        seconds: How long it took to answer, or to fail; `NOT_ASKED` where nothing was sent to the pod.
        why: What was seen, for people: ``HTTP 503``, ``connection refused``.
    """

    healthy: bool
    seconds: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What a row of looks at one life of a pod says.

    Attributes:
        healthy: The judgement.
        last_check: When it was last looked at, by the clock of Redis.
        response_seconds: How long it took to answer then; `NOT_ASKED`: it did not, or was not asked.
        consecutive_errors: How many of the last looks, in a row, have found it unhealthy.
        why: What was seen, for people.
        life: Which incarnation of the pod this is about; None: nobody has said.
    """

    healthy: bool
    last_check: datetime
    response_seconds: float = NOT_ASKED
    consecutive_errors: int = 0
    why: str = ""
    life: str | None = None

    @classmethod
    def judged(
        cls, before: Self | None, found: ProbeResult, when: datetime, life: str | None, failures_allowed: int = 0
    ) -> Self:
        """The judgement after one more look; the pod is unhealthy after more failures in a row than are allowed."""
        former = before if before is not None and before.life == life else None
        errors = 0 if found.healthy else 1 + (former.consecutive_errors if former else 0)
        return cls(
            healthy=errors <= failures_allowed,
            last_check=when,
            response_seconds=found.seconds if found.healthy else NOT_ASKED,
            consecutive_errors=errors,
            why=found.why,
            life=life,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PodStatus:
    """One pod as a route manager sees it.

    Attributes:
        state: Its effective routing state.
        alive: It serves the uids that it has.
        available: It takes new ones: alive, READY, and not judged unhealthy.
        load: What it says of its load; smaller is less.
        links: How many it had at the last count; None: nobody has counted.
        health: The judgement of health checks; None: it was not looked at.
    """

    state: RoutingState
    alive: bool
    available: bool
    load: float = 0.0
    links: int | None = None
    health: Health | None = None


def life_of(view: PodView) -> str | None:
    """Which incarnation the pod is in: ``<pod uid>/<restarts>``, or as much of it as is known; None: nothing."""
    if view.state is not None and view.state.incarnation is not None:
        return view.state.incarnation
    if view.record is not None and view.record.incarnation is not None:
        return str(view.record.incarnation)
    return None


def is_unhealthy(health: Health | None, view: PodView) -> bool:
    """Whether the judgement speaks against the pod as it is now; one of an earlier life does not."""
    return health is not None and not health.healthy and health.life == life_of(view)


def with_response_times(targets: Iterable[Target], health: Mapping[int, Health]) -> list[Target]:
    """The same targets, each with the time that it took to answer last."""
    return [
        target._replace(response_seconds=known.response_seconds)
        if (known := health.get(target.ordinal)) is not None
        else target
        for target in targets
    ]
