"""The pods of the examples, as processes that are asked directly."""

import signal
from collections.abc import Awaitable, Callable, Iterator
from types import ModuleType
from typing import Any

import httpx
import pytest

from stateful_route.devcluster import EmbeddedStore
from stateful_route.devcluster.run_folder import RunFolder
from stateful_route.domain.routing import RoutingState
from stateful_route.store.executor import StatefulExecutor
from support.waiting import eventually


@pytest.fixture
def store() -> Iterator[EmbeddedStore]:
    with EmbeddedStore() as running:
        yield running


@pytest.fixture
def running(
    module_of: Callable[[str], ModuleType], example: str, store: EmbeddedStore, examples_folder
) -> Iterator[Any]:
    """Two pods of an example, and nobody else."""
    with RunFolder.create("example") as run:
        made = module_of("play/processes.py").Processes(examples_folder / example, store.url, run)
        made.environment["REFRESH_SECONDS"] = "2"  # for so long a pod that is to end serves those it has
        for ordinal in range(2):
            made.start_pod(ordinal)
        yield made


Count = Callable[[int, str], Awaitable[httpx.Response]]


@pytest.fixture
async def count(running) -> Any:
    """One more request of a user to a pod: ``await count(0, "ada")``."""
    async with httpx.AsyncClient(timeout=10) as http:

        async def well(ordinal: int) -> bool:
            assert running.pods[ordinal].running
            try:
                return (await http.get(f"http://{running.address(ordinal)}/healthz")).is_success
            except httpx.TransportError:
                return False

        for ordinal in running.pods:
            await eventually(lambda ordinal=ordinal: well(ordinal), bool, "the pod serves", seconds=30)

        async def ask(ordinal: int, uid: str) -> httpx.Response:
            return await http.post(f"http://{running.address(ordinal)}/users/{uid}/count")

        yield ask


async def test_a_pod_counts_its_users_and_refuses_those_of_others(count):
    assert (await count(0, "ada")).json() == {"uid": "ada", "pod": 0, "count": 1}
    assert (await count(1, "jos%C3%A9")).json() == {"uid": "josé", "pod": 1, "count": 1}
    assert (await count(0, "ada")).json()["count"] == 2
    refused = await count(1, "ada")
    assert (refused.status_code, refused.json()) == (421, {"pod": 0})


async def test_a_pod_that_ends_hands_over_what_it_knows(running, count):
    for _ in range(3):
        await count(0, "ada")
    running.pods[0].send(signal.SIGTERM)
    refused, answers = set(), []
    while not answers or answers[-1].status_code != 200:
        answers.append(await count(1, "ada"))
        refused.add(answers[-1].status_code)
    assert answers[-1].json() == {"uid": "ada", "pod": 1, "count": 4}
    assert refused <= {421, 200}
    running.pods[0].wait()


async def test_a_pod_that_is_ending_serves_who_was_sent_to_it_before_and_takes_nobody_else(running, count, store):
    async with StatefulExecutor.from_url(store.url) as executor:
        await executor.set_linked_pod_if_absent("default", "bob", "rooms", 0, 300)  # as a caller does
        running.pods[0].send(signal.SIGTERM)
        await eventually(
            lambda: executor.get_service_pod_state("default", "rooms", 0),
            lambda state: state is not None and state.routing_state is RoutingState.DENY_NEW_CALL,
            "the pod is ending",
        )
        assert (await count(0, "bob")).json() == {"uid": "bob", "pod": 0, "count": 1}
        refused = await count(0, "somebody-new")
        assert (refused.status_code, refused.json()) == (421, {"pod": None})
        assert await executor.get_linked_pod("default", "somebody-new", "rooms") is None


async def test_while_the_store_is_away_a_pod_serves_the_users_that_it_has(store, count):
    await count(0, "ada")
    store.kill()
    assert (await count(0, "ada")).json()["count"] == 2
    unknown = await count(0, "bob")
    assert (unknown.status_code, unknown.headers["Retry-After"]) == (503, "1")
