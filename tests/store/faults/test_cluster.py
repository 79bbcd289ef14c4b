"""A Cluster that loses a primary, or whose slots move to another node, while their links are written and moved."""

import pytest
import redis
from redis.crc import key_slot

from stateful_route.domain.errors import StatefulRouteError, StoreUnavailable
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import Reason, RoutingState
from stateful_route.store.keys import META, tags
from stateful_route.store.links import set_link
from stateful_route.store.migrate import Batch, Moved, append_moves, append_purge
from stateful_route.store.scripts import Call, script
from stateful_route.store.states import (
    claim,
    get_service,
    get_service_pod,
    remove_states,
    report_unreachable,
    set_operator_states,
    set_state,
)
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


def keys_in(node, number):
    return set(node.execute_command("CLUSTER GETKEYSINSLOT", number, 100))


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


OWNER = "cluster/route"
WRITERS = {
    "a pod's state": lambda store, service: set_state(store, service, 1, RoutingState.READY, load=3),
    "the operator's states": lambda store, service: set_operator_states(
        store, service, OWNER, {1: OperatorRecord(state=RoutingState.READY, reason=Reason.READY)}
    ),
    "pods that are gone": lambda store, service: remove_states(store, service, OWNER, [7]),
    "the claim": lambda store, service: claim(store, service, OWNER, {"heartbeat": "Auto"}),
    "moves": lambda store, service: append_moves(store, service, 1, "Drained", [Moved("ada", 2, 7)]),
    "the operator's moves": lambda store, service: append_moves(store, service, 1, "Gone", [Moved("bob", 2, 7)], OWNER),
    "a purge": lambda store, service: append_purge(store, service, 7),
    "a hint": lambda store, service: report_unreachable(store, service, 1),
    "a snapshot": get_service,
    "one pod's state": lambda store, service: get_service_pod(store, service, 1),
}


async def outcomes(store, service):
    """What became of each of the `WRITERS`: None, or the error."""
    found = {}
    for name, write in WRITERS.items():
        try:
            await write(store, service)
            found[name] = None
        except StatefulRouteError as error:
            found[name] = error
    return found


@pytest.fixture
async def claimed(own_cluster, connect, service):
    """A store with a service that an operator has claimed and a pod serves; no link of it has moved yet."""
    store = connect(own_cluster.url)
    await claim(store, service, OWNER, {"heartbeat": "Auto"})
    await WRITERS["a pod's state"](store, service)
    await WRITERS["the operator's states"](store, service)
    return store


async def test_a_services_slot_that_moves_key_by_key(own_cluster, hosts, claimed, service):
    giver, taker, ids = hosts
    number, port = slot(service.states), own_cluster.servers[1].port
    assert number in thirds()[0]
    taker.execute_command("CLUSTER SETSLOT", number, "IMPORTING", ids[giver])
    giver.execute_command("CLUSTER SETSLOT", number, "MIGRATING", ids[taker])
    everything = dict.fromkeys(WRITERS)
    assert await outcomes(claimed, service) == everything, "all keys are where they were"

    keys = keys_in(giver, number)
    while keys:
        giver.execute_command("MIGRATE", "127.0.0.1", port, keys.pop(), 0, 1000)
        met = await outcomes(claimed, service)
        assert met["a hint"] is None
        refused = [error for error in met.values() if error is not None]
        assert all(isinstance(error, StoreUnavailable) and not error.maybe_written for error in refused)
        assert bool(refused) is bool(keys), "on both sides: no script may look at all of them; else at the taker"
    for node in (taker, giver, own_cluster.nodes[2]):
        node.execute_command("CLUSTER SETSLOT", number, "NODE", ids[taker])
    assert await outcomes(claimed, service) == everything


async def test_what_leaves_nothing_behind_is_done_as_a_whole_while_its_slot_is_on_its_way(
    own_cluster, hosts, claimed, service
):
    """Where a slot is on its way, a script is stopped half-way that touches a key again which has gone meanwhile."""
    giver, taker, ids = hosts
    await WRITERS["moves"](claimed, service)
    taker.execute_command("CLUSTER SETSLOT", slot(service.states), "IMPORTING", ids[giver])
    giver.execute_command("CLUSTER SETSLOT", slot(service.states), "MIGRATING", ids[taker])
    await claim(claimed, service, OWNER, {"other": "field"})
    assert giver.hgetall(service.config) == {"other": "field"}
    assert await remove_states(claimed, service, OWNER, [0, 1, 2]) == 1
    assert keys_in(giver, slot(service.states)) == {service.owner, service.config, service.changes, service.moves}


async def test_a_purge_of_all_links_while_their_slot_is_on_its_way(own_cluster, hosts, claimed, service):
    giver, taker, ids = hosts
    uid = next(f"user-{n}" for n in range(1000) if service.bucket(f"user-{n}") in thirds()[0])
    index, floor = service.index(service.bucket(uid)), service.floor(service.bucket(uid))
    for whole in (True, False):  # with the highest epoch's entry, and without
        await set_link(claimed, service, uid, 1)
        giver.set(floor, 1)
        if not whole:
            giver.zrem(index, "")
        taker.execute_command("CLUSTER SETSLOT", service.bucket(uid), "IMPORTING", ids[giver])
        giver.execute_command("CLUSTER SETSLOT", service.bucket(uid), "MIGRATING", ids[taker])
        purge = Call(
            script("purgeLinks"), (*service.bucket_keys(service.bucket(uid), [uid]), floor), (service.name, 60, uid)
        )
        assert (await claimed.run(purge))[0] == 1
        assert keys_in(giver, service.bucket(uid)) == {floor}
        assert int(giver.get(floor)) > 1
        for node in (taker, giver):
            node.execute_command("CLUSTER SETSLOT", service.bucket(uid), "STABLE")


async def test_links_move_and_are_told_while_the_services_slot_is_on_its_way(
    own_cluster, hosts, claimed, executors, service
):
    giver, taker, ids = hosts
    (executor,) = await executors(own_cluster.url, 1)
    link = await executor.set_link(service.namespace, "ada", service.name, 1)
    number = slot(service.states)
    taker.execute_command("CLUSTER SETSLOT", number, "IMPORTING", ids[giver])
    giver.execute_command("CLUSTER SETSLOT", number, "MIGRATING", ids[taker])
    batch = Batch(service.bucket("ada"), ["ada"], [2])
    (moved,) = await executor.migrate(service.namespace, service.name, 1, [batch], reason="Drained")
    assert moved.epoch > link.epoch
    assert executor.announcer.kept == 0
    told = giver.xrange(service.moves)
    assert [fields["moves"] for _, fields in told] == [f'[["ada",2,{moved.epoch}]]']


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
