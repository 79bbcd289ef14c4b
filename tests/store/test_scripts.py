"""The scripts one by one: what they find, choose, keep and drop; and that a server that lost them gets them again."""

import asyncio
import re

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from stateful_route.domain.epoch import EPOCH_START_MS, split
from stateful_route.domain.errors import InvalidArgument, StoreRejected, StoreUnavailable
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import Reason, RoutingState
from stateful_route.resources import shipped
from stateful_route.store.index import Bucket, count_links, repair
from stateful_route.store.keys import Service
from stateful_route.store.links import (
    PERSISTENT,
    Candidates,
    Computed,
    Link,
    Relinked,
    Removed,
    Tried,
    answered,
    compute_link_if_absent,
    compute_link_if_absent_request,
    get_link,
    get_link_if_persist,
    get_link_service,
    is_owner,
    remove_link,
    remove_link_request,
    remove_link_with_id,
    remove_link_with_id_request,
    set_link,
    set_link_call,
    set_link_if_absent,
    try_set_link,
)
from stateful_route.store.migrate import Batch, Outcome, migrate
from stateful_route.store.scripts import READS_ONLY, REPEATABLE, script
from stateful_route.store.states import claim, get_service_pod, set_operator_states, set_state

UID = "ada"
REFERENCE = [
    "statefulSetLink",
    "statefulTrySetLink",
    "statefulSetLinkIfAbsent",
    "statefulRemoveLink",
    "statefulRemoveLinkWithId",
    "statefulGetLinkIfPersist",
    "statefulComputeLinkIfAbsent",
    "statefulGetServicePod",
    "statefulGetService",
    "statefulSetState",
    "statefulGetLinkService",
]
WRITES = {
    "SET",
    "HSET",
    "HSETNX",
    "HDEL",
    "DEL",
    "ZADD",
    "ZREM",
    "EXPIRE",
    "PEXPIRE",
    "PEXPIREAT",
    "XADD",
    "XTRIM",
    "PERSIST",
}
ALL = sorted(path.stem for path in shipped("lua").iterdir() if path.suffix == ".lua")


async def gone(raw, key):
    return not await raw.exists(key)


async def expired(raw, eventually, key):
    await raw.pexpire(key, 1)
    await eventually(lambda: gone(raw, key))


def test_all_eleven_scripts_of_the_reference_are_there():
    assert set(REFERENCE) <= set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_what_is_said_to_read_only_does_and_nothing_else(name):
    body = script(name).source.partition("]]")[2]
    writes = WRITES & set(re.findall(r"redis\.p?call\(\s*'([A-Z]+)'", body))
    assert (name in READS_ONLY) is not bool(writes)
    assert script(name).writes is bool(writes)


@pytest.mark.parametrize("name", sorted(REPEATABLE | READS_ONLY))
def test_a_script_of_which_something_is_said_exists(name):
    assert script(name).repeatable


# statefulTrySetLink


async def test_a_persistent_link_of_another_pod_is_respected(store, service, contents):
    done = await set_link(store, service, UID, 3)
    before = await contents()
    assert await try_set_link(store, service, UID, 4) == Tried(done=False, ordinal=3, epoch=done.epoch, previous=3)
    assert await contents() == before


async def test_a_foreign_persistent_link_is_respected_and_has_no_epoch(store, raw, service, contents):
    await raw.set(service.link(UID), 3)
    before = await contents()
    assert await try_set_link(store, service, UID, 4) == Tried(done=False, ordinal=3, epoch=-1, previous=3)
    assert await contents() == before


async def test_a_temporary_link_gives_way_and_its_epoch_rises(store, raw, service):
    before = await set_link_if_absent(store, service, UID, 3, 300)
    tried = await try_set_link(store, service, UID, 4)
    assert (tried.done, tried.ordinal) == (True, 4)
    assert tried.epoch > before.epoch
    assert await raw.ttl(service.link(UID)) == -1
    assert await raw.hget(service.links(UID), "room") == "4"
    assert await count_links(store, service) == {4: 1}


async def test_a_pod_makes_its_own_temporary_link_persistent_and_keeps_the_epoch(store, raw, service):
    before = await set_link_if_absent(store, service, UID, 3, 300)
    assert await try_set_link(store, service, UID, 3) == Tried(done=True, ordinal=3, epoch=before.epoch, previous=3)
    assert await raw.ttl(service.link(UID)) == -1


@pytest.mark.parametrize("value", ["elsewhere", "", "8192", "-1"])
async def test_what_is_no_pod_index_is_nobodys_persistent_link(value, store, raw, service):
    await raw.set(service.link(UID), value)
    assert (await try_set_link(store, service, UID, 4)).done


# statefulRemoveLink, statefulRemoveLinkWithId, isOwner


async def test_a_removed_link_leaves_nothing_but_the_highest_epoch_of_its_bucket(store, raw, service):
    done = await set_link(store, service, UID, 3)
    assert await remove_link(store, service, UID) is True
    index = service.index(service.bucket(UID))
    assert await raw.keys() == [index]
    assert await raw.zrange(index, 0, -1, withscores=True) == [("", -done.epoch)]
    assert await remove_link(store, service, UID) is False
    again = await set_link(store, service, UID, 3)
    assert again.previous is None
    assert again.epoch > done.epoch


async def test_removing_one_services_link_leaves_the_others(store, raw, service):
    other = Service("games", "chat")
    await set_link(store, service, UID, 3)
    await set_link(store, other, UID, 5)
    await remove_link(store, service, UID)
    assert await raw.hgetall(service.links(UID)) == {"chat": "5"}
    assert (await get_link(store, other, UID)).ordinal == 5


@pytest.mark.parametrize("seconds", [0, 60])
async def test_a_pod_removes_only_its_own_link(seconds, store, service, contents):
    await set_link(store, service, UID, 3)
    before = await contents()
    assert await remove_link_with_id(store, service, UID, 4, seconds) is False
    assert await remove_link_with_id(store, service, "bob", 4, seconds) is False
    assert await contents() == before
    assert await remove_link_with_id(store, service, UID, 3, seconds) is True


@pytest.mark.parametrize("named", [False, True], ids=["whatever it names", "if it names the pod"])
async def test_a_removal_says_which_link_it_removed(named, store, raw, service):
    def request(uid, keep=0):
        return remove_link_with_id_request(service, uid, 3, keep) if named else remove_link_request(service, uid, keep)

    linked = await set_link(store, service, UID, 3)
    assert await answered(store, request(UID)) == Removed(done=True, ordinal=3, epoch=linked.epoch)
    nothing = await answered(store, request(UID))
    assert nothing == Removed(done=False, ordinal=None, epoch=-1)
    assert not nothing
    await raw.set(service.link(UID), "3")
    assert await answered(store, request(UID)) == Removed(done=True, ordinal=3, epoch=-1)


@pytest.mark.parametrize("named", [False, True], ids=["whatever it names", "if it names the pod"])
async def test_a_retained_link_is_told_by_its_new_epoch(named, store, service):
    linked = await set_link(store, service, UID, 3)
    request = remove_link_with_id_request(service, UID, 3, 60) if named else remove_link_request(service, UID, 60)
    kept = await answered(store, request)
    assert kept == Removed(done=True, ordinal=3, epoch=(await get_link(store, service, UID)).epoch)
    assert kept.epoch > linked.epoch


async def test_a_removal_that_found_another_pods_link_says_whose(store, service):
    await set_link(store, service, UID, 3)
    other = await answered(store, remove_link_with_id_request(service, UID, 4))
    assert other == Removed(done=False, ordinal=3, epoch=-1)
    assert not other


async def test_who_takes_a_link_over_learns_whose_it_was(store, service):
    assert (await try_set_link(store, service, UID, 3, 300)).previous is None
    assert (await try_set_link(store, service, UID, 4)).previous == 3
    assert (await try_set_link(store, service, UID, 5)).previous == 4


async def by_anybody(store, service):
    return await remove_link(store, service, UID, 60)


async def by_its_pod(store, service):
    return await remove_link_with_id(store, service, UID, 3, 60)


@pytest.mark.parametrize("remove", [by_anybody, by_its_pod])
@pytest.mark.parametrize("seconds", [PERSISTENT, 10, 300])
async def test_a_retained_link_is_found_but_owned_by_nobody(remove, seconds, store, raw, service):
    done = await set_link(store, service, UID, 3, seconds)
    assert await is_owner(store, service, UID, 3, done.epoch)
    assert await remove(store, service) is True
    assert 58 <= await raw.ttl(service.link(UID)) <= 60
    assert await raw.hgetall(service.links(UID)) == {}
    assert await count_links(store, service) == {3: 1}
    kept = await get_link(store, service, UID)
    assert kept.ordinal == 3
    assert kept.epoch > done.epoch
    assert not await is_owner(store, service, UID, 3, done.epoch)
    assert not await is_owner(store, service, UID, *kept)
    assert await get_link_service(store, "games", UID) == {}
    assert await set_link_if_absent(store, service, UID, 5, 60) == kept
    assert not await is_owner(store, service, UID, *kept)


async def test_who_takes_a_retained_link_again_gets_a_new_epoch_and_owns_it(store, raw, service):
    done = await set_link(store, service, UID, 3)
    await remove_link(store, service, UID, 60)
    kept = await get_link(store, service, UID)
    again = await try_set_link(store, service, UID, 3)
    assert again.epoch > kept.epoch
    assert await is_owner(store, service, UID, 3, again.epoch)
    assert not await is_owner(store, service, UID, 3, done.epoch)
    await raw.hdel(service.links(UID), "room")  # as a foreign client retains it, whose script knows no epoch
    await raw.expire(service.link(UID), 60)
    assert not await is_owner(store, service, UID, 3, again.epoch)
    assert (await set_link(store, service, UID, 3)).epoch > again.epoch


async def test_a_retained_link_moves_like_a_temporary_one(store, raw, service):
    await set_link(store, service, UID, 3)
    await remove_link(store, service, UID, 60)
    (result,) = await migrate(store, service, 3, [Batch(service.bucket(UID), [UID], [5])])
    assert list(result.outcomes) == [Outcome.MOVED]
    assert 58 <= await raw.ttl(service.link(UID)) <= 60


async def test_what_is_no_pod_index_is_removed_and_not_retained(store, raw, service):
    await raw.set(service.link(UID), "elsewhere")
    assert await remove_link_with_id(store, service, UID, 3, 60) is False
    assert await remove_link(store, service, UID, 60) is True
    assert not await raw.exists(service.link(UID))


async def test_removing_an_expired_link_clears_what_was_left_of_it(store, raw, service, eventually):
    await set_link(store, service, UID, 3, 60)
    await expired(raw, eventually, service.link(UID))
    assert await remove_link(store, service, UID, 60) is False
    assert await raw.keys() == [service.index(service.bucket(UID))]
    assert await count_links(store, service) == {}


async def nothing(*_):
    pass


async def linked_elsewhere(store, raw, service):
    await set_link(store, service, UID, 4)


async def moved_by_a_foreign_client(store, raw, service):
    await raw.set(service.link(UID), 4)
    await raw.hset(service.links(UID), "room", 4)


async def linked_elsewhere_and_back(store, raw, service):
    await set_link(store, service, UID, 4)
    await set_link(store, service, UID, 3)


async def deleted_and_set_again(store, raw, service):
    await remove_link(store, service, UID)
    await set_link(store, service, UID, 3)


async def epoch_raised(store, raw, service):
    await migrate(store, service, 3, [Batch(service.bucket(UID), [UID], [3])])


async def made_temporary(store, raw, service):
    await set_link(store, service, UID, 3, 60)


async def clock_ms(raw):
    seconds, micros = await raw.time()
    return seconds * 1000 + micros // 1000


async def index_lost(store, raw, service):
    await raw.delete(service.index(service.bucket(UID)))


async def index_lost_and_repaired(store, raw, service):
    await index_lost(store, raw, service)
    before = await clock_ms(raw)
    while await clock_ms(raw) == before:
        """An epoch that was lost with its bucket is issued again in the same millisecond."""
    await repair(store, service, [Bucket(service.bucket(UID), [UID])])


OWNED = {
    "nothing has happened": (nothing, True),
    "it was made temporary": (made_temporary, True),
    "another pod was linked": (linked_elsewhere, False),
    "a foreign client has moved it": (moved_by_a_foreign_client, False),
    "it went away and came back": (linked_elsewhere_and_back, False),
    "it was removed and set again": (deleted_and_set_again, False),
    "the pod was replaced and its links stay": (epoch_raised, False),
    "the index was lost": (index_lost, False),
    "the index was made anew": (index_lost_and_repaired, False),
}


@pytest.mark.parametrize("sentence", OWNED)
async def test_a_pod_owns_a_uid_since_its_epoch_if(sentence, store, raw, service):
    happens, owned = OWNED[sentence]
    epoch = (await set_link(store, service, UID, 3)).epoch
    await happens(store, raw, service)
    assert await is_owner(store, service, UID, 3, epoch) is owned


async def test_nobody_else_owns_it(store, service):
    epoch = (await set_link(store, service, UID, 3)).epoch
    for pod, since in ((2, epoch), (4, epoch), (3, epoch - 1), (3, epoch + 1), (3, -1), (3, 0)):
        assert not await is_owner(store, service, UID, pod, since)
    assert not await is_owner(store, service, "bob", 3, epoch)
    assert not await is_owner(store, service, "bob", 0, -1)


async def test_nobody_owns_pod_0_s_link_that_a_foreign_client_has_made(store, raw, service):
    """Its missing entry must not look like the epoch -1 of pod 0."""
    await raw.set(service.link(UID), "0")
    assert not await is_owner(store, service, UID, 0, -1)


@pytest.mark.parametrize("epoch", [-2, 2**40, 1.0, "1", None, True])
async def test_what_is_no_epoch_is_refused(epoch, store, service):
    with pytest.raises(InvalidArgument, match="an epoch is"):
        await is_owner(store, service, UID, 3, epoch)


# statefulGetLinkIfPersist


async def test_only_a_persistent_link_counts_if_that_is_asked_for(store, raw, service):
    assert await get_link_if_persist(store, service, UID) is None
    await set_link(store, service, UID, 0, 60)
    assert await get_link_if_persist(store, service, UID) is None
    done = await set_link(store, service, UID, 0)
    assert await get_link_if_persist(store, service, UID) == Link(0, done.epoch)
    await raw.set(service.link("bob"), 5)
    assert await get_link_if_persist(store, service, "bob") == Link(5, -1)
    await raw.set(service.link("bob"), "elsewhere")
    with pytest.raises(StoreRejected, match="FOREIGN"):
        await get_link_if_persist(store, service, "bob")


# statefulComputeLinkIfAbsent


async def test_the_least_loaded_candidate_gets_a_new_uid(store, raw, service):
    computed = await compute_link_if_absent(store, service, UID, Candidates({4: 20, 7: 5, 1: 5.5}), 300)
    assert computed == Computed(7, (await get_link(store, service, UID)).epoch, None)
    assert 298 <= await raw.ttl(service.link(UID)) <= 300
    assert await raw.hgetall(service.links(UID)) == {"room": "7"}
    assert await count_links(store, service) == {7: 1}


async def test_a_link_to_a_pod_that_is_not_dead_is_left_alone(store, service, contents):
    done = await set_link(store, service, UID, 3)
    before = await contents()
    for candidates in (Candidates({4: 0}), Candidates({}), Candidates({4: 0}, dead=frozenset({1, 13, 33}))):
        assert await compute_link_if_absent(store, service, UID, candidates, 60) == Computed(3, done.epoch, 3)
    assert await contents() == before


@pytest.mark.parametrize("seconds", [PERSISTENT, 60])
async def test_a_uid_of_a_dead_pod_moves_at_once_and_its_epoch_rises(seconds, store, raw, service):
    done = await set_link(store, service, UID, 3)
    candidates = Candidates({3: -100, 4: 9, 5: 9}, dead=frozenset({3, 17}), turn=1)
    computed = await compute_link_if_absent(store, service, UID, candidates, seconds)
    assert computed.epoch > done.epoch
    assert computed == Computed(5, computed.epoch, 3)
    assert await get_link(store, service, UID) == Link(5, computed.epoch)
    assert (await raw.ttl(service.link(UID)) == -1) is (seconds == PERSISTENT)
    assert await raw.hget(service.links(UID), "room") == "5"
    assert await count_links(store, service) == {5: 1}
    assert not await is_owner(store, service, UID, 3, done.epoch)


@pytest.mark.parametrize("seconds", [PERSISTENT, 300])
async def test_a_uid_of_a_doubted_pod_stays_and_the_answer_says_so(seconds, store, service, contents, raw):
    done = await set_link(store, service, UID, 3, seconds)
    if seconds != PERSISTENT:
        await raw.expire(service.link(UID), 30)
    before = await contents()
    for loads in ({4: 0}, {}, {3: 0}):
        candidates = Candidates(loads, doubted=frozenset({3, 5}))
        assert await compute_link_if_absent(store, service, UID, candidates, 300) == Computed(
            3, done.epoch, 3, doubted=True
        )
    assert await contents() == before
    assert seconds == PERSISTENT or await raw.ttl(service.link(UID)) <= 30, "not even renewed"
    assert await compute_link_if_absent(store, service, "new", Candidates({3: 0}, doubted=frozenset({3})), 60) is None


async def test_a_foreign_link_to_a_doubted_pod_has_no_epoch(store, raw, service, contents):
    await raw.set(service.link(UID), 3)
    before = await contents()
    candidates = Candidates({4: 0}, doubted=frozenset({3}))
    assert await compute_link_if_absent(store, service, UID, candidates, 300) == Computed(3, -1, 3, doubted=True)
    assert await contents() == before


@pytest.mark.parametrize("candidates", [Candidates({}, frozenset({3})), Candidates({3: 1}, frozenset({3}))])
async def test_without_a_candidate_nothing_changes(candidates, store, service, contents):
    await set_link(store, service, UID, 3)
    before = await contents()
    assert await compute_link_if_absent(store, service, UID, candidates, 60) is None
    assert await compute_link_if_absent(store, service, "bob", candidates, 60) is None
    assert await contents() == before


async def test_candidates_of_the_same_load_take_turns(store, service):
    candidates = Candidates({2: 1, 0: 1, 5: 1, 9: 2}, turn=4)
    calls = [compute_link_if_absent_request(service, f"user-{n}", candidates, 60, n).call for n in range(6)]
    assert [pod for pod, *_ in await store.run_many(calls)] == [0, 5, 2, 0, 5, 2]


async def test_a_temporary_link_that_is_used_lives_on(store, raw, service):
    """It is renewed with less than nine tenths of its time left."""
    for seconds, found in ((280, 280), (269, 300), (100, 300)):
        await set_link(store, service, UID, 3, seconds)
        computed = await compute_link_if_absent(store, service, UID, Candidates({}), 300)
        assert (computed.ordinal, computed.previous) == (3, 3)
        assert found - 2 <= computed.lives_ms / 1000 <= found
        assert found - 2 <= await raw.ttl(service.link(UID)) <= found


async def test_a_link_that_must_end_or_never_does_is_left_so(store, raw, service):
    await set_link(store, service, UID, 3)
    assert (await compute_link_if_absent(store, service, UID, Candidates({}), 300)).lives_ms is None
    assert await raw.ttl(service.link(UID)) == -1
    await remove_link(store, service, UID, keep_seconds=20)
    assert (await compute_link_if_absent(store, service, UID, Candidates({}), 300)).lives_ms <= 20_000
    assert await raw.ttl(service.link(UID)) <= 20


async def test_the_script_itself_chooses_among_all_candidates(raw, service):
    """As a client in another language calls it: with all loads and the turn."""
    source = script("statefulComputeLinkIfAbsent").source

    async def chosen(uid, turn, dead, *candidates):
        keys = service.uid_keys(uid)
        return (await raw.eval(source, 3, *keys, uid, "room", 60, 54_000, dead, "", turn, 0, *candidates))[0]

    assert await chosen("a", 0, "", 3, 7, 4, 2.5, 5, 1e3) == 4
    assert [await chosen(f"b{turn}", turn, ",4,", 4, -1, 6, 2, 3, 2, 1, 9) for turn in range(4)] == [6, 3, 6, 3]
    assert await chosen("c", 0, ",3,", 3, 1) == -1
    assert await chosen("d", 5, "") == -1


async def test_a_retained_link_still_counts(store, service):
    await set_link(store, service, UID, 3)
    await remove_link(store, service, UID, 60)
    kept = await get_link(store, service, UID)
    assert await compute_link_if_absent(store, service, UID, Candidates({4: 0}), 60) == Computed(*kept, 3)


async def test_a_foreign_link_that_is_found_gets_an_epoch(store, raw, service):
    await raw.set(service.link(UID), 5, ex=200)
    computed = await compute_link_if_absent(store, service, UID, Candidates({4: 0}), 60)
    assert (computed.ordinal, computed.previous) == (5, 5)
    assert await get_link(store, service, UID) == Link(5, computed.epoch)
    assert 190 < await raw.ttl(service.link(UID)) <= 200


BAD_CANDIDATES = {
    "a pod that is none": ({-1: 0}, frozenset(), 0),
    "a dead pod that is none": ({1: 0}, frozenset({8192}), 0),
    "a load that is not finite": ({1: float("nan")}, frozenset(), 0),
    "a load that is text": ({1: "5"}, frozenset(), 0),
    "a load beyond all numbers": ({1: 10**400}, frozenset(), 0),
    "a negative turn": ({1: 0}, frozenset(), -1),
    "a turn between two": ({1: 0}, frozenset(), 0.5),
}


@pytest.mark.parametrize("sentence", BAD_CANDIDATES)
def test_candidates_are_refused_with(sentence):
    with pytest.raises(InvalidArgument):
        Candidates(*BAD_CANDIDATES[sentence])


# statefulGetLinkService


async def test_all_services_of_a_uid(store, raw, service, eventually):
    for number in range(5):
        await set_link(store, Service("games", f"s{number}"), UID, number, 60 if number % 2 else PERSISTENT)
    assert await get_link_service(store, "games", UID) == {f"s{number}": number for number in range(5)}
    assert await get_link_service(store, "games", "bob") == {}
    lapsed = Service("games", "s1")
    await expired(raw, eventually, lapsed.link(UID))
    assert await get_link_service(store, "games", UID) == {"s0": 0, "s2": 2, "s3": 3, "s4": 4}
    assert await raw.hkeys(lapsed.links(UID)) == ["s0", "s2", "s3", "s4"]
    assert await raw.zscore(lapsed.index(lapsed.bucket(UID)), UID) is None


async def test_more_services_than_one_script_takes(store, raw, service):
    count = 450
    await raw.hset(service.links(UID), mapping={f"s{n}": 1 for n in range(count)})
    await raw.mset({Service("games", f"s{n}").link(UID): n for n in range(count)})
    assert await get_link_service(store, "games", UID) == {f"s{n}": n for n in range(count)}


async def test_the_link_is_the_truth_for_a_field_that_says_otherwise(store, raw, service):
    await raw.set(service.link(UID), 5)
    await raw.hset(service.links(UID), "room", 3)
    assert await get_link_service(store, "games", UID) == {"room": 5}


async def test_foreign_fields_and_values_are_left_as_they_are(store, raw, server, service):
    await set_link(store, service, UID, 3)
    await raw.set(Service("games", "odd").link(UID), "elsewhere")
    await raw.rpush(Service("games", "listed").link(UID), "x")
    fields = {"odd": "elsewhere", "listed": 1, "": 1, "a{b}": 2, "x" * 500: 4}
    await raw.hset(service.links(UID), mapping=fields)
    async with Redis.from_url(server.url) as plain:
        await plain.hset(service.links(UID), b"\xff", 1)
        assert await get_link_service(store, "games", UID) == {"room": 3}
        assert await plain.hlen(service.links(UID)) == len(fields) + 2


# statefulGetServicePod


async def test_one_pods_state_with_its_record(store, service, raw):
    assert (await get_service_pod(store, service, 0)).state is None
    await claim(store, service, "c/r", {"heartbeat": "Auto"})
    await set_state(store, service, 0, RoutingState.READY, load=2.5)
    record = OperatorRecord(state=RoutingState.DENY_NEW_CALL, reason=Reason.TERMINATING)
    await set_operator_states(store, service, "c/r", {0: record})
    view = await get_service_pod(store, service, 0)
    assert (view.state.load, view.state.word, view.effective) == (2.5, "READY", "DENY_NEW_CALL")
    assert view.record.reason is Reason.TERMINATING
    assert 0 <= view.age_seconds < 60
    await raw.hset(service.states, "1", "no JSON")
    assert (await get_service_pod(store, service, 1)).state is None


@pytest.mark.parametrize("load", [0, -5, 2**53, 2**60, 0.1, -1e-7, 1e300, 2**70])
async def test_a_load_comes_back_as_it_was_stored(load, store, service):
    await set_state(store, service, 0, RoutingState.READY, load=load, incarnation='pod-"a"/3')
    view = await get_service_pod(store, service, 0)
    assert view.state.load == load
    assert view.state.incarnation == 'pod-"a"/3'


# Keys of another type: nothing is half-done

WRONG_KEYS = {
    "the link": lambda service: service.link(UID),
    "the uid's hash": lambda service: service.links(UID),
    "the index": lambda service: service.index(service.bucket(UID)),
}
ON_A_LINK = {
    "try_set_link": lambda store, service: try_set_link(store, service, UID, 3),
    "remove_link": lambda store, service: remove_link(store, service, UID),
    "remove_link, retained": lambda store, service: remove_link(store, service, UID, 60),
    "remove_link_with_id": lambda store, service: remove_link_with_id(store, service, UID, 3),
    "compute_link_if_absent": lambda store, service: compute_link_if_absent(
        store, service, UID, Candidates({4: 1}, frozenset({3})), 60
    ),
}


@pytest.mark.parametrize("which", WRONG_KEYS)
@pytest.mark.parametrize("sentence", ON_A_LINK)
async def test_a_key_of_another_type_is_rejected_and_nothing_is_written(sentence, which, store, raw, service, contents):
    await set_link(store, service, UID, 3)
    key = WRONG_KEYS[which](service)
    await raw.delete(key)
    await raw.rpush(key, "somebody's list")
    before = await contents()
    with pytest.raises(StoreRejected, match="WRONGTYPE") as caught:
        await ON_A_LINK[sentence](store, service)
    assert not caught.value.maybe_written
    assert await contents() == before


async def test_a_stream_of_another_type_stops_a_state_before_anything_is_written(store, raw, service, contents):
    await raw.set(service.changes, "x")
    before = await contents()
    with pytest.raises(StoreRejected, match="WRONGTYPE"):
        await set_state(store, service, 0, RoutingState.READY)
    assert await contents() == before


# Epochs


async def test_every_change_of_owner_takes_a_higher_epoch_than_the_bucket_has_seen(store, raw, service, crowd):
    one, other = crowd(2)
    ahead = (await set_link(store, service, one, 1)).epoch + 10**9
    index = service.index(service.bucket(one))
    await raw.zadd(index, {"": -ahead})
    epochs = [
        (await try_set_link(store, service, other, 2)).epoch,
        (await compute_link_if_absent(store, service, one, Candidates({3: 0}, frozenset({1})), 60)).epoch,
    ]
    await remove_link(store, service, one, 60)
    await remove_link_with_id(store, service, other, 2, 60)
    epochs += [split(await raw.zscore(index, uid))[1] for uid in (one, other)]
    assert epochs == [ahead + 1, ahead + 2, ahead + 3, ahead + 4]
    assert await raw.zscore(index, "") == -(ahead + 4)


async def test_an_epoch_is_the_servers_time_at_least(store, raw, service):
    seconds, micros = await raw.time()
    computed = await compute_link_if_absent(store, service, UID, Candidates({3: 0}), 60)
    assert 0 <= computed.epoch - (seconds * 1000 + micros // 1000 - EPOCH_START_MS) < 60_000


# Scripts that a server has lost


def calls_of_three(service, pod):
    one, two, three = (f"user-{n}" for n in range(3))
    return [
        set_link_call(service, one, pod),
        compute_link_if_absent_request(service, two, Candidates({pod: 0}, frozenset({pod ^ 1})), 60).call,
        set_link_call(service, three, pod),
    ]


async def test_a_flush_between_and_within_pipelines_does_not_show(store, raw, service):
    for turn in range(4):
        first, second, third = await store.run_each(calls_of_three(service, turn % 2))
        assert (first[0], second[0], third[0]) == (-1 if turn == 0 else 1 - turn % 2, turn % 2, first[0])
        await raw.script_flush("SYNC" if turn % 2 else "ASYNC")


async def test_scripts_are_sent_again_after_a_restart(start_server, connect, service, eventually):
    server = start_server()
    store = connect(server.url)
    await store.run_each(calls_of_three(service, 0))
    server.stop()
    server.start()

    async def back():
        """The first call may still find a connection of before."""
        replies = await store.run_each(calls_of_three(service, 1))
        assert not [reply for reply in replies if isinstance(reply, StoreRejected)]  # NOSCRIPT would be one
        return None if isinstance(replies[0], StoreUnavailable) else [reply[0] for reply in replies]

    assert await eventually(back) == [-1, 1, -1]
    assert await set_link(store, service, "user-0", 0) == Relinked(1, (await get_link(store, service, "user-0")).epoch)


async def test_scripts_are_sent_again_after_a_failover(start_server, start_sentinel, connect, service, eventually):
    """The replica's own script cache is emptied before: a promoted server need not know what its primary knew."""
    primary, replica = start_server("--repl-diskless-sync-delay", "0"), start_server()
    direct = Redis(port=replica.port)
    await direct.execute_command("REPLICAOF", "127.0.0.1", str(primary.port))

    async def attached():
        return b"connected" in await direct.execute_command("ROLE")

    await eventually(attached)  # before the Sentinel's first question, or it asks again only after ten seconds
    port = start_sentinel(primary)
    watching = Redis(port=port)
    store = connect(f"redis+sentinel://127.0.0.1:{port}/main")

    async def seen():
        try:
            replicas = await watching.execute_command("SENTINEL", "REPLICAS", "main")
        except RedisError:
            return False
        return bool(replicas) and b"slave" in str(replicas[0]).encode()

    await eventually(seen)
    assert [reply[0] for reply in await store.run_each(calls_of_three(service, 0))] == [-1, 0, -1]

    async def replicated():
        return await direct.execute_command("DBSIZE") == await connect(primary.url).command("DBSIZE")

    await eventually(replicated)
    await direct.execute_command("SCRIPT FLUSH")

    await watching.execute_command("SENTINEL", "SET", "main", "down-after-milliseconds", 200)

    primary.stop()

    async def promoted():
        return (await direct.execute_command("ROLE"))[0] == b"master"

    await eventually(promoted)

    async def moved_on():
        replies = await store.run_each(calls_of_three(service, 1))
        assert not [reply for reply in replies if isinstance(reply, StoreRejected)]  # NOSCRIPT would be one
        return not [reply for reply in replies if isinstance(reply, StoreUnavailable)]

    await eventually(moved_on)
    assert (await get_link(connect(replica.url), service, "user-0")).ordinal == 1
    await direct.aclose()
    await watching.aclose()


async def test_many_at_once_after_a_flush_get_each_its_own_reply(store, raw, service):
    await raw.script_flush()
    results = await asyncio.gather(*(set_link(store, service, f"user-{n}", n) for n in range(60)))
    links = await asyncio.gather(*(get_link(store, service, f"user-{n}") for n in range(60)))
    assert [link.ordinal for link in links] == list(range(60))
    assert [link.epoch for link in links] == [result.epoch for result in results]
