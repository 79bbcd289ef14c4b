"""A StatefulRoute that is deleted: what is told of its links, and what stays behind."""

from stateful_route.reconcile.ending import give_up
from stateful_route.store.index import purge
from stateful_route.store.links import set_link, set_link_call
from stateful_route.store.migrate import MOVES_STREAM_SECONDS, Moved, append_moves
from stateful_route.store.moves import read_moves
from stateful_route.store.states import NO_ENTRY, claim

OWNER = "cluster/route"


async def test_a_route_that_is_deleted_with_its_links_says_so_and_for_how_long_it_can_be_read(store, raw, service):
    await claim(store, service, OWNER, {"heartbeat": "Auto"})
    await store.run_many([set_link_call(service, f"user-{number}", 0) for number in range(20)])
    highest = (await set_link(store, service, "ada", 1)).epoch
    assert await give_up(store, service, OWNER, delete_links=True) == 21
    *_, entry = (await read_moves(store, service, NO_ENTRY)).entries
    assert (entry.reason, list(entry.links)) == ("Purged", [])
    assert entry.purged >= highest
    assert (await set_link(store, service, "ada", 1)).epoch > highest
    assert 0 < await raw.ttl(service.moves) <= MOVES_STREAM_SECONDS
    assert not await raw.exists(service.owner)


async def test_a_route_whose_links_stay_leaves_no_stream(store, raw, service):
    await claim(store, service, OWNER, {"heartbeat": "Auto"})
    await set_link(store, service, "ada", 1)
    await append_moves(store, service, 0, "Gone", [Moved("ada", 1, 5)])
    assert await give_up(store, service, OWNER, delete_links=False) == 0
    assert not await raw.exists(service.moves)


async def test_a_purge_that_was_carried_out_but_not_told_is_told_the_next_time(store, raw, service):
    await claim(store, service, OWNER, {"heartbeat": "Auto"})
    before = (await set_link(store, service, "ada", 1)).epoch
    await purge(store, service)
    assert await give_up(store, service, OWNER, delete_links=True) == 0
    *_, entry = (await read_moves(store, service, NO_ENTRY)).entries
    assert entry.purged >= before
