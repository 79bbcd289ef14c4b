"""What somebody tried again and again while a fault came and went: since when it works, and how long a try took."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import NamedTuple

clock = time.monotonic


class Try(NamedTuple):
    """One try, by the monotonic clock; ``trouble``: what it ended with, None: it worked."""

    began: float
    ended: float
    trouble: str | None = None


@dataclass
class Tries:
    """All tries of one user, in their order."""

    name: str
    made: list[Try] = field(default_factory=list)

    def tail(self) -> list[Try]:
        """The tries since the last one that failed, the latest first."""
        return list(takewhile(lambda one: one.trouble is None, reversed(self.made)))

    def works_since(self, moment: float, times: int) -> bool:
        """Whether so many tries that began after a moment have worked, and none has failed since."""
        return sum(one.began >= moment for one in self.tail()) >= times

    def back_at(self, struck: float) -> float:
        """When it began to work for good; the moment of the fault itself, if none has failed since then."""
        failed = [one for one in self.made if one.trouble is not None and one.ended >= struck]
        if not failed:
            return struck
        tail = self.tail()
        return tail[-1].ended if tail else float("inf")

    def failed(self, since: float) -> int:
        """How many failed that ended after a moment."""
        return sum(one.trouble is not None and one.ended >= since for one in self.made)

    def slowest(self) -> float:
        """Seconds of the longest try."""
        return max((one.ended - one.began for one in self.made), default=0.0)

    def trouble(self, since: float) -> str:
        """A sentence on what failed since a moment."""
        failed = [one for one in self.made if one.trouble is not None and one.ended >= since]
        late = [one for one in self.made if one.ended >= since]
        last = failed[-1].trouble if failed else "nothing"
        return f"{self.name}: {len(failed)} of {len(late)} tries failed, the last with {last}"


class Write(NamedTuple):
    """An acknowledged write of a number, in nanoseconds of the monotonic clock."""

    number: int
    at: int


class Read(NamedTuple):
    """A read of a numbered uid: when it was asked for, and the number that was found (0: none)."""

    reader: str
    uid: str
    asked: int
    number: int


def wrong_reads(reads: Sequence[Read], writes: Callable[[str], Sequence[Write]], since: int) -> list[str]:
    """Of the reads that began after a moment, those that gave less than a write acknowledged between it and them."""
    found = []
    for read in reads:
        known = [write.number for write in writes(read.uid) if since <= write.at < read.asked]
        if read.asked >= since and known and read.number < max(known):
            found.append(f"{read.reader} read {read.number} of {read.uid}, {max(known)} had been acknowledged")
    return found
