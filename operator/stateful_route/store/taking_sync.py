# Generated from taking.py by tools/twins.py: change that one, then run: make twins
"""How a pod takes a uid, so that no two processes ever have the same epoch of one uid: takeLink, in Python."""

from stateful_route.store.connection_sync import Store
from stateful_route.store.keys import Service
from stateful_route.store.links_sync import answered
from stateful_route.store.taking import Bid, Taken, take_link_request


def take_link(store: Store, service: Service, uid: str, ordinal: int, bid: Bid) -> Taken:
    """Take ``uid`` for the pod, or make sure that the pod has it; an epoch that is given here is given to nobody else.

    Raises:
        InvalidArgument, StoreUnavailable, StoreRejected: see there.
    """
    return answered(store, take_link_request(service, uid, ordinal, bid))
