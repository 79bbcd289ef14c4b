"""What has moved: reading the stream that `migrate.append_moves` writes, from where one has read before."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from stateful_route.store.connection import Store
from stateful_route.store.keys import Service
from stateful_route.store.migrate import Moved
from stateful_route.store.states import NO_ENTRY

ENTRIES_PER_READ = 50
"""Each has some 16 kB at most: a read gives less than 1 MB."""


class Move(NamedTuple):
    """An entry of the stream.

    Attributes:
        source: The index of the pod that the links were on; -1 for a purge.
        reason: Why.
        links: Links that were moved off that pod together.
        purged: All links of the service were deleted, and none had an epoch above this one; None: they were not.
    """

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
        restarted: The stream is another one than what was read before, with nothing dropped from it, or there is none:
            the store was emptied. What is missed is then what was told before that, if anything was.
    """

    entries: Sequence[Move]
    last: str
    more: bool = False
    missed: bool = False
    restarted: bool = False


async def read_moves(store: Store, service: Service, after: str) -> Moves:
    """The moves after the entry with this id; at most `ENTRIES_PER_READ` of them.

    The entry itself is read once more. Where it is no longer there, something was missed, unless the first entry that
    is found names it as the one before; what an older version has written names none, and counts as missed.

    Raises:
        StoreUnavailable, StoreRejected: see there.
    """
    reply = await store.command("XRANGE", service.moves, after, "+", "COUNT", ENTRIES_PER_READ + 1)
    found = [(entry.decode(), fields) for entry, fields in reply]
    if found and found[0][0] == after:
        found, missed = found[1:], False
    elif found:
        missed = found[0][1].get(b"prev", b"").decode(errors="replace") != after
    else:
        missed = after != NO_ENTRY
    restarted = missed and (not found or found[0][1].get(b"prev") == NO_ENTRY.encode())
    last = found[-1][0] if found else NO_ENTRY if missed else after
    entries = [move for _, fields in found if (move := _read(fields)) is not None]
    return Moves(entries, last, len(found) >= ENTRIES_PER_READ, missed, restarted)


def _read(fields: Mapping[bytes, bytes]) -> Move | None:
    """None for an entry of no form that we know."""
    try:
        moved: list[Any] = json.loads(fields[b"moves"])
        links = [Moved(str(uid), int(to), int(epoch)) for uid, to, epoch in moved]
        purged = int(fields[b"purged"]) if b"purged" in fields else None
        return Move(int(fields[b"from"]), fields.get(b"reason", b"").decode(errors="replace"), links, purged)
    except (KeyError, ValueError, TypeError):
        return None
