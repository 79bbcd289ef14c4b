"""Epochs of a bucket whose index is gone: its floor stays behind, so that none falls whatever the clock does."""

import pytest

from stateful_route.domain.epoch import STEP
from stateful_route.store.archive import StoredLink, import_links
from stateful_route.store.index import FLOOR_SECONDS, Bucket, Purged, purge, rebuild, repair
from stateful_route.store.links import (
    PERSISTENT,
    Candidates,
    compute_link_if_absent,
    get_link,
    remove_link,
    remove_link_with_id,
    set_link,
    set_link_if_absent,
    try_set_link,
)
from stateful_route.store.migrate import Batch, migrate

UID = "ada"
HOUR_MS = 3_600_000


async def linked_ahead_of_the_clock(store, raw, service):
    """A link as it stands after the server's clock was set back by an hour: its bucket's epochs are above the time."""
    epoch = (await set_link(store, service, UID, 0)).epoch + HOUR_MS
    await raw.zadd(service.index(service.bucket(UID)), {UID: epoch, "": -epoch})
    return epoch


async def by_retaining(store, _raw, service):
    await set_link(store, service, UID, 1)
    await remove_link(store, service, UID, 60)


async def by_retaining_its_own(store, _raw, service):
    await set_link(store, service, UID, 1)
    await remove_link_with_id(store, service, UID, 1, 60)


async def by_migrating(store, raw, service):
    await raw.set(service.link(UID), 1)
    await raw.zadd(service.index(service.bucket(UID)), {UID: STEP})
    (result,) = await migrate(store, service, 1, [Batch(service.bucket(UID), [UID], [2])])
    assert result.moved


async def by_repairing(store, raw, service):
    await raw.set(service.link(UID), 1)
    assert (await repair(store, service, [Bucket(service.bucket(UID), [UID])])).found == 1


async def by_rebuilding(store, raw, service):
    await raw.set(service.link(UID), 1)
    await raw.zadd(service.index(service.bucket(UID)), {"bob": STEP + 1})
    await rebuild(store, service)


async def by_import(store, _raw, service):
    await import_links(store, [StoredLink(service, UID, 1)], overwrite=False)


LINKED_ANEW = {
    "set": lambda store, _, service: set_link(store, service, UID, 1),
    "tried": lambda store, _, service: try_set_link(store, service, UID, 1),
    "set if absent": lambda store, _, service: set_link_if_absent(store, service, UID, 1, 60),
    "computed": lambda store, _, service: compute_link_if_absent(store, service, UID, Candidates({1: 0.0}), PERSISTENT),
    "retained": by_retaining,
    "retained by its pod": by_retaining_its_own,
    "migrated": by_migrating,
    "repaired": by_repairing,
    "rebuilt": by_rebuilding,
    "imported": by_import,
}


@pytest.mark.parametrize("how", LINKED_ANEW)
async def test_after_a_purge_an_epoch_is_above_all_before_also_with_a_clock_set_back(how, store, raw, service):
    before = await linked_ahead_of_the_clock(store, raw, service)
    assert await purge(store, service) == Purged(1, before)
    await LINKED_ANEW[how](store, raw, service)
    assert (await get_link(store, service, UID)).epoch > before


async def test_a_purge_leaves_its_floor_behind_and_that_for_a_bounded_time(store, raw, service):
    before = await linked_ahead_of_the_clock(store, raw, service)
    await purge(store, service)
    assert set(await raw.keys()) == {service.floor(service.bucket(UID)), service.moves}
    key = service.floor(service.bucket(UID))
    assert await raw.get(key) == str(before)
    assert FLOOR_SECONDS - 60 < await raw.ttl(key) <= FLOOR_SECONDS


async def test_a_second_purge_does_not_lower_a_floor(store, raw, service):
    before = await linked_ahead_of_the_clock(store, raw, service)
    await purge(store, service)
    await raw.zadd(service.index(service.bucket(UID)), {UID: 5})  # as an older version links, which knows no floor
    assert (await purge(store, service)).highest == before
    assert (await set_link(store, service, UID, 1)).epoch > before


async def test_a_purge_of_an_index_that_has_lost_its_highest_epoch_goes_by_its_entries(store, raw, service):
    before = await linked_ahead_of_the_clock(store, raw, service)
    await raw.zrem(service.index(service.bucket(UID)), "")
    assert (await purge(store, service)).highest == before
    assert (await set_link(store, service, UID, 1)).epoch > before


async def test_a_purge_in_several_steps_keeps_the_highest_epoch_of_all(store, raw, service, crowd):
    uids = crowd(450)
    index = service.index(service.bucket(uids[0]))
    await raw.zadd(index, {uid: 1000 + place for place, uid in enumerate(uids)} | {"": -5000})
    await purge(store, service)
    assert await raw.get(service.floor(service.bucket(uids[0]))) == "5000"
    assert not await raw.exists(index)


async def test_a_floor_of_another_type_holds_nobody_up(store, raw, service):
    await raw.hset(service.floor(service.bucket(UID)), "a", "b")
    assert (await set_link(store, service, UID, 1)).epoch > 0
