"""What the parts of a `ServerDriver` share: who the pod is, what it owns, whom it tells and what it counts."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from stateful_route.domain.errors import StatefulRouteError
from stateful_route.drivers.cache import ServiceStateCache
from stateful_route.drivers.holdings import Holdings
from stateful_route.drivers.identity import Identity
from stateful_route.drivers.server_options import ServerHooks, ServerOptions, Tally
from stateful_route.drivers.telling import Telling
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.migrate import Moved, append_moves

log = logging.getLogger(__name__)

TAKEN = "Taken"
"""The reason that the former owner and callers are told: another pod has linked the uid to itself."""


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
        return cls(cache, me, options, hooks, holdings, Telling(hooks), Tally())

    @property
    def executor(self) -> StatefulExecutor:
        """The store of links and states."""
        return self.cache.executor

    def regained(self, uid: str, epoch: int) -> None:
        """The pod owns a uid again that somebody else may have had: nobody is served by it until the app was told."""
        self.telling.regained(uid, self.me.ordinal, lambda: self.holdings.loaded(uid, epoch))

    async def announce(self, source: int, reason: str, moved: Sequence[Moved]) -> None:
        """Tell the former owner, and callers, what this pod has taken; a failure is logged: all compare."""
        try:
            await append_moves(await self.executor.store(), self.me.target, source, reason, moved)
        except StatefulRouteError as error:
            log.warning("pod %d cannot be told that it has lost %d uids: %s", source, len(moved), error)

    def now(self) -> float:
        """Seconds by the monotonic clock."""
        return self.cache.clock()
