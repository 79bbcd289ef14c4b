"""How fast links may move: a bounded number a second, raised where a deadline would else be missed."""

import math
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
        now, rate = self.clock(), self.rate(left)
        if math.isinf(rate):
            return 0.0
        self._free_at = max(self._free_at, now) + moved / rate
        return self._free_at - now

    def rate(self, left: int) -> float:
        """Links a second, when about ``left`` are still to move; infinite when the deadline is over."""
        if self.deadline is None:
            return self.links_per_second
        time_left = self.deadline - self.clock()
        return max(self.links_per_second, left / time_left) if time_left > 0 else math.inf
