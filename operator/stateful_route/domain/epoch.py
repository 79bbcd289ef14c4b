"""Epochs and index scores: how a sorted set's score holds the pod and the epoch of a link."""

from typing import Any

EPOCH_BITS = 40
"""Milliseconds in 40 bits last until 2059; 13 bits remain for the ordinal, and the score stays below 2^53."""

EPOCH_START_MS = 1_735_689_600_000
"""2025-01-01T00:00:00Z; an epoch is at least the server's TIME in ms since then."""

STEP = 1 << EPOCH_BITS


MICROSECONDS = 1_000_000
"""Of a second: whatever counts more of them in a reply to TIME is no clock (proxies answer such things)."""


def clock_ms(reply: Any) -> int | None:
    """The ms since 1970 of a reply to TIME, (seconds, microseconds), numbers or their texts; None: it is no clock's."""
    try:
        seconds, micros = (int(part) for part in reply)
    except (TypeError, ValueError):
        return None
    return seconds * 1000 + micros // 1000 if seconds >= 0 and 0 <= micros < MICROSECONDS else None


def score(ordinal: int, epoch: int) -> int:
    """The index entry's score of a link to ``ordinal`` with ``epoch``."""
    return ordinal * STEP + epoch


def split(value: float) -> tuple[int, int]:
    """(ordinal, epoch) of an index entry's score."""
    return divmod(int(value), STEP)


def score_range(ordinal: int, before: int | None = None) -> tuple[int, int]:
    """The lowest and highest score of the pod's links; ``before``: only those with a lower epoch."""
    return ordinal * STEP, ordinal * STEP + (STEP if before is None else before) - 1
