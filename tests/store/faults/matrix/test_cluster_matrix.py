"""A Cluster of three primaries and three replicas, in which something happens to the first primary, or to all."""

import pytest

from support.names import Names
from support.topologies.cluster import six_nodes


@pytest.fixture
def cluster(kind):
    with six_nodes(kind) as running:
        yield running


@pytest.fixture
def named_cluster(kind, monkeypatch):
    """Clients know the name of the first node alone, as with a Service."""
    with six_nodes(kind, Names(monkeypatch).known) as running:
        yield running


async def test_all_work_again_when_a_primary_is_killed(cluster, all_recover):
    await all_recover(cluster, cluster.kill, may_lose=True)


async def test_all_work_again_when_a_primary_is_frozen_and_comes_back(cluster, all_recover):
    await all_recover(cluster, cluster.freeze, cluster.thaw, may_lose=True)


async def test_all_work_again_when_a_primary_is_swapped(cluster, all_recover):
    await all_recover(cluster, cluster.swap)


async def test_all_work_again_when_all_addresses_change_at_once(named_cluster, all_recover):
    await all_recover(named_cluster, named_cluster.move_at_once)


async def test_all_work_again_when_all_addresses_change_one_by_one(named_cluster, all_recover):
    await all_recover(named_cluster, named_cluster.move_one_by_one)


async def test_all_work_again_when_slots_move_there_and_back_key_by_key(cluster, all_recover):
    await all_recover(cluster, cluster.move_slots_key_by_key)


async def test_all_work_again_when_slots_move_there_and_back_at_once(cluster, all_recover):
    if cluster.nodes[0].ask("COMMAND INFO", "CLUSTER|MIGRATESLOTS") == [None]:
        pytest.skip("this server cannot move slots at once (Valkey 9 can)")
    await all_recover(cluster, cluster.move_slots_at_once)
