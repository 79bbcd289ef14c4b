"""Notices a watch that has silently died: what must come by it, and has not."""

from collections.abc import Callable
from dataclasses import dataclass, replace

Place = tuple[str | None, str]
"""A namespace (None: all), and what is watched there: ``pods``."""


@dataclass(frozen=True, slots=True)
class Expected:
    """An event that should come: of which object, how new, when it was first expected, and by which watch."""

    what: str
    resource_version: int
    since: float
    of: "Place"


class Watchdog:
    """Knows which events are overdue: those of our own writes, and those that a LIST found and the watch did not bring.

    Resource versions of one kind are compared as numbers, as Kubernetes allows since 1.35.
    """

    def __init__(self, clock: Callable[[], float], patience_seconds: float) -> None:
        self._clock = clock
        self._patience = patience_seconds
        self._expected: dict[str, Expected] = {}
        self._seen: dict[str, int] = {}
        self._excused: frozenset[Place] = frozenset()

    def expect(self, uid: str, what: str, resource_version: int, of: Place) -> None:
        """An object has this version now: the watch must bring it, or a newer one, unless it has done so already."""
        if self._seen.get(uid, 0) >= resource_version:
            return
        known = self._expected.get(uid)
        since = known.since if known else self._clock()
        self._expected[uid] = Expected(what, resource_version, since, of)

    def seen(self, uid: str, resource_version: int, *, deleted: bool = False) -> None:
        """The watch brought this version."""
        if deleted:
            self.forget(uid)
            return
        self._seen[uid] = max(resource_version, self._seen.get(uid, 0))
        known = self._expected.get(uid)
        if known is None:
            return
        if resource_version >= known.resource_version:
            del self._expected[uid]
        else:  # it is behind, but it lives
            self._expected[uid] = replace(known, since=self._clock())

    def forget(self, uid: str) -> None:
        """The object is gone, or nobody cares any more."""
        self._expected.pop(uid, None)
        self._seen.pop(uid, None)

    def clear(self) -> None:
        """Nobody cares about anything any more: another process does the work."""
        self._expected.clear()
        self._seen.clear()

    def excuse(self, places: frozenset[Place]) -> None:
        """These watches are not allowed, which no new start of the process would change; all others are."""
        for uid, expected in self._expected.items():
            if self._is_excused(expected) and not _is_of(expected, places):
                self._expected[uid] = replace(expected, since=self._clock())
        self._excused = places

    def overdue(self, patience_seconds: float | None = None) -> str | None:
        """What has not come for too long, in words; None: all is well."""
        late = self._clock() - (self._patience if patience_seconds is None else patience_seconds)
        for expected in self._expected.values():
            if expected.since < late and not self._is_excused(expected):
                waited = self._clock() - expected.since
                return f"the watch has not brought {expected.what} for {waited:.0f} s"
        return None

    def _is_excused(self, expected: Expected) -> bool:
        return _is_of(expected, self._excused)


def _is_of(expected: Expected, places: frozenset[Place]) -> bool:
    return expected.of in places or (None, expected.of[1]) in places
