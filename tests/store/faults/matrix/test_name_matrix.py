"""A DNS name whose answer changes: the server has another address, or another server has the name."""

import pytest

from support.names import Names
from support.topologies.one_server import named_server
from support.topologies.vip import named_pair


@pytest.fixture
def names(monkeypatch):
    return Names(monkeypatch).known


@pytest.fixture
async def pair(kind, names):
    async with named_pair(kind, names) as running:
        yield running


async def test_all_work_again_when_the_server_has_another_address(kind, names, all_recover):
    with named_server(kind, names) as server:
        await all_recover(server, server.move)


async def test_all_work_again_when_the_primary_is_killed_and_the_replica_has_its_name(pair, all_recover):
    await all_recover(pair, pair.kill, may_lose=True)


async def test_all_work_again_when_the_replica_has_the_name_and_the_primary_lives_on_as_a_replica(pair, all_recover):
    await all_recover(pair, pair.swap, may_lose=True)
