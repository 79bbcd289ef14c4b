"""The executor: what is sent, what is repeated, what an error says of it, and what is never half-done or mixed up."""

import asyncio
import math
import shutil
import time
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from stateful_route.domain.errors import (
    AuthenticationFailed,
    InvalidArgument,
    LayoutMismatch,
    Replaced,
    ScriptMissing,
    StatefulRouteError,
    StoreRejected,
    StoreUnavailable,
    UnfitServer,
)
from stateful_route.domain.routing import RoutingState
from stateful_route.store import executor as executor_module
from stateful_route.store.connection import StoreOptions
from stateful_route.store.executor import BUCKETS, StatefulExecutor
from stateful_route.store.keys import META, Service
from stateful_route.store.links import MAX_SECONDS, Candidates, Link, get_link
from stateful_route.store.migrate import Batch
from stateful_route.store.reading import read_links
from stateful_route.store.scripts import called_commands
from stateful_route.store.server import SINCE, check_server
from stateful_route.store.sockets import primary_of
from support.redis_cluster import three_nodes
from support.tcp_proxy import TcpProxy

NS, SVC, UID = "games", "room", "ada"
SERVICE = Service(NS, SVC)
TWO = Candidates({1: 0, 2: 0})


@pytest.fixture
async def opened() -> AsyncIterator[Callable[..., StatefulExecutor]]:
    """Executors, closed after the test: ``opened(url, deadline_seconds=…, retries=…, …)``."""
    running = []

    def start(url: str, **options: float) -> StatefulExecutor:
        running.append(StatefulExecutor.from_url(url, StoreOptions(**options)))
        return running[-1]

    yield start
    for executor in running:
        await executor.close()


@pytest.fixture
def executor(server, raw, opened) -> StatefulExecutor:
    """An executor on an empty server."""
    return opened(server.url)


# Each operation, with arguments that can be stored


class At(NamedTuple):
    """What an operation is about."""

    ns: str
    uid: str
    svc: str


HERE = At(NS, UID, SVC)
OPERATIONS = {
    "set_service_state": lambda e, at: e.set_service_state(at.ns, at.svc, 1, "READY"),
    "get_service_state": lambda e, at: e.get_service_state(at.ns, at.svc),
    "get_service_pod_state": lambda e, at: e.get_service_pod_state(at.ns, at.svc, 1),
    "set_workload_state": lambda e, at: e.set_workload_state(at.ns, at.svc, "busy"),
    "get_workload_state": lambda e, at: e.get_workload_state(at.ns, at.svc),
    "get_workload_states": lambda e, at: e.get_workload_states(at.ns, [at.svc]),
    "set_linked_pod": lambda e, at: e.set_linked_pod(at.ns, at.uid, at.svc, 1),
    "try_set_linked_pod": lambda e, at: e.try_set_linked_pod(at.ns, at.uid, at.svc, 1),
    "set_linked_pod_if_absent": lambda e, at: e.set_linked_pod_if_absent(at.ns, at.uid, at.svc, 1, 60),
    "compute_linked_pod_if_absent": lambda e, at: e.compute_linked_pod_if_absent(at.ns, at.uid, at.svc, TWO, 60),
    "get_linked_pod": lambda e, at: e.get_linked_pod(at.ns, at.uid, at.svc),
    "get_linked_pod_if_persist": lambda e, at: e.get_linked_pod_if_persist(at.ns, at.uid, at.svc),
    "batch_get_linked_pod": lambda e, at: e.batch_get_linked_pod(at.ns, [at.uid], at.svc),
    "remove_linked_pod": lambda e, at: e.remove_linked_pod(at.ns, at.uid, at.svc),
    "remove_linked_pod_with_id": lambda e, at: e.remove_linked_pod_with_id(at.ns, at.uid, at.svc, 1),
    "get_link_service": lambda e, at: e.get_link_service(at.ns, at.uid),
    "set_link": lambda e, at: e.set_link(at.ns, at.uid, at.svc, 1),
    "try_set_link": lambda e, at: e.try_set_link(at.ns, at.uid, at.svc, 1),
    "set_link_if_absent": lambda e, at: e.set_link_if_absent(at.ns, at.uid, at.svc, 1, 60),
    "compute_link_if_absent": lambda e, at: e.compute_link_if_absent(at.ns, at.uid, at.svc, TWO, 60),
    "get_link": lambda e, at: e.get_link(at.ns, at.uid, at.svc),
    "get_link_if_persist": lambda e, at: e.get_link_if_persist(at.ns, at.uid, at.svc),
    "is_owner": lambda e, at: e.is_owner(at.ns, at.uid, at.svc, 1, 7),
    "get_links": lambda e, at: e.get_links(at.ns, [at.uid], at.svc),
    "set_links_if_absent": lambda e, at: e.set_links_if_absent(at.ns, [at.uid], at.svc, 1, 60),
    "compute_links_if_absent": lambda e, at: e.compute_links_if_absent(at.ns, [at.uid], at.svc, TWO, 60),
    "remove_links": lambda e, at: e.remove_links(at.ns, [at.uid], at.svc),
    "links_of_pod": lambda e, at: pages_of(e, at.ns, at.svc, 1),
    "count_links": lambda e, at: e.count_links(at.ns, at.svc),
    "migrate": lambda e, at: e.migrate(at.ns, at.svc, 1, [batch_of(at.ns, at.svc, at.uid)], reason="Gone"),
    "repair": lambda e, at: e.repair(at.ns, at.svc),
    "rebuild": lambda e, at: e.rebuild(at.ns, at.svc),
}
WITHOUT_UID = {name for name in OPERATIONS if "state" in name} | {
    "links_of_pod",
    "count_links",
    "repair",
    "rebuild",
    "migrate",
}


async def pages_of(executor, namespace, service, pod, cursor=0):
    return [page async for page in executor.links_of_pod(namespace, service, pod, cursor=cursor)]


def batch_of(namespace, service, uid):
    return Batch(Service(namespace, service).bucket(uid), [uid], [2])


def test_every_operation_is_tried_here():
    public = {name for name in vars(StatefulExecutor) if not name.startswith("_")} - {
        "from_url",
        "close",
        "store",
        "meter",
    }
    assert set(OPERATIONS) == public


@pytest.mark.parametrize("name", OPERATIONS)
async def test_an_operation_on_an_empty_store_answers_in_its_own_terms(name, executor, raw):
    first = await OPERATIONS[name](executor, HERE)
    assert all(key.startswith("sf:") for key in await raw.keys())
    assert first is None or isinstance(first, object)
    assert await raw.hget(META, "layout") == "1"


WRONG_NAMES = {
    "an empty namespace": ("", UID, SVC),
    "a namespace with a colon": ("a:b", UID, SVC),
    "a blank service": (NS, UID, " "),
    "a braced service": (NS, UID, "a}b"),
    "an empty uid": (NS, "", SVC),
    "a braced uid": (NS, "{a", SVC),
    "half a surrogate pair": (NS, "a\ud800", SVC),
    "a uid that is too long": (NS, "x" * 65536, SVC),
    "no uid at all": (NS, None, SVC),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("sentence", WRONG_NAMES)
async def test_what_cannot_be_stored_is_refused_before_anything_is_sent(name, sentence, opened):
    names = WRONG_NAMES[sentence]
    if ("uid" in sentence or "surrogate" in sentence) and name in WITHOUT_UID:
        return
    if "service" in sentence and name == "get_link_service":
        return
    nowhere = opened("redis://127.0.0.1:1")
    with pytest.raises(InvalidArgument) as caught:
        await OPERATIONS[name](nowhere, At(*names))
    assert not caught.value.maybe_written


BAD_ARGUMENTS = {
    "a negative pod": lambda e: e.set_linked_pod(NS, UID, SVC, -1),
    "a pod beyond the last": lambda e: e.set_link_if_absent(NS, UID, SVC, 8192, 60),
    "a pod that is text": lambda e: e.try_set_linked_pod(NS, UID, SVC, "1"),
    "a time of nothing": lambda e: e.set_link(NS, UID, SVC, 1, 0),
    "a time beyond all": lambda e: e.set_link(NS, UID, SVC, 1, MAX_SECONDS + 1),
    "true for a time": lambda e: e.set_link(NS, UID, SVC, 1, True),
    "a negative delay": lambda e: e.remove_linked_pod(NS, UID, SVC, -1),
    "a delay that is a part": lambda e: e.remove_links(NS, [UID], SVC, 0.5),
    "a blank state": lambda e: e.set_service_state(NS, SVC, 1, ""),
    "an unknown state": lambda e: e.set_service_state(NS, SVC, 1, "ready"),
    "a state of no pod": lambda e: e.set_service_state(NS, SVC, -1, "READY"),
    "a load that is none": lambda e: e.set_service_state(NS, SVC, 1, "READY", load=math.nan),
    "a load that no float holds": lambda e: e.set_service_state(NS, SVC, 1, "READY", load=2**53 + 1),
    "an incarnation with half a pair": lambda e: e.set_service_state(NS, SVC, 1, "READY", incarnation="\udc80"),
    "a blank workload": lambda e: e.set_workload_state(NS, SVC, " "),
    "a workload of half a pair": lambda e: e.set_workload_state(NS, SVC, "\ud800"),
    "one bad uid among good ones": lambda e: e.get_links(NS, ["a", "b", "", "c"], SVC),
    "one text for many uids": lambda e: e.remove_links(NS, "ada", SVC),
    "uids that are no list": lambda e: e.get_links(NS, 7, SVC),
    "uids that are lists": lambda e: e.get_links(NS, [["a"]], SVC),
    "a cursor behind the end": lambda e: pages_of(e, NS, SVC, 1, BUCKETS + 1),
    "a batch of another bucket": lambda e: e.migrate(NS, SVC, 1, [Batch(0, [UID], [2])], reason="x"),
    "a batch without targets": lambda e: e.migrate(NS, SVC, 1, [Batch(0, [UID], [])], reason="x"),
    "a batch whose uid is half a pair": lambda e: e.migrate(NS, SVC, 1, [Batch(0, ["\ud800"], [2])], reason="x"),
    "a blank reason": lambda e: e.migrate(NS, SVC, 1, [], reason=""),
}


@pytest.mark.parametrize("sentence", BAD_ARGUMENTS)
async def test_an_argument_is_refused_before_anything_is_sent(sentence, opened):
    with pytest.raises(InvalidArgument) as caught:
        await BAD_ARGUMENTS[sentence](opened("redis://127.0.0.1:1"))
    assert caught.value.maybe_written is False


# Links, with and without epochs


async def test_the_forms_of_an_operation_agree(executor):
    assert await executor.get_linked_pod(NS, UID, SVC) is None
    assert await executor.set_linked_pod(NS, UID, SVC, 0) is None
    link = await executor.get_link(NS, UID, SVC)
    assert await executor.get_linked_pod(NS, UID, SVC) == link.ordinal == 0
    assert await executor.get_link_if_persist(NS, UID, SVC) == link
    assert await executor.is_owner(NS, UID, SVC, *link)
    assert await executor.try_set_linked_pod(NS, UID, SVC, 5) == (False, 0)
    assert await executor.set_linked_pod_if_absent(NS, UID, SVC, 5, 60) == 0
    moved = await executor.compute_link_if_absent(NS, UID, SVC, Candidates({5: 0}, frozenset({0})), 60)
    assert (moved.ordinal, moved.previous) == (5, 0)
    assert not await executor.is_owner(NS, UID, SVC, *link)
    assert await executor.is_owner(NS, UID, SVC, 5, moved.epoch)
    assert await executor.get_linked_pod_if_persist(NS, UID, SVC) is None
    assert await executor.remove_linked_pod_with_id(NS, UID, SVC, 0) is False
    assert await executor.remove_linked_pod(NS, UID, SVC) is True
    assert await executor.compute_linked_pod_if_absent(NS, UID, SVC, Candidates({}), 60) is None


async def test_states_come_back_as_they_were_set(executor):
    assert await executor.set_service_state(NS, SVC, 0, "READY", load=1.5, incarnation="a/1") is RoutingState.READY
    await executor.set_service_state(NS, SVC, 7, RoutingState.SHUTDOWN)
    found = await executor.get_service_state(NS, SVC)
    assert {pod: (state.load, state.routing_state) for pod, state in found.items()} == {
        0: (1.5, "READY"),
        7: (0, "SHUTDOWN"),
    }
    assert await executor.get_service_state(NS, "nobody") == {}
    assert await executor.get_workload_states(NS, []) == {}


# Batches


def _link(computed):
    return Link(computed.ordinal, computed.epoch)


async def test_a_thousand_uids_in_one_round_trip(executor, raw):
    uids = [f"user-{n}" for n in range(1000)]
    await executor.get_link(NS, UID, SVC)
    before = (await raw.info("stats"))["total_reads_processed"]
    computed = (await executor.compute_links_if_absent(NS, uids, SVC, TWO, 60)).all()
    assert (await raw.info("stats"))["total_reads_processed"] - before < 100, "the server reads 16 KB at once"
    assert list(computed) == uids
    assert await executor.count_links(NS, SVC) == {1: 500, 2: 500}
    assert (await executor.set_links_if_absent(NS, uids, SVC, 9, 60)).all()["user-1"] == _link(computed["user-1"])
    found = dict((await executor.get_links(NS, [*uids, "nobody"], SVC)).all())
    assert found.pop("nobody") is None
    assert found == {uid: _link(link) for uid, link in computed.items()}
    assert await executor.batch_get_linked_pod(NS, uids, SVC) == {1: uids[::2], 2: uids[1::2]}
    removed = (await executor.remove_links(NS, [*uids, "nobody"], SVC)).all()
    assert removed == dict.fromkeys(uids, True) | {"nobody": False}
    assert await executor.count_links(NS, SVC) == {}


async def test_more_uids_than_a_trip_takes_and_the_same_uid_twice(executor):
    uids = [f"user-{n}" for n in range(2500)] + ["user-0", "user-1"]
    replies = await executor.set_links_if_absent(NS, uids, SVC, 3, 60)
    assert len(replies.done) == 2500
    assert await executor.count_links(NS, SVC) == {3: 2500}
    assert await executor.get_links(NS, [], SVC) == type(replies)({}, {})


async def test_one_uids_trouble_is_its_own(executor, raw):
    await executor.set_linked_pod(NS, "ada", SVC, 1)
    await raw.set(SERVICE.link("odd"), "elsewhere")
    await raw.rpush(SERVICE.link("listed"), "x")
    replies = await executor.compute_links_if_absent(NS, ["ada", "odd", "listed", "new"], SVC, TWO, 60)
    assert {uid: link.ordinal for uid, link in replies.done.items()} == {"ada": 1, "new": 2}
    assert set(replies.failed) == {"odd", "listed"}
    assert all(isinstance(error, StoreRejected) and not error.maybe_written for error in replies.failed.values())
    with pytest.raises(StoreRejected, match="FOREIGN"):
        replies.all()
    assert await executor.batch_get_linked_pod(NS, ["ada", "odd", "listed", "new"], SVC) == {1: ["ada"], 2: ["new"]}


async def test_a_walk_goes_on_where_it_was_left(executor):
    uids = {f"user-{n}" for n in range(400)}
    await executor.set_links_if_absent(NS, uids, SVC, 3, 60)
    whole = await pages_of(executor, NS, SVC, 3)
    assert {uid for page in whole for uid in page.uids} == uids
    first = whole[0]
    rest = await pages_of(executor, NS, SVC, 3, first.cursor)
    assert {uid for page in rest for uid in page.uids} == uids - set(first.uids)
    assert await pages_of(executor, NS, SVC, 3, whole[-1].cursor) == []
    assert await pages_of(executor, NS, SVC, 3, BUCKETS) == []
    middle = next(number for number in range(BUCKETS) if number == SERVICE.bucket("user-7"))
    behind = await pages_of(executor, NS, SVC, 3, middle)
    assert {uid for page in behind for uid in page.uids} == {uid for uid in uids if SERVICE.bucket(uid) >= middle}


async def test_what_was_moved_is_told(executor, raw):
    await executor.set_linked_pod(NS, UID, SVC, 1)
    (result,) = await executor.migrate(NS, SVC, 1, [batch_of(NS, SVC, UID)], reason="Gone")
    ((_, entry),) = await raw.xrange(SERVICE.moves)
    told = {"from": "1", "reason": "Gone", "moves": f'[["{UID}",2,{result.epoch}]]'}
    assert {name: entry[name] for name in told} == told


# The first call looks at the server


async def test_a_store_of_a_newer_layout_is_not_touched(executor, raw, contents):
    await raw.hset(META, "layout", "99")
    before = await contents()
    for _ in range(2):
        with pytest.raises(LayoutMismatch):
            await executor.set_linked_pod(NS, UID, SVC, 1)
    assert await contents() == before


async def test_the_server_is_looked_at_once(executor, raw, monkeypatch):
    looks = []

    async def looked(store):
        looks.append(store)
        await check_server(store)

    monkeypatch.setattr(executor_module, "check_server", looked)
    await asyncio.gather(*(executor.get_linked_pod(NS, UID, SVC) for _ in range(20)))
    assert len(looks) == 1
    await raw.config_resetstat()
    await executor.get_linked_pod(NS, UID, SVC)
    assert (await raw.info("commandstats"))["cmdstat_evalsha"]["calls"] == len(looks) == 1


async def test_scripts_call_nothing_that_redis_6_2_has_not(raw):
    docs = await raw.execute_command("COMMAND DOCS", *called_commands())
    since = {name.upper(): version(mapping(about)["since"]) for name, about in mapping(docs).items()}
    assert since.keys() == set(called_commands())
    assert {name for name in since if since[name] > (6, 2)} == set()
    assert {name for name in since if since[name] == (6, 2)} <= SINCE.keys()


def mapping(reply):
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))


def version(text):
    return tuple(int(part) for part in text.split(".")[:2])


@pytest.mark.parametrize("name", ["ZMSCORE", "XADD", "TIME", "PUBLISH"])
async def test_a_server_that_lacks_a_command_is_told_apart(name, start_server, opened):
    server = start_server("--rename-command", name, "")
    said = rf"cannot call {name}( \(Redis 6\.2\))?$"
    with pytest.raises(UnfitServer, match=said):
        await opened(server.url).set_linked_pod(NS, UID, SVC, 1)
    async with Redis(port=server.port) as raw:
        assert await raw.dbsize() == 0


async def test_a_server_that_runs_no_scripts_is_told_apart(start_server, opened):
    words = [("--rename-command", name, "") for name in ("EVAL", "EVALSHA")]
    server = start_server(*(word for three in words for word in three))
    with pytest.raises(UnfitServer, match="runs no Lua scripts"):
        await opened(server.url).get_linked_pod(NS, UID, SVC)


async def test_a_cluster_whose_client_lacks_a_command_is_told_apart(start_server, opened):
    refused = pytest.raises(UnfitServer, match=r"'COMMAND'.*redis-py, the client, needs it")
    with three_nodes(lambda *words: start_server(*words, "--rename-command", "COMMAND", "")) as nodes, refused:
        await opened(nodes.url).get_linked_pod(NS, UID, SVC)


@pytest.mark.parametrize("name", ["COMMAND", "ROLE", "CLIENT", "CONFIG", "SCRIPT", "SELECT", "PEXPIRETIME"])
async def test_a_server_can_be_used_that_lacks_what_no_script_calls(name, start_server, opened):
    server = start_server("--rename-command", name, "")
    executor = opened(f"redis://127.0.0.1:{server.port}")
    await executor.set_linked_pod(NS, UID, SVC, 1)
    found, refused = await read_links(await executor.store(), SERVICE, [UID])
    assert (found[UID].ordinal, refused) == (1, {})


async def test_a_server_is_looked_at_without_a_trace(executor, contents):
    await executor.get_linked_pod(NS, UID, SVC)
    assert set(await contents()) == {META}


ROLES = {
    "Redis": ([b"slave", b"10.0.0.7", 6379, b"connected", 14], ("10.0.0.7", 6379)),
    "a newer word": ([b"replica", b"fd00::7", 6379, b"sync", -1], ("fd00::7", 6379)),
    "a primary": ([b"master", 14, []], None),
    "a proxy": ([[b"master", 0, []]], None),
    "a Sentinel": ([b"sentinel", [b"main"]], None),
    "a replica of nobody": ([b"slave"], None),
    "nothing": ([], None),
    "no list": (b"slave", None),
}


@pytest.mark.parametrize("who", ROLES)
def test_whose_replica_a_server_is(who):
    reply, primary = ROLES[who]
    assert primary_of(reply) == primary


async def test_a_read_only_replica_is_told_apart(start_server, opened):
    primary, replica = start_server(), start_server()
    async with Redis(port=replica.port) as raw:
        await raw.replicaof("127.0.0.1", primary.port)
        with pytest.raises(StoreUnavailable, match=f"read-only replica of 127.0.0.1:{primary.port}") as caught:
            await opened(replica.url).set_linked_pod(NS, UID, SVC, 1)
    assert not caught.value.maybe_written


async def test_a_server_that_is_demoted_later_refuses_and_has_written_nothing(start_server, opened):
    primary, replica = start_server(), start_server()
    executor = opened(replica.url, retries=0)
    await executor.set_linked_pod(NS, UID, SVC, 1)
    async with Redis(port=replica.port) as raw:
        await raw.replicaof("127.0.0.1", primary.port)
        with pytest.raises(StoreUnavailable, match=r"(?i)read.?only") as caught:
            await executor.set_linked_pod(NS, UID, SVC, 2)
    assert not caught.value.maybe_written


async def test_a_server_that_is_demoted_later_gives_no_answer_of_the_past(start_server, opened):
    primary, replica = start_server(), start_server()
    executor = opened(replica.url, retries=0, role_check_seconds=0)
    await executor.set_linked_pod(NS, UID, SVC, 1)
    async with Redis(port=replica.port) as raw:
        await raw.config_set("replica-serve-stale-data", "yes")
        await raw.replicaof("127.0.0.1", primary.port)
        with pytest.raises(StoreUnavailable, match="read-only replica"):
            await executor.get_linked_pod(NS, UID, SVC)


async def test_a_database_that_is_not_there(server, opened):
    with pytest.raises(StoreRejected, match="no database of that number") as caught:
        await opened(f"{server.url}/4711" if server.url.count("/") == 2 else f"{server.url[:-2]}/4711").set_linked_pod(
            NS, UID, SVC, 1
        )
    assert not caught.value.maybe_written


async def test_a_clusters_node_is_no_single_server(cluster, opened):
    executor = opened(f"redis://127.0.0.1:{cluster.servers[0].port}")
    failed = []
    for number in range(12):
        try:
            await executor.set_linked_pod(NS, f"user-{number}", SVC, 1)
        except UnfitServer as error:
            failed.append(error)
    assert failed
    assert all("redis+cluster://" in str(error) and not error.maybe_written for error in failed)


def test_a_script_that_is_missing_is_found_at_the_start(monkeypatch):
    monkeypatch.setattr(executor_module, "SCRIPTS", ("statefulNoSuchScript",))
    with pytest.raises(ScriptMissing, match=r"no script statefulNoSuchScript\.lua") as caught:
        StatefulExecutor.from_url("redis://127.0.0.1")
    assert isinstance(caught.value, StatefulRouteError)


async def test_a_user_who_may_not_ask_about_the_server_can_work(start_server, opened):
    server = start_server()
    async with Redis(port=server.port) as raw:
        await raw.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~sf:*", "&sf:*", "+@all", "-command", "-role")
    executor = opened(f"redis://app:pw@127.0.0.1:{server.port}")
    assert await executor.set_linked_pod(NS, UID, SVC, 1) is None


# What an error says


def calls_that_write_and_read(executor):
    return executor.set_linked_pod(NS, UID, SVC, 1), executor.get_linked_pod(NS, UID, SVC)


async def failures(*calls):
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_nobody_there_so_nothing_written(opened):
    started = time.monotonic()
    for error in await failures(*calls_that_write_and_read(opened("redis://127.0.0.1:1", retries=2))):
        assert (type(error), error.maybe_written) == (StoreUnavailable, False)
    assert time.monotonic() - started < 2


async def test_no_answer_so_a_write_may_have_been_and_a_read_has_not(start_server, opened):
    server = start_server()
    executor = opened(server.url, timeout_seconds=0.2, deadline_seconds=0.5)
    await executor.set_linked_pod(NS, UID, SVC, 1)
    batches = opened(server.url, timeout_seconds=0.2, deadline_seconds=0.5)
    await batches.get_linked_pod(NS, UID, SVC)
    server.pause()
    started = time.monotonic()
    wrote, read = await failures(*calls_that_write_and_read(executor))
    (batch,) = (await batches.remove_links(NS, [UID], SVC)).failed.values()
    assert time.monotonic() - started < 2
    server.resume()
    assert (type(wrote), wrote.maybe_written) == (StoreUnavailable, True)
    assert (type(read), read.maybe_written) == (StoreUnavailable, False)
    assert (type(batch), batch.maybe_written) == (StoreUnavailable, True)


async def test_no_free_connection_so_nothing_was_sent(start_server, opened):
    server = start_server()
    executor = opened(server.url, timeout_seconds=0.3, max_connections=1, retries=0)
    await executor.set_linked_pod(NS, UID, SVC, 1)
    server.pause()
    first, second = await failures(*(executor.set_linked_pod(NS, UID, SVC, pod) for pod in (2, 3)))
    server.resume()
    assert {first.maybe_written, second.maybe_written} == {True, False}


async def test_a_wrong_password_so_nothing_written(start_server, opened):
    server = start_server(password="right")
    for error in await failures(*calls_that_write_and_read(opened(f"redis://:wrong@127.0.0.1:{server.port}"))):
        assert (type(error), error.maybe_written) == (AuthenticationFailed, False)


async def test_no_memory_so_nothing_written(start_server, opened):
    server = start_server("--maxmemory-policy", "noeviction")
    executor = opened(server.url)
    await executor.get_linked_pod(NS, UID, SVC)
    async with Redis(port=server.port) as raw:
        await raw.config_set("maxmemory", 1)
        (error,) = await failures(executor.set_linked_pod(NS, UID, SVC, 1))
        (batch,) = (await executor.set_links_if_absent(NS, [UID], SVC, 1, 60)).failed.values()
        assert {(type(one), one.maybe_written) for one in (error, batch)} == {(StoreRejected, False)}
        await raw.config_set("maxmemory", 0)
        assert await raw.keys() == [META.encode()]


async def test_a_user_who_may_write_only_some_of_it(start_server, opened):
    server = start_server()
    async with Redis(port=server.port) as raw:
        await raw.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~sf:*", "+@all", "-zadd")
        executor = opened(f"redis://app:pw@127.0.0.1:{server.port}")
        with pytest.raises(AuthenticationFailed) as caught:
            await executor.set_linked_pod(NS, UID, SVC, 1)
        assert caught.value.maybe_written
        assert await raw.exists(SERVICE.links(UID))  # the step before
        await raw.execute_command("ACL", "SETUSER", "app", "-evalsha")
        with pytest.raises(AuthenticationFailed) as caught:
            await executor.set_linked_pod(NS, UID, SVC, 1)
        assert not caught.value.maybe_written


async def test_a_disk_that_takes_no_snapshot_so_nothing_written(start_server, opened, tmp_path, eventually):
    folder = tmp_path / "data"
    folder.mkdir()
    server = start_server("--save", "3600 1", "--dir", str(folder))
    executor = opened(server.url)
    await executor.set_linked_pod(NS, UID, SVC, 1)
    shutil.rmtree(folder)
    async with Redis(port=server.port) as raw:
        await raw.bgsave()

        async def failed():
            return (await raw.info("persistence"))["rdb_last_bgsave_status"] == "err"

        await eventually(failed)
    with pytest.raises(StoreRejected, match="MISCONF") as caught:
        await executor.set_linked_pod(NS, UID, SVC, 2)
    assert not caught.value.maybe_written
    assert await executor.get_linked_pod(NS, UID, SVC) == 1


async def test_a_server_busy_with_a_script_is_waited_for(start_server, opened, eventually):
    server = start_server("--lua-time-limit", "20")
    executor = opened(server.url, timeout_seconds=5, deadline_seconds=5, retries=50)
    impatient = opened(server.url, retries=0)
    for one in (executor, impatient):
        await one.get_linked_pod(NS, UID, SVC)
    async with Redis(port=server.port) as raw, Redis(port=server.port) as killer:
        endless = asyncio.create_task(raw.eval("while true do end", 0))

        async def is_busy():
            (error,) = await failures(impatient.set_linked_pod(NS, UID, SVC, 1))
            return isinstance(error, StoreUnavailable) and "BUSY" in str(error) and not error.maybe_written

        assert await eventually(is_busy)
        waiting = asyncio.create_task(executor.set_linked_pod(NS, UID, SVC, 2))
        await eventually(lambda: killed(killer))
        await asyncio.wait([endless])
        assert await waiting in {None, 1}
        assert await executor.get_linked_pod(NS, UID, SVC) == 2


async def killed(client):
    try:
        return await client.script_kill()
    except Exception:  # noqa: BLE001  it is not running yet
        return False


# What is repeated


@pytest.fixture
async def cut(server, raw) -> AsyncIterator[TcpProxy]:
    """A proxy that the test tells how many replies to lose."""
    async with TcpProxy(server.port) as proxy:
        yield proxy


REPEATED = {
    "get_linked_pod": (lambda e: e.get_linked_pod(NS, UID, SVC), True),
    "is_owner": (lambda e: e.is_owner(NS, UID, SVC, 1, 7), True),
    "set_linked_pod_if_absent": (lambda e: e.set_linked_pod_if_absent(NS, "new", SVC, 1, 60), True),
    "compute_linked_pod_if_absent": (lambda e: e.compute_linked_pod_if_absent(NS, "new", SVC, TWO, 60), True),
    "compute_links_if_absent": (lambda e: failing_batch(e.compute_links_if_absent(NS, ["a", "b"], SVC, TWO, 60)), True),
    "get_links": (lambda e: failing_batch(e.get_links(NS, ["a", "b"], SVC)), True),
    "set_linked_pod": (lambda e: e.set_linked_pod(NS, "new", SVC, 1), False),
    "try_set_linked_pod": (lambda e: e.try_set_linked_pod(NS, "new", SVC, 1), False),
    "remove_linked_pod": (lambda e: e.remove_linked_pod(NS, UID, SVC), False),
    "remove_linked_pod_with_id": (lambda e: e.remove_linked_pod_with_id(NS, UID, SVC, 1), False),
    "remove_links": (lambda e: failing_batch(e.remove_links(NS, [UID], SVC)), False),
    "set_service_state": (lambda e: e.set_service_state(NS, SVC, 1, "READY"), False),
}


async def failing_batch(call):
    return (await call).all()


@pytest.mark.parametrize("name", REPEATED)
async def test_a_lost_reply_is_made_good_where_a_repeat_is_harmless(name, cut, opened):
    call, repeated = REPEATED[name]
    executor = opened(cut.url)
    await executor.set_linked_pod(NS, UID, SVC, 1)
    sent, cut.cut_replies = cut.evalshas, 2
    if repeated:
        await call(executor)
        assert cut.evalshas - sent >= 3
        return
    with pytest.raises(StoreUnavailable) as caught:
        await call(executor)
    assert caught.value.maybe_written
    assert (cut.evalshas - sent, cut.cut_replies) == (1, 1)


async def test_a_connection_that_was_lost_while_idle_is_found_before_anything_is_sent(cut, opened, eventually):
    """Else the caller of an operation that must not be repeated would be told: maybe written."""
    executor = opened(cut.url, timeout_seconds=0.5, health_check_seconds=1)
    await executor.set_linked_pod(NS, UID, SVC, 1)
    used = time.monotonic()
    cut.lose_all()

    async def idle():
        return time.monotonic() - used > 1.1

    await eventually(idle)
    assert await executor.set_linked_pod(NS, UID, SVC, 2) == 1


async def test_a_repeat_gives_the_link_that_the_first_run_made(cut, opened, raw):
    executor = opened(cut.url)
    await executor.get_linked_pod(NS, UID, SVC)
    await raw.flushall()
    cut.cut_replies = 1
    link = await executor.set_link_if_absent(NS, UID, SVC, 5, 60)
    assert cut.cut_replies == 0
    assert await executor.get_link(NS, UID, SVC) == link


async def test_repeats_are_counted(cut, opened):
    executor = opened(cut.url, retries=3)
    await executor.get_linked_pod(NS, UID, SVC)
    sent, cut.cut_replies = cut.evalshas, 10
    with pytest.raises(StoreUnavailable) as caught:
        await executor.get_linked_pod(NS, UID, SVC)
    assert (cut.evalshas - sent, caught.value.maybe_written) == (4, False)


async def test_a_server_that_comes_back_in_time_is_not_noticed(start_server, opened):
    server = start_server()
    executor = opened(server.url, deadline_seconds=10, retries=100)
    await executor.get_linked_pod(NS, UID, SVC)
    server.stop()
    call = asyncio.create_task(executor.set_linked_pod_if_absent(NS, UID, SVC, 4, 60))
    await asyncio.wait([call], timeout=0.1)
    assert not call.done()
    server.start()
    assert await call == 4


async def test_the_deadline_is_for_all_repeats_together(start_server, opened):
    server = start_server()
    executor = opened(server.url, timeout_seconds=0.2, deadline_seconds=0.7, retries=100)
    await executor.get_linked_pod(NS, UID, SVC)
    server.pause()
    started = time.monotonic()
    results = await failures(*(executor.get_linked_pod(NS, UID, SVC) for _ in range(50)))
    took = time.monotonic() - started
    server.resume()
    assert {type(error) for error in results} == {StoreUnavailable}
    assert 0.6 < took < 2.5
    assert await executor.get_linked_pod(NS, UID, SVC) is None


# Cancellation


async def test_cancelled_calls_leave_no_connection_behind_and_no_reply_to_others(server, raw, opened):
    executor = opened(server.url, max_connections=4)
    uids = [f"user-{n}" for n in range(40)]
    await asyncio.gather(*(executor.set_linked_pod(NS, uid, SVC, n) for n, uid in enumerate(uids)))
    for turn in range(30):
        tasks = [asyncio.create_task(executor.get_linked_pod(NS, uid, SVC)) for uid in uids]
        tasks.append(asyncio.create_task(executor.get_links(NS, uids, SVC)))
        for _ in range(turn):
            await asyncio.sleep(0)
        for task in tasks[turn % 2 :: 2]:
            task.cancel()
        results = await asyncio.gather(*tasks[:-1], return_exceptions=True)
        await asyncio.wait(tasks[-1:])
        for number, result in enumerate(results):
            assert result == number or isinstance(result, asyncio.CancelledError)
    pool = executor._patient._client.connection_pool
    assert not pool._in_use_connections
    assert len(pool._available_connections) <= 4
    found = await executor.get_links(NS, uids, SVC)
    assert [link.ordinal for link in found.all().values()] == list(range(40))


async def test_a_cancelled_call_ends_at_once(start_server, opened):
    server = start_server()
    executor = opened(server.url, timeout_seconds=60, deadline_seconds=60)
    await executor.get_linked_pod(NS, UID, SVC)
    server.pause()
    call = asyncio.create_task(executor.get_linked_pod(NS, UID, SVC))
    await asyncio.wait([call], timeout=0.05)
    call.cancel()
    done, _ = await asyncio.wait([call], timeout=60)
    server.resume()
    assert done
    assert call.cancelled()


async def test_an_executor_closes_its_connections(server, raw, eventually):
    async with StatefulExecutor.from_url(server.url + "?client_name=closing") as executor:
        await executor.get_linked_pod(NS, UID, SVC)
        assert "closing" in {client["name"] for client in await raw.client_list()}

    async def left():
        return "closing" not in {client["name"] for client in await raw.client_list()}

    await eventually(left)


async def test_a_store_that_is_used_already_can_be_taken(store):
    executor = StatefulExecutor(store)
    await executor.set_linked_pod(NS, UID, SVC, 3)
    assert (await get_link(store, SERVICE, UID)).ordinal == 3


async def test_who_has_a_successor_publishes_nothing(executor, raw):
    await raw.hset(SERVICE.records, "1", '{"incarnation":"b/0","former":["a"]}')
    with pytest.raises(Replaced) as caught:
        await executor.set_service_state(NS, SVC, 1, "READY", incarnation="a/1")
    assert not caught.value.maybe_written
    assert await executor.get_service_state(NS, SVC) == {}


# A Cluster


@pytest.fixture
def on_cluster(cluster, opened):
    for node in cluster.nodes:
        node.flushall()
    return opened(cluster.url, timeout_seconds=0.5)


WALKS = {"links_of_pod", "count_links", "repair", "rebuild"}
"""They go through all buckets, and are tried on a Cluster with the index itself."""


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - WALKS))
async def test_an_operation_works_on_a_cluster(name, on_cluster, cluster):
    await OPERATIONS[name](on_cluster, HERE)
    await OPERATIONS[name](on_cluster, HERE)
    assert all(key.startswith("sf:") for key in cluster.all_keys())


async def test_a_batch_on_a_cluster_asks_all_nodes(on_cluster, cluster):
    uids = [f"user-{n}" for n in range(300)]
    computed = (await on_cluster.compute_links_if_absent(NS, uids, SVC, TWO, 60)).all()
    assert [link.ordinal for link in computed.values()] == [1, 2] * 150
    first = await anext(on_cluster.links_of_pod(NS, SVC, 1, cursor=SERVICE.bucket("user-0")))
    assert "user-0" in first.uids
    services = {f"s{n}": None for n in range(20)}
    await on_cluster.set_workload_state(NS, "s7", "busy")
    assert await on_cluster.get_workload_states(NS, services) == services | {"s7": "busy"}
    for n in range(20):
        await on_cluster.set_linked_pod(NS, UID, f"s{n}", n)
    assert await on_cluster.get_link_service(NS, UID) == {f"s{n}": n for n in range(20)}


async def test_a_node_that_does_not_answer_fails_its_own_uids_alone(on_cluster, cluster):
    uids = [f"user-{n}" for n in range(60)]
    await on_cluster.set_links_if_absent(NS, uids, SVC, 1, 60)
    theirs = {uid for uid in uids if cluster.owner(SERVICE.link(uid)) is cluster.nodes[1]}
    cluster.servers[1].pause()
    try:
        replies = await on_cluster.remove_links(NS, uids, SVC)
    finally:
        cluster.servers[1].resume()
    assert 0 < len(theirs) < 60
    assert set(replies.failed) == theirs
    assert all(isinstance(error, StoreUnavailable) and error.maybe_written for error in replies.failed.values())
    assert set(replies.done) == set(uids) - theirs


async def test_cancelled_calls_on_a_cluster_leave_no_reply_to_others(on_cluster):
    uids = [f"user-{n}" for n in range(30)]
    await asyncio.gather(*(on_cluster.set_linked_pod(NS, uid, SVC, n) for n, uid in enumerate(uids)))
    for turn in range(12):
        tasks = [asyncio.create_task(on_cluster.get_linked_pod(NS, uid, SVC)) for uid in uids]
        batch = asyncio.create_task(on_cluster.get_links(NS, uids, SVC))
        for _ in range(turn):
            await asyncio.sleep(0)
        for task in (*tasks[::2], batch):
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.wait([batch])
        for number, result in enumerate(results):
            assert result == number or isinstance(result, asyncio.CancelledError)
    found = await on_cluster.get_links(NS, uids, SVC)
    assert [link.ordinal for link in found.all().values()] == list(range(30))


# Whatever is given: stored exactly, or refused

TEXTS = st.one_of(
    st.text(max_size=20),
    st.text(st.sampled_from("{}:\x00\n *?[]^é🎲\ud800\udc80#-0"), max_size=8),
    st.sampled_from(
        ["x" * 253, "x" * 254, "x" * 1024, "x" * 1025, "é" * 32768, "", " ", "any", "sf:", "\x00", "-1", "0"]
    ),
)
NUMBERS = st.one_of(
    st.integers(-3, 8),
    st.integers(),
    st.sampled_from([8191, 8192, 2**31 - 1, 2**31, 2**53 + 1, -(2**63), 10**400, 10**5000]),
)
LOADS = st.one_of(NUMBERS, st.floats(allow_nan=True, allow_infinity=True))


async def accepted(call):
    """Whether the arguments were taken."""
    try:
        await call
    except InvalidArgument:
        return False
    return True


async def try_links(executor, raw, at, pod, seconds):
    await raw.flushall()
    if await accepted(executor.set_linked_pod(*at, pod, seconds)):
        key = f"sf:{{{at.ns}:lk:{at.uid}}}".encode()
        assert await raw.get(key + at.svc.encode()) == str(pod).encode()
        assert await raw.hgetall(key) == {at.svc.encode(): str(pod).encode()}
        assert await executor.get_linked_pod(*at) == pod
        assert await executor.get_link_service(at.ns, at.uid) == {at.svc: pod}
        assert await executor.batch_get_linked_pod(at.ns, [at.uid], at.svc) == {pod: [at.uid]}
        bucket = Service(at.ns, at.svc).bucket(at.uid)
        async for page in executor.links_of_pod(at.ns, at.svc, pod, cursor=bucket):
            assert page.uids == [at.uid]
            break
        else:
            pytest.fail("the index has lost it")
    for call in (
        executor.try_set_link(*at, pod, seconds),
        executor.set_link_if_absent(*at, pod, seconds),
        executor.is_owner(*at, pod, seconds),
        executor.get_link_if_persist(*at),
        executor.set_links_if_absent(at.ns, [at.uid], at.svc, pod, seconds),
        executor.remove_linked_pod_with_id(*at, pod, seconds),
        executor.remove_linked_pod(*at, seconds),
        executor.remove_links(at.ns, [at.uid], at.svc, seconds),
    ):
        await accepted(call)
    assert all(key.startswith(b"sf:") for key in await raw.keys())


async def try_states(executor, raw, at, pod, load, words):
    await raw.flushall()
    word, life = words
    state = executor.set_service_state(at.ns, at.svc, pod, RoutingState.READY, load=load, incarnation=life)
    if await accepted(state):
        ((found, record),) = (await executor.get_service_state(at.ns, at.svc)).items()
        assert (found, record.load, record.incarnation or "") == (pod, load, life)
    if await accepted(executor.set_workload_state(at.ns, at.svc, word)):
        assert await executor.get_workload_states(at.ns, [at.svc]) == {at.svc: word}
    try:
        candidates = Candidates({pod: load}, turn=pod)
    except InvalidArgument:
        pass
    else:
        await accepted(executor.compute_link_if_absent(*at, candidates, 60))
    assert all(key.startswith(b"sf:") for key in await raw.keys())


@pytest.fixture
def fuzz(server):
    """Run a test with many examples in one loop, with an executor and a plain client: ``fuzz(test, *strategies)``."""
    loop = asyncio.new_event_loop()
    executor, raw = StatefulExecutor.from_url(server.url), Redis.from_url(server.url)

    def run(test, *strategies):
        quiet = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
        quiet(given(st.tuples(*strategies))(lambda values: loop.run_until_complete(test(executor, raw, *values))))()

    yield run
    loop.run_until_complete(executor.close())
    loop.run_until_complete(raw.aclose())
    loop.close()


def test_whatever_is_linked_is_stored_exactly_or_refused(fuzz):
    fuzz(try_links, st.builds(At, TEXTS, TEXTS, TEXTS), NUMBERS, NUMBERS | st.just(-1))


def test_whatever_uid_is_linked_is_stored_exactly_or_refused(fuzz):
    fuzz(try_links, st.builds(At, st.just(NS), TEXTS, st.just(SVC)), st.integers(0, 8191), st.just(60))


def test_whatever_state_is_set_is_stored_exactly_or_refused(fuzz):
    sound = st.builds(At, st.just(NS), st.just(UID), st.just(SVC))
    fuzz(try_states, sound | st.builds(At, TEXTS, TEXTS, TEXTS), NUMBERS, LOADS, st.tuples(TEXTS, TEXTS))
