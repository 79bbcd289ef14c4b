"""Whom to believe of several servers that tell where something is: Sentinels, or the nodes of a Cluster.

Any of them may be gone, silent, or behind: cut off from the others, it tells what was true a while ago. Each says how
new its word is: an epoch, which the servers raise with every change (Sentinel's ``config-epoch``, a Cluster's
``cluster_current_epoch``). All are asked at once, the newest word is believed, and nobody waits for one that is silent.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

STRAGGLER_SECONDS = 0.2
"""How long others are waited for once somebody has said something of use, unless most of them have, or once most have
said that nobody is there for now: that changes with time, and is asked again."""


class Word(NamedTuple):
    """What one server has said.

    Attributes:
        witness: Its address.
        place: What it named, as ``(host, port)``; None: nothing of use.
        epoch: How new its word is; -1: it does not say.
        why: Why it said nothing of use; empty where it did.
        denied: It wants a user or a password that it was not given.
        vacant: It knows the place, and says that it is not to be reached for now: a failover may be under way.
    """

    witness: str
    place: tuple[str, int] | None = None
    epoch: int = -1
    why: str = ""
    denied: bool = False
    vacant: bool = False


def patience(words: Sequence[Word], asked: int) -> float:
    """For how many more seconds the others are to be waited for; 0: no longer.

    Args:
        words: What was said so far.
        asked: How many were asked.
    """
    useful = sum(word.place is not None for word in words)
    if len(words) == asked or useful > asked // 2:
        return 0
    vacant = sum(word.vacant for word in words)
    return STRAGGLER_SECONDS if useful or vacant > asked // 2 else math.inf


def believed(words: Sequence[Word]) -> Word | None:
    """The newest word, the earlier one of two that are as new; None: nobody has said anything of use."""
    useful = [word for word in words if word.place is not None]
    return max(useful, key=lambda word: word.epoch, default=None)
