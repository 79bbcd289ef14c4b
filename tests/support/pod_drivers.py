"""Routed pods in the test's own process, with the asynchronous or the synchronous driver: fixtures."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest

from stateful_route.drivers import cache, cache_sync, server_sync
from stateful_route.drivers import server as server_async
from stateful_route.drivers.identity import Identity
from stateful_route.drivers.server_options import ServerHooks, ServerOptions
from stateful_route.store import executor, executor_sync
from stateful_route.store.connection import StoreOptions
from support.twins import Threaded

NS, SVC = "games", "room"
QUICK = cache.CacheOptions(refresh_seconds=0.3)
PATIENT = cache.CacheOptions(refresh_seconds=600.0)
"""What arrives within a test came by push."""
SILENT = cache.CacheOptions(refresh_seconds=600.0, push=False)
"""What arrives within a test was found by the pod's own comparing."""


@dataclass
class Told:
    """What a pod's hooks were told, in order."""

    released: list[str] = field(default_factory=list)
    gained: list[tuple[str, int | None]] = field(default_factory=list)
    moved: list[tuple[str, int | None]] = field(default_factory=list)
    replaced: int = 0
    assumed: int = 0

    def hooks(self, **others: Callable[..., Any]) -> ServerHooks:
        """All hooks, as plain functions; ``others`` instead of some."""

        def replaced() -> None:
            self.replaced += 1

        def assumed() -> None:
            self.assumed += 1

        mine: dict[str, Callable[..., Any]] = {
            "on_release": self.released.append,
            "on_gained": lambda uid, source: self.gained.append((uid, source)),
            "on_moved": lambda uid, target: self.moved.append((uid, target)),
            "on_replaced": replaced,
            "on_assume_replaced": assumed,
        }
        return ServerHooks(**(mine | others))


@dataclass(frozen=True)
class RoutedPod:
    """One pod: its driver, its own cache and executor, and what it was told."""

    server: Any
    states: Any
    executor: Any
    told: Told


MakePod = Callable[..., RoutedPod]
StartPod = Callable[..., Awaitable[RoutedPod]]


@pytest.fixture
async def make_pod(colour, server, raw) -> AsyncIterator[MakePod]:
    """Make a pod that has not started: ``make_pod(0, uid="pod-a", url=…, known=QUICK, hooks={…}, **options)``."""
    async with AsyncExitStack() as stack:

        def made(
            ordinal: int = 0,
            *,
            uid: str = "",
            url: str | None = None,
            known: cache.CacheOptions = QUICK,
            store: StoreOptions | None = None,
            hooks: dict[str, Callable[..., Any]] | None = None,
            **options: Any,
        ) -> RoutedPod:
            told, identity = Told(), Identity(NS, SVC, ordinal, uid)
            chosen = ServerOptions(**({"settle_seconds": 0.05, "cpu_factor": 0, "stop_seconds": 5} | options))
            parts: tuple[Any, Any, Any]
            if colour == "async":
                a_store = executor.StatefulExecutor.from_url(url or server.url, store)
                states = cache.ServiceStateCache(a_store, known)
                driver = server_async.ServerDriver(states, identity, chosen, told.hooks(**(hooks or {})))
                parts = driver, states, a_store
            else:
                plain = executor_sync.StatefulExecutor.from_url(url or server.url, store)
                knowing = cache_sync.ServiceStateCache(plain, known)
                twin = server_sync.ServerDriver(knowing, identity, chosen, told.hooks(**(hooks or {})))
                parts = (
                    Threaded(twin, server_async.ServerDriver),
                    Threaded(knowing, cache.ServiceStateCache),
                    Threaded(plain, executor.StatefulExecutor),
                )
            for part in reversed(parts):
                stack.push_async_callback(part.close if hasattr(part, "close") else _ended(part))
            return RoutedPod(*parts, told)

        yield made


@pytest.fixture
async def start_pod(make_pod) -> StartPod:
    """The same, started."""

    async def started(ordinal: int = 0, **options: Any) -> RoutedPod:
        pod: RoutedPod = make_pod(ordinal, **options)
        await pod.server.start()
        return pod

    return started


def _ended(driver: Any) -> Callable[[], Awaitable[None]]:
    async def end() -> None:
        async with asyncio.timeout(60):
            await driver.stop(0)

    return end
