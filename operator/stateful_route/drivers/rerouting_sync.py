# Generated from rerouting.py by tools/twins.py: change that one, then run: make twins
"""Moving a user in the middle of a call: making sure of it before, and telling it after.

What a caller knows of a pod may be a refresh period old, so before a move the pod's entry is read again. A first
placement needs nothing of this.
"""

from collections.abc import Iterable, Mapping

from stateful_route.domain.renewal import Renewal
from stateful_route.domain.routing import Reason
from stateful_route.domain.snapshot import Snapshot, still_left
from stateful_route.drivers.cache_sync import ServiceStateCache
from stateful_route.drivers.rerouting import FRESH_SECONDS
from stateful_route.drivers.runtime_sync import Flights
from stateful_route.store.batch import Replies
from stateful_route.store.keys import Service
from stateful_route.store.links import Candidates, Computed, Placed
from stateful_route.store.migrate import Moved
from stateful_route.store.placing_sync import place, place_each
from stateful_route.store.states_sync import get_service_pod


class Rerouting:
    """Asks for links, and moves those whose pod is to be left for certain."""

    def __init__(self, states: ServiceStateCache) -> None:
        self._states = states
        self._executor = states.executor
        self._flights = Flights()
        self._seen: dict[tuple[Service, int], float] = {}
        """When the last look began that has confirmed that a pod is to be left, by the cache's clock."""

    def ask(self, service: Service, uid: str, candidates: Candidates, renewal: Renewal, source: int | None) -> Placed:
        """The script's answer, once it is told that it has moved the uid off ``source``, if it has.

        ``source``: the pod that the uid was linked to, and that `to_be_left` has found to be left; None: there is none,
        and ``candidates`` have no dead pods. Where the reply is lost, it is found out later what to tell.
        """
        try:
            computed = place(self._executor.store, service, uid, candidates, renewal)
        except BaseException as error:
            if source is not None and getattr(error, "maybe_written", True):
                self._executor.announcer.suspect(service, source, Reason.REROUTED, uid)
            raise
        if source is not None:
            self._tell(service, source, {uid: computed})
        return computed

    def ask_each(
        self, service: Service, asked: Mapping[str, Candidates], renewal: Renewal, source: int | None
    ) -> Replies[Placed]:
        """As `ask`, for many uids in one round trip."""
        lost: Iterable[str] = asked
        try:
            replies = place_each(self._executor.store, service, asked, asked.__getitem__, renewal)
            lost = [uid for uid, error in replies.failed.items() if error.maybe_written]
        finally:
            for uid in lost if source is not None else ():
                self._executor.announcer.suspect(service, source or 0, Reason.REROUTED, uid)
        if source is not None:
            self._tell(service, source, replies.done)
        return replies

    def to_be_left(self, service: Service, ordinal: int, snapshot: Snapshot) -> int | None:
        """The pod, once it is certain that its uids are to be moved; None: it is not, there is a newer snapshot now."""
        if self.still_left(service, ordinal, snapshot):
            return ordinal
        self._states.refresh(service)
        return None

    def still_left(self, service: Service, ordinal: int, snapshot: Snapshot) -> bool:
        """Whether the pod is to be left, as the snapshot says, by a look at its entry in the store that begins now.

        The look may have begun up to `FRESH_SECONDS` ago, for somebody else. False: the snapshot is out of date.

        Raises:
            StoreUnavailable, StoreRejected: see there.
        """
        learned = self._states.clock()
        while True:
            if self._seen.get((service, ordinal), -1.0) >= learned - FRESH_SECONDS:
                return True
            began, left = self._flights.share((service, ordinal), lambda: self._look(service, ordinal, snapshot))
            if began >= learned - FRESH_SECONDS:
                return left

    def _tell(self, service: Service, source: int, computed: Mapping[str, Placed]) -> None:
        """Also of a link that was found elsewhere: it is this call's own, if it was repeated after a lost reply."""
        moved = [
            Moved(uid, link.ordinal, link.epoch)
            for uid, link in computed.items()
            if isinstance(link, Computed) and link.previous is not None and link.ordinal != source and not link.doubted
        ]
        self._executor.announcer.announce(service, source, Reason.REROUTED, moved)

    def _look(self, service: Service, ordinal: int, snapshot: Snapshot) -> tuple[float, bool]:
        began = self._states.clock()
        view = get_service_pod(self._executor.store(), service, ordinal)
        left = still_left(snapshot, ordinal, view, began, self._states.options.refresh_seconds)
        for known, when in list(self._seen.items()):
            if when < began - FRESH_SECONDS:
                self._seen.pop(known, None)
        if left:
            self._seen[service, ordinal] = began
        return began, left
