# Generated from announcing.py by tools/twins.py: change that one, then run: make twins
"""Telling what single calls have moved: those of one process that move off one pod at the same time share an entry.

The move is in the store already when it is told. So a telling that fails changes nothing about it: what could not be
told is kept, and told later.
"""

from collections import deque
from collections.abc import Callable, Sequence

from stateful_route.domain.errors import StatefulRouteError
from stateful_route.store.announcing import (
    AGAIN_SECONDS,
    IDLE_SECONDS,
    KEPT_LINKS,
    KEPT_SECONDS,
    LINKS_PER_ENTRY,
    Source,
    _Batch,
    _Kept,
    log,
    monotonic,
)
from stateful_route.store.connection_sync import Store
from stateful_route.store.keys import Service
from stateful_route.store.links_sync import get_link
from stateful_route.store.migrate import Moved
from stateful_route.store.migrate_sync import append_moves
from stateful_route.store.runtime_sync import Lock


class _Queue:
    """Those who tell of one source: one at a time."""

    def __init__(self) -> None:
        self.batch = _Batch()
        self.telling = Lock()
        self.users = 0


class Announcer:
    """Tells callers and pods what has moved; one for a process."""

    def __init__(self, opened: Callable[[], Store]) -> None:
        """``opened`` gives the store."""
        self._opened = opened
        self._queues: dict[Source, _Queue] = {}
        self._gate = Lock()
        """Held for a few lines that wait for nothing."""
        self._kept: deque[_Kept] = deque()
        self.on_kept: Callable[[], None] = lambda: None
        """Is called when there is something to be told later, by `again`."""

    @property
    def kept(self) -> int:
        """How many moves are still to be told."""
        return sum(max(1, len(item.moved)) for item in list(self._kept))

    def announce(self, service: Service, source: int, reason: str, moved: Sequence[Moved]) -> bool:
        """Tell that links have moved off the pod ``source``; returns when it is told.

        What others of this process have to tell of the same service, pod and reason while a telling is under way is
        gathered, and told in one piece.

        Returns:
            Whether it was told; False: the store could not be reached or has refused. Then it is kept, and `again`
            tells it. Raises nothing of ours.
        """
        if not moved:
            return True
        of = Source(service, source, str(reason))
        with self._gate:
            queue = self._queues.setdefault(of, _Queue())
            queue.users += 1
            batch = queue.batch
            batch.moved += moved
            batch.waiting += 1
        try:
            with queue.telling:
                with self._gate:
                    if queue.batch is batch:
                        queue.batch = _Batch()
                if not batch.over:
                    batch.told = self._tell(of, batch.moved)
                    batch.over = True
        finally:
            with self._gate:
                queue.users -= 1
                batch.waiting -= 1
                if not queue.users:
                    self._queues.pop(of, None)
                if not batch.over and not batch.waiting:  # whoever should have told it was cancelled
                    self._keep(of, batch.moved)
        return batch.told

    def suspect(self, service: Service, source: int, reason: str, uid: str) -> None:
        """Nobody knows whether a uid has moved off the pod, because the reply was lost: `again` looks, and tells."""
        self._keep(Source(service, source, str(reason)), (), uid)

    def again(self) -> float:
        """Tell what could not be told before; the seconds until it should be tried again."""
        while self._kept:
            item = self._kept[0]
            of, moved = item.source, item.moved
            if monotonic() > item.until:
                log.warning("%d moves off pod %s of %s are not told any more", len(moved), of.ordinal, of.service)
            else:
                try:
                    if item.unsure is not None:
                        link = get_link(self._opened(), of.service, item.unsure)
                        away = link is not None and link.ordinal != of.ordinal
                        moved = [Moved(item.unsure, link.ordinal, link.epoch)] if link is not None and away else []
                    append_moves(self._opened(), of.service, of.ordinal, of.reason, moved)
                except StatefulRouteError:
                    return AGAIN_SECONDS
            if self._kept and self._kept[0] is item:
                self._kept.popleft()
        return IDLE_SECONDS

    def _tell(self, of: Source, moved: Sequence[Moved]) -> bool:
        told = 0
        try:
            store = self._opened()
            while told < len(moved):
                part = moved[told : told + LINKS_PER_ENTRY]
                append_moves(store, of.service, of.ordinal, of.reason, part)
                told += len(part)
        except StatefulRouteError as error:
            log.warning("moves off pod %s of %s could not be told, they will be: %s", of.ordinal, of.service, error)
            self._keep(of, moved[told:])
            return False
        return True

    def _keep(self, of: Source, moved: Sequence[Moved], unsure: str | None = None) -> None:
        until = monotonic() + KEPT_SECONDS
        if not moved:
            self._kept.append(_Kept(of, (), until, unsure))
        for start in range(0, len(moved), LINKS_PER_ENTRY):
            self._kept.append(_Kept(of, moved[start : start + LINKS_PER_ENTRY], until))
        while self.kept > KEPT_LINKS:
            dropped = self._kept.popleft()
            log.warning("too many moves to tell, %d off pod %s are not", len(dropped.moved), dropped.source.ordinal)
        self.on_kept()
