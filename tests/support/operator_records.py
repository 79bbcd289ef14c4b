"""What the operator says of a pod, as its record."""

from typing import Any

from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import LinkAction, Reason, RoutingState


def record(state: str = "READY", links: LinkAction = LinkAction.STAY, **more: Any) -> OperatorRecord:
    """What the operator says of a pod."""
    reason = Reason.READY if state == "READY" else Reason.DRAIN_REQUESTED
    known: dict[str, Any] = {"incarnation": Incarnation("pod", 0), "ever_ready": True}
    return OperatorRecord(state=RoutingState(state), reason=reason, links=links, **(known | more))
