# Generated from record_of_moves.py by tools/twins.py: change that one, then run: make twins
"""What was told of uids whose links are gone: who has moved or removed them since all was last in its place."""

from collections.abc import Mapping

from stateful_route.drivers.holdings import Holding
from stateful_route.drivers.pod_sync import Pod
from stateful_route.drivers.record_of_moves import Horizon, Told, _ended
from stateful_route.store.migrate import Moved
from stateful_route.store.moves_sync import read_moves


class RecordOfMoves:
    """The stream of moves, read from when everything that the pod holds was last seen in its place."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._losses = 0
        self._confirmed = self.now()

    def now(self) -> Horizon:
        """As far as this process has heard: what is seen in its place from here on is so as of then, or later."""
        cache = self._pod.cache
        return Horizon(cache.moves_seen(self._pod.me.target), cache.outages, self._losses)

    def confirm(self, horizon: Horizon) -> None:
        """All that is held was in its place then, or later."""
        self._confirmed = horizon

    def note_loss(self) -> None:
        """The store has lost what this pod had written: it was emptied, or restored."""
        self._losses += 1

    def told_of(self, lost: Mapping[str, Holding]) -> Told:
        """What was told of these uids.

        A store that was emptied tells nothing of what was before: that is complete only if this process was connected
        all the time, and so had heard of it.

        Raises:
            StoreUnavailable, StoreRejected: see there.
        """
        store, me, since = self._pod.executor.store(), self._pod.me, self._confirmed
        connected, emptied = since.outages == self._pod.cache.outages, since.losses != self._losses
        after, more, complete = since.moves, True, connected or not emptied
        gone: dict[str, Moved] = {}
        while more:
            moves = read_moves(store, me.target, after)
            if moves.missed:
                complete = complete and moves.restarted and connected
            for move in moves.entries:
                gone |= _ended(move, lost, me.ordinal)
            more, after = moves.more, moves.last
        return Told(gone, complete)
