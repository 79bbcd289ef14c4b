"""Links as they stand, many at a time: what an owner compares its memory with."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from stateful_route.domain.errors import StatefulRouteError, StoreUnavailable
from stateful_route.domain.holding import StandingLink
from stateful_route.store.connection import Store
from stateful_route.store.index import Bucket, bucketed, portions
from stateful_route.store.keys import Service
from stateful_route.store.scripts import Call, script


class Row(NamedTuple):
    """One uid in the reply of readLinks: as `StandingLink`, in the script's own terms (its head says which)."""

    uid: str
    ordinal: int
    expires_ms: int
    epoch: int


def read_call(service: Service, bucket: Bucket) -> Call:
    """The script call for some uids of one bucket; it replies with the time and with what `rows` takes apart."""
    return Call(script("readLinks"), [service.index(bucket.number), *map(service.link, bucket.uids)], list(bucket.uids))


def rows(bucket: Bucket, reply: Sequence[Any]) -> list[Row]:
    """What the script has said of each uid of the bucket."""
    return [Row(*row) for row in zip(bucket.uids, reply[1::3], reply[2::3], reply[3::3], strict=True)]


async def read_links(
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
    for part, reply in zip(parts, await store.run_many(calls), strict=True):
        if isinstance(reply, StoreUnavailable):
            raise reply
        if isinstance(reply, StatefulRouteError):
            refused |= dict.fromkeys(part.uids, reply)
            continue
        for uid, ordinal, expires, epoch in rows(part, reply):
            link = StandingLink(ordinal, expires < 0, None if epoch < 0 else epoch)
            found[uid] = link if ordinal >= 0 else None
    return found, refused
