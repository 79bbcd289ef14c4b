# Generated from rest.py by tools/twins.py: change that one, then run: make twins
"""Resting between the steps of long work, so that other callers of the store are not held up."""

import time

from stateful_route.store.rest import LONGEST_SECONDS, SHARE
from stateful_route.store.runtime_sync import sleep


class Rest:
    """Keeps work at a rate, in keys that are looked at each second; None: at `SHARE` of the time."""

    def __init__(self, keys_per_second: float | None = None) -> None:
        self._rate = keys_per_second
        self._began = time.monotonic()

    def after(self, keys: int) -> None:
        """Wait as long as the step that has just looked at so many keys asks for; the next step begins afterwards."""
        took = time.monotonic() - self._began
        worked = min(took * (1 - SHARE) / SHARE, LONGEST_SECONDS)
        pause = worked if self._rate is None else keys / self._rate - took
        sleep(max(0.0, pause))
        self._began = time.monotonic()
