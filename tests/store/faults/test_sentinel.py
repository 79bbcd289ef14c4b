"""A primary is killed while all write, and a real Sentinel promotes its replica."""

import math
import socket
import subprocess
import time
from contextlib import AsyncExitStack, closing

import pytest
import redis

from stateful_route.domain.errors import Deposed, StatefulRouteError
from stateful_route.store.connection import StoreOptions
from stateful_route.store.keys import Service
from stateful_route.store.links import set_link_if_absent
from stateful_route.store.tenure import ElectedStore, Tenure
from support.replication import Replication
from support.tcp_proxy import TcpProxy
from support.waiting import PATIENCE_SECONDS, eventually

MARKER = "sf:marker"


@pytest.fixture
async def pair(start_server, until):
    """A primary and its replica, which are connected through a proxy, and a plain client of each."""
    primary, replica = start_server("--repl-diskless-sync-delay", "0"), start_server()
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(TcpProxy(primary.port))
        clients = [
            stack.enter_context(redis.Redis(port=server.port, decode_responses=True)) for server in (primary, replica)
        ]
        clients[1].replicaof("127.0.0.1", proxy.port)
        await until(lambda: clients[1].info("replication")["master_link_status"] == "up", "the replica is connected")
        yield primary, clients[1], proxy


@pytest.fixture
def sentinel_url(pair, kind, tmp_path):
    """Of a Sentinel that calls the primary "main", is quick to see it down, and knows its replica."""
    settings = tmp_path / "sentinel.conf"
    settings.write_text(
        f"sentinel monitor main 127.0.0.1 {pair[0].port} 1\n"
        "sentinel down-after-milliseconds main 500\n"
        "sentinel failover-timeout main 3000\n"
    )
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [settings, "--sentinel", "--port", str(port), "--bind", "127.0.0.1"]
    process = subprocess.Popen([kind.path, *words], stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port, decode_responses=True) as client:
            deadline = time.monotonic() + PATIENCE_SECONDS
            while not replicas(client):
                assert time.monotonic() < deadline, "the Sentinel does not find the replica"
                time.sleep(0.01)
        yield f"redis+sentinel://127.0.0.1:{port}/main"
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)


def replicas(client):
    try:
        return client.execute_command("SENTINEL REPLICAS", "main")
    except redis.RedisError:
        return None


@pytest.mark.parametrize("lagging", [False, True], ids=["a replica at its heels", "a replica that lags behind"])
async def test_a_promoted_replica_has_all_that_was_replicated(pair, sentinel_url, writers, failed_over, until, lagging):
    primary, replica, proxy = pair
    async with await writers(sentinel_url) as load:
        async with Replication(primary.port, MARKER, load.history) as replication:
            if lagging:
                proxy.flowing.clear()
                await load.go_on()
            primary.kill()
            proxy.cut_all()
            proxy.flowing.set()
        await until(lambda: replica.info("replication")["role"] == "master", "the replica is promoted")
        await load.go_on()
    assert {name for name, _ in load.failures} <= {"StoreUnavailable", "StoreRejected", "UnfitServer"}
    count = await failed_over(load, sentinel_url, replication.confirmed)
    if lagging:
        assert count.lost > 0, "the count sees what is lost"


async def test_an_elected_operator_does_not_write_to_a_promoted_replica_before_its_clock_was_noted(
    pair, sentinel_url, until
):
    primary, replica, proxy = pair
    service, tenure = Service("games", "room"), Tenure()
    store = ElectedStore.under(tenure, sentinel_url, StoreOptions(timeout_seconds=1))

    async def renew():
        noted = await tenure.note(1)
        tenure.extend(math.inf, noted, 10)
        return set(noted)

    async def refusal():
        try:
            await set_link_if_absent(store, service, "ada", 3, 300)
        except StatefulRouteError as error:
            return error
        return None

    with redis.Redis(port=primary.port, decode_responses=True) as client:
        assert await renew() == {client.info("server")["run_id"]}
    assert await refusal() is None
    primary.kill()
    proxy.cut_all()
    assert await renew() == set()
    await until(lambda: replica.info("replication")["role"] == "master", "the replica is promoted")
    refused = await eventually(refusal, lambda error: error is None or isinstance(error, Deposed), "it is reached")
    assert "not been noted" in str(refused)
    assert await renew() == {replica.info("server")["run_id"]}
    assert await refusal() is None
    await store.close()
