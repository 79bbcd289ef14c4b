"""What was told of uids whose links are gone: who has moved or removed them since all was last in its place."""

from collections.abc import Mapping
from typing import NamedTuple

from stateful_route.drivers.holdings import Holding
from stateful_route.drivers.pod import Pod
from stateful_route.store.migrate import NOBODY, Moved
from stateful_route.store.moves import Move, read_moves


class Horizon(NamedTuple):
    """A moment.

    Attributes:
        moves: The last move that was told before it.
        outages: How often the store had been away from this process by then.
        losses: How often it had lost what this pod had written.
    """

    moves: str
    outages: int
    losses: int


class Told(NamedTuple):
    """What was told of some uids.

    Attributes:
        gone: Those that have gone elsewhere, with the last word on each.
        complete: That is all. False: some of it may be missing, so that any of the others may have been somebody
            else's in between.
    """

    gone: Mapping[str, Moved]
    complete: bool


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

    async def told_of(self, lost: Mapping[str, Holding]) -> Told:
        """What was told of these uids.

        A store that was emptied tells nothing of what was before: that is complete only if this process was connected
        all the time, and so had heard of it.

        Raises:
            StoreUnavailable, StoreRejected: see there.
        """
        store, me, since = await self._pod.executor.store(), self._pod.me, self._confirmed
        connected, emptied = since.outages == self._pod.cache.outages, since.losses != self._losses
        after, more, complete = since.moves, True, connected or not emptied
        gone: dict[str, Moved] = {}
        while more:
            moves = await read_moves(store, me.target, after)
            if moves.missed:
                complete = complete and moves.restarted and connected
            for move in moves.entries:
                gone |= _ended(move, lost, me.ordinal)
            more, after = moves.more, moves.last
        return Told(gone, complete)


def _ended(move: Move, lost: Mapping[str, Holding], me: int) -> dict[str, Moved]:
    """Of what pod ``me`` holds, what the move ends: how the pod got a uid itself does not."""
    ended = {}
    if (purged := move.purged) is not None:
        ended = {uid: Moved(uid, NOBODY, purged) for uid, held in lost.items() if held.epoch <= purged}
    for link in move.links:
        held = lost.get(link.uid)
        if held is not None and (link.epoch > held.epoch or (link.epoch == held.epoch and link.to != me)):
            ended[link.uid] = link
    return ended
