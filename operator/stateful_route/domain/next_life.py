"""Whether the users of a pod that stops stay linked to it, for the life of the pod that comes next."""

from stateful_route.domain.policy import OnLoss
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import LinkAction, Reason

STOPS = frozenset({Reason.TERMINATING, Reason.STOPPING})
"""The operator knows that the pod stops, and has decided what becomes of its links."""


def stay_linked(record: OperatorRecord | None, on_replace: OnLoss, pod_uid: str) -> bool:
    """Whether they stay; else the pod gives them away.

    Where the operator has not said yet why the pod stops, the policy decides. A link that stays and should not is moved
    by the operator as soon as it knows; one that was given away does not come back.

    Args:
        record: What the operator has written of this name; None: nothing, so nobody brings a next life's users back.
        on_replace: The service's ``failover.onReplace``.
        pod_uid: Of the pod that stops; empty: it does not know its own.
    """
    if record is None:
        return False
    life = record.incarnation
    if life is not None and pod_uid and life.pod_uid != pod_uid:  # the operator has not seen this pod yet
        return on_replace is OnLoss.KEEP
    if record.links is not LinkAction.STAY or record.release is not None:
        return False
    return record.reason in STOPS or on_replace is OnLoss.KEEP
