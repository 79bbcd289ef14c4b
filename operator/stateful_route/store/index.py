"""The reverse index: which uids a pod has, how many each pod has, and what to do when links and index disagree."""

import re
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from stateful_route.domain.epoch import score_range
from stateful_route.domain.errors import StatefulRouteError
from stateful_route.domain.names import MAX_UID_BYTES
from stateful_route.store.connection import Store, translated
from stateful_route.store.keys import BUCKETS, Service
from stateful_route.store.scripts import Call, script

BUCKETS_PER_CALL = 64
"""On one server a script reads as many buckets at once; at 1 M links that is about 4,000 entries, a millisecond."""

CALLS_PER_TRIP = 64

SCAN_COUNT = 500
"""Keys looked at per SCAN call: a fraction of a millisecond of the server's time."""

LINKS_PER_REPAIR = 200


@dataclass(frozen=True, slots=True)
class Bucket:
    """Some uids of one bucket (hash slot)."""

    number: int
    uids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair found and mended.

    Attributes:
        expired: Entries whose link was gone; dropped.
        moved: Entries that named another pod than their link does; corrected.
        found: Links that were not in the index (a foreign client's); entered.
        foreign: Links that hold no pod index; left untouched.
    """

    expired: int = 0
    moved: int = 0
    found: int = 0
    foreign: int = 0

    def __add__(self, other: "Repaired") -> "Repaired":
        return Repaired(
            self.expired + other.expired,
            self.moved + other.moved,
            self.found + other.found,
            self.foreign + other.foreign,
        )


async def links_of_pod(
    store: Store, service: Service, ordinal: int, before: int | None = None
) -> AsyncIterator[list[Bucket]]:
    """The uids linked to one pod, some buckets at a time; ``before``: only those with a lower epoch.

    Walks all buckets once; entries that appear behind the walk are found by the next one.
    """
    lowest, highest = score_range(ordinal, before)
    async for buckets in _listed(store, service, lowest, highest):
        yield buckets


async def all_links(store: Store, service: Service) -> AsyncIterator[list[Bucket]]:
    """The uids of all index entries of a service, some buckets at a time."""
    async for buckets in _listed(store, service, 0, "+inf"):
        yield buckets


async def count_links(store: Store, service: Service) -> dict[int, int]:
    """How many index entries each pod has, all pods in one pass; a pod without any is missing.

    Temporary links that have expired count until the next repair.
    """
    counts: dict[int, int] = {}
    groups = _bucket_groups(store)
    for start in range(0, len(groups), CALLS_PER_TRIP):
        trip = groups[start : start + CALLS_PER_TRIP]
        calls = [Call(script("countLinks"), [service.index(bucket) for bucket in group], ()) for group in trip]
        for flat in _values(await store.run_many(calls)):
            for ordinal, count in zip(flat[::2], flat[1::2], strict=True):
                counts[ordinal] = counts.get(ordinal, 0) + count
    return counts


async def repair(store: Store, service: Service, buckets: Iterable[Bucket]) -> Repaired:
    """Make the index agree with the links of the given uids."""
    calls = []
    for bucket in buckets:
        for start in range(0, len(bucket.uids), LINKS_PER_REPAIR):
            part = bucket.uids[start : start + LINKS_PER_REPAIR]
            calls.append(_uids_call("repairLinks", service, Bucket(bucket.number, part)))
    total = Repaired()
    for reply in _values(await store.run_many(calls)):
        total += Repaired(*reply)
    return total


async def purge(store: Store, service: Service) -> int:
    """Delete all links of a service that are in the index; how many there were."""
    deleted = 0
    async for buckets in all_links(store, service):
        calls = [
            _uids_call("purgeLinks", service, Bucket(bucket.number, bucket.uids[start : start + LINKS_PER_REPAIR]))
            for bucket in buckets
            for start in range(0, len(bucket.uids), LINKS_PER_REPAIR)
        ]
        deleted += sum(_values(await store.run_many(calls)))
    return deleted


async def linked_uids(store: Store, service: Service) -> AsyncIterator[list[Bucket]]:
    """The uids of all links of a service, found by SCAN, with or without an index entry; some at a time.

    Looks at every key of the store, so it is for foreign clients' links only.
    """
    head, tail = f"sf:{{{service.namespace}:lk:", f"}}{service.name}"
    pattern = _glob_escaped(head) + "*" + _glob_escaped(tail)
    grouped: dict[int, list[str]] = {}
    pending = 0
    keys = store.scan(pattern, SCAN_COUNT)
    with translated(store.label):
        async for key in keys:
            uid = key.decode(errors="surrogateescape")[len(head) : -len(tail)]
            if not uid or "}" in uid or len(key) > MAX_UID_BYTES + len(head) + len(tail):
                continue
            grouped.setdefault(service.bucket(uid), []).append(uid)
            pending += 1
            if pending >= SCAN_COUNT:
                yield [Bucket(number, uids) for number, uids in grouped.items()]
                grouped, pending = {}, 0
    yield [Bucket(number, uids) for number, uids in grouped.items()]


async def _listed(store: Store, service: Service, lowest: int, highest: int | str) -> AsyncIterator[list[Bucket]]:
    groups = _bucket_groups(store)
    for start in range(0, len(groups), CALLS_PER_TRIP):
        trip = groups[start : start + CALLS_PER_TRIP]
        calls = [
            Call(script("listLinks"), [service.index(bucket) for bucket in group], (lowest, highest)) for group in trip
        ]
        found = []
        for group, flat in zip(trip, _values(await store.run_many(calls)), strict=True):
            for place, uids in zip(flat[::2], flat[1::2], strict=True):
                found.append(Bucket(group[place - 1], [uid.decode(errors="surrogateescape") for uid in uids]))
        if found:
            yield found


def _bucket_groups(store: Store) -> list[range]:
    size = 1 if store.cluster else BUCKETS_PER_CALL  # a script's keys share a slot on a Cluster
    return [range(start, min(start + size, BUCKETS)) for start in range(0, BUCKETS, size)]


def _uids_call(name: str, service: Service, bucket: Bucket) -> Call:
    keys = [service.index(bucket.number)]
    for uid in bucket.uids:
        keys += (service.link(uid), service.links(uid))
    return Call(script(name), keys, (service.name, *bucket.uids))


def _values(replies: Sequence[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, StatefulRouteError):
            raise reply
    return list(replies)


def _glob_escaped(text: str) -> str:
    return re.sub(r"([*?\[\]\\^-])", r"\\\1", text)
