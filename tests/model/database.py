"""The app's database: it keeps every version, and refuses a write with a lower epoch than it has accepted."""

from collections.abc import Callable, Sequence
from typing import NamedTuple


class Version(NamedTuple):
    """What was accepted once.

    Attributes:
        number: From 1, of this uid.
        updates: The state: the numbers of all updates that are in it.
        epoch: With which it was written.
        writer: The name of the process.
        born: Which process that is, in the order of their starts.
    """

    number: int
    updates: tuple[int, ...]
    epoch: int
    writer: str
    born: int


class Writer(NamedTuple):
    """Who writes."""

    name: str
    born: int


class Database:
    """Uid → versions.

    ``accepted`` hears of each version before it is the newest, with those before it.
    """

    def __init__(self, accepted: Callable[[str, Version, Sequence[Version]], None]) -> None:
        self._versions: dict[str, list[Version]] = {}
        self._highest: dict[str, int] = {}
        self._accepted = accepted

    def versions(self, uid: str) -> Sequence[Version]:
        """All, the oldest first."""
        return self._versions.get(uid, ())

    def updates(self, uid: str) -> tuple[int, ...]:
        """The state that is the newest."""
        versions = self.versions(uid)
        return versions[-1].updates if versions else ()

    def load(self, uid: str, epoch: int, writer: Writer) -> Version | None:
        """The newest state, from now on fenced with that epoch; None: there is a later owner."""
        return self.save(uid, self.updates(uid), epoch, writer)

    def save(self, uid: str, updates: Sequence[int], epoch: int, writer: Writer) -> Version | None:
        """Write a state; None: it was refused."""
        if epoch < self._highest.get(uid, -1):
            return None
        self._highest[uid] = epoch
        known = self._versions.setdefault(uid, [])
        version = Version(len(known) + 1, tuple(updates), epoch, *writer)
        self._accepted(uid, version, known)
        known.append(version)
        return version
