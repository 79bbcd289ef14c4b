"""Archives: what a store holds and nobody would write again, as entries of one line of JSON each.

Links and workload states are in it. Service states are not: whoever publishes them does so again within half a minute,
and one out of an archive would call a pod READY that may be gone. Nor are index entries and the operator's records: the
import makes the former anew, the operator writes the latter.
"""

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from stateful_route.domain.epoch import EPOCH_START_MS, STEP
from stateful_route.domain.errors import InvalidArgument, StatefulRouteError
from stateful_route.domain.names import MAX_UID_BYTES, check_ordinal
from stateful_route.store.connection import Store
from stateful_route.store.counts import doubt
from stateful_route.store.index import (
    LINKS_PER_REPAIR,
    SCAN_COUNT,
    Bucket,
    all_links,
    glob_escaped,
    linked_uids,
    portions,
)
from stateful_route.store.keys import BUCKETS, Service
from stateful_route.store.reading import read_call, rows
from stateful_route.store.rest import Rest
from stateful_route.store.scripts import Call, script
from stateful_route.store.states import get_service

UNREADABLE = -2
"""As the pod of a link that holds no pod index, in the script's reply."""

CLOCKS_APART_MS = 60_000
"""Links whose epoch is this much older than the export are taken to have been in the index when it began."""

MAX_EPOCH = STEP - 2**32
"""Seven weeks before the end of epochs: one in a file that is higher would leave none to be issued after it."""

LAST_MS = 2**53
"""A time that JSON readers and Lua hold exactly."""


@dataclass(frozen=True, slots=True)
class StoredLink:
    """One link as it stands; ``expires``: ms since 1970, None: persistent; ``epoch`` None: it is not in the index."""

    kind: ClassVar = "link"
    service: Service
    uid: str
    ordinal: int
    expires: int | None = None
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Workload:
    """The workload state of a service."""

    kind: ClassVar = "workload"
    service: Service
    state: str


@dataclass(frozen=True, slots=True)
class Mark:
    """How far an export has come: all links of the service in lower buckets are written.

    ``bucket`` is `BUCKETS` when only links that are not in the index remain, and beyond it when the service is done.
    ``started`` is when its export began, in ms since 1970 by the store's clock.
    """

    kind: ClassVar = "mark"
    service: Service
    bucket: int
    started: int

    @property
    def done(self) -> bool:
        """Nothing of the service remains."""
        return self.bucket > BUCKETS


@dataclass(frozen=True, slots=True)
class Portion:
    """Some entries of an export; ``unreadable``: links among them that hold no pod index, which are left out."""

    entries: Sequence[StoredLink | Workload]
    unreadable: int
    mark: Mark


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did with links.

    Attributes:
        written: Links that were written.
        kept: Links that stood in the store and were left as they are.
        expired: Links whose time was over.
    """

    written: int = 0
    kept: int = 0
    expired: int = 0

    def __add__(self, other: "Imported") -> "Imported":
        return Imported(self.written + other.written, self.kept + other.kept, self.expired + other.expired)


@dataclass(frozen=True, slots=True)
class Read:
    """Links that were read together, those that hold no pod index, and the store's time in ms since 1970."""

    links: Sequence[StoredLink]
    unreadable: int
    time_ms: int


Entry = StoredLink | Workload | Mark


async def services(store: Store, namespace: str) -> list[str]:
    """The names of all services of a namespace that have links or states, found by SCAN over the whole store."""
    head = Service(namespace, "any").states.removesuffix("state:any}").encode()
    names = set()
    async for keys in store.scan_pages(glob_escaped(head.decode()) + "*", SCAN_COUNT):
        for key in keys:
            kind, _, rest = key[len(head) :].decode(errors="surrogateescape").partition(":")
            inside, _, after = rest.partition("}")
            names.add(after if kind == "lk" else inside)
    return sorted(name for name in names if _can_be_named(namespace, name))


async def read_links(store: Store, service: Service, buckets: Iterable[Bucket]) -> Read:
    """The links of some uids, in one round trip; uids without one are missing."""
    parts = [bucket for portion in portions(buckets) for bucket in portion]
    calls = [read_call(service, part) for part in parts]
    links, unreadable, time_ms = [], 0, 0
    for part, reply in zip(parts, await store.run_many(calls), strict=True):
        if isinstance(reply, StatefulRouteError):
            raise reply
        time_ms = reply[0]
        for uid, ordinal, expires, epoch in rows(part, reply):
            unreadable += ordinal == UNREADABLE
            if ordinal >= 0:
                links.append(StoredLink(service, uid, ordinal, _or_none(expires), _or_none(epoch)))
    return Read(links, unreadable, time_ms)


async def export(
    store: Store, service: Service, *, after: Mark | None = None, keys_per_second: float | None = None
) -> AsyncIterator[Portion]:
    """All links of a service and its workload state, some at a time; ``after``: the rest, as of an earlier mark.

    First what the index knows, bucket by bucket; then, by SCAN, what it does not: links that foreign clients made. A
    link that changes meanwhile may come twice, the later one is the newer. An export only reads.

    Raises:
        StoreUnavailable, StoreRejected: go on after the last mark.
    """
    rest = Rest(keys_per_second)
    mark = after or Mark(service, 0, (await get_service(store, service)).time_ms)
    since = mark.started - EPOCH_START_MS - CLOCKS_APART_MS
    given: set[StoredLink] = set()
    workload = await store.command("GET", service.workload)
    if workload is not None:
        yield Portion([Workload(service, workload.decode(errors="surrogateescape"))], 0, mark)
    if mark.bucket < BUCKETS:
        async for buckets in all_links(store, service, mark.bucket):
            for portion in portions(buckets):
                read = await read_links(store, service, portion)
                given.update(link for link in read.links if link.epoch is None or link.epoch >= since)
                mark = Mark(service, portion[-1].number, mark.started)
                yield Portion(read.links, read.unreadable, mark)
                await rest.after(sum(len(bucket.uids) for bucket in portion))
        mark = Mark(service, BUCKETS, mark.started)
        yield Portion([], 0, mark)
    if not mark.done:
        async for buckets in linked_uids(store, service):
            read = await read_links(store, service, buckets)
            late = [link for link in read.links if link.epoch is None or link.epoch >= since]
            late = [link for link in late if link not in given]
            if late or read.unreadable:
                yield Portion(late, read.unreadable, mark)
            await rest.after(SCAN_COUNT)
        yield Portion([], 0, Mark(service, BUCKETS + 1, mark.started))


async def import_links(store: Store, links: Iterable[StoredLink], *, overwrite: bool) -> Imported:
    """Write links, each with its time to live and an epoch above the one that it had; in one round trip.

    Can be repeated: a second time, all are kept or written as they stand.

    Args:
        store: Where.
        links: Not more than some thousands; of a uid that comes twice the last one stands, or without ``overwrite``
            the first.
        overwrite: Write over links that stand in the store; nobody is told that they moved.

    Raises:
        StoreUnavailable, StoreRejected: some of them may have been written.
    """
    groups: dict[tuple[Service, int], list[StoredLink]] = {}
    for link in links:
        groups.setdefault((link.service, link.service.bucket(link.uid)), []).append(link)
    calls = []
    for (service, bucket), group in groups.items():
        for start in range(0, len(group), LINKS_PER_REPAIR):
            part = group[start : start + LINKS_PER_REPAIR]
            keys = service.bucket_keys(bucket, [link.uid for link in part])
            args: list[str | int] = [service.name, int(overwrite)]
            for link in part:
                args += (link.uid, link.ordinal, _or_minus_one(link.expires), _or_minus_one(link.epoch))
            calls.append(Call(script("importLinks"), keys, args, (service.counts,)))
    total = Imported()
    for reply in await store.run_many(calls):
        if isinstance(reply, StatefulRouteError):
            raise reply
        total += Imported(*reply)
    for service in {service for service, _ in groups}:
        await doubt(store, service)
    return total


async def import_workload(store: Store, workload: Workload, *, overwrite: bool) -> bool:
    """Write a workload state; False: another stands, and was left."""
    words = ("SET", workload.service.workload, workload.state)
    return await store.command(*words, *([] if overwrite else ["NX"])) is not None


def encode(entry: Entry) -> str:
    """The line of an entry, without its end."""
    fields: dict[str, object] = {
        "kind": entry.kind,
        "namespace": entry.service.namespace,
        "service": entry.service.name,
    }
    match entry:
        case StoredLink():
            fields |= {"uid": entry.uid, "pod": entry.ordinal, "expires": entry.expires, "epoch": entry.epoch}
        case Workload():
            fields |= {"state": entry.state}
        case Mark():
            fields |= {"bucket": entry.bucket, "started": entry.started}
    return json.dumps({name: value for name, value in fields.items() if value is not None}, separators=(",", ":"))


def decode(line: str | bytes) -> Entry:
    """The entry of a line.

    Raises:
        InvalidArgument: it is none, or one that cannot be stored; the message says why.
    """
    try:
        data = json.loads(line)
        kind = data["kind"]
        service = Service(data["namespace"], data["service"])
        match kind:
            case "link":
                expires, epoch = data.get("expires"), data.get("epoch")
                ordinal = check_ordinal(data["pod"])
                if expires is not None:
                    _check_number(expires, LAST_MS, "expires")
                if epoch is not None:
                    _check_number(epoch, MAX_EPOCH, "epoch")
                return StoredLink(service, _checked_uid(data["uid"]), ordinal, expires, epoch)
            case "workload":
                return Workload(service, _checked_text(data["state"], "state"))
            case "mark":
                _check_number(data["bucket"], BUCKETS + 1, "bucket")
                _check_number(data["started"], LAST_MS, "started")
                return Mark(service, data["bucket"], data["started"])
    except KeyError as error:
        raise InvalidArgument(f"it has no {error.args[0]!r}") from None
    except InvalidArgument:
        raise
    except (ValueError, TypeError, RecursionError):
        raise InvalidArgument("it is no JSON object of an archive") from None
    raise InvalidArgument(f"its kind is {kind!r}: a later version of stateful-route may have written it")


def _checked_uid(uid: object) -> str:
    """A uid as any client may have stored it: it may hold bytes that are no text."""
    text = _checked_text(uid, "uid")
    size = len(text.encode(errors="surrogateescape"))
    if not text or "}" in text:
        raise InvalidArgument(f"the uid {text!r} is empty, or has a brace")
    if size > MAX_UID_BYTES:
        raise InvalidArgument(f"the uid has {size} bytes, more than the {MAX_UID_BYTES} allowed")
    return text


def _checked_text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(f"its {name!r} is no text")
    try:
        value.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raise InvalidArgument(f"its {name!r} is not valid Unicode text") from None
    return value


def _check_number(value: object, limit: int, name: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
        raise InvalidArgument(f"its {name!r} is {value!r}, no whole number from 0 to {limit}")


def _can_be_named(namespace: str, name: str) -> bool:
    try:
        Service(namespace, name)
    except InvalidArgument:
        return False
    return True


def _or_none(value: int) -> int | None:
    return None if value < 0 else value


def _or_minus_one(value: int | None) -> int:
    return -1 if value is None else value
