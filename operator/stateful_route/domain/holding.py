"""What a pod believes to own, held against what the store says: the decision for one uid."""

from dataclasses import dataclass
from enum import Enum, auto


@dataclass(frozen=True, slots=True)
class StandingLink:
    """A link as it stands in the store.

    Attributes:
        ordinal: The pod that it names.
        persistent: It has no time to live.
        epoch: None: it is not in the index, a foreign client wrote it.
    """

    ordinal: int
    persistent: bool
    epoch: int | None


class Finding(Enum):
    """What has become of a uid that a pod holds."""

    SAME = auto()
    """Nothing: the link names the pod, since the same epoch."""
    RENEWED = auto()
    """It names the pod, but since another epoch: somebody else may have had the uid in between."""
    UNINDEXED = auto()
    """It names the pod, and has no epoch any more: a foreign client wrote it anew, or the index was lost."""
    ELSEWHERE = auto()
    """It names another pod."""
    LOST = auto()
    """There is none, and it was for good: the store has lost it. The pod asserts it again."""
    EXPIRED = auto()
    """There is none, and it had a time to live."""


def find(ordinal: int, epoch: int, link: StandingLink | None, *, persistent: bool) -> Finding:
    """What has become of a uid that pod ``ordinal`` holds since ``epoch``.

    Args:
        ordinal: The pod's index.
        epoch: Since when.
        link: What stands in the store; None: nothing, or nothing that names a pod.
        persistent: The link had no time to live when it was last seen.
    """
    if link is None:
        return Finding.LOST if persistent else Finding.EXPIRED
    if link.ordinal != ordinal:
        return Finding.ELSEWHERE
    if link.epoch is None:
        return Finding.UNINDEXED
    return Finding.SAME if link.epoch == epoch else Finding.RENEWED
