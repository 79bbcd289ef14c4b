"""The pods of the examples, as processes that are asked directly."""

import asyncio
import signal
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
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
    async with httpx.AsyncClient(timeout=60) as http:

        async def well(ordinal: int) -> bool:
            assert running.pods[ordinal].running
            try:
                return (await http.get(f"http://{running.address(ordinal)}/healthz")).is_success
            except httpx.TransportError:
                return False

        for ordinal in running.pods:
            await eventually(lambda ordinal=ordinal: well(ordinal), bool, "the pod serves")

        async def ask(ordinal: int, uid: str) -> httpx.Response:
            return await http.post(f"http://{running.address(ordinal)}/users/{uid}/count")

        yield ask


async def test_a_pod_counts_its_users_and_refuses_those_of_others(count):
    assert (await count(0, "ada")).json() == {"uid": "ada", "pod": 0, "count": 1}
    assert (await count(1, "jos%C3%A9")).json() == {"uid": "josé", "pod": 1, "count": 1}
    assert (await count(0, "ada")).json()["count"] == 2
    refused = await count(1, "ada")
    assert refused.status_code == 421
    assert "Retry-After" not in refused.headers, "another pod has the user, nobody has to wait"


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


async def test_requests_that_are_under_way_while_a_user_is_given_away_are_saved(running, count, store):
    """The first of them waits for the database, the pod is asked to end, and its callers go on."""
    under_way = []
    with closing(sqlite3.connect(running.environment["DATABASE"], isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        under_way.append(asyncio.create_task(count(0, "ada")))
        async with StatefulExecutor.from_url(store.url) as executor:
            await eventually(
                lambda: executor.get_linked_pod("default", "ada", "rooms"), lambda pod: pod == 0, "it is let in"
            )
        running.pods[0].send(signal.SIGTERM)
        while not (refused := [one.result() for one in under_way if one.done()]):
            await asyncio.sleep(0.1)
            under_way.append(asyncio.create_task(count(0, "ada")))
        assert [(answer.status_code, answer.headers["Retry-After"]) for answer in refused] == [(421, "1")]
    *answers, last = await asyncio.gather(*under_way, return_exceptions=True)
    if not isinstance(last, httpx.RemoteProtocolError):  # it may come as the server closes
        answers.append(last)
    counts = sorted(answer.json()["count"] for answer in answers if answer.status_code == 200)
    assert counts == list(range(1, len(counts) + 1))
    assert counts
    answer = await eventually(lambda: count(1, "ada"), lambda one: one.status_code != 421, "she is given away")
    assert answer.json() == {"uid": "ada", "pod": 1, "count": len(counts) + 1}
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
        assert refused.status_code == 421
        assert await executor.get_linked_pod("default", "somebody-new", "rooms") is None


async def test_while_the_store_is_away_a_pod_serves_the_users_that_it_has(store, count):
    await count(0, "ada")
    store.kill()
    assert (await count(0, "ada")).json()["count"] == 2
    unknown = await count(0, "bob")
    assert (unknown.status_code, unknown.headers["Retry-After"]) == (503, "1")
