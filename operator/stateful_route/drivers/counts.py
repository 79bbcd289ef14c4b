"""What a caller counts and times of its own questions."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from stateful_route.domain.meter import Meter
from stateful_route.store.keys import Service


class ClientCounts(NamedTuple):
    """What a caller has counted of one service since it was made.

    Attributes:
        hits: Computations that were answered from memory.
        misses: Those that were not.
        misrouted: Requests of which the application said that the pod did not have the uid.
    """

    hits: int
    misses: int
    misrouted: int


@contextmanager
def timed(meter: Meter, service: Service) -> Iterator[None]:
    """Tell how long it takes, also when it fails."""
    began = time.monotonic()
    try:
        yield
    finally:
        meter.computed(service, time.monotonic() - began)
