"""Three Sentinels, of which the first in the URL is the one that is in trouble, if one is."""

import asyncio
from functools import partial

import pytest

from stateful_route.domain.errors import StoreUnavailable
from stateful_route.store import connection, connection_sync
from support.recovery import clock
from support.topologies.sentinel import Sentinels, three_sentinels


@pytest.fixture
def sentinels(kind, tmp_path):
    with three_sentinels(kind, tmp_path) as running:
        yield running


FAULTS = {
    "the primary is killed": Sentinels.kill,
    "the primary dies with the first Sentinel": Sentinels.lose_sentinel_and_primary,
    "the primary is swapped": Sentinels.swap,
    "swapped, the first Sentinel is dead": Sentinels.lose_sentinel,
    "swapped, the first Sentinel is silent": Sentinels.silence_sentinel,
    "swapped, the first Sentinel is wrong": Sentinels.confuse_sentinel,
    "all addresses change one by one": Sentinels.move_one_by_one,
}


@pytest.mark.parametrize("sentence", FAULTS)
async def test_all_work_again_when(sentence, sentinels, all_recover):
    await all_recover(sentinels, lambda: FAULTS[sentence](sentinels), may_lose=True)


STALE = {
    "a replica": Sentinels.mislead_sentinel,
    "frozen": Sentinels.mislead_sentinel_to_the_frozen,
    "a primary for a while": Sentinels.mislead_sentinel_to_a_primary,
}


@pytest.mark.parametrize("sentence", STALE)
async def test_all_work_again_when_the_first_sentinel_is_stale_and_the_former_primary_is(
    sentence, sentinels, all_recover
):
    await all_recover(sentinels, lambda: STALE[sentence](sentinels), sentinels.still_misleads, may_lose=True)


async def test_all_work_again_when_the_primary_is_frozen_and_comes_back(sentinels, all_recover):
    await all_recover(sentinels, sentinels.freeze, sentinels.thaw, may_lose=True)


async def test_all_work_again_when_all_addresses_change_at_once(sentinels, all_recover):
    await all_recover(sentinels, sentinels.move_at_once)


@pytest.mark.parametrize("twin", ["async", "sync"])
async def test_no_call_waits_for_a_silent_sentinel_while_the_others_say_that_the_primary_is_down(sentinels, twin):
    """Each would wait for as long as a connection may take (2 s), and find the promoted replica so much later."""
    if twin == "async":
        store = connection.Store.from_url(sentinels.url)
        ask, close = store.command, store.close
    else:
        store = connection_sync.Store.from_url(sentinels.url)
        ask, close = partial(asyncio.to_thread, store.command), partial(asyncio.to_thread, store.close)
    await ask("GET", "x")
    sentinels.sentinels[0].pause()
    sentinels.kill()
    struck, took, answered = clock(), [], False
    while not answered and clock() < struck + 10:
        began = clock()
        try:
            answered = await ask("GET", "x") is None
        except StoreUnavailable:
            await asyncio.sleep(0.05)
        took.append(clock() - began)
    await close()
    assert answered
    assert max(took) < 1.0
