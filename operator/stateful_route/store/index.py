"""The reverse index: which uids a pod has, how many each pod has, and what to do when links and index disagree."""

import math
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from time import monotonic
from typing import Any, NamedTuple

from stateful_route.domain.cut import Issued
from stateful_route.domain.epoch import EPOCH_START_MS, score_range
from stateful_route.domain.errors import StatefulRouteError
from stateful_route.domain.names import MAX_UID_BYTES
from stateful_route.store.connection import Store
from stateful_route.store.counts import (
    abandon_count,
    begin_count,
    changed_meanwhile,
    count_call,
    doubt,
    end_count,
    kept_counts,
)
from stateful_route.store.keys import BUCKETS, INDEXES, Service, indexed_by, tags
from stateful_route.store.migrate import append_purge
from stateful_route.store.rest import Rest
from stateful_route.store.scripts import Call, script
from stateful_route.store.states import get_service

BUCKETS_PER_CALL = 64
"""On one server a script reads as many buckets at once; at 1 M links that is about 4,000 entries, a millisecond."""

CALLS_PER_TRIP = 64

CALLS_PER_COUNT = 16
"""In a recount, which is believed for some seconds from one trip to the next."""

COUNTING_PART = 0.2
"""At most this part of the time is spent on counting out what has expired; a small service takes some 30 ms for it."""

FULL_SECONDS = 60.0
"""A pod that was found to be full is looked at anew after so long, whatever its links have to live: foreign clients may
change that."""

SCAN_COUNT = 500
"""Keys looked at per SCAN call: a fraction of a millisecond of the server's time."""

FEW_KEYS = 200_000
"""A store of so many is looked at whole for a service that seems to have no links: about as long as one is counted."""

UNHURRIED = math.inf
"""As keys that are looked at each second: as many as can be."""

LINKS_PER_REPAIR = 200

LINKS_PER_TRIP = 1000
"""Links that are repaired between two rests."""


FLOOR_SECONDS = 7 * 24 * 3600
"""How long a bucket without links remembers its highest epoch after a purge.

A clock that was set back by more than it is late by then is a wrong clock that nobody has noticed for a week; and the
keys of services that are gone for good must go, too.
"""


class Bucket(NamedTuple):
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
        broken: Entries that no script of ours can have written (another bucket's, a score out of range; a key of
            another type counts as one); dropped.
    """

    expired: int = 0
    moved: int = 0
    found: int = 0
    foreign: int = 0
    broken: int = 0

    def __add__(self, other: "Repaired") -> "Repaired":
        return Repaired(
            self.expired + other.expired,
            self.moved + other.moved,
            self.found + other.found,
            self.foreign + other.foreign,
            self.broken + other.broken,
        )


class Purged(NamedTuple):
    """What a purge did: how many links it deleted, and the epoch that was told, which none of theirs is above."""

    deleted: int
    highest: int


HasNone = Callable[[], Awaitable[bool]]

Tell = Callable[[int, Repaired], None]
"""Hears how many keys have been looked at so far, and what was found among them."""


async def links_of_pod(
    store: Store, service: Service, ordinal: int, before: int | None = None, start_bucket: int = 0
) -> AsyncIterator[list[Bucket]]:
    """The uids linked to one pod, some buckets at a time; ``before``: only those with a lower epoch.

    Walks all buckets (from ``start_bucket`` on) once; entries that appear behind the walk are found by the next one.
    """
    async for buckets in _listed(store, service, score_range(ordinal, before), start_bucket):
        yield buckets


async def all_links(store: Store, service: Service, start_bucket: int = 0) -> AsyncIterator[list[Bucket]]:
    """The uids of all index entries of a service, some buckets at a time, in the order of the buckets' numbers."""
    async for buckets in _listed(store, service, (0, "+inf"), start_bucket):
        yield buckets


async def count_links(store: Store, service: Service) -> dict[int, int]:
    """How many links each pod has; a pod without any is missing. Reads only.

    They are kept by the scripts that change links. Where nobody has counted yet the index is walked, and on a Redis
    Cluster, whose counts are too high by what changed while they were taken. Temporary links that have expired count
    until the next `recount`.
    """
    kept = None if store.cluster else await kept_counts(store, service)
    return await count_entries(store, service) if kept is None else kept


async def counted_links(store: Store, service: Service, has_none: HasNone | None = None) -> dict[int, int]:
    """As `count_links`; where nobody has counted yet, they are counted now, and kept from then on.

    A Redis Cluster's counts are believed here where they know of no link at all: a link of which a caller could not say
    that it has made it, as it ended, is found by the next repair.

    Args:
        store: Where.
        service: Whose.
        has_none: Says, by a look that begins after it is asked, that the service has no index; False: nobody can tell.
    """
    kept = await kept_counts(store, service)
    if kept is None and has_none is not None and await _count_none(store, service, has_none):
        return {}
    if kept is None and await recount(store, service):
        kept = await kept_counts(store, service)
    return await count_entries(store, service) if kept is None or (store.cluster and kept) else kept


async def _count_none(store: Store, service: Service, has_none: HasNone) -> bool:
    """Keep the counts of a service without links from now on, without a walk; False: it must be counted."""
    who = secrets.token_hex(8)
    try:
        if not await begin_count(store, service, who, none=True):
            return False
        if await has_none() and not await changed_meanwhile(store, service):
            return await end_count(store, service, who, (FULL_SECONDS, 0.0), {})
    except BaseException:
        await abandon_count(store, service, who)
        raise
    await abandon_count(store, service, who)
    return False


async def indexed_services(store: Store) -> set[Service] | None:
    """The services that have an index, of all that have one all the time; None: the store has more than `FEW_KEYS`.

    Raises:
        StoreUnavailable, StoreRejected: see there.
    """
    found: set[Service] = set()
    looked_at = 0
    async for keys in store.scan_pages(INDEXES, SCAN_COUNT):
        found.update(service for key in keys if (service := indexed_by(key)) is not None)
        looked_at += SCAN_COUNT
        if looked_at > FEW_KEYS:
            return None
    return found


async def recount(store: Store, service: Service) -> bool:
    """Drop what has expired, and count anew what is left; False: somebody else is at it.

    Whoever is cancelled, or fails, in the middle lets others begin at once; who is killed, after `BELIEVED_MS`.

    Raises:
        StoreUnavailable, StoreRejected: nothing is counted, the former counts stand.
    """
    return await _Upkeep(store, service, UNHURRIED, None).recount()


async def count_entries(store: Store, service: Service) -> dict[int, int]:
    """How many index entries each pod has, by a walk over all buckets; a pod without any is missing. Reads only."""
    counts: dict[int, int] = {}
    groups = _bucket_groups(store)
    for start in range(0, len(groups), CALLS_PER_TRIP):
        await _count(store, service, groups[start : start + CALLS_PER_TRIP], counts)
    return counts


async def _count(store: Store, service: Service, groups: Iterable[Sequence[int]], counts: dict[int, int]) -> None:
    calls = [Call(script("countLinks"), [service.index(bucket) for bucket in group], ()) for group in groups]
    for flat in _values(await store.run_many(calls)):
        for ordinal, count in zip(flat[::2], flat[1::2], strict=True):
            counts[ordinal] = counts.get(ordinal, 0) + count


async def issued_epochs(store: Store, service: Service) -> Issued:
    """The epochs that the buckets of a service have issued, in one pass; buckets without links are left out."""
    highest, ahead, spread = 0, 0, 0
    groups = _bucket_groups(store)
    for start in range(0, len(groups), CALLS_PER_TRIP):
        calls = [
            Call(script("highestEpoch"), service.indexes(group), ()) for group in groups[start : start + CALLS_PER_TRIP]
        ]
        replies = _values(await store.run_many(calls))
        clocks = [clock for _, clock in replies]
        spread = max(spread, max(clocks) - min(clocks))
        for epoch, clock in replies:
            highest, ahead = max(highest, epoch), max(ahead, epoch + EPOCH_START_MS - clock)
    return Issued(highest, ahead, spread if store.cluster else 0)


def bucketed(service: Service, uids: Iterable[str]) -> list[Bucket]:
    """The uids, bucket by bucket."""
    grouped: dict[int, list[str]] = {}
    for uid in uids:
        grouped.setdefault(service.bucket(uid), []).append(uid)
    return [Bucket(number, members) for number, members in grouped.items()]


def portions(buckets: Iterable[Bucket]) -> Iterator[list[Bucket]]:
    """The same uids, cut into lists of at most `LINKS_PER_TRIP` uids and buckets of at most `LINKS_PER_REPAIR`."""
    portion: list[Bucket] = []
    room = LINKS_PER_TRIP
    for bucket in buckets:
        start = 0
        while start < len(bucket.uids):
            uids = bucket.uids[start : start + min(room, LINKS_PER_REPAIR)]
            portion.append(Bucket(bucket.number, uids))
            start, room = start + len(uids), room - len(uids)
            if room == 0:
                yield portion
                portion, room = [], LINKS_PER_TRIP
    if portion:
        yield portion


async def repair(store: Store, service: Service, buckets: Iterable[Bucket]) -> Repaired:
    """Make the index agree with the links of the given uids."""
    return sum(
        (Repaired(*found) for *found, _ in _values(await store.run_many(_repair_calls(service, buckets)))), Repaired()
    )


async def repair_services(
    store: Store, buckets: Mapping[Service, Sequence[Bucket]]
) -> dict[Service, Repaired | StatefulRouteError]:
    """As `repair`, for several services at once: of each what was mended, or the first error.

    Raises:
        StoreUnavailable: the connection broke; some of them may be mended.
    """
    calls = [(service, call) for service, those in buckets.items() for call in _repair_calls(service, those)]
    found: dict[Service, Repaired | StatefulRouteError] = {}
    for (service, _), reply in zip(calls, await store.run_many([call for _, call in calls]), strict=True):
        so_far = found.setdefault(service, Repaired())
        if isinstance(so_far, StatefulRouteError):
            continue
        found[service] = reply if isinstance(reply, StatefulRouteError) else so_far + Repaired(*reply[:-1])
    for service, repaired in found.items():
        if isinstance(repaired, Repaired) and repaired.found:
            await doubt(store, service)
    return found


async def repair_service(
    store: Store,
    service: Service,
    *,
    foreign: bool,
    index: bool = True,
    keys_per_second: float | None = None,
    tell: Tell | None = None,
) -> Repaired:
    """Make the whole index of a service agree with its links, without holding other callers up.

    Args:
        store: Where.
        service: Whose.
        foreign: Look at every key of the store for links that foreign clients made without our index.
        index: Walk the index for entries whose link has expired or names another pod.
        keys_per_second: How many keys are looked at; None: as many as a fifth of the time allows.
        tell: Hears of the progress.

    Raises:
        StoreUnavailable, StoreRejected: what was repaired stays repaired; it can be called again.
    """
    work = _Upkeep(store, service, keys_per_second, tell)
    if index and not await work.recount():
        await work.repair(all_links(store, service))
    if foreign:
        await work.repair(linked_uids(store, service), SCAN_COUNT)
        if work.repaired.found:
            await doubt(store, service)
    return work.repaired


async def repair_buckets(store: Store, service: Service, buckets: range) -> Repaired:
    """As `repair_service`, for the index entries of some buckets alone; for who walks in steps of its own."""
    work = _Upkeep(store, service, None, None)
    await work.repair(_listed(store, service, (0, "+inf"), buckets.start, buckets.stop))
    return work.repaired


async def rebuild(
    store: Store, service: Service, *, keys_per_second: float | None = None, tell: Tell | None = None
) -> Repaired:
    """Make the index of a service anew from its links: after it was lost or damaged. Arguments as `repair_service`.

    An entry that agrees with its link keeps its epoch, every other link gets a new one, and none falls.
    """
    work = _Upkeep(store, service, keys_per_second, tell)
    groups = _bucket_groups(store)
    for start in range(0, len(groups), CALLS_PER_TRIP):
        await work.mend([(group, ()) for group in groups[start : start + CALLS_PER_TRIP]])
    await work.repair(linked_uids(store, service), SCAN_COUNT)
    if not await work.recount():
        await work.repair(all_links(store, service))
    return work.repaired


async def purge(store: Store, service: Service) -> Purged:
    """Delete all links of a service that are in the index; their buckets remember their epochs for `FLOOR_SECONDS`.

    Callers and pods are told, before (a pod that compares meanwhile must not take the links for lost, and link its uids
    again) and after, when the highest epoch is known.

    Raises:
        StoreUnavailable, StoreRejected: some links may be deleted; it can be called again.
    """
    begun = (await get_service(store, service)).time_ms - EPOCH_START_MS
    begun = max(begun, (await issued_epochs(store, service)).highest)  # the clock may have been set back
    await append_purge(store, service, begun)
    deleted, highest = 0, begun
    async for buckets in all_links(store, service):
        calls = [_purge_call(service, bucket) for portion in portions(buckets) for bucket in portion]
        for links, epoch in _values(await store.run_many(calls)):
            deleted, highest = deleted + links, max(highest, epoch)
    await doubt(store, service)
    await append_purge(store, service, highest)
    return Purged(deleted, highest)


async def linked_uids(store: Store, service: Service) -> AsyncIterator[list[Bucket]]:
    """The uids of all links of a service, found by SCAN, with or without an index entry; some at a time.

    Looks at every key of the store, so it is for foreign clients' links only. Gives a list, mostly an empty one, for
    each `SCAN_COUNT` keys that it has looked at, so that whoever asks can rest.
    """
    head, tail = f"sf:{{{service.namespace}:lk:", f"}}{service.name}"
    pattern = glob_escaped(head) + "*" + glob_escaped(tail)
    pending: list[str] = []
    async for keys in store.scan_pages(pattern, SCAN_COUNT):
        for key in keys:
            uid = key.decode(errors="surrogateescape")[len(head) : -len(tail)]
            if not uid or "}" in uid or len(key) > MAX_UID_BYTES + len(head) + len(tail):
                continue
            pending.append(uid)
        if len(pending) < SCAN_COUNT:
            yield []
        else:
            yield bucketed(service, pending)
            pending = []
    yield bucketed(service, pending)


class _Upkeep:
    """The repair of one service, in small steps with a rest after each."""

    def __init__(self, store: Store, service: Service, keys_per_second: float | None, tell: Tell | None) -> None:
        self._store = store
        self._service = service
        self._rest = Rest(keys_per_second)
        self._tell = tell
        self._looked_at = 0
        self._expires = math.inf
        """When the first of the links expires that were seen, by this process's clock."""
        self.repaired = Repaired()

    async def recount(self) -> bool:
        """Repair all entries, and count what is left; False: somebody else is counting, or took this one for dead."""
        store, service, who, began = self._store, self._service, secrets.token_hex(8), monotonic()
        try:
            return await begin_count(store, service, who) and await self._count_anew(who, began)
        except BaseException:
            await abandon_count(store, service, who)
            raise

    async def _count_anew(self, who: str, began: float) -> bool:
        store, service = self._store, self._service
        counts: dict[int, int] = {}
        groups = _in_order(1 if store.cluster else BUCKETS_PER_CALL)
        size = CALLS_PER_TRIP if store.cluster else CALLS_PER_COUNT
        for start in range(0, len(groups), size):
            trip = groups[start : start + size]
            await self.repair(_listed_of(store, service, (0, "+inf"), trip))
            if store.cluster:
                await _count(store, service, trip, counts)
            elif not all(_values(await store.run_many([count_call(service, group, who) for group in trip]))):
                return False
        now = monotonic()
        holds = min(FULL_SECONDS, self._expires - now), (now - began) * (1 - COUNTING_PART) / COUNTING_PART
        return await end_count(store, service, who, holds, counts)

    async def repair(self, walk: AsyncIterator[list[Bucket]], keys_per_step: int = 0) -> None:
        """Repair all uids of a walk that has looked at so many keys for each list that it gives, at the least."""
        async for buckets in walk:
            strays = {}
            for bucket in buckets:
                if astray := [uid for uid in bucket.uids if not _belongs(self._service, bucket.number, uid)]:
                    strays[bucket.number] = astray
            if strays:
                await self.mend([([bucket], uids) for bucket, uids in strays.items()])
            keys = keys_per_step
            for portion in portions(_without(buckets, strays)):
                for *found, lives in _values(await self._store.run_many(_repair_calls(self._service, portion))):
                    self.repaired += Repaired(*found)
                    if lives >= 0:
                        self._expires = min(self._expires, monotonic() + lives / 1000)
                links = sum(len(bucket.uids) for bucket in portion)
                await self._stepped(max(links, keys))
                keys = 0
            if keys:
                await self._stepped(keys)

    async def mend(self, damaged: Sequence[tuple[Sequence[int], Sequence[str]]]) -> None:
        """Take out of the indexes of some buckets what cannot be ours, and the given uids."""
        index = self._service.index
        counts = (self._service.counts,)
        calls = [
            Call(script("mendIndex"), [index(bucket) for bucket in buckets], (len(buckets), *uids), counts)
            for buckets, uids in damaged
        ]
        self.repaired += Repaired(broken=sum(_values(await self._store.run_many(calls))))
        await self._stepped(sum(len(buckets) for buckets, _ in damaged))

    async def _stepped(self, keys: int) -> None:
        self._looked_at += keys
        if self._tell is not None:
            self._tell(self._looked_at, self.repaired)
        await self._rest.after(keys)


def _belongs(service: Service, bucket: int, uid: str) -> bool:
    return uid != "" and "}" not in uid and service.bucket(uid) == bucket


def _without(buckets: Iterable[Bucket], strays: Mapping[int, Sequence[str]]) -> Iterator[Bucket]:
    for bucket in buckets:
        astray = set(strays.get(bucket.number, ()))
        yield Bucket(bucket.number, [uid for uid in bucket.uids if uid not in astray]) if astray else bucket


async def _listed(
    store: Store, service: Service, scores: tuple[int, int | str], start_bucket: int = 0, stop_bucket: int = BUCKETS
) -> AsyncIterator[list[Bucket]]:
    async for found in _listed_of(store, service, scores, _bucket_groups(store, start_bucket, stop_bucket)):
        yield found


async def _listed_of(
    store: Store, service: Service, scores: tuple[int, int | str], groups: Sequence[Sequence[int]]
) -> AsyncIterator[list[Bucket]]:
    for start in range(0, len(groups), CALLS_PER_TRIP):
        trip = groups[start : start + CALLS_PER_TRIP]
        calls = [Call(script("listLinks"), [service.index(bucket) for bucket in group], scores) for group in trip]
        found = []
        for group, flat in zip(trip, _values(await store.run_many(calls)), strict=True):
            for place, uids in zip(flat[::2], flat[1::2], strict=True):
                found.append(Bucket(group[place - 1], [uid.decode(errors="surrogateescape") for uid in uids]))
        if found:
            yield found


@cache
def _in_order(size: int) -> list[Sequence[int]]:
    """All buckets in the order of their tags, so many at a time."""
    order = sorted(range(BUCKETS), key=tags().__getitem__)
    return [order[start : start + size] for start in range(0, BUCKETS, size)]


def _bucket_groups(store: Store, start_bucket: int = 0, stop_bucket: int = BUCKETS) -> list[range]:
    size = 1 if store.cluster else BUCKETS_PER_CALL  # a script's keys share a slot on a Cluster
    return [range(start, min(start + size, stop_bucket)) for start in range(start_bucket, stop_bucket, size)]


def _repair_calls(service: Service, buckets: Iterable[Bucket]) -> list[Call]:
    return [
        Call(script("repairLinks"), service.bucket_keys(*bucket), (service.name, *bucket.uids), (service.counts,))
        for portion in portions(buckets)
        for bucket in portion
    ]


def _purge_call(service: Service, bucket: Bucket) -> Call:
    keys = [*service.bucket_keys(*bucket), service.floor(bucket.number)]
    return Call(script("purgeLinks"), keys, (service.name, FLOOR_SECONDS, *bucket.uids), (service.counts,))


def _values(replies: Sequence[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, StatefulRouteError):
            raise reply
    return list(replies)


def glob_escaped(text: str) -> str:
    """A pattern that matches the text alone."""
    return re.sub(r"([*?\[\]\\^-])", r"\\\1", text)
