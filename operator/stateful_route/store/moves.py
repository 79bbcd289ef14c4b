"""What has moved: reading the stream that `migrate.append_moves` writes, from where one has read before."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from stateful_route.store.connection import Store
from stateful_route.store.keys import Service
from stateful_route.store.migrate import MOVES_STREAM_LENGTH, Moved
from stateful_route.store.states import NO_ENTRY

ENTRIES_PER_READ = 50
"""Each tells of at most 1,000 links: a read gives some 2 MB at worst."""


class Move(NamedTuple):
    """An entry of the stream: links that were moved off one pod together; ``source``: that pod's index."""

    source: int
    reason: str
    links: Sequence[Moved]
    purged: int | None = None


class Moves(NamedTuple):
    """What a read of the stream has given.

    Attributes:
        entries: The oldest first; empty for none.
        last: The id to read on from.
        more: There may be more behind it: read again.
        missed: Entries before these were dropped from the stream, unread: anything may have moved.
    """

    entries: Sequence[Move]
    last: str
    more: bool = False
    missed: bool = False
    restarted: bool = False


async def read_moves(store: Store, service: Service, after: str) -> Moves:
    """The moves after the entry with this id; at most `ENTRIES_PER_READ` of them.

    The entry itself is read once more: where it is no longer there, something was missed.

    Raises:
        StoreUnavailable, StoreRejected: see there.
    """
    reply = await store.command("XRANGE", service.moves, after, "+", "COUNT", ENTRIES_PER_READ + 1)
    found = [(entry.decode(), fields) for entry, fields in reply]
    missed = False
    if after == NO_ENTRY:
        missed = len(found) > ENTRIES_PER_READ and await _length(store, service) >= MOVES_STREAM_LENGTH
    elif found and found[0][0] == after:
        found = found[1:]
    else:
        missed = True
    last = found[-1][0] if found else NO_ENTRY if missed else after
    entries = [move for _, fields in found if (move := _read(fields)) is not None]
    return Moves(entries, last, more=len(found) >= ENTRIES_PER_READ, missed=missed)


async def _length(store: Store, service: Service) -> int:
    length: int = await store.command("XLEN", service.moves)
    return length


def _read(fields: Mapping[bytes, bytes]) -> Move | None:
    """None for an entry of no form that we know."""
    try:
        moved: list[Any] = json.loads(fields[b"moves"])
        links = [Moved(str(uid), int(to), int(epoch)) for uid, to, epoch in moved]
        return Move(int(fields[b"from"]), fields.get(b"reason", b"").decode(errors="replace"), links)
    except (KeyError, ValueError, TypeError):
        return None
