"""What a route manager has done about pods that failed: events, of which the last ones are kept."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

KEPT_EVENTS = 100
"""Of each service (reference §9)."""


class EventKind(StrEnum):
    """What has happened to a pod."""

    POD_FAILURE = "POD_FAILURE"
    POD_RECOVERY = "POD_RECOVERY"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailoverEvent:
    """Something that was done about a pod.

    Attributes:
        number: By which the event is told from others of its service, rising.
        time: When, by the clock of Redis.
        kind: What.
        namespace: Whose.
        service: Likewise.
        pod: The pod index.
        reason: Why, in the words of who asked for it.
        moved: Where the pod's links went: pod index → how many.
        unplaced: Links that are still there because no pod could take them.
        refused: Links that are still there because the store has refused to move them.
        error: Why it stopped early; None: it went through. It goes on by itself.
    """

    number: int
    time: datetime
    kind: EventKind
    namespace: str
    service: str
    pod: int
    reason: str
    moved: Mapping[int, int] = field(default_factory=dict)
    unplaced: int = 0
    refused: int = 0
    error: str | None = None

    @property
    def affected(self) -> int:
        """How many links the pod had, as far as they were found."""
        return sum(self.moved.values()) + self.unplaced + self.refused


class History:
    """The last events of each service, by any key that stands for it; threads must take turns to write."""

    def __init__(self, kept: int = KEPT_EVENTS) -> None:
        self._kept = kept
        self._events: dict[Hashable, tuple[FailoverEvent, ...]] = {}
        self._numbers: dict[Hashable, int] = {}

    def next_number(self, key: Hashable) -> int:
        """A number for the next event."""
        number = self._numbers[key] = self._numbers.get(key, 0) + 1
        return number

    def add(self, key: Hashable, event: FailoverEvent) -> None:
        """Keep an event, and the oldest no more if there are too many."""
        self._events[key] = (*self._events.get(key, ()), event)[-self._kept :]

    def revise(self, key: Hashable, event: FailoverEvent) -> None:
        """Put it in place of the one with the same number, if that is still kept."""
        kept = self._events.get(key, ())
        self._events[key] = tuple(event if known.number == event.number else known for known in kept)

    def events(self, key: Hashable) -> list[FailoverEvent]:
        """Those that are kept, the oldest first; empty for none."""
        return list(self._events.get(key, ()))
