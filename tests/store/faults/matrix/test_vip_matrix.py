"""One address that leads to another server from now on, while old connections stay with the old one."""

import pytest

from support.topologies.vip import vip


@pytest.fixture
async def address(kind):
    async with vip(kind) as running:
        yield running


async def test_all_work_again_when_the_primary_is_killed(address, all_recover):
    await all_recover(address, address.kill, may_lose=True)


async def test_all_work_again_when_the_primary_is_frozen_and_comes_back(address, all_recover):
    await all_recover(address, address.freeze, address.thaw, may_lose=True)


async def test_all_work_again_when_the_primary_is_swapped_and_lives_on_as_a_replica(address, all_recover):
    await all_recover(address, address.swap, may_lose=True)


async def test_all_work_again_when_all_connections_are_cut(address, all_recover):
    await all_recover(address, address.cut)
