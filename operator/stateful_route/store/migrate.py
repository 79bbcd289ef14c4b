"""Moving links: the compare-and-set script for one bucket, and telling callers what has moved."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

from stateful_route.domain.epoch import STEP
from stateful_route.domain.errors import InvalidArgument, OwnedElsewhere, StatefulRouteError, StoreRejected
from stateful_route.domain.names import check_ordinal, check_uid
from stateful_route.store.connection import Store
from stateful_route.store.counts import Effect, NoRoom, adjust, take_room
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

UNBOUNDED = 2**40

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
    FULL = -3
    """The target has no room for it, or nobody has counted the target's links; it stays where it was."""
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
    """What became of a batch; ``exceptions``: place in the batch → outcome of each link that was not moved.

    ``epoch``: of those that were; -1 where none could be.
    """

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
    store: Store,
    service: Service,
    source: int,
    batches: Sequence[Batch],
    before: int | None = None,
    max_links: int = 0,
) -> list[BatchResult]:
    """Move links off ``source`` where they still name it, all batches in one round trip (one per Cluster node).

    A link keeps its time to live; its epoch rises. A target that is the source itself only raises the epoch.

    Args:
        store: Where.
        service: Of which service.
        source: The pod index.
        batches: What moves, and where to.
        before: Only links with a lower epoch; None: all.
        max_links: How many links a target may have; what would be more stays (`Outcome.FULL`). 0: any number.

    Raises:
        StoreUnavailable: some batches may have been carried out; the index still lists what is left.
        StoreRejected: all batches were refused. Where only some were, they have no result, and the index still lists
            their links.
    """
    limit = STEP if before is None else before
    room = await _room_taken(store, service, source, batches, max_links)
    calls, sent = [], []
    for batch in batches:
        places = _admitted(batch, room)
        sent.append(places)
        if not places:
            continue
        args: list[Any] = [service.name, source, limit, max_links]
        for place in places:
            args += (batch.uids[place], batch.targets[place])
        keys = service.bucket_keys(batch.bucket, [batch.uids[place] for place in places])
        calls.append(Call(script("migrateLinks"), keys, args, (service.counts,)))
    replies = iter(await store.run_many(calls))
    results, refused = [], None
    for batch, places in zip(batches, sent, strict=True):
        reply = next(replies) if places else [-1]
        if isinstance(reply, StatefulRouteError):
            refused = reply
            continue
        exceptions = dict.fromkeys(range(len(batch.uids)), Outcome.FULL)
        for place in places:
            del exceptions[place]
        exceptions |= {places[nth - 1]: Outcome(code) for nth, code in zip(reply[1::2], reply[2::2], strict=True)}
        results.append(BatchResult(batch, reply[0], exceptions))
    await adjust(store, service.counts, _effect(source, results, room))
    if refused is not None and not results:
        raise refused
    return results


async def _room_taken(
    store: Store, service: Service, source: int, batches: Sequence[Batch], max_links: int
) -> Counter[int] | None:
    """On a Redis Cluster, where there is a limit: for how many links room was taken on each target; else None."""
    if not store.cluster or max_links <= 0:
        return None
    wanted = Counter(target for batch in batches for target in batch.targets if target != source)
    taken = await take_room(store, service, max_links, sorted(wanted.items()), wanted.total()) if wanted else {}
    return Counter() if isinstance(taken, NoRoom) else Counter({source: UNBOUNDED, **taken})


def _admitted(batch: Batch, room: Counter[int] | None) -> list[int]:
    """The places in the batch of those links for which there is room, which they use up."""
    if room is None:
        return list(range(len(batch.uids)))
    admitted = []
    for place, target in enumerate(batch.targets):
        if room[target] > 0:
            room[target] -= 1
            admitted.append(place)
    return admitted


def _effect(source: int, results: Sequence[BatchResult], room: Counter[int] | None) -> Effect:
    """What moves have done to the counts, beside the room that was taken for them; what of it was not used goes back.

    ``room`` has what `_admitted` has left of it.
    """
    moved = Counter(link.to for result in results for link in result.moved if link.to != source)
    if room is None:
        return Effect({**moved, source: -moved.total()})
    unused = Counter(
        batch.targets[place]
        for batch, _, exceptions in results
        for place, outcome in exceptions.items()
        if outcome is not Outcome.FULL and batch.targets[place] != source
    )
    return Effect({**{target: -links for target, links in unused.items()}, source: -moved.total()})


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
