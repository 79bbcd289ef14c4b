"""A service as its pods and its operator leave it in the store, for the tests of who reads it.

Fixtures: a folder's conftest.py imports those that its tests use, beside those of `support.servers`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from stateful_route.domain.record import OperatorRecord
from stateful_route.drivers.cache import CacheOptions
from stateful_route.store.connection import StoreOptions
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.keys import Service
from stateful_route.store.states import claim, set_operator_states

NS, SVC = "games", "room"
OWNER = "test-cluster/test-route"
QUICK = CacheOptions(refresh_seconds=0.3)
PATIENT = CacheOptions(refresh_seconds=600.0)
"""The period comes too late for a test: what arrives came by push."""
HURRIED = StoreOptions(timeout_seconds=1.0, deadline_seconds=2.0)
"""For a store that does not answer at some time. (One that does may take a while, too, on a busy machine.)"""


@pytest.fixture(params=["async", "sync"])
def colour(request) -> str:
    """Which of the twins."""
    return request.param


@pytest.fixture
async def executor_here(server, raw) -> AsyncIterator[StatefulExecutor]:
    """The store itself, as pods and the operator see it; it is empty at first."""
    async with StatefulExecutor.from_url(server.url) as made:
        yield made


@pytest.fixture
def service() -> Service:
    return Service(NS, SVC)


@pytest.fixture
def publish(executor_here) -> Callable[..., Awaitable[object]]:
    """Let pods publish their states: ``publish({0: "READY", 1: "READY"}, loads={0: 700})``."""

    async def states(words: dict[int, str], loads: dict[int, float] | None = None, incarnation: str = "") -> None:
        for pod, word in words.items():
            load = (loads or {}).get(pod, 0)
            await executor_here.set_service_state(NS, SVC, pod, word, load=load, incarnation=incarnation)

    return states


@pytest.fixture
def operate(executor_here, service) -> Callable[..., Awaitable[object]]:
    """Write as the operator does: ``operate({0: record("READY")}, loadRange=100)``."""

    async def write(records: dict[int, OperatorRecord], **config: object) -> None:
        store = await executor_here.store()
        await claim(store, service, OWNER, {"heartbeat": "Auto"} | config)
        await set_operator_states(store, service, OWNER, records)

    return write
