"""Links as they stand, many at a time: what an owner compares its memory with."""

from collections.abc import Iterable, Sequence

from stateful_route.domain.errors import StatefulRouteError, StoreUnavailable
from stateful_route.domain.holding import StandingLink
from stateful_route.store.connection import Store
from stateful_route.store.keys import Service
from stateful_route.store.scripts import Call, script

UIDS_PER_CALL = 200


async def read_links(
    store: Store, service: Service, uids: Iterable[str]
) -> tuple[dict[str, StandingLink | None], dict[str, StatefulRouteError]]:
    """Uid → its link, or None where there is none that names a pod; and those that the store refused to tell of.

    One round trip (one per node of a Cluster), one script for the uids of a bucket.

    Raises:
        StoreUnavailable: nothing was changed.
    """
    calls, parts = [], []
    for bucket, members in by_bucket(service, uids).items():
        for start in range(0, len(members), UIDS_PER_CALL):
            part = members[start : start + UIDS_PER_CALL]
            keys = [service.index(bucket), *map(service.link, part)]
            calls.append(Call(script("readLinks"), keys, part))
            parts.append(part)
    found: dict[str, StandingLink | None] = {}
    refused: dict[str, StatefulRouteError] = {}
    for part, reply in zip(parts, await store.run_many(calls), strict=True):
        if isinstance(reply, StoreUnavailable):
            raise reply
        if isinstance(reply, StatefulRouteError):
            refused |= dict.fromkeys(part, reply)
            continue
        for uid, ordinal, expires, epoch in zip(part, reply[1::3], reply[2::3], reply[3::3], strict=True):
            link = StandingLink(ordinal, expires < 0, None if epoch < 0 else epoch)
            found[uid] = link if ordinal >= 0 else None
    return found, refused


def by_bucket(service: Service, uids: Iterable[str]) -> dict[int, Sequence[str]]:
    """Bucket → the uids that lie in it."""
    buckets: dict[int, list[str]] = {}
    for uid in uids:
        buckets.setdefault(service.bucket(uid), []).append(uid)
    return dict(buckets)
