"""Notices a watch that has silently died: what must come by it, and has not."""

from collections.abc import Callable
from dataclasses import dataclass

PATIENCE_SECONDS = 90.0
"""kopf reconnects a watch that has been silent for 70 s; only one that is still dumb afterwards is dead."""


@dataclass(frozen=True, slots=True)
class Expected:
    """An event that should come: of which object, how new, and when it was first expected."""

    what: str
    resource_version: int
    since: float


class Watchdog:
    """Knows which events are overdue: those of our own writes, and those that a LIST found and the watch did not bring.

    Resource versions of one kind are compared as numbers, as Kubernetes allows since 1.35.
    """

    def __init__(self, clock: Callable[[], float], patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._clock = clock
        self._patience = patience_seconds
        self._expected: dict[str, Expected] = {}

    def expect(self, uid: str, what: str, resource_version: int) -> None:
        """An object has this version now: the watch must bring it, or a newer one."""
        known = self._expected.get(uid)
        since = known.since if known else self._clock()
        self._expected[uid] = Expected(what, resource_version, since)

    def seen(self, uid: str, resource_version: int, *, deleted: bool = False) -> None:
        """The watch brought this version."""
        known = self._expected.get(uid)
        if known is not None and (deleted or resource_version >= known.resource_version):
            del self._expected[uid]

    def forget(self, uid: str) -> None:
        """The object is gone, or nobody cares any more."""
        self._expected.pop(uid, None)

    def overdue(self) -> str | None:
        """What has not come for too long, in words; None: all is well."""
        late = self._clock() - self._patience
        for expected in self._expected.values():
            if expected.since < late:
                waited = self._clock() - expected.since
                return f"the watch has not brought {expected.what} for {waited:.0f} s"
        return None
