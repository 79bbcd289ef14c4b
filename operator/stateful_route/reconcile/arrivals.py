"""When the events about pods came that the store does not know of yet: how late an operator is."""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from stateful_route.domain.meter import Meter


class Arrivals:
    """The events of one service's pods, from their arrival to the write that they lead to."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._since: dict[int, float] = {}

    def came(self, ordinal: int) -> None:
        """An event has told something new of a pod; the first of several counts."""
        self._since.setdefault(ordinal, time.monotonic())

    def forget(self) -> None:
        """The service is another's: nothing is going to be written."""
        self._since.clear()

    @contextmanager
    def written(self, ordinals: Collection[int]) -> Iterator[None]:
        """All that has come was judged, and what follows from it is written for some pods; the others need nothing.

        A write that fails is made up for later, and was late from the beginning.
        """
        judged, self._since = self._since, {}
        waiting = {ordinal: since for ordinal, since in judged.items() if ordinal in ordinals}
        try:
            yield
        except BaseException:
            self._since |= waiting
            raise
        now = time.monotonic()
        for since in waiting.values():
            self._meter.event_written(now - since)
