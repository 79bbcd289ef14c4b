"""Notices that this process was not let run: stopped by a signal, frozen with its container, or starved."""

import asyncio
import math
from collections.abc import Callable

from stateful_route.kube.server_clock import steady

BEAT_SECONDS = 0.5

STANDSTILL_SECONDS = 2.0
"""A beat that comes so late comes after a standstill: a list of thousands of pods keeps the loop for less."""


class StoodStill(Exception):  # noqa: N818  as those of the domain: a fact
    """The process stood still since the facts were read: what happened meanwhile is not known yet."""


class Pulse:
    """Says when this process has last gone on after a standstill: what it read before may not be so any more."""

    def __init__(self, clock: Callable[[], float] = steady) -> None:
        self._clock = clock
        self._beat_at: float | None = None
        self._went_on_at = -math.inf

    @property
    def went_on_at(self) -> float:
        """When it has last gone on, by `steady`; -inf: it has not stood still."""
        self.beat()  # whoever asks may be the first that runs again
        return self._went_on_at

    def beat(self) -> None:
        """The process runs."""
        now = self._clock()
        if self._beat_at is not None and now - self._beat_at >= STANDSTILL_SECONDS:
            self._went_on_at = now
        self._beat_at = now

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            self.beat()
            await asyncio.sleep(BEAT_SECONDS)
