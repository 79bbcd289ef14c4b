"""Time: true time, which only the world knows, and what the clocks of machines make of it."""

import heapq
from collections.abc import Callable
from datetime import UTC, datetime

STARTED = 1_800_000_000.0
"""What every right clock shows when a history begins, seconds since the epoch."""

Event = Callable[[], None]


class Time:
    """True time, and what is due in it.

    Attributes:
        now: Seconds since the epoch; also what the operator's steady clock says.
        store_shift: By how much the store's clock is wrong, in seconds.
    """

    def __init__(self) -> None:
        self.now = STARTED
        self.store_shift = 0.0
        self._due: list[tuple[float, int, Event]] = []
        self._count = 0

    @property
    def store_ms(self) -> int:
        """What the store's clock says."""
        return round((self.now + self.store_shift) * 1000)

    def steady(self) -> float:
        """As `stateful_route.kube.server_clock.steady`."""
        return self.now

    monotonic = steady

    def after(self, seconds: float, event: Event) -> None:
        """Let something happen."""
        self._count += 1
        heapq.heappush(self._due, (self.now + seconds, self._count, event))

    def next_event(self) -> float | None:
        """When something happens next; None: nothing does."""
        return self._due[0][0] if self._due else None

    def happen(self) -> None:
        """Let all happen that is due."""
        while self._due and self._due[0][0] <= self.now:
            heapq.heappop(self._due)[2]()


def stamp(moment: float) -> str:
    """A time as the API server and kubelets write it: to the second."""
    return datetime.fromtimestamp(int(moment), UTC).isoformat().replace("+00:00", "Z")
