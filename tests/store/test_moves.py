"""The stream of moves: how much of it stays, and whether a reader knows that it has missed something."""

import uuid

import pytest

from stateful_route.reconcile.upkeep import repair_index
from stateful_route.store.migrate import (
    ENTRY_BYTES,
    MOVES_STREAM_BYTES,
    MOVES_STREAM_SECONDS,
    Moved,
    append_moves,
    append_purge,
    trim_moves,
)
from stateful_route.store.moves import Move, read_moves
from stateful_route.store.states import NO_ENTRY, get_service

MANY = [Moved(str(uuid.UUID(int=number)), 1, 10**10) for number in range(1000)]


async def told(store, service, count=1, links=MANY):
    for _ in range(count):
        await append_moves(store, service, 0, "Gone", links)


async def all_read(store, service, after=NO_ENTRY):
    """Everything behind an entry: the links, the last id, whether something was missed."""
    links, missed, more = [], False, True
    while more:
        moves = await read_moves(store, service, after)
        links += [link for move in moves.entries for link in move.links]
        after, more, missed = moves.last, moves.more, missed or moves.missed
    return links, after, missed


async def older(raw, service, seconds, count=1, **fields):
    """Entries as an earlier version writes them, so long ago."""
    now, _ = await raw.time()
    for number in range(count):
        entry = {"from": "0", "reason": "Gone", "moves": '[["ada",1,5]]', **fields}
        await raw.xadd(service.moves, entry, id=f"{(now - seconds) * 1000}-{number}")


async def test_many_moves_are_told_in_entries_of_a_bounded_size(store, raw, service):
    await told(store, service)
    entries = await raw.xrange(service.moves)
    assert len(entries) > 1
    assert all(len(fields["moves"]) <= ENTRY_BYTES + 2 for _, fields in entries)
    assert (await all_read(store, service))[0] == MANY


async def test_the_stream_keeps_a_bounded_number_of_bytes(store, raw, service):
    await told(store, service, 150)
    size = sum(len(fields["moves"]) for _, fields in await raw.xrange(service.moves))
    assert MOVES_STREAM_BYTES * 0.9 < size <= MOVES_STREAM_BYTES
    assert await raw.memory_usage(service.moves, samples=0) < 1.5 * MOVES_STREAM_BYTES


async def test_an_entry_goes_when_it_is_too_old(store, raw, service):
    await older(raw, service, MOVES_STREAM_SECONDS + 60, 3)
    await older(raw, service, MOVES_STREAM_SECONDS - 60)
    await told(store, service, links=MANY[:1])
    assert await raw.xlen(service.moves) == 2


async def test_entries_of_an_earlier_version_between_ours_hold_nobody_up(store, raw, service):
    for _ in range(3):
        await told(store, service, links=MANY[:1])
        await raw.xadd(service.moves, {"from": "0", "reason": "Gone", "moves": '[["ada",1,5]]'})
    await told(store, service, links=MANY[:1])
    links, _, _ = await all_read(store, service)
    assert len(links) == 7


async def test_a_reader_that_has_read_all_has_missed_nothing_though_what_it_read_is_gone(store, raw, service):
    await older(raw, service, MOVES_STREAM_SECONDS + 60)
    last = (await get_service(store, service)).moves
    await told(store, service, links=MANY[:2])
    assert await raw.xlen(service.moves) == 1
    assert await all_read(store, service, last) == (MANY[:2], (await get_service(store, service)).moves, False)


async def test_a_reader_knows_that_it_has_missed_something(store, raw, service):
    await older(raw, service, MOVES_STREAM_SECONDS + 60, 2)
    ((first, _), *_) = await raw.xrange(service.moves)
    await told(store, service, links=MANY[:2])
    links, _, missed = await all_read(store, service, first)
    assert links == MANY[:2]
    assert missed


async def test_a_reader_that_begins_at_the_beginning_knows_whether_it_is_the_beginning(store, raw, service):
    assert await read_moves(store, service, NO_ENTRY) == ([], NO_ENTRY, False, False, False)
    await told(store, service, 60, links=MANY[:1])
    assert (await all_read(store, service))[2] is False
    ((first, _), *_) = await raw.xrange(service.moves, count=1)
    await raw.xdel(service.moves, first)
    assert (await all_read(store, service))[2] is True


async def test_the_first_entry_of_an_earlier_version_counts_as_missed(store, raw, service):
    await older(raw, service, 10)
    links, last, missed = await all_read(store, service)
    assert (links, missed) == ([Moved("ada", 1, 5)], True)
    assert await all_read(store, service, last) == ([], last, False)


@pytest.mark.parametrize("trim", [trim_moves, repair_index], ids=["by itself", "by the repair"])
async def test_a_stream_to_which_nobody_appends_ages_but_for_its_last_entry(trim, store, raw, service):
    await older(raw, service, MOVES_STREAM_SECONDS + 60, 3)
    last = (await get_service(store, service)).moves
    await trim(store, service)
    assert [entry for entry, _ in await raw.xrange(service.moves)] == [last]
    assert await all_read(store, service, last) == ([], last, False)


async def test_trimming_leaves_what_is_young(store, raw, service):
    assert await trim_moves(store, service) == 0
    assert await raw.keys() == []
    await older(raw, service, MOVES_STREAM_SECONDS + 60, 3)
    await told(store, service, links=MANY[:1])
    await older(raw, service, -60)
    assert await trim_moves(store, service) == 0
    assert await raw.xlen(service.moves) == 2


async def test_a_purge_is_told_in_the_stream_and_wakes_every_reader(store, raw, service):
    pubsub = raw.pubsub()
    await pubsub.subscribe(service.channel)
    await pubsub.get_message(timeout=60)
    await append_purge(store, service, 77)
    moves = await read_moves(store, service, NO_ENTRY)
    assert list(moves.entries) == [Move(-1, "Purged", [], 77)]
    message = await pubsub.get_message(timeout=60)
    assert message["data"] == f"mv 0-0 {moves.last} - purged"
    await pubsub.aclose()
