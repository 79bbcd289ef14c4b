# Generated from migrate.py by tools/twins.py: change that one, then run: make twins
"""Moving links: the compare-and-set script for one bucket, and telling callers what has moved."""

import json
from collections.abc import Sequence
from typing import Any

from stateful_route.domain.epoch import STEP
from stateful_route.domain.errors import OwnedElsewhere, StatefulRouteError, StoreRejected
from stateful_route.store.connection_sync import Store
from stateful_route.store.keys import Service
from stateful_route.store.migrate import (
    MOVES_STREAM_LENGTH,
    Batch,
    BatchResult,
    Moved,
    Outcome,
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
    if not moved:
        return
    text = json.dumps(moved, separators=(",", ":"))
    targets = ",".join(str(ordinal) for ordinal in sorted({link.to for link in moved}))
    args = (store.publish, MOVES_STREAM_LENGTH, source, reason, text, owner, targets)
    try:
        store.run(Call(script("appendMoves"), (service.moves, service.channel, service.owner), args))
    except StoreRejected as error:
        _, owned, other = str(error).partition("OWNED ")
        if owned:
            raise OwnedElsewhere(str(service), other.strip()) from error
        raise
