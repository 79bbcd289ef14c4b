"""What came of one pass of a reconciler, whatever that was, in the words of the conditions."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from stateful_route.api.conditions import Reason
from stateful_route.domain.errors import AuthenticationFailed, LayoutMismatch, StoreRejected, StoreUnavailable
from stateful_route.domain.remedy import remedy
from stateful_route.domain.startup import Start
from stateful_route.kube.client import KubeError
from stateful_route.reconcile.grants import GRANT
from stateful_route.reconcile.problem import Problem
from stateful_route.reconcile.status import Finding
from stateful_route.store.keys import Service

PASSING = frozenset(
    {Reason.SECRET_NOT_FOUND, Reason.INVALID_URL, Reason.MISSING_PERMISSION, Reason.UNSUPPORTED_WORKLOAD}
)
"""Problems that no event of ours ends: Secrets, Roles and other APIs are not watched, so they are looked at again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The findings, whether to try again soon, whether the service is somebody else's, or the resource itself is."""

    stalled: Finding | None = None
    redis: Finding | None = None
    again: bool = False
    lost: bool = False
    left: bool = False


def hindered(problem: Problem) -> Attempt:
    """Somebody has to act."""
    finding = (Reason(problem.reason), str(problem))
    lost = problem.reason == Reason.OWNED_ELSEWHERE
    redis = finding if problem.of_the_store else None
    return Attempt(stalled=finding, redis=redis, lost=lost, again=problem.reason in PASSING)


def store_failed(error: LayoutMismatch | StoreUnavailable | StoreRejected) -> Attempt:
    """The store does not answer, or refuses."""
    text, cure = str(error), remedy(error)
    why = f"{text.rstrip('.')}: {cure}" if cure else text  # some of redis-py's own words are whole sentences
    match error:
        case LayoutMismatch():
            finding = (Reason.LAYOUT_MISMATCH, why)
            return Attempt(stalled=finding, redis=finding)
        case AuthenticationFailed():
            finding = (Reason.AUTHENTICATION_FAILED, why)
            return Attempt(stalled=finding, redis=finding, again=True)
        case StoreRejected():
            return Attempt(redis=(Reason.STORE_REJECTED, why), again=True)
        case _:
            return Attempt(redis=(Reason.STORE_UNAVAILABLE, why), again=True)


def refused(error: KubeError) -> Attempt:
    """The API server does not let us."""
    return hindered(Problem(Reason.MISSING_PERMISSION, f"{error}: {GRANT}"))


def owned_elsewhere(service: Service, owner: str) -> Attempt:
    """Another cluster writes the service."""
    why = (
        f"service {str(service)!r} in this store belongs to another owner ({owner}): does another cluster use the same "
        "Redis? Use another store or another spec.serviceName, or release it there"
    )
    return Attempt(stalled=(Reason.OWNED_ELSEWHERE, why), lost=True)


def outranked(other: str, service: Service) -> Problem:
    """Another StatefulRoute of this cluster has the service."""
    return Problem(
        Reason.OWNED_ELSEWHERE,
        f"the StatefulRoute {other!r} routes the service {service.name!r}: "
        "give this one another spec.serviceName (make a new resource), or delete one of the two",
    )


def held_back(ordinals: Iterable[int]) -> Finding | None:
    """The brake is on for these pods; None: it is off."""
    pods = ", ".join(str(ordinal) for ordinal in sorted(ordinals))
    if not pods:
        return None
    return Reason.TOO_MANY_UNREADY, (
        f"more pods than failover.maxUnavailable are unready at once (held back: ordinals {pods}): "
        "a network or a probe may be broken, so their users stay; delete a pod to move its users all the same"
    )


def starting(start: Start | None, until: datetime) -> Finding | None:
    """What the users of failed pods wait for in a service that starts, until then at the latest; None: for nothing."""
    if start is None:
        return None
    pods = ", ".join(str(ordinal) for ordinal in sorted(start.waiting))
    return Reason.SERVICE_STARTING, (
        f"no pod served; {start.ready} of {start.needed} {'is' if start.ready == 1 else 'are'} READY again, and users "
        f"of ordinals {pods} stay linked there until {start.needed} pods are READY (failover.startup.minAvailable), "
        f"or until {until:%H:%M:%S} UTC "
        "(failover.startup.timeoutSeconds); who is asked for meanwhile gets a READY pod at once"
    )
