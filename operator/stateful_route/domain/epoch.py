"""Epochs and index scores: how a sorted set's score holds the pod and the epoch of a link."""

EPOCH_BITS = 40
"""Milliseconds in 40 bits last until 2059; 13 bits remain for the ordinal, and the score stays below 2^53."""

EPOCH_START_MS = 1_735_689_600_000
"""2025-01-01T00:00:00Z; an epoch is at least the server's TIME in ms since then."""

STEP = 1 << EPOCH_BITS


def score(ordinal: int, epoch: int) -> int:
    """The index entry's score of a link to ``ordinal`` with ``epoch``."""
    return ordinal * STEP + epoch


def split(value: float) -> tuple[int, int]:
    """(ordinal, epoch) of an index entry's score."""
    return divmod(int(value), STEP)


def score_range(ordinal: int, before: int | None = None) -> tuple[int, int]:
    """The lowest and highest score of the pod's links; ``before``: only those with a lower epoch."""
    return ordinal * STEP, ordinal * STEP + (STEP if before is None else before) - 1
