# Generated from migrate.py by tools/twins.py: change that one, then run: make twins
"""Moving links: the compare-and-set script for one bucket, and telling callers what has moved."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from stateful_route.domain.epoch import STEP
from stateful_route.domain.errors import StatefulRouteError
from stateful_route.store.connection_sync import Store
from stateful_route.store.counts import NoRoom
from stateful_route.store.counts_sync import adjust, take_room
from stateful_route.store.keys import Service
from stateful_route.store.migrate import (
    MOVES_STREAM_BYTES,
    MOVES_STREAM_SECONDS,
    NOBODY,
    PURGED,
    UNBOUNDED,
    Batch,
    BatchResult,
    Moved,
    Outcome,
    _admitted,
    _effect,
    _entries,
    _owned,
)
from stateful_route.store.scripts import Call, script


def migrate(
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
    room = _room_taken(store, service, source, batches, max_links)
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
    replies = iter(store.run_many(calls))
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
    adjust(store, service.counts, _effect(source, results, room))
    if refused is not None and not results:
        raise refused
    return results


def _room_taken(
    store: Store, service: Service, source: int, batches: Sequence[Batch], max_links: int
) -> Counter[int] | None:
    """On a Redis Cluster, where there is a limit: for how many links room was taken on each target; else None."""
    if not store.cluster or max_links <= 0:
        return None
    wanted = Counter(target for batch in batches for target in batch.targets if target != source)
    taken = take_room(store, service, max_links, sorted(wanted.items()), wanted.total()) if wanted else {}
    return Counter() if isinstance(taken, NoRoom) else Counter({source: UNBOUNDED, **taken})


def append_moves(
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
    for reply in store.run_many(calls) if calls else ():
        if isinstance(reply, StatefulRouteError):
            raise _owned(reply, service) from reply


def append_purge(store: Store, service: Service, epoch: int) -> None:
    """Tell callers and pods that links were purged, none of which had an epoch above this one."""
    store.run(_append_call(store, service, (NOBODY, PURGED, "[]"), "", ("purged", epoch)))


def trim_moves(store: Store, service: Service) -> int:
    """Drop entries of the stream that are older than `MOVES_STREAM_SECONDS`, but not the newest; how many."""
    dropped: int = store.run(Call(script("trimMoves"), (service.moves,), (MOVES_STREAM_SECONDS * 1000,)))
    return dropped


def _append_call(store: Store, service: Service, told: Sequence[Any], owner: str, where: Sequence[Any]) -> Call:
    bounds = (store.publish, service.channel, MOVES_STREAM_BYTES, MOVES_STREAM_SECONDS * 1000)
    keys = (service.moves, service.owner) if owner else (service.moves,)  # a key more that is not there is a hindrance
    return Call(script("appendMoves"), keys, (*bounds, *told, owner, *where))
