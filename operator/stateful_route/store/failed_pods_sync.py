# Generated from failed_pods.py by tools/twins.py: change that one, then run: make twins
"""Saying that a pod has failed, in a service that no operator owns, and taking it back: the operator's layer by hand.

It needs the permissions of an operator: whoever may write records can put a pod out of service.
"""

from dataclasses import replace

from stateful_route.domain.aliveness import PodView
from stateful_route.domain.errors import OwnedElsewhere, StoreRejected
from stateful_route.domain.names import check_ordinal
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import LinkAction, Reason, RoutingState
from stateful_route.store.connection_sync import Store
from stateful_route.store.failed_pods import NO_OWNER, NO_POD
from stateful_route.store.keys import Service
from stateful_route.store.scripts import Call, script
from stateful_route.store.states import STREAM_LENGTH
from stateful_route.store.states_sync import set_operator_states


def mark_failed(store: Store, service: Service, ordinal: int, known: PodView | None) -> int:
    """Make the pod SHUTDOWN for all callers, whatever it says of itself, until `mark_recovered`.

    Callers who hear of it give its uids another pod at their next call.

    Args:
        store: Where.
        service: What; nobody owns it.
        ordinal: Which pod.
        known: What stands in the store of it; a record that an operator has left behind keeps all else that it says.

    Returns:
        The moment, ms since the epoch by the server's clock.

    Raises:
        OwnedElsewhere: an operator owns the service; nothing was written.
        AuthenticationFailed: the store's user may not write records; nothing was written.
    """
    check_ordinal(ordinal)
    store.command("HDEL", service.records, NO_POD)  # else the script would be stopped half-way for that
    failed = OperatorRecord(state=RoutingState.SHUTDOWN, reason=Reason.POD_FAILURE, links=LinkAction.MOVE)
    if known is not None and known.record is not None:
        failed = replace(known.record, state=failed.state, reason=failed.reason, links=failed.links, release=None)
    written = set_operator_states(store, service, NO_OWNER, {ordinal: failed})
    return written.time_ms


def mark_recovered(store: Store, service: Service, ordinal: int) -> bool:
    """Let the pod's own word stand again; False when nobody had marked it: then nothing was changed.

    Raises:
        OwnedElsewhere: an operator owns the service; nothing was written.
    """
    keys = (service.states, service.records, service.owner, service.changes)
    args = (check_ordinal(ordinal), store.publish, service.channel, STREAM_LENGTH, Reason.POD_FAILURE)
    try:
        return bool(store.run(Call(script("operatorRecoverPod"), keys, args)))
    except StoreRejected as error:
        _, owned, owner = str(error).partition("OWNED ")
        if owned:
            raise OwnedElsewhere(str(service), owner.strip()) from error
        raise
