"""How a pod takes a uid: which links it may take, and that an epoch is never given to two."""

import pytest

from stateful_route.domain.errors import InvalidArgument
from stateful_route.store.keys import Service
from stateful_route.store.links import get_link, get_link_if_persist, is_owner, remove_link, set_link
from stateful_route.store.taking import Bid, Taken, TakeOutcome, Which, take_link

SERVICE = Service("games", "room")
ME, OTHER = 2, 5
REFUSED, TAKEN, STANDING = TakeOutcome


async def linked(store, ordinal, seconds=-1):
    return (await set_link(store, SERVICE, "ada", ordinal, seconds)).epoch


async def take(store, which, epoch=None, *, persistent=True):
    return await take_link(store, SERVICE, "ada", ME, Bid(which, epoch, persistent))


async def owned_since(store, epoch):
    return await is_owner(store, SERVICE, "ada", ME, epoch)


@pytest.mark.parametrize("which", [Which.ANY, Which.UNOWNED])
async def test_a_uid_without_a_link_is_taken_for_good(store, which):
    taken = await take(store, which)
    assert taken.outcome is TAKEN
    assert (taken.ordinal, taken.previous, taken.displaced) == (ME, None, None)
    assert await get_link_if_persist(store, SERVICE, "ada") == (ME, taken.epoch)
    assert await owned_since(store, taken.epoch)


async def test_who_takes_only_what_names_it_takes_no_uid_without_a_link(store):
    assert await take(store, Which.NAMED) == Taken(REFUSED, None, None, None)
    assert await get_link(store, SERVICE, "ada") is None


async def test_a_caller_s_link_to_the_pod_becomes_its_own_since_an_epoch_of_its_own(store):
    before = await linked(store, ME, 60)
    taken = await take(store, Which.NAMED)
    assert taken.outcome is TAKEN
    assert taken.displaced is None
    assert taken.epoch > before
    assert await get_link_if_persist(store, SERVICE, "ada") == (ME, taken.epoch)


async def test_a_caller_s_link_to_another_pod_is_taken_by_who_may_take_what_nobody_owns(store):
    await linked(store, OTHER, 60)
    assert (await take(store, Which.NAMED)).ordinal == OTHER
    assert (await get_link(store, SERVICE, "ada")).ordinal == OTHER
    taken = await take(store, Which.UNOWNED)
    assert (taken.outcome, taken.displaced) == (TAKEN, OTHER)


async def test_what_another_pod_owns_is_taken_only_by_force(store):
    epoch = await linked(store, OTHER)
    for which in (Which.UNOWNED, Which.NAMED, Which.SAME):
        assert await take(store, which) == Taken(REFUSED, OTHER, epoch, OTHER)
    taken = await take(store, Which.ANY)
    assert (taken.outcome, taken.displaced) == (TAKEN, OTHER)
    assert taken.epoch > epoch


async def test_who_has_the_uid_since_that_epoch_keeps_it(store):
    first = await take(store, Which.UNOWNED)
    for which in (Which.ANY, Which.UNOWNED, Which.NAMED):
        assert await take(store, which, first.epoch) == Taken(TAKEN, ME, first.epoch, ME)


async def test_a_temporary_link_that_is_had_already_becomes_persistent_since_the_same_epoch(store):
    epoch = await linked(store, ME, 60)
    assert (await take(store, Which.NAMED, epoch)).epoch == epoch
    assert await get_link_if_persist(store, SERVICE, "ada") == (ME, epoch)


async def test_another_life_s_link_stands_until_its_epoch_is_said(store):
    epoch = await linked(store, ME)
    for which in (Which.ANY, Which.UNOWNED, Which.NAMED):
        assert await take(store, which) == Taken(STANDING, ME, epoch, ME)
        assert await take(store, which, epoch - 1) == Taken(STANDING, ME, epoch, ME)
    taken = await take(store, Which.SAME, epoch)
    assert taken.outcome is TAKEN
    assert taken.epoch > epoch
    assert not await owned_since(store, epoch)


async def test_of_two_lives_that_take_the_same_link_one_wins(store):
    epoch = await linked(store, ME)
    first, second = await take(store, Which.SAME, epoch), await take(store, Which.SAME, epoch)
    assert first.outcome is TAKEN
    assert second == Taken(STANDING, ME, first.epoch, ME)


async def test_a_link_that_is_taken_since_its_epoch_may_keep_its_time_to_live(store, raw):
    epoch = await linked(store, ME, 60)
    assert (await take(store, Which.SAME, epoch, persistent=False)).epoch > epoch
    assert 50 < await raw.ttl(SERVICE.link("ada")) <= 60


async def test_nobody_owns_a_retained_link_and_its_pod_takes_it_anew(store):
    await linked(store, ME)
    await remove_link(store, SERVICE, "ada", 60)
    retained = await get_link(store, SERVICE, "ada")
    assert (await take(store, Which.SAME, retained.epoch)).outcome is REFUSED
    taken = await take(store, Which.NAMED, retained.epoch)
    assert taken.epoch > retained.epoch
    assert await owned_since(store, taken.epoch)


@pytest.mark.parametrize("value", ["no pod", "8192", "-1"])
async def test_a_value_that_is_no_pod_index_is_nobody_s(store, raw, value):
    await raw.set(SERVICE.link("ada"), value)
    assert (await take(store, Which.NAMED)).outcome is REFUSED
    assert await take(store, Which.UNOWNED) == Taken(TAKEN, ME, (await get_link(store, SERVICE, "ada")).epoch, None)


async def test_a_foreign_link_to_the_pod_was_given_to_nobody_and_is_taken(store, raw):
    await raw.set(SERVICE.link("ada"), str(ME))
    taken = await take(store, Which.NAMED)
    assert taken.outcome is TAKEN
    assert await owned_since(store, taken.epoch)


async def test_an_epoch_that_is_none_is_refused_before_anything_is_sent(store):
    with pytest.raises(InvalidArgument, match="an epoch is a number"):
        await take(store, Which.SAME, 2**41)
