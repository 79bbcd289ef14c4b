"""Moving links: compare and set, what becomes of links that are not where the index says, and telling who must know."""

import json

import pytest

from stateful_route.domain.epoch import EPOCH_START_MS
from stateful_route.domain.errors import OwnedElsewhere, StoreRejected
from stateful_route.store.index import Bucket, count_links, repair
from stateful_route.store.links import PERSISTENT, Link, get_link, is_owner, remove_link, set_link, set_link_call
from stateful_route.store.migrate import MAX_BATCH, Batch, Moved, Outcome, append_moves, migrate
from stateful_route.store.states import claim

UID = "ada"
MOVED, DRIFT, OVERTAKEN, FULL, FOREIGN = Outcome
FROM, TO = 0, 1


def batch(service, *uids, to=TO):
    return Batch(service.bucket(uids[0]), uids, [to] * len(uids))


async def move(store, service, uid=UID, *, to=TO, before=None):
    (result,) = await migrate(store, service, FROM, [batch(service, uid, to=to)], before)
    (outcome,) = result.outcomes
    return outcome, list(result.moved)


async def test_a_link_moves_with_its_hash_and_index_and_a_higher_epoch(store, raw, service):
    before = (await set_link(store, service, UID, FROM)).epoch
    outcome, (moved,) = await move(store, service)
    assert outcome is MOVED
    assert moved.epoch > before
    assert moved == Moved(UID, TO, moved.epoch)
    assert await get_link(store, service, UID) == Link(TO, moved.epoch)
    assert await raw.get(service.link(UID)) == "1"
    assert await raw.hgetall(service.links(UID)) == {"room": "1"}
    assert await count_links(store, service) == {TO: 1}


async def test_a_temporary_link_keeps_its_time_to_live(store, raw, service):
    await set_link(store, service, UID, FROM, 300)
    await raw.pexpire(service.link(UID), 123_456)
    await move(store, service)
    assert 113_456 < await raw.pttl(service.link(UID)) <= 123_456


async def test_a_persistent_link_stays_persistent(store, raw, service):
    await set_link(store, service, UID, FROM)
    await move(store, service)
    assert await raw.ttl(service.link(UID)) == -1


@pytest.mark.parametrize("seconds", [-1, 300])
async def test_a_target_that_is_the_source_only_raises_the_epoch(seconds, store, raw, service):
    before = (await set_link(store, service, UID, FROM, seconds)).epoch
    outcome, (moved,) = await move(store, service, to=FROM)
    assert outcome is MOVED
    assert moved.epoch > before
    assert await get_link(store, service, UID) == Link(FROM, moved.epoch)
    assert (await raw.ttl(service.link(UID)) == -1) is (seconds == -1)
    assert await raw.hgetall(service.links(UID)) == {"room": "0"}


async def link_is_gone(_store, raw, service):
    await raw.delete(service.link(UID))


async def link_and_hash_are_gone(_store, raw, service):
    await raw.delete(service.link(UID), service.links(UID))


async def gone_and_the_hash_names_another_pod(_store, raw, service):
    await raw.delete(service.link(UID))
    await raw.hset(service.links(UID), service.name, 9)


async def foreign_move(_store, raw, service):
    await raw.set(service.link(UID), 4)


async def foreign_move_back(store, raw, service):
    await set_link(store, service, UID, 4)
    await raw.set(service.link(UID), FROM)


async def our_move(store, _raw, service):
    await set_link(store, service, UID, 4)


async def foreign_value(_store, raw, service):
    await raw.set(service.link(UID), "elsewhere")


async def ordinal_that_cannot_be(_store, raw, service):
    await raw.set(service.link(UID), 8192)


async def not_in_the_index(_store, raw, service):
    await raw.zrem(service.index(service.bucket(UID)), UID)


NOT_MOVED = {
    # sentence: (what happened, outcome, the link's value, the index, the uid's hash)
    "the link has expired": (link_is_gone, DRIFT, None, {}, {}),
    "the link was removed": (link_and_hash_are_gone, DRIFT, None, {}, {}),
    "a hash that names another pod is not ours to mend": (
        gone_and_the_hash_names_another_pod,
        DRIFT,
        None,
        {},
        {"room": "9"},
    ),
    "a foreign client has moved it": (foreign_move, DRIFT, "4", {4: 1}, {"room": "0"}),
    "one of us was quicker": (our_move, OVERTAKEN, "4", {4: 1}, {"room": "4"}),
    "one of us was quicker, and a foreign client moved it back": (
        foreign_move_back,
        OVERTAKEN,
        "0",
        {4: 1},
        {"room": "4"},
    ),
    "the index has no entry": (not_in_the_index, OVERTAKEN, "0", {}, {"room": "0"}),
    "the link holds no pod": (foreign_value, FOREIGN, "elsewhere", {}, {"room": "0"}),
    "the link holds a pod that cannot be": (ordinal_that_cannot_be, FOREIGN, "8192", {}, {"room": "0"}),
}


@pytest.mark.parametrize("sentence", NOT_MOVED)
async def test_a_link_that_does_not_name_the_pod_stays_where_it_is(sentence, store, raw, service):
    happens, expected, value, index, hashed = NOT_MOVED[sentence]
    await set_link(store, service, UID, FROM)
    await happens(store, raw, service)
    outcome, moved = await move(store, service)
    assert outcome is expected
    assert moved == []
    assert await raw.get(service.link(UID)) == value
    assert await raw.hgetall(service.links(UID)) == hashed
    assert await count_links(store, service) == index
    if happens is not foreign_move_back:
        assert (await move(store, service))[0] is OVERTAKEN


async def test_only_links_of_an_earlier_epoch_move(store, service, next_millisecond):
    old = await set_link(store, service, "old", FROM)
    await next_millisecond()
    new = await set_link(store, service, "new", FROM)
    assert (await move(store, service, "old", before=old.epoch))[0] is OVERTAKEN
    assert (await move(store, service, "old", before=new.epoch))[0] is MOVED
    assert (await move(store, service, "new", before=new.epoch))[0] is OVERTAKEN
    assert await get_link(store, service, "new") == Link(FROM, new.epoch)
    assert (await move(store, service, "new", before=new.epoch + 1))[0] is MOVED


async def test_a_link_whose_epoch_was_raised_is_not_moved_again_as_an_earlier_one(store, service, next_millisecond):
    before = (await set_link(store, service, UID, FROM)).epoch + 1
    await next_millisecond()
    assert (await move(store, service, to=FROM, before=before))[0] is MOVED
    assert (await move(store, service, to=FROM, before=before))[0] is OVERTAKEN


async def test_a_full_batch_moves_each_link_to_its_own_target(store, service, crowd):
    uids = crowd(MAX_BATCH)
    targets = [1 + number % 3 for number in range(MAX_BATCH)]
    await store.run_many([set_link_call(service, uid, FROM) for uid in uids])
    (result,) = await migrate(store, service, FROM, [Batch(service.bucket(uids[0]), uids, targets)])
    assert [(link.uid, link.to) for link in result.moved] == list(zip(uids, targets, strict=True))
    assert set(result.outcomes) == {MOVED}
    assert [(await get_link(store, service, uid)).ordinal for uid in uids] == targets
    assert sum((await count_links(store, service)).values()) == MAX_BATCH


async def test_each_batch_has_its_own_result_in_order(store, raw, service):
    await set_link(store, service, "here", FROM)
    await set_link(store, service, "there", 5)
    await set_link(store, service, "gone", FROM)
    await raw.delete(service.link("gone"))
    results = await migrate(store, service, FROM, [batch(service, uid) for uid in ("here", "there", "gone")])
    assert [list(result.outcomes) for result in results] == [[MOVED], [OVERTAKEN], [DRIFT]]


async def test_no_batches_no_results(store, service):
    assert await migrate(store, service, FROM, []) == []


async def test_one_batch_with_links_of_every_kind(store, raw, service, crowd):
    here, expired, foreign, elsewhere, overtaken, also_here = uids = crowd(6)
    await store.run_many([set_link_call(service, uid, FROM) for uid in uids])
    await raw.delete(service.link(expired))
    await raw.set(service.link(foreign), "x")
    await raw.set(service.link(elsewhere), 7)
    await set_link(store, service, overtaken, 8)
    (result,) = await migrate(store, service, FROM, [batch(service, *uids)])
    assert list(result.outcomes) == [MOVED, DRIFT, FOREIGN, DRIFT, OVERTAKEN, MOVED]
    assert [link.uid for link in result.moved] == [here, also_here]
    assert await count_links(store, service) == {TO: 2, 7: 1, 8: 1}


async def test_a_foreign_hash_of_another_type_stops_no_link(store, raw, service, crowd):
    uids = crowd(3)
    await store.run_many([set_link_call(service, uid, FROM) for uid in uids])
    await raw.delete(service.links(uids[1]))
    await raw.set(service.links(uids[1]), "no hash")
    (result,) = await migrate(store, service, FROM, [batch(service, *uids)])
    assert list(result.outcomes) == [MOVED] * 3
    assert await raw.get(service.link(uids[1])) == "1"
    await raw.delete(service.link(uids[1]))
    (result,) = await migrate(store, service, TO, [batch(service, *uids, to=2)])
    assert list(result.outcomes) == [MOVED, DRIFT, MOVED]
    assert await raw.get(service.links(uids[1])) == "no hash"


async def test_a_batch_that_is_refused_stops_no_other(store, raw, service):
    await set_link(store, service, "good", FROM)
    await raw.set(service.index(service.bucket("bad")), "no index")
    results = await migrate(store, service, FROM, [batch(service, "bad"), batch(service, "good")])
    assert [[link.uid for link in result.moved] for result in results] == [["good"]]


async def test_when_all_batches_are_refused_it_says_so(store, raw, service):
    await raw.set(service.index(service.bucket("bad")), "no index")
    with pytest.raises(StoreRejected, match="WRONGTYPE"):
        await migrate(store, service, FROM, [batch(service, "bad")])


async def test_an_emptied_bucket_still_knows_its_highest_epoch(store, raw, service):
    await set_link(store, service, UID, FROM)
    ahead = 10**9 + (await move(store, service))[1][0].epoch
    await raw.zadd(service.index(service.bucket(UID)), {"": -ahead})
    await raw.delete(service.link(UID))
    (result,) = await migrate(store, service, TO, [batch(service, UID, to=2)])
    assert list(result.outcomes) == [DRIFT]
    assert (await set_link(store, service, UID, FROM)).epoch > ahead


async def test_an_epoch_of_a_move_is_the_servers_time_at_least(store, raw, service):
    await set_link(store, service, UID, FROM)
    seconds, micros = await raw.time()
    _, (moved,) = await move(store, service)
    assert 0 <= moved.epoch - (seconds * 1000 + micros // 1000 - EPOCH_START_MS) < 60_000


# Telling callers and pods


MOVES = [Moved("ada", 1, 5), Moved("玩家", 2, 6)]


async def test_moves_are_told_in_a_stream_and_by_a_wake_up(store, raw, service, wakeups):
    await append_moves(store, service, FROM, "Gone", MOVES)
    ((_, fields),) = await raw.xrange(service.moves)
    assert fields["from"] == "0"
    assert fields["reason"] == "Gone"
    assert json.loads(fields["moves"]) == [["ada", 1, 5], ["玩家", 2, 6]]
    assert await wakeups() == ["mv"]


async def test_no_moves_nothing_is_told(store, raw, service, wakeups):
    await append_moves(store, service, FROM, "Gone", [])
    assert await raw.keys() == []
    assert await wakeups() == []


async def test_moves_of_a_uid_that_is_no_text_are_told(store, raw, service):
    await append_moves(store, service, FROM, "Gone", [Moved("\udcff", 1, 5)])
    ((_, fields),) = await raw.xrange(service.moves)
    assert json.loads(fields["moves"]) == [["\udcff", 1, 5]]


@pytest.mark.parametrize("owner", ["other/2", None], ids=["another owner", "nobody, the store was emptied"])
async def test_who_has_lost_the_service_learns_it_and_what_has_moved_is_told_all_the_same(
    owner, store, raw, service, wakeups
):
    if owner:
        await claim(store, service, owner, {"heartbeat": "Auto"})
    with pytest.raises(OwnedElsewhere) as caught:
        await append_moves(store, service, FROM, "Gone", MOVES, owner="mine/1")
    assert caught.value.owner == (owner or "")
    assert await raw.xlen(service.moves) == 1
    assert await wakeups() == ["mv"]


async def test_the_owner_and_who_owns_nothing_tell_without_complaint(store, raw, service):
    await claim(store, service, "mine/1", {"heartbeat": "Auto"})
    await append_moves(store, service, FROM, "Gone", MOVES, owner="mine/1")
    await append_moves(store, service, FROM, "Gone", MOVES)
    assert await raw.xlen(service.moves) == 2


@pytest.mark.parametrize("text", ["03", "003", "3"])
async def test_a_foreign_link_with_leading_zeros_leaves_its_pod_too(text, store, raw, service):
    await raw.set(service.link("zero"), text)
    await raw.hset(service.links("zero"), service.name, text)
    bucket = service.bucket("zero")
    assert (await repair(store, service, [Bucket(bucket, ["zero"])])).found == 1
    (result,) = await migrate(store, service, 3, [Batch(bucket, ["zero"], [1])])
    assert result.outcomes == [Outcome.MOVED]
    assert (await raw.get(service.link("zero")), await raw.hget(service.links("zero"), service.name)) == ("1", "1")


async def test_the_field_of_a_link_that_is_gone_goes_also_with_leading_zeros(store, raw, service):
    await set_link(store, service, "ada", 3)
    await raw.delete(service.link("ada"))
    await raw.hset(service.links("ada"), service.name, "03")
    await migrate(store, service, 3, [Batch(service.bucket("ada"), ["ada"], [1])])
    assert not await raw.exists(service.links("ada"))


@pytest.mark.parametrize("target", [3, 5])
async def test_a_retained_link_that_moves_is_owned_by_nobody_afterwards(target, store, raw, service):
    await set_link(store, service, "ada", 3)
    await remove_link(store, service, "ada", 60)
    (result,) = await migrate(store, service, 3, [Batch(service.bucket("ada"), ["ada"], [target])])
    assert result.outcomes == [Outcome.MOVED]
    assert await get_link(store, service, "ada") == Link(target, result.epoch)
    assert not await is_owner(store, service, "ada", target, result.epoch)
    assert not await raw.exists(service.links("ada"))
    assert 58 <= await raw.ttl(service.link("ada")) <= 60


@pytest.mark.parametrize("seconds", [PERSISTENT, 60])
async def test_a_link_that_is_owned_is_owned_after_its_move(seconds, store, raw, service):
    await set_link(store, service, "ada", 3, seconds)
    (result,) = await migrate(store, service, 3, [Batch(service.bucket("ada"), ["ada"], [5])])
    assert await is_owner(store, service, "ada", 5, result.epoch)


async def test_a_persistent_foreign_link_without_a_field_gets_one_by_its_move(store, raw, service):
    await raw.set(service.link("ada"), 3)
    await repair(store, service, [Bucket(service.bucket("ada"), ["ada"])])
    await migrate(store, service, 3, [Batch(service.bucket("ada"), ["ada"], [5])])
    assert await raw.hget(service.links("ada"), service.name) == "5"
