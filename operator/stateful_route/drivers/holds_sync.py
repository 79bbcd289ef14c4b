# Generated from holds.py by tools/twins.py: change that one, then run: make twins
"""Users whose connections stay open: their links are renewed in the background, without a question."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from stateful_route.domain.errors import NotRunning, StatefulRouteError, StoreUnavailable
from stateful_route.domain.renewal import CACHED_SHARE, Renewal
from stateful_route.domain.snapshot import Snapshot
from stateful_route.drivers.cache_sync import ServiceStateCache
from stateful_route.drivers.dispatcher_sync import HookDispatcher
from stateful_route.drivers.holds import HOOKS_AT_ONCE, IDLE_SECONDS, RETRY_SECONDS, OnMoved, log, monotonic
from stateful_route.drivers.link_cache import spread_out
from stateful_route.drivers.rerouting_sync import Rerouting
from stateful_route.drivers.runtime_sync import Guard, Loop, tell
from stateful_route.store.batch import REQUESTS_PER_TRIP
from stateful_route.store.keys import Service
from stateful_route.store.links import Candidates, Computed
from stateful_route.store.migrate import NOBODY
from stateful_route.store.moves import Move


class _User:
    """What is known of one held uid, however many hold it."""

    __slots__ = ("epoch", "holders", "pod", "released")

    def __init__(self, pod: int) -> None:
        self.pod = pod
        self.epoch = -1
        """Of the link to the pod; -1: not known yet."""
        self.released = False
        """Its pod has given it up: only a question finds it another one."""
        self.holders: list[Held] = []


class Held:
    """A uid whose link is kept alive while the body of an ``with`` runs; see `ClientDriver.hold`.

    Attributes:
        service: The service.
        uid: The uid.
    """

    def __init__(self, holds: "Holds", service: Service, uid: str, on_moved: OnMoved | None) -> None:
        self.service = service
        self.uid = uid
        self.on_moved = on_moved
        self._holds = holds
        self._user: _User | None = None

    @property
    def pod(self) -> int:
        """The index of the pod that the uid is linked to, as far as this process has heard.

        Raises:
            NotRunning: the body of the ``with`` has not begun.
        """
        if self._user is None:
            raise NotRunning("a held user has a pod inside of the `with` that holds it")
        return self._user.pod

    def __enter__(self) -> Self:
        self._user = self._holds.begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._holds.end(self)


class Holds:
    """All held users of a caller. One look at each uid, in batches, every fifth of its link's time to live.

    It keeps one entry for each uid until the last who holds it ends, and nothing after that.
    """

    def __init__(
        self,
        states: ServiceStateCache,
        rerouting: Rerouting,
        renewal: Callable[[Service], Renewal],
        compute: Callable[[str, str, str], int],
    ) -> None:
        """Nothing runs before the first `begin`.

        Args:
            states: What is known of the pods.
            rerouting: Asks for links.
            renewal: How the links of a service are renewed.
            compute: Finds or makes the link of a uid: namespace, uid, service.
        """
        self._states = states
        self._rerouting = rerouting
        self._renewal = renewal
        self._compute = compute
        self._users: dict[Service, dict[str, _User]] = {}
        self._due: dict[Service, float] = {}
        """When the uids of a service are looked at next, by the monotonic clock."""
        self._dispatcher = HookDispatcher(HOOKS_AT_ONCE)
        self._guard = Guard()
        self._renewing = Loop("held links", self._step)

    def begin(self, held: Held) -> _User:
        """Link the uid, and hold it from now on; raises what `ClientDriver.compute_linked_pod` does."""
        service, uid = held.service, held.uid
        pod = self._compute(service.namespace, uid, service.name)
        with self._guard:
            users = self._users.setdefault(service, {})
            user = users.setdefault(uid, _User(pod))
            user.holders.append(held)
            self._due.setdefault(service, monotonic() + self._period(service))
        self._renewing.start()
        self._renewing.wake()
        if held.on_moved is not None:
            self._dispatcher.start()
        return user

    def end(self, held: Held) -> None:
        """Hold it no more; its link lives on for its time."""
        with self._guard:
            users = self._users.get(held.service, {})
            user = users.get(held.uid)
            if user is None or held not in user.holders:
                return
            user.holders.remove(held)
            if not user.holders:
                users.pop(held.uid, None)
            if not users:
                self._users.pop(held.service, None)
                self._due.pop(held.service, None)

    def close(self) -> None:
        """Hold nothing any more."""
        self._renewing.stop()
        self._dispatcher.stop(0)
        with self._guard:
            self._users.clear()
            self._due.clear()

    def any(self, service: Service) -> bool:
        """Whether uids of the service are held."""
        return service in self._users

    def found(self, service: Service, uid: str, pod: int, epoch: int) -> None:
        """The uid's link names this pod, as of this epoch."""
        user = self._users.get(service, {}).get(uid)
        if user is None or epoch < user.epoch:
            return
        with self._guard:
            before, user.pod, user.epoch, user.released = user.pod, pod, epoch, False
            if before != pod:
                hooks = [held.on_moved for held in user.holders if held.on_moved is not None]
        for hook in hooks if before != pod else ():
            self._dispatcher.call((service, uid), hook, uid, pod)

    def moved(self, service: Service, moves: Sequence[Move], *, missed: bool) -> None:
        """These links have moved; ``missed``: others have, too."""
        users = self._users.get(service)
        if users is None:
            return
        if missed:
            self._due[service] = 0.0
            self._renewing.wake()
        for move in moves:
            for link in move.links:
                user = users.get(link.uid)
                if user is None or link.epoch < user.epoch or (user.epoch < 0 and user.pod != move.source):
                    continue
                if link.to == NOBODY:
                    user.released = True
                else:
                    self.found(service, link.uid, link.to, link.epoch)

    # In the background

    def _period(self, service: Service) -> float:
        return spread_out(self._renewal(service).seconds / CACHED_SHARE)

    def _step(self) -> float:
        for service, due in list(self._due.items()):
            if due > monotonic():
                continue
            with self._guard:
                if service in self._due:
                    self._due[service] = monotonic() + RETRY_SECONDS
            tell(self._renew_all, service)  # one that raises stops no other
        return max(0.0, min(self._due.values(), default=monotonic() + IDLE_SECONDS) - monotonic())

    def _renew_all(self, service: Service) -> None:
        """Look at all held uids of a service, and say when to look again."""
        try:
            self._states.demand_store()
            snapshot = self._states.asked(service)
            for part in _parts(list(self._users.get(service, {}).items())):
                self._renew(service, part, snapshot)
        except StatefulRouteError as error:
            log.debug("held links of %s could not be renewed, it is tried again: %s", service, error)
            return
        with self._guard:
            if service in self._due:
                self._due[service] = monotonic() + self._period(service)

    def _renew(self, service: Service, users: Sequence[tuple[str, _User]], snapshot: Snapshot) -> None:
        """A link that is there is renewed, wherever it leads; one that was lost is made again to the same pod alone.

        Raises:
            StoreUnavailable: some of them were not looked at.
        """
        none = Candidates({})
        limit = max(0, snapshot.config.placement.max_links)
        known = {pod: Candidates({pod: 0.0}, limit=limit) for pod in snapshot.routable}
        asked = {uid: none if user.released else known.get(user.pod, none) for uid, user in users}
        replies = self._rerouting.ask_each(service, asked, self._renewal(service), None)
        for uid, computed in replies.done.items():
            if isinstance(computed, Computed):
                self.found(service, uid, computed.ordinal, computed.epoch)
        for uid, error in replies.failed.items():
            if isinstance(error, StoreUnavailable):
                raise error
            log.debug("the held link of %r cannot be renewed: %s", uid, error)


def _parts(users: Sequence[tuple[str, _User]]) -> list[Sequence[tuple[str, _User]]]:
    return [users[start : start + REQUESTS_PER_TRIP] for start in range(0, len(users), REQUESTS_PER_TRIP)]
