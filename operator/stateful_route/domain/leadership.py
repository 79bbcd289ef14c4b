"""Who leads, by a Lease of Kubernetes: when it may be taken, when it is renewed, and when its holder must stop.

The rules are those of client-go's leader election, so that `kubectl get lease` reads as with any other controller. No
clock is compared with another one's: times in the Lease are for people, and who waits for it to run out counts from
when they themselves have seen it change.
"""

from dataclasses import dataclass, replace
from datetime import datetime


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """What a Lease says.

    Attributes:
        holder: Who leads; empty: nobody, it was given back.
        seconds: How long it lasts after a renewal.
        transitions: How often it has been taken by somebody.
        acquired: When it was taken, aware; None: it was never.
        renewed: When it was renewed, likewise.
        version: Its resource version; empty: it has not been written yet.
    """

    holder: str
    seconds: int
    transitions: int = 0
    acquired: datetime | None = None
    renewed: datetime | None = None
    version: str = ""

    def same_term(self, other: "LeaseRecord") -> bool:
        """True when nobody has taken it between the two; another process of the same name counts as somebody."""
        return (self.holder, self.transitions, self.acquired) == (other.holder, other.transitions, other.acquired)


@dataclass(frozen=True, slots=True)
class Sighting:
    """A Lease as it was last seen to change; ``since``: when that was, by the observer's own monotonic clock."""

    record: LeaseRecord | None
    since: float
    gone: bool = False
    """It does not exist any more: somebody has deleted it, and its holder may not know yet."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often what is done, from the duration of the Lease; seconds. The ratios are client-go's, where it has one."""

    lease_seconds: int

    @property
    def renew_seconds(self) -> float:
        """Between two renewals."""
        return self.lease_seconds / 3

    @property
    def give_up_seconds(self) -> float:
        """A leader stops when it has not been able to renew for so long: well before anybody else may lead."""
        return self.lease_seconds * 2 / 3

    @property
    def look_seconds(self) -> float:
        """Between two looks of one who waits, and two attempts at a renewal."""
        return self.lease_seconds * 2 / 15

    @property
    def again_seconds(self) -> float:
        """Between two renewals out of turn, because a write was refused or a new server was found, at the least."""
        return min(0.5, self.lease_seconds / 30)

    @property
    def request_seconds(self) -> float:
        """For one request to the API server."""
        return self.lease_seconds / 3

    @property
    def note_seconds(self) -> float:
        """For the clocks of the stores: one that does not answer must not hold up the renewal."""
        return min(1.0, self.lease_seconds / 10)

    @property
    def dead_seconds(self) -> float:
        """When nothing of all this has been done for so long, the election itself is dead."""
        return 2 * self.lease_seconds + 15.0


def sighted(before: Sighting | None, record: LeaseRecord | None, now: float) -> Sighting:
    """What is known after a look at the Lease, which shows ``record`` (None: there is none)."""
    if before is None or before.record is None:
        return Sighting(record, now)
    if record is None:
        return before if before.gone else Sighting(before.record, now, gone=True)
    if not before.gone and replace(record, version="") == replace(before.record, version=""):
        return Sighting(record, before.since)  # somebody may have put a label on it, which renews nothing
    return Sighting(record, now)


def free_in(sighting: Sighting, me: str) -> float:
    """From when on ``me`` may take the Lease, by the clock of the sighting; -inf: at once.

    It is free when there never was one, when nobody holds it, when it bears my own name (this process was restarted:
    names must be unique among those that run), or when it has not been renewed for its own duration. One that was
    deleted is waited for as if it were held: its holder finds out at its next renewal only.
    """
    record = sighting.record
    if record is None or (not sighting.gone and record.holder in {"", me}):
        return float("-inf")
    return sighting.since + record.seconds


def taken(before: LeaseRecord | None, me: str, seconds: int, now: datetime) -> LeaseRecord:
    """The Lease as ``me`` takes it, from whomever."""
    if before is None:
        return LeaseRecord(me, seconds, 0, now, now)
    return LeaseRecord(me, seconds, before.transitions + 1, now, now, before.version)


def renewed(record: LeaseRecord, now: datetime) -> LeaseRecord:
    """The Lease as its holder renews it."""
    return replace(record, renewed=now)


def given_back(record: LeaseRecord, now: datetime) -> LeaseRecord:
    """The Lease as its holder leaves it: the next may take it at once."""
    return replace(record, holder="", seconds=1, renewed=now)
