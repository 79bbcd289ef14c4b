"""The synchronous twin does what its source does: the same story, told to both, on each kind of server."""

import inspect
import threading
from dataclasses import fields, is_dataclass

import pytest

from stateful_route.domain.errors import InvalidArgument, StoreRejected, StoreUnavailable
from stateful_route.domain.routing import RoutingState
from stateful_route.store import executor, executor_sync
from stateful_route.store.connection import StoreOptions
from stateful_route.store.keys import Service
from stateful_route.store.links import Candidates
from stateful_route.store.migrate import Batch
from support.redis_cluster import three_nodes

SERVICE = "room"
UIDS = [f"uid-{number}" for number in range(5)]
CANDIDATES = Candidates({0: 5.0, 1: 1.0}, dead=frozenset({2}))
BUCKET = Service("async", SERVICE).bucket("ada"), Service("syncs", SERVICE).bucket("ada")

STORY = [
    lambda e, ns: e.set_linked_pod(ns, "ada", SERVICE, 3),
    lambda e, ns: e.set_linked_pod(ns, "ada", SERVICE, 2, 300),
    lambda e, ns: e.try_set_linked_pod(ns, "ada", SERVICE, 1),
    lambda e, ns: e.try_set_linked_pod(ns, "ada", SERVICE, 4),
    lambda e, ns: e.set_linked_pod_if_absent(ns, "bob", SERVICE, 4, 300),
    lambda e, ns: e.get_linked_pod(ns, "bob", SERVICE),
    lambda e, ns: e.get_linked_pod(ns, "nobody", SERVICE),
    lambda e, ns: e.get_linked_pod_if_persist(ns, "ada", SERVICE),
    lambda e, ns: e.get_linked_pod_if_persist(ns, "bob", SERVICE),
    lambda e, ns: e.compute_linked_pod_if_absent(ns, "eve", SERVICE, CANDIDATES, 300),
    lambda e, ns: e.compute_links_if_absent(ns, UIDS, SERVICE, CANDIDATES, 300),
    lambda e, ns: e.batch_get_linked_pod(ns, [*UIDS, "ada", "nobody"], SERVICE),
    lambda e, ns: e.get_links(ns, ["ada", "nobody"], SERVICE),
    lambda e, ns: e.set_links_if_absent(ns, ["ada", "new"], SERVICE, 6, 300),
    lambda e, ns: e.get_link_service(ns, "ada"),
    lambda e, ns: e.is_owner(ns, "ada", SERVICE, 1, 1),
    lambda e, ns: e.migrate(ns, SERVICE, 1, [Batch(BUCKET[ns == "syncs"], ["ada"], [5])], reason="Rebalance"),
    lambda e, ns: e.remove_linked_pod(ns, "ada", SERVICE, 60),
    lambda e, ns: e.remove_linked_pod_with_id(ns, "bob", SERVICE, 3),
    lambda e, ns: e.remove_linked_pod_with_id(ns, "bob", SERVICE, 4),
    lambda e, ns: e.remove_links(ns, UIDS, SERVICE),
    lambda e, ns: e.set_service_state(ns, SERVICE, 0, RoutingState.READY, load=3),
    lambda e, ns: e.get_service_state(ns, SERVICE),
    lambda e, ns: e.get_service_pod_state(ns, SERVICE, 0),
    lambda e, ns: e.get_service_pod_state(ns, SERVICE, 7),
    lambda e, ns: e.set_workload_state(ns, SERVICE, "open"),
    lambda e, ns: e.get_workload_state(ns, SERVICE),
    lambda e, ns: e.get_workload_states(ns, [SERVICE, "unknown"]),
    lambda e, ns: e.set_linked_pod(ns, "{braced}", SERVICE, 1),
    lambda e, ns: e.get_linked_pod(ns, "ada", SERVICE),
]


WALKS = [
    lambda e, ns: e.count_links(ns, SERVICE),
    lambda e, ns: e.links_of_pod(ns, SERVICE, 1),
    lambda e, ns: e.repair(ns, SERVICE),
    lambda e, ns: e.rebuild(ns, SERVICE, keys_per_second=1e9),
]
"""Look at all buckets, which takes seconds on a Cluster."""


def plain(value):
    """A result without what differs from one run to the next: epochs and times become a word, errors their class."""
    if isinstance(value, Exception):
        return type(value).__name__
    if isinstance(value, int) and not isinstance(value, bool) and value > 2**20:
        return "an epoch or a time"
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    names = [field.name for field in fields(value)] if is_dataclass(value) else getattr(value, "_fields", None)
    if names is not None:
        return {name: plain(getattr(value, name)) for name in names if name != "bucket"}
    return [plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def uids_of(pages):
    """In no order: that of the buckets depends on the namespace."""
    return sorted(uid for page in pages for uid in page.uids)


async def told_async(url, story=STORY):
    found = []
    async with executor.StatefulExecutor.from_url(url) as source:
        for step in story:
            try:
                answer = step(source, "async")
                answer = uids_of([page async for page in answer]) if inspect.isasyncgen(answer) else await answer
            except InvalidArgument as error:
                answer = error
            found.append(plain(answer))
    return found


def told_sync(url, story=STORY):
    found = []
    with executor_sync.StatefulExecutor.from_url(url) as twin:
        for step in story:
            try:
                answer = step(twin, "syncs")
                answer = uids_of(answer) if inspect.isgenerator(answer) else answer
            except InvalidArgument as error:
                answer = error
            found.append(plain(answer))
    return found


def test_the_twin_has_each_operation_with_the_same_arguments():
    source, twin = (
        {
            name: str(inspect.signature(each))
            for name, each in inspect.getmembers(kind, inspect.isfunction)
            if name[0] != "_"
        }
        for kind in (executor.StatefulExecutor, executor_sync.StatefulExecutor)
    )
    words = {"AsyncIterator": "Iterator", "connection.Store": "connection_sync.Store"}
    for name, text in source.items():
        for word, instead in words.items():
            text = text.replace(word, instead)  # noqa: PLW2901
        assert text == twin.pop(name)
        assert not inspect.iscoroutinefunction(getattr(executor_sync.StatefulExecutor, name))
    assert not twin


async def test_one_server(server, raw):
    story = [*STORY[:18], *WALKS, *STORY[18:]]
    assert told_sync(server.url, story) == await told_async(server.url, story)


async def test_a_cluster(start_server):
    with three_nodes(start_server) as cluster:
        assert told_sync(cluster.url) == await told_async(cluster.url)


async def test_a_sentinel_set(start_server, start_sentinel):
    url = f"redis+sentinel://127.0.0.1:{start_sentinel(start_server())}/main"
    assert told_sync(url) == await told_async(url)


def test_many_threads_share_one_twin(server, raw):
    wrong = []

    def work(number):
        for turn in range(50):
            uid = f"{number}-{turn}"
            twin.set_linked_pod("syncs", uid, SERVICE, number)
            if twin.get_linked_pod("syncs", uid, SERVICE) != number:
                wrong.append(uid)

    with executor_sync.StatefulExecutor.from_url(server.url, StoreOptions(max_connections=4)) as twin:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert twin.count_links("syncs", SERVICE) == dict.fromkeys(range(8), 50)
    assert wrong == []


def test_a_server_that_is_away_is_told_before_the_deadline_has_long_passed(start_server):
    server = start_server()
    options = StoreOptions(timeout_seconds=0.2, deadline_seconds=0.5)
    with executor_sync.StatefulExecutor.from_url(server.url, options) as twin:
        twin.set_linked_pod("syncs", "ada", SERVICE, 1)
        server.stop()
        with pytest.raises(StoreUnavailable) as away:
            twin.get_linked_pod("syncs", "ada", SERVICE)
        assert not away.value.maybe_written


def test_a_refusal_is_told_as_such(server, raw):
    with executor_sync.StatefulExecutor.from_url(server.url) as twin:
        twin.set_linked_pod("syncs", "ada", SERVICE, 1)
        service = Service("syncs", SERVICE)
        twin._patient.command("SET", service.link("ada"), "no pod")
        with pytest.raises(StoreRejected):
            twin.get_linked_pod("syncs", "ada", SERVICE)
