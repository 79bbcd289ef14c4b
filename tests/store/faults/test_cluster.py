"""A Cluster that loses a primary, or whose slots move to another node, while their links are written and moved."""

import pytest
import redis
from redis.crc import key_slot

from stateful_route.store.keys import META, tags
from support.redis_cluster import thirds, three_nodes
from support.replication import Replication

NODE_TIMEOUT_MS = 700


@pytest.fixture
def own_cluster(start_server):
    """Three servers of this test's own, which are quick to see one of them down."""
    with three_nodes(lambda *words: start_server(*words, "--cluster-node-timeout", str(NODE_TIMEOUT_MS))) as cluster:
        yield cluster


@pytest.fixture
async def replica(own_cluster, start_server, until):
    """A replica of the first server, up to date; a plain client."""
    server = start_server("--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS))
    first = own_cluster.nodes[0]
    first.config_set("repl-diskless-sync-delay", 0)
    with redis.Redis(port=server.port, decode_responses=True) as client:
        client.execute_command("CLUSTER MEET", "127.0.0.1", own_cluster.servers[0].port)
        identity = first.execute_command("CLUSTER MYID")
        await until(lambda: client.execute_command("CLUSTER INFO")["cluster_known_nodes"] == "4", "all know each other")
        client.execute_command("CLUSTER REPLICATE", identity)
        await until(lambda: client.info("replication")["master_link_status"] == "up", "the replica is connected")
        for node in own_cluster.nodes:
            await until(lambda node=node: knows_replica(node, server.port), "all know whose replica it is")
        yield client


def slot(key):
    return key_slot(key.encode())


def knows_replica(node, port):
    nodes = node.execute_command("CLUSTER NODES")
    return any("slave" in about["flags"] for address, about in nodes.items() if address.endswith(f":{port}"))


async def test_a_primary_is_killed_and_its_replica_takes_over(own_cluster, replica, writers, failed_over, until):
    first = own_cluster.servers[0]
    marker = next(f"sf:{{{tag}}}marker" for tag in tags() if slot(tag) in thirds()[0])
    async with await writers(own_cluster.url) as load:
        async with Replication(first.port, marker, load.history) as replication:
            await load.go_on()
            first.kill()
        await until(lambda: replica.info("replication")["role"] == "master", "the replica has taken over")
        await load.go_on()
    assert {name for name, _ in load.failures} == {"StoreUnavailable"}
    await failed_over(load, own_cluster.url, replication.confirmed)


@pytest.fixture
def hosts(own_cluster):
    giver, taker, third = own_cluster.nodes
    return giver, taker, {node: node.execute_command("CLUSTER MYID") for node in (giver, taker, third)}


async def test_slots_that_move_key_by_key_while_their_links_are_written(
    own_cluster, hosts, writers, all_is_well, service
):
    giver, taker, ids = hosts
    port = own_cluster.servers[1].port
    async with await writers(own_cluster.url) as load:
        slots = sorted({slot(key) for key in (*map(service.link, load.uids), service.moves)} & {*thirds()[0]})
        assert slot(service.moves) in slots
        moved = 0
        for number in slots:
            taker.execute_command("CLUSTER SETSLOT", number, "IMPORTING", ids[giver])
            giver.execute_command("CLUSTER SETSLOT", number, "MIGRATING", ids[taker])
            while keys := giver.execute_command("CLUSTER GETKEYSINSLOT", number, 1):
                moved += giver.execute_command("MIGRATE", "127.0.0.1", port, keys[0], 0, 1000) == "OK"
                await load.go_on(2)  # with a uid's keys on both sides
            for node in (taker, giver, own_cluster.nodes[2]):
                node.execute_command("CLUSTER SETSLOT", number, "NODE", ids[taker])
        await load.go_on()
    assert len(slots) > 5
    assert set(giver.scan_iter()) <= {META}
    await all_is_well(load, own_cluster.url, slots=len(slots), keys=moved)


async def test_slots_that_move_at_once_while_their_links_are_written(own_cluster, hosts, writers, all_is_well, until):
    giver, taker, ids = hosts
    if giver.execute_command("COMMAND INFO", "CLUSTER|MIGRATESLOTS") == [None]:
        pytest.skip("this server cannot move slots at once (Valkey 9 can)")
    first, last = thirds()[0].start, thirds()[0].stop - 2  # who has no slot left becomes a replica
    async with await writers(own_cluster.url) as load:
        giver.execute_command("CLUSTER MIGRATESLOTS", "SLOTSRANGE", first, last, "NODE", ids[taker])
        await until(lambda: has_ended(giver), "the slots have moved")
        await load.go_on()
    await until(lambda: not giver.dbsize(), "the giver has deleted what it gave")
    await all_is_well(load, own_cluster.url, slots=last - first + 1)


def has_ended(node):
    (migration,) = node.execute_command("CLUSTER GETSLOTMIGRATIONS")
    about = dict(zip(migration[::2], migration[1::2], strict=True)) if isinstance(migration, list) else migration
    assert about["state"] not in {"failed", "cancelled"}, about
    return about["state"] == "success"
