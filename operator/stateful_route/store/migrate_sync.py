# Generated from migrate.py by tools/twins.py: change that one, then run: make twins
"""Moving links: the compare-and-set script for one bucket, and telling callers what has moved."""

from collections.abc import Sequence
from typing import Any

from stateful_route.domain.epoch import STEP
from stateful_route.domain.errors import StatefulRouteError
from stateful_route.store.connection_sync import Store
from stateful_route.store.keys import Service
from stateful_route.store.migrate import (
    MOVES_STREAM_BYTES,
    MOVES_STREAM_SECONDS,
    NOBODY,
    PURGED,
    Batch,
    BatchResult,
    Moved,
    Outcome,
    _entries,
    _owned,
)
from stateful_route.store.scripts import Call, script


def migrate(
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
    replies = store.run_many(calls)
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
