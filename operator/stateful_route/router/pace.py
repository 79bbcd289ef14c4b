"""How fast links may move: a bounded number a second, raised where a deadline would else be missed."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Pace:
    """Says how long to wait after some links have moved.

    Attributes:
        links_per_second: The bound.
        deadline: When all must have moved (same clock), or None.
        clock: Monotonic seconds; tests give their own.
    """

    links_per_second: float
    clock: Callable[[], float]
    deadline: float | None = None
    _free_at: float = field(default=0.0, init=False)

    def wait_seconds(self, moved: int, left: int) -> float:
        """Seconds to wait after ``moved`` links, when about ``left`` are still to move; 0: go on at once."""
        now = self.clock()
        rate = self.links_per_second
        if self.deadline is not None and (time_left := self.deadline - now) > 0:
            rate = max(rate, left / time_left)
        elif self.deadline is not None:
            return 0.0
        self._free_at = max(self._free_at, now) + moved / rate
        return self._free_at - now
