"""Writes with a deadline: what comes too late writes nothing, on one server and on each node of a Cluster."""

import asyncio
import math
import re
import time

import pytest

from stateful_route.domain.errors import Deposed, StatefulRouteError, StoreUnavailable
from stateful_route.store.connection import StoreOptions
from stateful_route.store.keys import META
from stateful_route.store.layout import check_layout
from stateful_route.store.links import get_link, set_link_if_absent
from stateful_route.store.migrate import Batch, migrate
from stateful_route.store.scripts import Call, script
from stateful_route.store.states import claim, get_service, set_operator_states
from stateful_route.store.tenure import ElectedStore, Tenure
from support.tcp_proxy import TcpProxy
from support.waiting import eventually

LEASE = 10.0


async def renew(tenure, lease_seconds=LEASE):
    """As a leader does whose renewal is granted."""
    with tenure.renewing():
        noted = await tenure.note(1)
        tenure.extend(time.monotonic() + LEASE, noted, lease_seconds)
    return noted


@pytest.fixture
async def tenure():
    return Tenure()


@pytest.fixture
async def elect(tenure):
    """Stores that heed the tenure, closed after the test."""
    opened = []

    def open_store(url):
        opened.append(ElectedStore.under(tenure, url, StoreOptions(timeout_seconds=2.5)))
        return opened[-1]

    yield open_store
    for one in opened:
        await one.close()


@pytest.fixture
async def elected(elect, server, raw, tenure):
    store = elect(server.url)
    await renew(tenure)
    return store


async def write(store, service, uid="ada"):
    return await set_link_if_absent(store, service, uid, 3, 300)


async def test_before_the_deadline_all_is_as_without_one(elected, service, contents):
    await check_layout(elected)
    await claim(elected, service, "c/1", {"heartbeat": "Auto"})
    await set_operator_states(elected, service, "c/1", {})
    link = await write(elected, service)
    bucket = service.bucket("ada")
    (moved,) = await migrate(elected, service, 3, [Batch(bucket, ["ada"], [4])])
    assert (moved.epoch > link.epoch, (await get_link(elected, service, "ada")).ordinal) == (True, 4)
    assert (await get_service(elected, service)).owner == "c/1"


async def test_each_server_is_noted_by_its_own_clock(elected, tenure, raw, server):
    (noted,) = (await renew(tenure)).items()
    seconds, micros = await raw.time()
    assert noted[0] == (await raw.info("server"))["run_id"]
    assert 0 <= seconds * 1000 + micros // 1000 - noted[1] < 1000


async def test_a_write_that_comes_too_late_is_refused_by_the_server_and_asks_for_a_renewal(
    elected, service, tenure, contents
):
    await renew(tenure, -0.001)
    before = await contents()
    with pytest.raises(Deposed, match="has passed") as caught:
        await write(elected, service)
    assert caught.value.maybe_written is False
    assert isinstance(caught.value, StoreUnavailable)
    assert await contents() == before
    assert tenure.doubted.is_set()
    assert await get_link(elected, service, "ada") is None, "who may not write may still read"
    await renew(tenure)
    assert not tenure.doubted.is_set()
    assert (await write(elected, service)).ordinal == 3


async def test_a_write_that_a_network_has_kept_is_refused_whenever_it_arrives(
    elect, server, raw, service, tenure, contents
):
    async with TcpProxy(server.port) as network:
        store = elect(network.url)
        await renew(tenure)
        await check_layout(store)
        await renew(tenure, 0.3)
        before = await contents()
        network.flowing.clear()
        sent = asyncio.create_task(write(store, service))
        until = time.monotonic() + 0.5
        await eventually(raw.time, lambda _: time.monotonic() >= until, "the deadline has passed")
        network.flowing.set()
        with pytest.raises(Deposed, match="has passed"):
            await sent
        await raw.ping()
        assert await contents() == before


async def test_a_write_whose_deadline_passes_in_a_pipeline_leaves_the_reads_alone(elected, service, tenure):
    await write(elected, service)
    await renew(tenure, -1)
    bucket = service.index(service.bucket("ada"))
    calls = [Call(script("countLinks"), [bucket], ()), Call(script("mendIndex"), [bucket], ())]
    counted, refused = await elected.run_many(calls)
    assert counted == [3, 1]
    assert isinstance(refused, Deposed)


async def test_once_the_tenure_ends_nothing_is_even_sent(elected, service, tenure, raw):
    await write(elected, service)
    before = (await raw.info("commandstats"))["cmdstat_evalsha"]["calls"]
    tenure.end()
    with pytest.raises(Deposed, match="does not lead"):
        await write(elected, service, "bob")
    with pytest.raises(Deposed):
        tenure.check()
    assert (await raw.info("commandstats"))["cmdstat_evalsha"]["calls"] == before


async def test_a_process_that_stood_still_for_too_long_sends_nothing(elect, server, raw, service):
    now = 100.0
    tenure = Tenure(lambda: now)
    store = ElectedStore.under(tenure, server.url)
    tenure.extend(103, await tenure.note(1), 1000)
    await write(store, service)
    now = 103.0
    with pytest.raises(Deposed):
        await write(store, service, "bob")
    await store.close()


async def test_a_server_that_was_not_noted_is_not_written_until_it_was(elect, server, raw, service, tenure, contents):
    tenure.extend(math.inf, {}, LEASE)
    store = elect(server.url)
    with pytest.raises(Deposed, match="not been noted"):
        await write(store, service)
    assert await contents() == {}
    assert tenure.doubted.is_set()
    await renew(tenure)
    await write(store, service)


async def test_a_write_waits_for_the_renewal_that_notes_its_server(elect, server, raw, service, tenure):
    tenure.extend(math.inf, {}, LEASE)
    store = elect(server.url)
    several = [asyncio.create_task(write(store, service, uid)) for uid in ("ada", "bob")]
    await asyncio.wait_for(tenure.doubted.wait(), 5)
    assert not any(task.done() for task in several)
    await renew(tenure)
    assert [link.ordinal for link in await asyncio.wait_for(asyncio.gather(*several), 5)] == [3, 3]
    assert not tenure.refused


async def test_a_server_that_was_started_anew_is_another(elect, start_server, service, tenure):
    server = start_server()
    store = elect(server.url)
    await renew(tenure)
    await write(store, service)
    server.kill()
    assert await tenure.note(0.2) == {}, "the renewal goes on without it"
    server.start()
    with pytest.raises(Deposed, match="not been noted"):
        await write(store, service)
    await renew(tenure)
    await write(store, service)


async def test_a_new_store_is_introduced_by_the_next_renewal(elect, server, raw, service, tenure):
    tenure.extend(math.inf, {}, LEASE)
    store = elect(server.url)
    both = [asyncio.create_task(store.introduced()) for _ in range(2)]
    await asyncio.wait_for(tenure.doubted.wait(), 5)
    assert not any(task.done() for task in both)
    await renew(tenure)
    await asyncio.wait_for(asyncio.gather(*both), 5)
    await write(store, service)
    tenure.end()
    await asyncio.wait_for(elect(server.url).introduced(), 5)


async def test_plain_commands_that_write_are_a_mistake(elected):
    with pytest.raises(StatefulRouteError, match="belongs into a script"):
        await elected.command("SET", META, "x")
    with pytest.raises(StatefulRouteError, match="belongs into a script"):
        await elected.pipeline([("GET", META), ("DEL", META)])
    assert await elected.command("HGET", META, "layout") is None


async def test_a_server_that_lost_its_scripts_gets_them_with_their_deadline(elected, raw, service, tenure):
    await write(elected, service)
    await raw.script_flush()
    await write(elected, service, "bob")
    await raw.script_flush()
    await renew(tenure, -1)
    with pytest.raises(Deposed):
        await write(elected, service, "eve")
    assert await get_link(elected, service, "eve") is None


async def test_a_user_who_may_not_ask_for_the_run_id_is_served_by_address(elect, server, raw, service, tenure):
    await raw.execute_command("ACL SETUSER plain reset on >pw ~* &* +@all -info")
    try:
        store = elect(f"redis://plain:pw@127.0.0.1:{server.port}")
        assert list(await renew(tenure)) == [f"127.0.0.1:{server.port}"]
        await write(store, service)
    finally:
        await raw.acl_deluser("plain")


def proxys_time(replies):
    """TIME as Envoy's redis_proxy answers it: all microseconds since 1970 where those of the second belong."""
    clock = rb"(\*2\r\n\$10\r\n(\d{10})\r\n)\$\d+\r\n\d+\r\n"
    return re.sub(clock, rb"\1$16\r\n\g<2>912558\r\n", replies)


async def test_what_is_no_clock_gives_no_deadline(elect, server, raw, service, tenure, contents):
    async with TcpProxy(server.port) as proxy:
        proxy.alter = proxys_time
        store = elect(proxy.url)
        assert await renew(tenure) == {}
        with pytest.raises(Deposed, match=r"TIME is no clock.*proxy"):
            await write(store, service)
        assert await contents() == {}
        assert await get_link(store, service, "ada") is None
        elect(server.url)
        assert len(await renew(tenure)) == 1
        with pytest.raises(Deposed, match="TIME is no clock"):  # who knows which servers stand behind the proxy
            await write(store, service)


async def test_a_user_who_may_not_ask_for_the_time_writes_nothing(elect, server, raw, service, tenure):
    await raw.execute_command("ACL SETUSER plain reset on >pw ~* &* +@all -time")
    try:
        store = elect(f"redis://plain:pw@127.0.0.1:{server.port}")
        assert await renew(tenure) == {}
        with pytest.raises(Deposed, match="TIME is no clock"):
            await write(store, service)
    finally:
        await raw.acl_deluser("plain")


async def test_other_stores_know_no_deadline(store, elected, service, tenure):
    tenure.end()
    assert (await write(store, service)).ordinal == 3


async def test_another_server_behind_the_same_name_is_not_written_until_it_was_noted(
    elect, start_server, service, tenure
):
    former, latter = start_server(), start_server()
    async with TcpProxy(former.port) as name:
        store = elect(name.url)
        await renew(tenure)
        await write(store, service)
        name.turn_to(latter.port)

        async def refusal():  # the first call may find its connection cut
            with pytest.raises(StoreUnavailable) as caught:
                await write(store, service)
            return caught.value

        refused = await eventually(refusal, lambda error: isinstance(error, Deposed), "it is refused")
        assert "not been noted" in str(refused)
        assert tenure.refused == 1
        await renew(tenure)
        await write(store, service)


# Cluster


@pytest.fixture
async def everywhere(cluster, elect, tenure):
    for node in cluster.nodes:
        node.flushall()
    store = elect(cluster.url)
    await renew(tenure)
    return store


def uid_on(cluster, service, node):
    """A uid whose keys are on that node."""
    return next(uid for uid in map(str, range(1000)) if cluster.owner(service.link(uid)) is node)


async def test_on_a_cluster_each_node_has_its_own_deadline(cluster, everywhere, service, tenure):
    noted = await renew(tenure)
    ids = [node.info("server")["run_id"] for node in cluster.nodes]
    assert set(noted) == set(ids)
    tenure.extend(math.inf, {ids[0]: noted[ids[0]] - 3_600_000}, LEASE)  # as if that node's clock were an hour ahead
    uids = [uid_on(cluster, service, node) for node in cluster.nodes]
    with pytest.raises(Deposed):
        await write(everywhere, service, uids[0])
    for uid in uids[1:]:
        await write(everywhere, service, uid)


async def test_a_slot_that_has_moved_is_judged_by_the_node_that_has_it_now(cluster, everywhere, service, tenure):
    ids = [node.info("server")["run_id"] for node in cluster.nodes]
    uid = uid_on(cluster, service, cluster.nodes[0])
    await write(everywhere, service, uid)
    slot = service.bucket(uid)
    source, target = (node.execute_command("CLUSTER MYID") for node in cluster.nodes[:2])
    keys = [service.link(uid), service.links(uid), service.index(slot)]
    cluster.nodes[1].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source)
    cluster.nodes[0].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target)
    port = cluster.servers[1].port
    cluster.nodes[0].execute_command("MIGRATE", "127.0.0.1", port, "", 0, 5000, "KEYS", *keys)
    try:
        for node in (cluster.nodes[1], cluster.nodes[0], cluster.nodes[2]):
            node.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target)
        now = await renew(tenure)
        tenure.extend(math.inf, {ids[1]: now[ids[1]] - 3_600_000}, LEASE)
        with pytest.raises(Deposed):
            await migrate(everywhere, service, 3, [Batch(slot, [uid], [4])])
        assert (await get_link(everywhere, service, uid)).ordinal == 3
        await renew(tenure)
        await migrate(everywhere, service, 3, [Batch(slot, [uid], [4])])
        assert (await get_link(everywhere, service, uid)).ordinal == 4
    finally:
        cluster.nodes[1].flushall()
        for node in cluster.nodes:
            node.execute_command("CLUSTER", "SETSLOT", slot, "NODE", source)


async def test_a_node_that_is_down_keeps_its_deadline_and_the_others_go_on(cluster, everywhere, tenure):
    ids = [node.info("server")["run_id"] for node in cluster.nodes]
    cluster.servers[2].pause()
    try:
        assert set(await tenure.note(0.5)) == set(ids[:2])
    finally:
        cluster.servers[2].resume()
