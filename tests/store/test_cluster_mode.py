"""The same on a real Redis Cluster of three: scripts, pipelines, sharded wake-ups, walks, and slots that move."""

import asyncio
import re

import pytest

from stateful_route.domain.errors import AuthenticationFailed, OwnedElsewhere, StoreUnavailable, UnfitServer
from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import Reason, RoutingState
from stateful_route.store.index import Repaired, count_links, issued_epochs, linked_uids, links_of_pod, purge, repair
from stateful_route.store.layout import check_layout
from stateful_route.store.links import Link, get_link, set_link, set_link_call, set_link_if_absent
from stateful_route.store.migrate import Batch, Outcome, append_moves, migrate
from stateful_route.store.states import claim, get_service, release, remove_states, set_operator_states, set_state
from support.waiting import PATIENCE_SECONDS

READY, DENY, SHUTDOWN = RoutingState
MINE = "cluster/route"


@pytest.fixture
async def store(cluster, connect):
    """Our client, on an empty cluster."""
    for node in cluster.nodes:
        node.flushall()
    return connect(cluster.url)


def pods_of(count):
    return {f"user-{number}": number % 3 for number in range(count)}


async def link_all(store, service, pods):
    replies = await store.run_many([set_link_call(service, uid, pod) for uid, pod in pods.items()])
    assert not [reply for reply in replies if isinstance(reply, Exception)]


async def collected(walk):
    return {uid async for buckets in walk for bucket in buckets for uid in bucket.uids}


async def test_links_on_all_nodes_are_set_found_and_counted(store, cluster, service):
    pods = pods_of(300)
    await link_all(store, service, pods)
    assert all(node.dbsize() for node in cluster.nodes)
    assert await count_links(store, service) == {0: 100, 1: 100, 2: 100}
    assert await collected(links_of_pod(store, service, 1)) == {uid for uid, pod in pods.items() if pod == 1}
    assert cluster.owner(service.link("user-7")).get(service.link("user-7")) == "1"
    done = await set_link(store, service, "user-7", 0)
    assert done.previous == 1
    assert await set_link_if_absent(store, service, "user-7", 2, 60) == Link(0, done.epoch)
    assert await get_link(store, service, "user-7") == Link(0, done.epoch)


async def test_links_on_all_nodes_move_in_one_call(store, service):
    pods = pods_of(120)
    await link_all(store, service, pods)
    batches = [Batch(service.bucket(uid), [uid], [1]) for uid, pod in pods.items() if pod == 0]
    results = await migrate(store, service, 0, batches)
    assert [list(result.outcomes) for result in results] == [[Outcome.MOVED]] * 40
    assert await count_links(store, service) == {1: 80, 2: 40}


async def test_foreign_links_on_all_nodes_are_scanned_and_repaired(store, cluster, service):
    for number in range(200):
        key = service.link(f"theirs-{number}")
        cluster.owner(key).set(key, 5)
    found = Repaired()
    async for buckets in linked_uids(store, service):
        found += await repair(store, service, buckets)
    assert found == Repaired(found=200)
    assert await count_links(store, service) == {5: 200}
    assert (await purge(store, service)).deleted == 200
    floors = {service.floor(service.bucket(f"theirs-{number}")) for number in range(200)}
    assert cluster.all_keys() == {service.moves, *floors}


async def test_scripts_that_all_nodes_have_lost_are_sent_again(store, cluster, service):
    await link_all(store, service, pods_of(50))
    for node in cluster.nodes:
        node.script_flush()
    await link_all(store, service, pods_of(50))
    for node in cluster.nodes:
        node.script_flush()
    assert (await get_link(store, service, "user-4")).ordinal == 1


async def test_states_are_merged_and_wake_up_by_a_sharded_channel(store, cluster, service):
    node = cluster.owner(service.channel)
    listener = node.pubsub()
    listener.ssubscribe(service.channel)
    assert listener.get_message(timeout=PATIENCE_SECONDS)["type"] == "ssubscribe"

    def woken():
        return listener.get_message(timeout=PATIENCE_SECONDS)["data"].split()[0]

    await claim(store, service, MINE, {"heartbeat": "Auto"})
    assert await set_state(store, service, 0, READY) is READY
    assert woken() == "ev"
    record = OperatorRecord(state=DENY, reason=Reason.TERMINATING, incarnation=Incarnation("pod-a", 0))
    written = await set_operator_states(store, service, MINE, {0: record, 1: record})
    assert written.records[0].app_word is READY
    assert woken() == "ev"
    assert {n: pod.effective for n, pod in (await get_service(store, service)).pods.items()} == {0: DENY, 1: DENY}
    await set_link(store, service, "ada", 0)
    (result,) = await migrate(store, service, 0, [Batch(service.bucket("ada"), ["ada"], [1])])
    await append_moves(store, service, 0, "Terminating", result.moved, MINE)
    assert woken() == "mv"
    assert node.xlen(service.changes) == 3
    assert await remove_states(store, service, MINE, [1]) == 1
    assert woken() == "ev"
    with pytest.raises(OwnedElsewhere):
        await set_operator_states(store, service, "other/1", {0: record})
    assert await release(store, service, MINE) is True
    assert woken() == "ev"
    assert node.hkeys(service.states) == ["0"]
    listener.close()


async def test_the_layout_is_checked(store, cluster):
    await check_layout(store)
    assert cluster.owner("sf:meta").hget("sf:meta", "layout") == "1"


async def test_many_calls_at_once_as_a_clients_first_all_go_to_the_right_node(store, cluster, service):
    for node in cluster.nodes:
        node.config_resetstat()
    results = await asyncio.gather(*(set_link(store, service, f"user-{n}", n % 3) for n in range(150)))
    assert {result.previous for result in results} == {None}
    assert {service.link(f"user-{n}") for n in range(150)} <= cluster.all_keys()
    assert not [node for node in cluster.nodes if "errorstat_MOVED" in node.info("errorstats")]


@pytest.fixture
def hand_over(cluster):
    """Gives empty slots of the first node to the second; they go back afterwards."""
    first, second, _ = cluster.nodes
    handed = []

    def give(slots, giver, taker):
        ids = {node: node.execute_command("CLUSTER MYID") for node in (giver, taker)}
        for slot in slots:
            taker.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[giver])
            for node in (taker, giver):
                node.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[taker])

    def over(slots):
        handed.extend(slots)
        give(slots, first, second)

    yield over
    second.flushall()
    give(handed, second, first)


async def test_many_calls_at_once_for_slots_that_have_moved_all_find_the_new_node(store, cluster, service, hand_over):
    uids = [f"user-{n}" for n in range(300)]
    moved = {service.bucket(uid) for uid in uids if cluster.owner(service.link(uid)) is cluster.nodes[0]}
    assert len(moved) > 50
    await get_link(store, service, "somebody")
    hand_over(moved)
    results = await asyncio.gather(*(set_link(store, service, uid, 1) for uid in uids))
    assert {result.previous for result in results} == {None}
    assert not cluster.nodes[0].dbsize()


@pytest.fixture
def moving(cluster, service):
    """Begins to move the slot of ada's keys; what it gives moves keys to the new node."""
    slot = service.bucket("ada")
    old = cluster.owner(service.link("ada"))
    new, _ = (node for node in cluster.nodes if node is not old)
    ids = {node: node.execute_command("CLUSTER MYID") for node in (old, new)}
    port = cluster.servers[cluster.nodes.index(new)].port

    def begin():
        new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[old])
        old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[new])
        return move

    def move(*keys):
        for key in keys:
            assert old.execute_command("MIGRATE", "127.0.0.1", port, key, 0, 1000) == "OK"

    yield begin
    for node in (old, new):
        node.flushall()
        node.execute_command("CLUSTER SETSLOT", slot, "STABLE")


async def test_what_cannot_be_done_while_a_slot_moves_says_that_it_moves(store, service, moving):
    await set_link(store, service, "ada", 1)
    link, _, index = service.uid_keys("ada")
    moving()(link)
    with pytest.raises(StoreUnavailable) as caught:
        await store.command("MGET", link, index)
    (reply,) = await store.run_many([set_link_call(service, "ada", 2)])
    for error in (caught.value, reply):
        assert re.fullmatch(
            rf"{re.escape(store.label)}: (127\.0\.0\.1:\d+: )?the slot of the key is being moved between nodes",
            str(error),
        )
        assert not error.maybe_written


async def test_while_a_slot_moves_a_uid_is_served_on_either_side(store, service, moving):
    done = await set_link(store, service, "ada", 1)
    move = moving()
    assert (await set_link(store, service, "ada", 1)).epoch == done.epoch
    move(*service.uid_keys("ada"))
    assert await get_link(store, service, "ada") == Link(1, done.epoch)
    again = await set_link(store, service, "ada", 2)
    assert again.previous == 1
    assert again.epoch > done.epoch
    (result,) = await migrate(store, service, 2, [Batch(service.bucket("ada"), ["ada"], [0])])
    assert [moved.to for moved in result.moved] == [0]
    (link,) = await store.run_many([set_link_call(service, "ada", 2)])
    assert link[0] == 0


async def test_keys_on_both_sides_of_a_moving_slot_are_unavailable_and_nothing_is_half_done(
    store, cluster, service, moving
):
    before = await set_link(store, service, "ada", 1)
    move = moving()
    move(service.link("ada"))
    with pytest.raises(StoreUnavailable):
        await set_link(store, service, "ada", 2)
    (reply,) = await store.run_many([set_link_call(service, "ada", 2)])
    assert isinstance(reply, StoreUnavailable)
    move(service.links("ada"), service.index(service.bucket("ada")))
    assert await get_link(store, service, "ada") == Link(1, before.epoch)
    assert cluster.all_keys() == {*service.uid_keys("ada")}


async def test_a_cluster_that_is_not_there_is_unavailable(connect, service):
    nowhere = connect("redis+cluster://127.0.0.1:1")
    with pytest.raises(StoreUnavailable):
        await get_link(nowhere, service, "ada")
    with pytest.raises(StoreUnavailable):
        await nowhere.run_many([set_link_call(service, "ada", 1)])


async def test_a_single_server_is_no_cluster(server, connect, service):
    with pytest.raises(UnfitServer, match="use redis://"):
        await get_link(connect(server.url.replace("redis://", "redis+cluster://")), service, "ada")


async def test_a_wrong_password_is_told_from_a_cluster_that_is_down(start_server, connect, service):
    server = start_server("--cluster-enabled", "yes", password="right")
    store = connect(f"redis+cluster://:wrong-pw@127.0.0.1:{server.port}")
    with pytest.raises(AuthenticationFailed) as caught:
        await get_link(store, service, "ada")
    assert "wrong-pw" not in str(caught.value)


async def test_the_highest_epoch_is_that_of_all_nodes(store, service):
    done = [await set_link(store, service, f"user-{number}", 0) for number in range(60)]
    issued = await issued_epochs(store, service)
    assert issued.highest == max(link.epoch for link in done)
    assert 0 <= issued.spread_ms < 5000, "their clocks are one here, but they are asked one after the other"
