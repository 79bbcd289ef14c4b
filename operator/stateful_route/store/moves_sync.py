# Generated from moves.py by tools/twins.py: change that one, then run: make twins
"""What has moved: reading the stream that `migrate.append_moves` writes, from where one has read before."""

from stateful_route.store.connection_sync import Store
from stateful_route.store.keys import Service
from stateful_route.store.moves import ENTRIES_PER_READ, Moves, _read
from stateful_route.store.states import NO_ENTRY


def read_moves(store: Store, service: Service, after: str) -> Moves:
    """The moves after the entry with this id; at most `ENTRIES_PER_READ` of them.

    The entry itself is read once more. Where it is no longer there, something was missed, unless the first entry that
    is found names it as the one before; what an older version has written names none, and counts as missed.

    Raises:
        StoreUnavailable, StoreRejected: see there.
    """
    reply = store.command("XRANGE", service.moves, after, "+", "COUNT", ENTRIES_PER_READ + 1)
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
