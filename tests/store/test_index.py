"""The reverse index: which uids a pod has, how many, and what a repair makes of links that foreign clients wrote."""

import math
import time

import pytest

from stateful_route.domain.errors import StoreRejected
from stateful_route.store.index import (
    LINKS_PER_REPAIR,
    Bucket,
    Repaired,
    all_links,
    count_links,
    linked_uids,
    links_of_pod,
    purge,
    rebuild,
    repair,
    repair_service,
)
from stateful_route.store.keys import BUCKETS, Service
from stateful_route.store.links import get_link, set_link, set_link_call
from stateful_route.store.moves import read_moves
from stateful_route.store.states import NO_ENTRY

UID = "ada"


async def collected(buckets):
    """All uids of a walk, once each, in no order; each bucket's number is the uids'."""
    found = [uid async for some in buckets for bucket in some for uid in bucket.uids]
    assert len(found) == len(set(found))
    return set(found)


def bucket_of(service, *uids):
    return [Bucket(service.bucket(uid), [uid]) for uid in uids]


async def link_all(store, service, pods):
    replies = await store.run_many([set_link_call(service, uid, pod) for uid, pod in pods.items()])
    assert not [reply for reply in replies if isinstance(reply, Exception)]


async def foreign_link(raw, service, uid, pod):
    await raw.set(service.link(uid), pod)
    await raw.hset(service.links(uid), service.name, pod)


async def test_a_pods_uids_are_found_and_nobody_elses(store, service):
    pods = {f"user-{number}": number % 3 for number in range(600)}
    await link_all(store, service, pods)
    for pod in range(3):
        expected = {uid for uid, of in pods.items() if of == pod}
        assert await collected(links_of_pod(store, service, pod)) == expected
    assert await collected(links_of_pod(store, service, 3)) == set()
    assert await collected(all_links(store, service)) == set(pods)


async def test_each_uid_is_listed_in_its_bucket(store, service):
    await link_all(store, service, {f"user-{number}": 1 for number in range(50)})
    async for buckets in links_of_pod(store, service, 1):
        for bucket in buckets:
            assert all(service.bucket(uid) == bucket.number for uid in bucket.uids)


async def test_another_services_links_are_not_listed(store, service):
    await set_link(store, Service("games", "chat"), UID, 1)
    await set_link(store, Service("other", "room"), UID, 1)
    assert await collected(all_links(store, service)) == set()
    assert await count_links(store, service) == {}


async def test_links_are_counted_by_pod(store, service):
    pods = {f"user-{number}": (0, 0, 0, 7, 8191)[number % 5] for number in range(500)}
    await link_all(store, service, pods)
    assert await count_links(store, service) == {0: 300, 7: 100, 8191: 100}


async def test_only_links_before_an_epoch_are_listed(store, service, next_millisecond):
    old = await set_link(store, service, "old", 1)
    await next_millisecond()
    new = await set_link(store, service, "new", 1)
    assert await collected(links_of_pod(store, service, 1, before=old.epoch)) == set()
    assert await collected(links_of_pod(store, service, 1, before=new.epoch)) == {"old"}
    assert await collected(links_of_pod(store, service, 1, before=new.epoch + 1)) == {"old", "new"}


async def test_many_uids_of_one_bucket_are_listed_together(store, service, crowd):
    uids = crowd(450)
    await link_all(store, service, dict.fromkeys(uids, 2))
    (buckets,) = [some async for some in links_of_pod(store, service, 2)]
    assert [(bucket.number, set(bucket.uids)) for bucket in buckets] == [(service.bucket(uids[0]), set(uids))]


async def deleted(raw, service):
    await raw.delete(service.link(UID))


async def moved(raw, service):
    await foreign_link(raw, service, UID, 4)


async def overwritten(raw, service):
    await raw.set(service.link(UID), "elsewhere")


async def nothing(raw, service):
    pass


async def other_type(raw, service):
    await raw.delete(service.link(UID))
    await raw.rpush(service.link(UID), "x")


REPAIRS = {
    # sentence: (what a foreign client did, what the repair says, the pod in the index, the uid's hash)
    "a link that agrees is left alone": (nothing, Repaired(), 3, {"room": "3"}),
    "an entry whose link is gone is dropped": (deleted, Repaired(expired=1), None, {}),
    "an entry that names another pod is corrected": (moved, Repaired(moved=1), 4, {"room": "4"}),
    "a link that holds no pod leaves the index": (overwritten, Repaired(foreign=1), None, {"room": "3"}),
    "a key of another type is no link": (other_type, Repaired(expired=1), None, {}),
}


@pytest.mark.parametrize("sentence", REPAIRS)
async def test_a_repair_makes_the_index_agree_with_the_links(sentence, store, raw, service):
    happens, expected, pod, hashed = REPAIRS[sentence]
    before = (await set_link(store, service, UID, 3)).epoch
    await happens(raw, service)
    value = await raw.get(service.link(UID)) if happens is not other_type else None
    assert await repair(store, service, bucket_of(service, UID)) == expected
    assert await count_links(store, service) == ({} if pod is None else {pod: 1})
    assert await raw.hgetall(service.links(UID)) == hashed
    if happens is not other_type:
        assert await raw.get(service.link(UID)) == value
    if pod is not None:
        link = await get_link(store, service, UID)
        assert link.ordinal == pod
        assert link.epoch > before if happens is moved else link.epoch == before
    assert await repair(store, service, bucket_of(service, UID)) == Repaired(foreign=expected.foreign)


async def test_a_foreign_link_is_found_and_gets_an_epoch(store, raw, service):
    await foreign_link(raw, service, UID, 4)
    assert await repair(store, service, bucket_of(service, UID, "nobody")) == Repaired(found=1)
    link = await get_link(store, service, UID)
    assert link.ordinal == 4
    assert link.epoch > 0


async def test_a_repair_after_expiry_keeps_the_uids_other_services(store, raw, service):
    await set_link(store, service, UID, 3)
    await set_link(store, Service("games", "chat"), UID, 1)
    await raw.delete(service.link(UID))
    await repair(store, service, bucket_of(service, UID))
    assert await raw.hgetall(service.links(UID)) == {"chat": "1"}


async def test_a_repair_keeps_the_highest_epoch_of_a_bucket(store, raw, service, crowd):
    uid, other = crowd(2)
    ahead = (await set_link(store, service, uid, 3)).epoch + 10**9
    await raw.zadd(service.index(service.bucket(uid)), {"": -ahead})
    await foreign_link(raw, service, other, 4)
    await repair(store, service, [Bucket(service.bucket(uid), [uid, other])])
    assert (await get_link(store, service, other)).epoch == ahead + 1


async def test_a_foreign_hash_of_another_type_stops_no_repair(store, raw, service):
    await set_link(store, service, UID, 3)
    await raw.delete(service.links(UID), service.link(UID))
    await raw.set(service.links(UID), "no hash")
    await foreign_link(raw, service, "bob", 4)
    assert await repair(store, service, bucket_of(service, UID, "bob")) == Repaired(expired=1, found=1)
    assert await raw.get(service.links(UID)) == "no hash"


async def test_an_index_of_another_type_is_rejected(store, raw, service):
    await raw.set(service.index(service.bucket(UID)), "no index")
    with pytest.raises(StoreRejected, match="WRONGTYPE"):
        await repair(store, service, bucket_of(service, UID))
    with pytest.raises(StoreRejected, match="WRONGTYPE"):
        await count_links(store, service)
    with pytest.raises(StoreRejected, match="WRONGTYPE"):
        await collected(all_links(store, service))


async def test_a_repair_of_more_uids_than_one_script_takes(store, raw, service, crowd):
    uids = crowd(2 * LINKS_PER_REPAIR + 50)
    for uid in uids[::2]:
        await raw.set(service.link(uid), 5)
    await link_all(store, service, dict.fromkeys(uids[1::2], 6))
    assert await repair(store, service, [Bucket(service.bucket(uids[0]), uids)]) == Repaired(found=len(uids[::2]))
    assert await count_links(store, service) == {5: len(uids[::2]), 6: len(uids[1::2])}


async def test_a_purge_deletes_all_links_of_the_service_and_no_others(store, raw, service, crowd):
    chat = Service("games", "chat")
    uids = [*crowd(LINKS_PER_REPAIR + 30), UID, "bob"]
    await link_all(store, service, dict.fromkeys(uids, 3))
    await set_link(store, chat, UID, 1)
    await raw.delete(service.link("bob"))
    assert (await purge(store, service)).deleted == len(uids) - 1
    left = {chat.link(UID), chat.links(UID), chat.index(chat.bucket(UID))}
    left.add(service.moves)
    assert set(await raw.keys()) == left | {service.floor(service.bucket(uid)) for uid in uids}
    assert await raw.hgetall(chat.links(UID)) == {"chat": "1"}


async def test_a_purge_of_nothing_is_told_as_well_since_the_one_before_may_have_been_cut_short(store, service):
    assert (await purge(store, service)).deleted == 0
    assert [move.reason for move in (await read_moves(store, service, NO_ENTRY)).entries] == ["Purged", "Purged"]


async def test_a_purge_passes_a_foreign_hash_of_another_type(store, raw, service):
    await link_all(store, service, {UID: 3, "bob": 3})
    await raw.delete(service.links(UID))
    await raw.set(service.links(UID), "no hash")
    assert (await purge(store, service)).deleted == 2
    floors = {service.floor(service.bucket(uid)) for uid in (UID, "bob")}
    assert set(await raw.keys()) == {service.links(UID), service.moves, *floors}


async def test_links_are_found_by_scan_whether_indexed_or_not(store, raw, service):
    await link_all(store, service, {f"ours-{number}": 1 for number in range(700)})
    for number in range(700):
        await raw.set(service.link(f"theirs-{number}"), 2)
    expected = {f"{who}-{number}" for who in ("ours", "theirs") for number in range(700)}
    assert await collected(linked_uids(store, service)) == expected


async def test_a_scan_and_a_repair_take_foreign_links_into_the_index(store, raw, service):
    pods = {f"user-{number}": number % 2 for number in range(300)}
    for uid, pod in pods.items():
        await foreign_link(raw, service, uid, pod)
    assert await repair_service(store, service, foreign=True, keys_per_second=math.inf) == Repaired(found=300)
    assert await count_links(store, service) == {0: 150, 1: 150}


GLOBS = ["*", "?", "[a-z]", "[^a]", "a\\", "a-b", "^x", "["]


@pytest.mark.parametrize("glob", GLOBS)
async def test_glob_characters_in_names_stand_for_themselves(glob, store, raw):
    odd = Service(f"ns{glob}", f"svc{glob}")
    await foreign_link(raw, odd, glob, 1)
    for namespace, name in [(f"ns{glob}x", odd.name), ("nsa", "svca"), (odd.namespace, "svcz"), ("ns", "svc")]:
        await foreign_link(raw, Service(namespace, name), "neighbour", 1)
    assert await collected(linked_uids(store, odd)) == {glob}


async def test_a_scan_takes_no_other_key_for_a_link(store, raw, service):
    await set_link(store, service, UID, 1)
    await set_link(store, Service("games", "bedroom"), UID, 1)
    await raw.set("sf:{games:lk:}room", 1)
    await raw.set("sf:{games:lk:a}b}room", 1)
    await raw.set(f"sf:{{games:lk:{'x' * 1025}}}room", 1)
    assert await collected(linked_uids(store, service)) == {UID}


async def test_a_foreign_uid_that_is_no_text_is_listed_and_repaired(store, raw, service):
    key = b"sf:{games:lk:\xff\xfe}room"
    await raw.set(key, 6)
    assert await repair_service(store, service, foreign=True, keys_per_second=math.inf) == Repaired(found=1)
    (uid,) = await collected(links_of_pod(store, service, 6))
    assert service.link(uid).encode(errors="surrogateescape") == key


async def test_an_empty_store_has_no_links(store, service):
    assert await collected(linked_uids(store, service)) == set()
    assert await repair(store, service, []) == Repaired()


# Repairing and rebuilding a whole service


def scores_of(contents, service):
    """Uid → score of all index entries of a service."""
    tail = f"ix:{service.namespace}:{service.name}"
    return {uid: score for key, (value, _) in contents.items() if key.endswith(tail) for uid, score in value if uid}


async def test_a_service_is_repaired_with_or_without_foreign_links(store, raw, service):
    await link_all(store, service, {f"user-{number}": 1 for number in range(100)})
    await raw.delete(service.link("user-0"))
    await raw.set(service.link("user-1"), 2)
    await foreign_link(raw, service, UID, 5)
    assert await repair_service(store, service, foreign=False, keys_per_second=math.inf) == Repaired(expired=1, moved=1)
    assert await repair_service(store, service, foreign=True, keys_per_second=math.inf) == Repaired(found=1)
    assert await repair_service(store, service, foreign=True, keys_per_second=math.inf) == Repaired()
    assert await count_links(store, service) == {1: 98, 2: 1, 5: 1}


async def test_a_repair_tells_how_far_it_is(store, raw, service):
    await link_all(store, service, {f"user-{number}": 1 for number in range(2500)})
    await raw.delete(service.link("user-0"))
    told = []
    await repair_service(store, service, foreign=False, tell=lambda looked, found: told.append((looked, found)))
    assert [looked for looked, _ in told] == sorted({looked for looked, _ in told})
    assert len(told) >= 3
    assert told[-1] == (2500, Repaired(expired=1))


async def test_a_repair_keeps_to_its_rate(store, service):
    await link_all(store, service, {f"user-{number}": 1 for number in range(1500)})
    began = time.monotonic()
    await repair_service(store, service, foreign=False, keys_per_second=5000)
    assert time.monotonic() - began >= 0.3


async def test_a_scan_that_finds_nothing_keeps_to_its_rate_too(store, raw, service):
    await raw.mset({f"other-{number}": "x" for number in range(2000)})
    began = time.monotonic()
    await repair_service(store, service, foreign=True, index=False, keys_per_second=5000)
    assert time.monotonic() - began >= 0.3


async def test_a_lost_index_is_rebuilt_and_no_epoch_falls(store, raw, service, contents):
    pods = {f"user-{number}": number % 3 for number in range(300)}
    await link_all(store, service, pods)
    before = {uid: await get_link(store, service, uid) for uid in pods}
    for key in await raw.keys("sf:{*}ix:*"):
        await raw.delete(key)
    assert await rebuild(store, service, keys_per_second=math.inf) == Repaired(found=300)
    assert await count_links(store, service) == {0: 100, 1: 100, 2: 100}
    for uid, link in before.items():
        now = await get_link(store, service, uid)
        assert now.ordinal == link.ordinal
        assert now.epoch >= link.epoch


async def test_a_rebuild_of_an_index_that_agrees_changes_nothing(store, service, contents):
    await link_all(store, service, {f"user-{number}": number % 3 for number in range(60)})
    before = await contents()
    assert await rebuild(store, service, keys_per_second=math.inf) == Repaired()
    after = await contents()
    del after[service.counts]
    assert after == before


async def test_a_rebuild_keeps_what_agrees_and_mends_the_rest(store, raw, service, contents):
    await link_all(store, service, {f"user-{number}": 1 for number in range(50)})
    before = scores_of(await contents(), service)
    await raw.delete(service.link("user-0"))
    await raw.set(service.link("user-1"), 2)
    await foreign_link(raw, service, UID, 5)
    assert await rebuild(store, service, keys_per_second=math.inf) == Repaired(expired=1, moved=1, found=1)
    after = scores_of(await contents(), service)
    assert {uid for uid in after if after[uid] != before.get(uid)} == {"user-1", UID}
    assert set(before) - set(after) == {"user-0"}


async def replaced_by_text(raw, index):
    await raw.delete(index)
    await raw.set(index, "no index")


DAMAGE = {
    # sentence: (what happened to ada's bucket, entries that are dropped)
    "a key of another type": (replaced_by_text, 1),
    "an entry of another bucket": (lambda raw, index: raw.zadd(index, {"stray": 5}), 1),
    "an entry with a brace": (lambda raw, index: raw.zadd(index, {"a}b": 5}), 1),
    "a score below zero": (lambda raw, index: raw.zadd(index, {"x": -5}), 1),
    "a score that is infinite": (lambda raw, index: raw.zadd(index, {"x": "inf"}), 1),
    "a pod beyond the last": (lambda raw, index: raw.zadd(index, {"x": 8192 * 2**40}), 1),
    "a score that is not whole": (lambda raw, index: raw.zadd(index, {"x": 2.5}), 1),
    "a lost highest epoch": (lambda raw, index: raw.zrem(index, ""), 0),
}


@pytest.mark.parametrize("sentence", DAMAGE)
async def test_a_rebuild_mends(sentence, store, raw, service):
    damage, dropped = DAMAGE[sentence]
    before = await set_link(store, service, UID, 3)
    index = service.index(service.bucket(UID))
    await damage(raw, index)
    repaired = await rebuild(store, service, keys_per_second=math.inf)
    assert repaired.broken == dropped
    assert await raw.zrange(index, 0, -1) == ["", UID]
    link = await get_link(store, service, UID)
    assert link.ordinal == 3
    assert link.epoch >= before.epoch
    assert await raw.zscore(index, "") == -link.epoch


async def test_an_epoch_ahead_of_the_clock_survives_the_loss_of_its_buckets_highest(store, raw, service):
    ahead = (await set_link(store, service, UID, 3)).epoch + 10**9
    index = service.index(service.bucket(UID))
    await raw.zadd(index, {UID: 3 * 2**40 + ahead})
    await raw.zrem(index, "")
    await rebuild(store, service, keys_per_second=math.inf)
    assert (await get_link(store, service, UID)).epoch == ahead
    assert (await set_link(store, service, UID, 4)).epoch == ahead + 1


async def test_a_stray_entry_stops_no_repair(store, raw, service):
    await set_link(store, service, UID, 3)
    await raw.zadd(service.index((service.bucket(UID) + 1) % BUCKETS), {UID: 3 * 2**40 + 5})
    assert await repair_service(store, service, foreign=False, keys_per_second=math.inf) == Repaired(broken=1)
    assert await count_links(store, service) == {3: 1}
