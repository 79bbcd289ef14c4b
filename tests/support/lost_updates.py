"""Counts lost updates: what callers were told is done, against the database's versions and the owners' memories."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from support.kept_versions import Version


class Acknowledged(NamedTuple):
    """A change that a caller was told is done: which user's, when it was told so, and by which process."""

    change: str
    uid: str
    at: float
    pod: str


class Failure(NamedTuple):
    """A pod's process was killed or frozen, and when."""

    pod: str
    at: float


@dataclass
class Record:
    """What is known in the end.

    Attributes:
        acknowledged: All changes that callers were told are done.
        versions: All that the database has seen, in order.
        memories: Live owner's process → its user → the changes in its memory.
    """

    acknowledged: list[Acknowledged] = field(default_factory=list)
    versions: Sequence[Version] = ()
    memories: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)


def lost(record: Record) -> list[Acknowledged]:
    """Acknowledged changes that the user does not have in the end: not in the owner's memory, else not in the database.

    A version that had a change, and was overwritten by one without it, does not count.
    """
    final: dict[str, frozenset[str]] = {}
    for version in record.versions:
        if version.kind == "save" and version.accepted:
            final[version.uid] = frozenset(version.changes)
    for users in record.memories.values():
        for uid, changes in users.items():
            final[uid] = frozenset(changes)
    return [one for one in record.acknowledged if one.change not in final.get(one.uid, frozenset())]


def two_owners(record: Record) -> list[str]:
    """A user whom two processes have in their memory, and both own."""
    owners: dict[str, list[str]] = defaultdict(list)
    for pod, users in record.memories.items():
        for uid in users:
            owners[uid].append(pod)
    return [f"{uid} is owned by {sorted(pods)}" for uid, pods in owners.items() if len(pods) > 1]


def saves_by_former_owners(versions: Iterable[Version]) -> list[str]:
    """A save that was accepted although a later owner had loaded or saved before; or one epoch of two processes."""
    breaches = []
    latest: dict[str, Version] = {}
    owners: dict[tuple[str, int], str] = {}
    for version in versions:
        if not version.accepted:
            continue
        before = latest.get(version.uid)
        if before is not None and version.epoch < before.epoch:
            breaches.append(f"accepted of {version.pod} since {version.epoch}, after {before.pod} since {before.epoch}")
        else:
            latest[version.uid] = version
        owner = owners.setdefault((version.uid, version.epoch), version.pod)
        if owner != version.pod:
            breaches.append(f"{version.uid} is of {owner} and of {version.pod} since one epoch, {version.epoch}")
    return breaches


def overwritten(versions: Iterable[Version]) -> list[str]:
    """An accepted save without a change that the accepted save before it had."""
    breaches = []
    latest: dict[str, Version] = {}
    for version in versions:
        if not version.accepted or version.kind != "save":
            continue
        before = latest.get(version.uid)
        if before is not None and (gone := set(before.changes) - set(version.changes)):
            breaches.append(
                f"{version.pod} has overwritten {len(gone)} changes of {version.uid} that {before.pod} had saved"
            )
        latest[version.uid] = version
    return breaches


def inexcusable(
    lost_ones: Iterable[Acknowledged], versions: Iterable[Version], failures: Iterable[Failure], late_seconds: float
) -> list[Acknowledged]:
    """Lost changes that no failure explains: of a pod that did not fail, after it had failed, or saved before.

    ``late_seconds``: how much later than it was sent a caller may take down an answer.
    """
    failed: dict[str, float] = {failure.pod: failure.at for failure in failures}
    saved = {
        (version.pod, version.uid, change)
        for version in versions
        if version.kind == "save" and version.accepted
        for change in version.changes
    }
    return [
        one
        for one in lost_ones
        if one.pod not in failed or one.at > failed[one.pod] + late_seconds or (one.pod, one.uid, one.change) in saved
    ]
