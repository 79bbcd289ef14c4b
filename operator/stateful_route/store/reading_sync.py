# Generated from reading.py by tools/twins.py: change that one, then run: make twins
"""Links as they stand, many at a time: what an owner compares its memory with."""

from collections.abc import Iterable

from stateful_route.domain.errors import StatefulRouteError, StoreUnavailable
from stateful_route.domain.holding import StandingLink
from stateful_route.store.connection_sync import Store
from stateful_route.store.index import bucketed, portions
from stateful_route.store.keys import Service
from stateful_route.store.reading import read_call, rows


def read_links(
    store: Store, service: Service, uids: Iterable[str]
) -> tuple[dict[str, StandingLink | None], dict[str, StatefulRouteError]]:
    """Uid → its link, or None where there is none that names a pod; and those that the store refused to tell of.

    One round trip (one per node of a Cluster), one script for the uids of a bucket.

    Raises:
        StoreUnavailable: nothing was changed.
    """
    parts = [part for portion in portions(bucketed(service, uids)) for part in portion]
    calls = [read_call(service, part) for part in parts]
    found: dict[str, StandingLink | None] = {}
    refused: dict[str, StatefulRouteError] = {}
    for part, reply in zip(parts, store.run_many(calls), strict=True):
        if isinstance(reply, StoreUnavailable):
            raise reply
        if isinstance(reply, StatefulRouteError):
            refused |= dict.fromkeys(part.uids, reply)
            continue
        for uid, ordinal, expires, epoch in rows(part, reply):
            link = StandingLink(ordinal, expires < 0, None if epoch < 0 else epoch)
            found[uid] = link if ordinal >= 0 else None
    return found, refused
