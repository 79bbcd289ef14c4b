"""Moving links: the compare-and-set script for one bucket, and telling callers what has moved."""

import json
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from stateful_route.domain.epoch import STEP
from stateful_route.domain.errors import InvalidArgument, OwnedElsewhere, StatefulRouteError, StoreRejected
from stateful_route.domain.names import check_ordinal, check_uid
from stateful_route.store.connection import Store
from stateful_route.store.keys import Service
from stateful_route.store.scripts import Call, script

MAX_BATCH = 200
"""Links that one script moves at most: about a millisecond of the server's time."""

MOVES_STREAM_BYTES = 4 * 2**20
"""How much the stream of moves keeps: some 100,000 moved links, more than a reader catches up on in one go."""

MOVES_STREAM_SECONDS = 3600
"""How long: a reader that was away longer reads everything anew."""

ENTRY_BYTES = 16 * 2**10
"""How many bytes of moves one entry tells of, about: a script that looks at the oldest one takes some 10 µs."""

PURGED = "Purged"
"""The reason of the entry that tells of a purge."""

NOBODY = -1
"""In place of a pod index: the uid was released, its next call finds it a pod."""


class Outcome(IntEnum):
    """What became of one link; the numbers are the script's."""

    MOVED = 1
    DRIFT = 0
    """The link was absent, or named another pod: the index was wrong and is mended."""
    OVERTAKEN = -1
    """Somebody else moved it between our reading the index and the script."""
    FOREIGN = -2
    """The link holds no pod index; it is left untouched and out of the index."""


class Batch(NamedTuple):
    """Uids of one bucket and where each of them goes; at most `MAX_BATCH`."""

    bucket: int
    uids: Sequence[str]
    targets: Sequence[int]


class Moved(NamedTuple):
    """One link that was moved: its uid, its pod index now (`NOBODY`: the pod has released it), its epoch."""

    uid: str
    to: int
    epoch: int


class BatchResult(NamedTuple):
    """What became of a batch; ``exceptions``: place in the batch → outcome of each link that was not moved."""

    batch: Batch
    epoch: int
    exceptions: Mapping[int, Outcome]

    @property
    def moved(self) -> list[Moved]:
        """The links that moved."""
        pairs = zip(self.batch.uids, self.batch.targets, strict=True)
        skip, epoch = self.exceptions, self.epoch
        return [Moved(uid, to, epoch) for place, (uid, to) in enumerate(pairs) if place not in skip]

    @property
    def outcomes(self) -> list[Outcome]:
        """What became of each link, in the order of the batch."""
        return [self.exceptions.get(place, Outcome.MOVED) for place in range(len(self.batch.uids))]


def check_batches(service: Service, batches: Sequence[Batch]) -> None:
    """See that batches can be sent.

    Raises:
        InvalidArgument: too many links, not as many targets, a uid or target that is none, or a uid of another bucket.
    """
    for batch in batches:
        if len(batch.uids) > MAX_BATCH or len(batch.uids) != len(batch.targets):
            raise InvalidArgument(f"a batch has at most {MAX_BATCH} uids, and as many targets")
        for uid, target in zip(batch.uids, batch.targets, strict=True):
            check_ordinal(target)
            if service.bucket(check_uid(uid)) != batch.bucket:
                raise InvalidArgument(f"the uid {uid!r} does not belong to bucket {batch.bucket!r}")


async def migrate(
    store: Store, service: Service, source: int, batches: Sequence[Batch], before: int | None = None
) -> list[BatchResult]:
    """Move links off ``source`` where they still name it, all batches in one round trip (one per Cluster node).

    A link keeps its time to live; its epoch rises. ``before``: only links with a lower epoch. A target that is the
    source itself only raises the epoch.

    Raises:
        StoreUnavailable: some batches may have been carried out; the index still lists what is left.
        StoreRejected: all batches were refused. Where only some were, they have no result, and the index still lists
            their links.
    """
    limit = STEP if before is None else before
    calls = []
    for batch in batches:
        args: list[Any] = [service.name, source, limit]
        for uid, target in zip(batch.uids, batch.targets, strict=True):
            args += (uid, target)
        calls.append(Call(script("migrateLinks"), service.bucket_keys(batch.bucket, batch.uids), args))
    replies = await store.run_many(calls)
    results, refused = [], None
    for batch, reply in zip(batches, replies, strict=True):
        if isinstance(reply, StatefulRouteError):
            refused = reply
            continue
        exceptions = {place - 1: Outcome(code) for place, code in zip(reply[1::2], reply[2::2], strict=True)}
        results.append(BatchResult(batch, reply[0], exceptions))
    if refused is not None and not results:
        raise refused
    return results


async def append_moves(
    store: Store, service: Service, source: int, reason: str, moved: Sequence[Moved], owner: str = ""
) -> None:
    """Tell callers and pods which links have moved; nothing is sent for no moves.

    Raises:
        OwnedElsewhere: ``owner`` is given and has lost the service: it must move nothing more.
    """
    calls = []
    for part, text in _entries(moved):
        targets = ",".join(str(ordinal) for ordinal in sorted({link.to for link in part}))
        calls.append(_append_call(store, service, (source, reason, text), owner, (targets, "")))
    for reply in await store.run_many(calls) if calls else ():
        if isinstance(reply, StatefulRouteError):
            raise _owned(reply, service) from reply


async def append_purge(store: Store, service: Service, epoch: int) -> None:
    """Tell callers and pods that links were purged, none of which had an epoch above this one."""
    await store.run(_append_call(store, service, (NOBODY, PURGED, "[]"), "", ("purged", epoch)))


async def trim_moves(store: Store, service: Service) -> int:
    """Drop entries of the stream that are older than `MOVES_STREAM_SECONDS`, but not the newest; how many."""
    dropped: int = await store.run(Call(script("trimMoves"), (service.moves,), (MOVES_STREAM_SECONDS * 1000,)))
    return dropped


def _append_call(store: Store, service: Service, told: Sequence[Any], owner: str, where: Sequence[Any]) -> Call:
    bounds = (store.publish, service.channel, MOVES_STREAM_BYTES, MOVES_STREAM_SECONDS * 1000)
    keys = (service.moves, service.owner) if owner else (service.moves,)  # a key more that is not there is a hindrance
    return Call(script("appendMoves"), keys, (*bounds, *told, owner, *where))


def _entries(moved: Sequence[Moved]) -> Iterator[tuple[Sequence[Moved], str]]:
    """The moves cut into entries of at most about `ENTRY_BYTES`, each with its JSON."""
    part: list[Moved] = []
    texts: list[str] = []
    size = 0
    for link in moved:
        text = json.dumps(link, separators=(",", ":"))
        if part and size + len(text) > ENTRY_BYTES:
            yield part, f"[{','.join(texts)}]"
            part, texts, size = [], [], 0
        part.append(link)
        texts.append(text)
        size += len(text) + 1
    if part:
        yield part, f"[{','.join(texts)}]"


def _owned(error: StatefulRouteError, service: Service) -> StatefulRouteError:
    _, owned, other = str(error).partition("OWNED ")
    return OwnedElsewhere(str(service), other.strip()) if owned and isinstance(error, StoreRejected) else error
