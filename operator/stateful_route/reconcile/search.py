"""When links that foreign clients made without our index are looked for: before a pod that lost its memory serves anew.

Afterwards nobody can tell whose users they are: links that the pod has lost, or new ones.
"""

import time
from collections.abc import Mapping
from dataclasses import replace

from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import LinkAction

HOLD_SECONDS = 2.0
"""A store is searched so quickly up to some 50,000 links; a larger one need not wait for links that may not exist."""

FOREIGN_HOLD_SECONDS = 30.0
"""Where a foreign client's links have been found before, they are worth more patience."""

Losses = Mapping[int, int]
"""Ordinal → the epoch before which its links were made for an earlier incarnation."""


class Search:
    """Which losses have been searched for, and which must not be settled yet."""

    def __init__(self) -> None:
        self._foreign = False
        self._first_asked: dict[tuple[int, int], float] = {}
        self._searched: dict[int, int] = {}
        self._late: dict[int, tuple[int, bool]] = {}
        """Losses after which links have got into the index, and whether all keys were looked at since."""

    def missing(self, records: Mapping[int, OperatorRecord]) -> Losses:
        """The losses for which nobody has searched yet."""
        return {
            ordinal: record.before
            for ordinal, record in records.items()
            if record.before is not None
            and record.links is LinkAction.MOVE
            and record.before != self._searched.get(ordinal)
            and record.before != self._late.get(ordinal, (None, False))[0]
        }

    @property
    def late(self) -> bool:
        """Links have got into the index after a loss, and `include` has not been asked since."""
        return bool(self._late)

    def ended(self, before: Losses, meanwhile: Losses, found: int) -> None:
        """All keys have been looked at.

        Args:
            before: What was missing when that began.
            meanwhile: What is missing now.
            found: Links that were not in the index, and have entered it.
        """
        if found:
            self._foreign = True
            self._late |= {ordinal: (epoch, before.get(ordinal) == epoch) for ordinal, epoch in meanwhile.items()}
        else:
            self._searched |= before

    def include(self, records: dict[int, OperatorRecord], highest: int) -> None:
        """Have the links that were found move with the others, although they have got their epochs after the loss.

        ``highest``: the highest epoch that has been issued.
        """
        for ordinal, (before, complete) in self._late.items():
            record = records.get(ordinal)
            if record is not None and record.before == before:
                later = highest + 1
                records[ordinal] = replace(record, before=later)
                if complete:
                    self._searched[ordinal] = later
        self._late.clear()

    def holds(self, ordinal: int, before: int) -> bool:
        """True while links of the loss may still turn up."""
        if self._late.get(ordinal, (None, False))[0] == before:
            return True
        if self._searched.get(ordinal) == before:
            self._forget(ordinal)
            return False
        now = time.monotonic()
        patience = FOREIGN_HOLD_SECONDS if self._foreign else HOLD_SECONDS
        return now < self._first_asked.setdefault((ordinal, before), now) + patience

    def _forget(self, ordinal: int) -> None:
        self._first_asked = {key: at for key, at in self._first_asked.items() if key[0] != ordinal}
