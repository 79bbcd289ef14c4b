"""A service's streams as a person reads them: what has happened, and when."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stateful_route.store.connection import Store
from stateful_route.store.keys import Service
from stateful_route.store.states import NO_ENTRY

ENTRIES_PER_READ = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a stream: its id, whose first part is ms since the epoch by the clock of Redis, and its fields."""

    id: str
    fields: Mapping[str, str]

    @property
    def at(self) -> float:
        """When it was written, seconds since the epoch by the clock of Redis."""
        return int(self.id.partition("-")[0]) / 1000


@dataclass(frozen=True, slots=True)
class StateChange:
    """A pod's effective state has changed; an empty word: it was not known, or was forgotten."""

    at: float
    ordinal: int
    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True)
class LinksMoved:
    """Links were moved off a pod together; ``to``: pod index → how many, -1: released, to nobody."""

    at: float
    ordinal: int
    to: Mapping[int, int]
    reason: str


Happening = StateChange | LinksMoved


async def entries_after(store: Store, stream: str, after: str) -> list[Entry]:
    """The entries behind the one with this id, the oldest first; at most `ENTRIES_PER_READ`.

    Raises:
        StoreUnavailable, StoreRejected: see there.
    """
    return _entries(await store.command("XRANGE", stream, f"({after}", "+", "COUNT", ENTRIES_PER_READ))


async def last_entries(store: Store, stream: str, count: int) -> list[Entry]:
    """The last entries, the oldest of them first; errors as `entries_after`."""
    return _entries(await store.command("XREVRANGE", stream, "+", "-", "COUNT", count))[::-1]


class News:
    """What happens in a service, read from both of its streams in the order of time."""

    def __init__(self, store: Store, service: Service) -> None:
        self._store, self._service = store, service
        self._last = {service.changes: NO_ENTRY, service.moves: NO_ENTRY}

    async def latest(self, count: int) -> list[Happening]:
        """The last things that have happened, the oldest of them first; `more` goes on behind them."""
        found = []
        for stream in self._last:
            entries = await last_entries(self._store, stream, max(1, count))
            found += self._taken(stream, entries)
        return sorted(found, key=_at)[-count:] if count else []

    async def more(self) -> list[Happening]:
        """What has happened since; the oldest first."""
        found = []
        for stream, last in list(self._last.items()):
            found += self._taken(stream, await entries_after(self._store, stream, last))
        return sorted(found, key=_at)

    def _taken(self, stream: str, entries: Sequence[Entry]) -> list[Happening]:
        if entries:
            self._last[stream] = entries[-1].id
        read = _moved if stream == self._service.moves else _changed
        return [happening for entry in entries if (happening := read(entry)) is not None]


def _at(happening: Happening) -> float:
    return happening.at


def _changed(entry: Entry) -> Happening | None:
    fields = entry.fields
    try:
        ordinal = int(fields["pod"])
    except (KeyError, ValueError):
        return None
    return StateChange(entry.at, ordinal, fields.get("from", ""), fields.get("to", ""), fields.get("reason", ""))


def _moved(entry: Entry) -> Happening | None:
    to: dict[int, int] = {}
    try:
        for _, target, _ in json.loads(entry.fields["moves"]):
            to[int(target)] = to.get(int(target), 0) + 1
        return LinksMoved(entry.at, int(entry.fields["from"]), to, entry.fields.get("reason", ""))
    except (KeyError, ValueError, TypeError):
        return None


def _entries(reply: Any) -> list[Entry]:
    found = []
    for entry, fields in reply:
        words = fields if isinstance(fields, list) else [word for pair in fields.items() for word in pair]
        texts = [word.decode(errors="replace") for word in words]
        found.append(Entry(entry.decode(), dict(zip(texts[::2], texts[1::2], strict=True))))
    return found
