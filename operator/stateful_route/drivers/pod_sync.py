# Generated from pod.py by tools/twins.py: change that one, then run: make twins
"""What the parts of a `ServerDriver` share: who the pod is, what it owns, whom it tells and what it counts."""

from collections.abc import Sequence
from dataclasses import dataclass

from stateful_route.domain.routing import Reason
from stateful_route.drivers.cache_sync import ServiceStateCache
from stateful_route.drivers.holdings import Holdings
from stateful_route.drivers.identity import Identity
from stateful_route.drivers.server_options import ServerHooks, ServerOptions, Tally
from stateful_route.drivers.telling_sync import Telling
from stateful_route.store.executor_sync import StatefulExecutor
from stateful_route.store.migrate import Moved


@dataclass(frozen=True, slots=True)
class Pod:
    """One routed pod, from the inside."""

    cache: ServiceStateCache
    me: Identity
    options: ServerOptions
    hooks: ServerHooks
    holdings: Holdings
    telling: Telling
    tally: Tally

    @classmethod
    def of(cls, cache: ServiceStateCache, me: Identity, options: ServerOptions, hooks: ServerHooks) -> "Pod":
        """One that owns nothing yet."""
        holdings = Holdings(me.target.bucket, cache.clock)
        return cls(cache, me, options, hooks, holdings, Telling(hooks, options.releases_at_once), Tally())

    @property
    def executor(self) -> StatefulExecutor:
        """The store of links and states."""
        return self.cache.executor

    def regained(self, uid: str, epoch: int) -> None:
        """The pod owns a uid again that somebody else may have had: nobody is served by it until the app was told."""
        self.telling.regained(uid, self.me.ordinal, lambda: self.holdings.loaded(uid, epoch))

    def lost(self, uid: str, to: int | None) -> None:
        """The pod has lost a uid, to another one or (None) to nobody: the app is told."""
        self.tally.add("expired" if to is None else "moved")
        self.holdings.lost(uid)
        self.telling.moved(uid, to, lambda: self.holdings.forgotten(uid))

    def gained(self, uid: str, source: int | None) -> None:
        """The pod owns a uid that it did not ask for; ``source``: the pod it was on, if that is known."""
        held = self.holdings.held(uid)
        if held is not None and held.stale:
            self.regained(uid, held.epoch)
        else:
            self.telling.gained(uid, source)

    def tell_taken(self, source: int, moved: Sequence[Moved]) -> None:
        """Tell the pod that has lost these uids to this one, and callers; what cannot be told now is told later."""
        self.executor.announcer.announce(self.me.target, source, Reason.TAKEN, moved)

    def now(self) -> float:
        """Seconds by the monotonic clock."""
        return self.cache.clock()
