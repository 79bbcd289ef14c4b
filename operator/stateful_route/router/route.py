"""Everything for one store, made and closed together: what `stateful_route.StatefulRoute` is."""

from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from stateful_route.domain.option_checks import check_kind
from stateful_route.drivers.cache import CacheOptions, ServiceStateCache
from stateful_route.drivers.client import ClientDriver, ClientOptions
from stateful_route.drivers.route_info import RouteInfoDriver
from stateful_route.store.connection import StoreOptions
from stateful_route.store.executor import StatefulExecutor

if TYPE_CHECKING:  # most processes are a caller or a pod, and load in half the time without the rest
    from stateful_route.drivers.identity import Identity
    from stateful_route.drivers.server import ServerDriver
    from stateful_route.drivers.server_options import ServerHooks, ServerOptions
    from stateful_route.router.manager import ManagerOptions, StatefulRouteManager


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteOptions:
    """How all parts behave; each part's defaults are the reference's, the manager asks the client for addresses."""

    store: StoreOptions = field(default_factory=StoreOptions)
    cache: CacheOptions = field(default_factory=CacheOptions)
    client: ClientOptions = field(default_factory=ClientOptions)
    manager: "ManagerOptions | None" = None

    def __post_init__(self) -> None:
        """See that each part has its own options; raises InvalidArgument."""
        check_kind(self.store, StoreOptions)
        check_kind(self.cache, CacheOptions)
        check_kind(self.client, ClientOptions)
        if self.manager is not None:
            from stateful_route.router.manager import ManagerOptions

            check_kind(self.manager, ManagerOptions)


class StatefulRoute:
    """A store and its drivers; one for a process, shared by all that goes on in it.

    ::

        async with StatefulRoute.connect("redis://127.0.0.1:6379") as route:
            pod = await route.client.compute_linked_pod("default", "alice", "rooms")
            print(await route.client.address("default", "rooms", pod))

    Attributes:
        executor: Links and states as they stand in the store.
        states: What is known of the pods.
        client: For callers: which pod has this uid.
        info: For callers: which pods are there.
    """

    def __init__(self, executor: StatefulExecutor, options: RouteOptions | None = None) -> None:
        """Nothing is connected before the first question; `close` closes the executor, too."""
        check_kind(options, RouteOptions, _in_route_options(options))
        options = options or RouteOptions()
        self.executor = executor
        self.states = ServiceStateCache(executor, options.cache)
        self.client = ClientDriver(self.states, options.client)
        self.info = RouteInfoDriver(self.states)
        self._manager_options = options.manager
        self._manager: StatefulRouteManager | None = None
        self._servers: list[ServerDriver] = []

    @classmethod
    def connect(cls, url: str, options: RouteOptions | None = None) -> Self:
        """For the store's URL, as `Store.from_url` takes it; connects at the first question.

        Raises:
            InvalidArgument: the URL is none, or the options are no `RouteOptions`.
        """
        check_kind(options, RouteOptions, _in_route_options(options))
        return cls(StatefulExecutor.from_url(url, (options or RouteOptions()).store), options)

    @property
    def manager(self) -> "StatefulRouteManager":
        """Placement by strategies, health checks and failover, for who runs no operator."""
        if self._manager is None:
            from stateful_route.router.manager import ManagerOptions, StatefulRouteManager

            options = self._manager_options or ManagerOptions()
            if options.address is None:
                options = replace(options, address=self.client.address)
            self._manager = StatefulRouteManager(self.states, options)
        return self._manager

    def server(
        self,
        identity: "Identity | None" = None,
        options: "ServerOptions | None" = None,
        hooks: "ServerHooks | None" = None,
    ) -> "ServerDriver":
        """The driver of the pod that this process is, not started yet; stopped by `close`, if it has not been before.

        ``identity``: None: what the environment says, see `Identity.from_environment`.
        """
        from stateful_route.drivers.identity import Identity
        from stateful_route.drivers.server import ServerDriver

        made = ServerDriver(self.states, identity or Identity.from_environment(), options, hooks)
        self._servers.append(made)
        return made

    async def close(self) -> None:
        """Stop what was started, the pods' drivers gracefully, and close all connections."""
        while self._servers:
            await self._servers.pop().stop()
        if self._manager is not None:
            await self._manager.close()
        await self.info.close()
        await self.client.close()
        await self.states.close()
        await self.executor.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _in_route_options(options: object) -> str:
    """How a part's options are handed over; empty: they are of no part."""
    parts = {StoreOptions: "store", CacheOptions: "cache", ClientOptions: "client"}
    part = parts.get(type(options))
    return f"write RouteOptions({part}={type(options).__name__}(…))" if part is not None else ""
