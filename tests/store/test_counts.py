"""The counts of a service: on one server they are what its indexes hold, whatever happens at once."""

import asyncio
import random

import pytest

from stateful_route.reconcile.upkeep import has_entries
from stateful_route.store.counts import NoRoom, begin_count, kept_counts, take_room
from stateful_route.store.index import (
    Bucket,
    count_entries,
    count_links,
    counted_links,
    purge,
    rebuild,
    recount,
    repair,
    repair_service,
)
from stateful_route.store.links import (
    Candidates,
    compute_link_if_absent,
    get_link_service,
    remove_link,
    remove_link_with_id,
    set_link,
    set_link_if_absent,
    try_set_link,
)
from stateful_route.store.migrate import Batch, migrate
from stateful_route.store.placing import place
from stateful_route.store.taking import Bid, Which, take_link
from support.waiting import until


async def test_nobody_keeps_counts_before_somebody_has_counted(store, raw, service):
    await set_link(store, service, "ada", 3)
    assert await kept_counts(store, service) is None
    assert await count_links(store, service) == {3: 1}
    assert not await raw.exists(service.counts)
    assert await counted_links(store, service) == await kept_counts(store, service) == {3: 1}


async def test_whoever_is_cancelled_in_the_middle_of_a_count_lets_others_begin_at_once(store, raw, service):
    await set_link(store, service, "ada", 3)
    counting = asyncio.create_task(recount(store, service))
    while not await raw.hexists(service.counts, "~"):
        assert not counting.done()
    counting.cancel()
    await asyncio.wait([counting])
    assert counting.cancelled()
    assert await recount(store, service)
    assert await kept_counts(store, service) == {3: 1}


async def test_a_count_goes_on_for_those_who_ask_later_when_who_has_begun_it_gives_up(store, service):
    candidates = Candidates({0: 0.0}, limit=5)
    asking = asyncio.create_task(place(opened(store), service, "ada", candidates, 60))
    aside = store.aside(service.counts)
    await until(lambda: aside.busy)
    asking.cancel()
    await asyncio.wait([asking])
    await aside.wait(60)
    assert await kept_counts(store, service) == {}
    assert await compute_link_if_absent(store, service, "bob", candidates, 60) != NoRoom.UNCOUNTED


def opened(store):
    """As drivers hand it on: they open it at the first call."""

    async def given():
        return store

    return given


UIDS = [f"user-{number}" for number in range(40)]


async def happening(store, service, chance, uid):
    """One of the things that may happen to a uid's link."""
    pod, other, seconds = chance.randrange(4), chance.randrange(4), chance.choice((-1, 60))
    do = chance.choice(
        (
            lambda: set_link(store, service, uid, pod, seconds),
            lambda: try_set_link(store, service, uid, pod, seconds),
            lambda: set_link_if_absent(store, service, uid, pod, seconds),
            lambda: compute_link_if_absent(store, service, uid, Candidates({pod: 0}, frozenset({other})), 60),
            lambda: remove_link(store, service, uid, chance.choice((0, 60))),
            lambda: remove_link_with_id(store, service, uid, pod, chance.choice((0, 60))),
            lambda: take_link(store, service, uid, pod, Bid(chance.choice(list(Which)))),
            lambda: migrate(store, service, pod, [Batch(service.bucket(uid), [uid], [other])]),
            lambda: store.command("SET", service.link(uid), other),  # a foreign client
            lambda: store.command("DEL", service.link(uid)),  # as it expires
            lambda: repair(store, service, [Bucket(service.bucket(uid), [uid])]),
            lambda: get_link_service(store, service.namespace, uid),
        )
    )
    await do()


@pytest.mark.parametrize("seed", range(3))
async def test_counts_agree_with_the_indexes_while_links_change_and_are_counted_anew(store, service, seed):
    """The draws are printed by their seed; a recount goes on all the while."""
    assert await recount(store, service)
    chance = random.Random(seed)
    ended = False

    async def count_again():
        times = 0
        while not ended:
            times += await recount(store, service)
        return times

    counting = asyncio.create_task(count_again())
    for _ in range(150):
        await asyncio.gather(*(happening(store, service, chance, uid) for uid in chance.sample(UIDS, 8)))
    ended = True
    assert await counting > 1
    assert await kept_counts(store, service) == await count_entries(store, service)


async def test_purge_rebuild_and_repair_keep_the_counts(store, raw, service):
    assert await recount(store, service)
    for number, uid in enumerate(UIDS):
        await set_link(store, service, uid, number % 2)
    await raw.zadd(service.index(service.bucket("user-1")), {"astray": 2**40, "broken": 2**60})
    await rebuild(store, service)
    assert await kept_counts(store, service) == await count_entries(store, service) == {0: 20, 1: 20}
    await raw.delete(service.link("user-0"))
    await repair_service(store, service, foreign=False)
    assert await kept_counts(store, service) == await count_entries(store, service) == {0: 19, 1: 20}
    await purge(store, service)
    assert await kept_counts(store, service) == {}


async def test_what_others_have_changed_is_right_after_a_repair(store, raw, service):
    """A foreign client writes links alone, and a client of an earlier version the index, but not the counts."""
    assert await recount(store, service)
    await set_link(store, service, "ada", 1)
    await raw.set(service.link("bob"), 2)
    await raw.zadd(service.index(service.bucket("eve")), {"eve": 3 * 2**40 + 5})
    await raw.set(service.link("eve"), 3)
    assert await kept_counts(store, service) == {1: 1}
    await repair_service(store, service, foreign=True)
    assert await kept_counts(store, service) == {1: 1, 2: 1, 3: 1}


async def test_one_counts_at_a_time_and_who_has_ended_in_the_middle_keeps_nobody_up(store, raw, service, eventually):
    assert await begin_count(store, service, "another")
    assert not await recount(store, service)
    until, who = (await raw.hget(service.counts, "~")).split()
    await raw.hset(service.counts, "~", f"{int(until) - 10_000} {who}")
    assert await eventually(lambda: recount(store, service))
    assert await kept_counts(store, service) == {}


async def test_room_is_given_to_the_first_ones_and_never_twice(store, service):
    assert await take_room(store, service, 3, [(1, 1)], 1) is NoRoom.UNCOUNTED
    assert await recount(store, service)
    assert await take_room(store, service, 3, [(1, 2), (2, 5)], 4) == {1: 2, 2: 2}
    assert await take_room(store, service, 3, [(1, 5), (2, 5)], 10) == {1: 1, 2: 1}
    assert await take_room(store, service, 3, [(1, 1), (2, 1)], 1) is NoRoom.FULL


async def test_counting_a_service_that_was_counted_visits_no_bucket(store, raw, service):
    """What an operator does with each full pass, for each of its services."""
    await counted_links(store, service)
    await raw.config_resetstat()
    assert await counted_links(store, service) == {}
    assert not await has_entries(store, service)
    called = await raw.info("commandstats")
    assert {name for name in called if "z" in name or "eval" in name} == set()
    await set_link(store, service, "ada", 1)
    assert await has_entries(store, service)
