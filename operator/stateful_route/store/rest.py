"""Resting between the steps of long work, so that other callers of the store are not held up."""

import time

from stateful_route.store.runtime import sleep

SHARE = 0.2
"""Unless a rate is given, at most this part of the time is spent in Redis."""

LONGEST_SECONDS = 0.5
"""Of such a pause: a step that took longer than an eighth of a second has not worked all the while, but waited itself.

A process that was stopped for seconds would else rest for a multiple of them, of all times when it wakes up.
"""


class Rest:
    """Keeps work at a rate, in keys that are looked at each second; None: at `SHARE` of the time."""

    def __init__(self, keys_per_second: float | None = None) -> None:
        self._rate = keys_per_second
        self._began = time.monotonic()

    async def after(self, keys: int) -> None:
        """Wait as long as the step that has just looked at so many keys asks for; the next step begins afterwards."""
        took = time.monotonic() - self._began
        worked = min(took * (1 - SHARE) / SHARE, LONGEST_SECONDS)
        pause = worked if self._rate is None else keys / self._rate - took
        await sleep(max(0.0, pause))
        self._began = time.monotonic()
