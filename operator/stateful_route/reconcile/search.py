"""When links that foreign clients made without our index are looked for: before a pod that lost its memory serves anew.

Afterwards nobody can tell whose users they are: links that the pod has lost, or new ones.
"""

import time
from collections.abc import Mapping

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
        self.late = False
        """Links have got into the index, and `include` has not been asked since: their epochs are above those of which
        a loss tells that is known by now, or that is being noted just now."""
        self._whole: dict[int, int] = {}
        """Losses that were known when a look at all keys began which has found links."""

    def missing(self, records: Mapping[int, OperatorRecord]) -> Losses:
        """The losses for which nobody has searched yet; none while links wait for `include`."""
        return {} if self.late else self._unsearched(records)

    def ended(self, before: Losses, found: int) -> None:
        """All keys have been looked at.

        Args:
            before: What was missing when that began.
            found: Links that were not in the index, and have entered it.
        """
        if found:
            self._foreign = self.late = True
            self._whole |= before
        elif not self.late:
            self._searched |= before

    def include(self, records: Mapping[int, OperatorRecord], highest: int) -> Losses:
        """The losses as they must be for the links that were found to move with the others.

        These have got their epochs after the losses were noted. ``highest``: the highest epoch that has been issued.
        """
        losses = self._unsearched(records)
        for ordinal, before in losses.items():
            if self._whole.get(ordinal) == before:
                self._searched[ordinal] = highest + 1
        self.late = False
        self._whole.clear()
        return dict.fromkeys(losses, highest + 1)

    def holds(self, ordinal: int, before: int) -> bool:
        """True while links of the loss may still turn up."""
        if self.late:
            return True
        if self._searched.get(ordinal) == before:
            self._forget(ordinal)
            return False
        now = time.monotonic()
        patience = FOREIGN_HOLD_SECONDS if self._foreign else HOLD_SECONDS
        return now < self._first_asked.setdefault((ordinal, before), now) + patience

    def _forget(self, ordinal: int) -> None:
        self._first_asked = {key: at for key, at in self._first_asked.items() if key[0] != ordinal}

    def _unsearched(self, records: Mapping[int, OperatorRecord]) -> dict[int, int]:
        return {
            ordinal: record.before
            for ordinal, record in records.items()
            if record.before is not None
            and record.links is LinkAction.MOVE
            and record.before != self._searched.get(ordinal)
        }
