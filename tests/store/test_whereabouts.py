"""Whom a client is connected to: addresses that are gone or silent, servers that take over, and deadlines meanwhile."""

import asyncio
import socket
import time
from contextlib import AsyncExitStack, closing, contextmanager

import pytest
import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from stateful_route.domain.errors import StoreUnavailable
from stateful_route.store import executor_sync
from stateful_route.store.connection import StoreOptions
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.keys import META
from support.redis_cluster import thirds, three_nodes
from support.tcp_proxy import TcpProxy
from support.twins import Threaded

NS, SVC = "games", "room"
NAME = "store.test"
SILENT = "127.0.0.9"
DEADLINE_SECONDS = 1.0
SLACK_SECONDS = 0.5


@pytest.fixture(params=["async", "sync"])
async def connect(request):
    """An executor for a URL, of either kind: ``connect(url, look_seconds=…)``; closed after the test."""
    async with AsyncExitStack() as stack:

        async def made(url, **options):
            chosen = StoreOptions(**{"timeout_seconds": 0.8, "deadline_seconds": DEADLINE_SECONDS} | options)
            if request.param == "async":
                return await stack.enter_async_context(StatefulExecutor.from_url(url, chosen))
            plain = Threaded(executor_sync.StatefulExecutor.from_url(url, chosen), StatefulExecutor)
            stack.push_async_callback(plain.close)
            return plain

        yield made


@contextmanager
def silent(host, port=0):
    """An address that takes no connection and refuses none: its port."""
    with closing(socket.socket()) as deaf:
        deaf.bind((host, port))
        deaf.listen(0)
        callers = [socket.socket() for _ in range(3)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        try:
            yield deaf.getsockname()[1]
        finally:
            for caller in callers:
                caller.close()


async def seconds_of(call):
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await call
    return time.monotonic() - began


async def test_of_a_name_with_several_addresses_the_one_that_answers_is_taken(server, connect, monkeypatch):
    ask = socket.getaddrinfo

    def answer(host, *others, **options):
        hosts = [SILENT, "127.0.0.1"] if host == NAME else [host]
        return [found for one in hosts for found in ask(one, *others, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    port = int(server.url.rpartition(":")[2].partition("/")[0])
    with silent(SILENT, port):
        executor = await connect(f"redis://{NAME}:{port}")
        assert await executor.get_link(NS, "ada", SVC) is None


async def test_no_call_takes_longer_than_its_deadline_whatever_is_silent(connect):
    with silent("127.0.0.1") as one, silent("127.0.0.1") as other:
        for url in (
            f"redis://127.0.0.1:{one}",
            f"redis+sentinel://127.0.0.1:{one},127.0.0.1:{other}/main",
            f"redis+cluster://127.0.0.1:{one},127.0.0.1:{other}",
        ):
            executor = await connect(url)
            calls = [seconds_of(executor.get_link(NS, f"user-{n}", SVC)) for n in range(4)]
            assert max(await asyncio.gather(*calls)) < DEADLINE_SECONDS + SLACK_SECONDS, url


async def test_no_call_takes_longer_than_its_deadline_when_the_server_stands_still(start_server, cluster, connect):
    server = start_server()
    for url, frozen in ((server.url, server), (cluster.url, None)):
        executor = await connect(url)
        await executor.get_link(NS, "ada", SVC)
        stopped = [frozen] if frozen else cluster.servers
        for one in stopped:
            one.pause()
        try:
            calls = [seconds_of(executor.get_link(NS, f"user-{n}", SVC)) for n in range(4)]
            assert max(await asyncio.gather(*calls)) < DEADLINE_SECONDS + SLACK_SECONDS, url
        finally:
            for one in stopped:
                one.resume()


async def test_another_primary_behind_the_address_is_found_though_the_former_one_goes_on(
    start_server, connect, eventually
):
    """Nobody has told the former one; the connections to it stay open, and it calls itself a primary."""
    former, now = start_server(), start_server()
    async with TcpProxy(former.port) as address:
        executor = await connect(address.url, look_seconds=0.2)
        await executor.set_link(NS, "ada", SVC, 1)
        address.lead_to(now.port)

        async def is_new():
            return await executor.get_link(NS, "ada", SVC) is None

        await eventually(is_new)
    with redis.Redis(port=former.port) as plain:
        assert plain.exists(f"sf:{{{NS}:lk:ada}}{SVC}")


async def test_while_nobody_can_say_where_the_primary_is_its_connections_are_used_on(
    start_server, start_sentinel, connect, eventually
):
    primary = start_server()
    port = start_sentinel(primary)
    executor = await connect(f"redis+sentinel://127.0.0.1:{port}/main", look_seconds=0.1)

    async def reached():
        try:
            return await executor.set_link(NS, "ada", SVC, 1)
        except StoreUnavailable:
            return None

    await eventually(reached)
    with redis.Redis(port=port, retry=Retry(NoBackoff(), 0)) as sentinel:
        sentinel.shutdown(nosave=True)
        with pytest.raises(redis.ConnectionError):
            sentinel.ping()
    for _ in range(10):
        await asyncio.sleep(0.1)
        assert (await executor.get_link(NS, "ada", SVC)).ordinal == 1


async def test_sentinels_are_asked_over_connections_that_are_kept(start_server, start_sentinel, connect, eventually):
    primary = start_server()
    port = start_sentinel(primary)
    executor = await connect(f"redis+sentinel://127.0.0.1:{port}/main", look_seconds=0.1)

    async def reached():
        try:
            return await executor.set_link(NS, "ada", SVC, 1)
        except StoreUnavailable:
            return None

    await eventually(reached)
    with redis.Redis(port=port, decode_responses=True) as sentinel:

        def made():
            return int(sentinel.info("stats")["total_connections_received"])

        before = made()
        for _ in range(10):
            await asyncio.sleep(0.1)
            await executor.get_link(NS, "ada", SVC)
        assert made() <= before + 1


async def test_a_process_that_was_idle_looks_before_it_goes_on(start_server, connect):
    """Nobody calls while the address is turned to another primary; the first call finds it there."""
    former, now = start_server(), start_server()
    async with TcpProxy(former.port) as address:
        executor = await connect(address.url, look_seconds=0.2)
        await executor.set_link(NS, "ada", SVC, 1)
        address.lead_to(now.port)
        await asyncio.sleep(0.5)
        await executor.set_link(NS, "bob", SVC, 1)
        assert await executor.get_link(NS, "ada", SVC) is None
    with redis.Redis(port=former.port) as plain:
        assert not plain.exists(f"sf:{{{NS}:lk:bob}}{SVC}")


async def test_a_first_call_has_one_deadline_with_its_look_at_the_server(start_server, connect):
    server = start_server()
    async with TcpProxy(server.port) as slow:
        executor = await connect(slow.url, timeout_seconds=1.0, deadline_seconds=1.0)
        slow.keeps = b"EVAL"
        assert await seconds_of(executor.get_link(NS, "ada", SVC)) < 1 + SLACK_SECONDS
        slow.released.set()


async def test_of_a_cluster_without_a_node_the_others_serve_a_new_client(start_server, connect):
    with three_nodes(start_server) as cluster:
        for node in cluster.nodes:
            node.config_set("cluster-require-full-coverage", "no")
        owner = cluster.servers[[key_slot(META.encode()) in range_ for range_ in thirds()].index(True)]
        executor = await connect(cluster.url)
        await executor.get_link(NS, "ada", SVC)
        victim = next(server for server in cluster.servers if server is not owner)
        victim.kill()
        fresh, found = await connect(cluster.url), set()
        for n in range(30):
            try:
                found.add(await fresh.get_link(NS, f"user-{n}", SVC))
            except StoreUnavailable:
                continue
        assert found == {None}
