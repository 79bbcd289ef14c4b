"""Links: who has a uid, for how long, and since which epoch; and what a foreign client sees and does of it."""

import itertools

import pytest

from stateful_route.domain.epoch import EPOCH_START_MS, split
from stateful_route.domain.errors import InvalidArgument, StoreRejected
from stateful_route.store.links import (
    MAX_SECONDS,
    PERSISTENT,
    Link,
    Relinked,
    get_link,
    set_link,
    set_link_call,
    set_link_if_absent,
)

UID = "ada"


async def foreign_link(raw, service, uid, pod, ttl=None):
    """As a member of the family writes it that knows nothing of our index."""
    await raw.set(service.link(uid), pod, ex=ttl)
    await raw.hset(service.links(uid), service.name, pod)


async def test_a_uid_that_nobody_has_linked_has_no_link(store, service, contents):
    assert await get_link(store, service, UID) is None
    assert await contents() == {}


async def test_a_persistent_link_is_plain_text_for_a_foreign_reader(store, raw, service):
    done = await set_link(store, service, UID, 3)
    assert done.previous is None
    assert await raw.get("sf:{games:lk:ada}room") == "3"
    assert await raw.ttl("sf:{games:lk:ada}room") == -1
    assert await raw.hgetall("sf:{games:lk:ada}") == {"room": "3"}
    assert await get_link(store, service, UID) == Link(3, done.epoch)


async def test_a_temporary_link_has_a_time_to_live(store, raw, service):
    await set_link(store, service, UID, 3, 300)
    assert 290_000 < await raw.pttl(service.link(UID)) <= 300_000
    await set_link_if_absent(store, service, "bob", 3, 300)
    assert 290_000 < await raw.pttl(service.link("bob")) <= 300_000


async def test_pod_zero_is_a_pod(store, service):
    first = await set_link_if_absent(store, service, UID, 0, PERSISTENT)
    assert first.ordinal == 0
    assert await get_link(store, service, UID) == first
    assert await set_link(store, service, UID, 5) == Relinked(0, (await get_link(store, service, UID)).epoch)
    assert (await set_link(store, service, UID, 0)).previous == 5


async def test_setting_a_link_tells_the_pod_before(store, service):
    await set_link(store, service, UID, 3)
    assert (await set_link(store, service, UID, 4)).previous == 3
    assert (await set_link(store, service, UID, 4)).previous == 4


async def test_if_absent_changes_nothing_when_there_is_a_link(store, raw, service):
    done = await set_link(store, service, UID, 3)
    assert await set_link_if_absent(store, service, UID, 4, 300) == Link(3, done.epoch)
    assert await raw.ttl(service.link(UID)) == -1
    assert await raw.hgetall(service.links(UID)) == {"room": "3"}


async def test_links_of_two_services_do_not_meet(store, raw, service):
    other = type(service)("games", "chat")
    await set_link(store, service, UID, 3)
    await set_link(store, other, UID, 7)
    assert (await get_link(store, service, UID)).ordinal == 3
    assert (await get_link(store, other, UID)).ordinal == 7
    assert await raw.hgetall(service.links(UID)) == {"room": "3", "chat": "7"}


async def set_again(store, _raw, service):
    await set_link(store, service, UID, 3)


async def made_temporary(store, _raw, service):
    await set_link(store, service, UID, 3, 60)


async def made_persistent_again(store, _raw, service):
    await set_link(store, service, UID, 3, 60)
    await set_link(store, service, UID, 3)


async def if_absent(store, _raw, service):
    await set_link_if_absent(store, service, UID, 5, 60)


async def other_pod(store, _raw, service):
    await set_link(store, service, UID, 4)


async def there_and_back(store, _raw, service):
    await set_link(store, service, UID, 4)
    await set_link(store, service, UID, 3)


async def deleted_and_set(store, raw, service):
    await raw.delete(service.link(UID))
    await set_link(store, service, UID, 3)


async def deleted_and_set_if_absent(store, raw, service):
    await raw.delete(service.link(UID), service.links(UID))
    await set_link_if_absent(store, service, UID, 3, 60)


async def foreign_move_and_set(store, raw, service):
    await foreign_link(raw, service, UID, 4)
    await set_link(store, service, UID, 4)


async def foreign_move_and_if_absent(store, raw, service):
    await foreign_link(raw, service, UID, 4)
    await set_link_if_absent(store, service, UID, 5, 60)


EPOCHS = {
    "the same pod keeps its uid": (set_again, False),
    "persistent becomes temporary": (made_temporary, False),
    "temporary becomes persistent": (made_persistent_again, False),
    "if-absent finds it": (if_absent, False),
    "another pod gets it": (other_pod, True),
    "it goes to another pod and back": (there_and_back, True),
    "it was deleted and is set for the same pod": (deleted_and_set, True),
    "it was deleted and is set if absent": (deleted_and_set_if_absent, True),
    "a foreign client moved it, and we set what it says": (foreign_move_and_set, True),
    "a foreign client moved it, and we find it": (foreign_move_and_if_absent, True),
}


@pytest.mark.parametrize("sentence", EPOCHS)
async def test_the_epoch_rises_when_the_owner_changes_and_only_then(sentence, store, raw, service):
    happens, rises = EPOCHS[sentence]
    before = (await set_link(store, service, UID, 3)).epoch
    await happens(store, raw, service)
    after = (await get_link(store, service, UID)).epoch
    assert after > before if rises else after == before


async def test_an_expired_link_is_linked_anew_with_a_new_epoch(store, raw, service, eventually):
    before = (await set_link(store, service, UID, 3, 60)).epoch
    await raw.pexpire(service.link(UID), 1)
    await eventually(lambda: no_link(store, service))
    again = await set_link_if_absent(store, service, UID, 3, 60)
    assert again.ordinal == 3
    assert again.epoch > before


async def no_link(store, service):
    return await get_link(store, service, UID) is None


async def test_an_epoch_is_the_servers_time_at_least(store, raw, service):
    seconds, micros = await raw.time()
    epoch = (await set_link(store, service, UID, 3)).epoch
    assert 0 <= epoch - (seconds * 1000 + micros // 1000 - EPOCH_START_MS) < 60_000


async def test_epochs_of_a_burst_rise_one_by_one_ahead_of_the_clock(store, service):
    calls = [set_link_call(service, UID, turn % 2) for turn in range(500)]
    epochs = [epoch for _, epoch in await store.run_many(calls)]
    assert all(one < other for one, other in itertools.pairwise(epochs))


async def test_a_bucket_gives_each_change_its_own_epoch(store, service, crowd):
    uids = crowd(200)
    epochs = [epoch for _, epoch in await store.run_many([set_link_call(service, uid, 1) for uid in uids])]
    assert len(set(epochs)) == len(uids)


async def test_a_store_that_was_emptied_hands_out_no_old_epoch(store, raw, service, next_millisecond):
    before = (await set_link(store, service, UID, 3)).epoch
    await raw.flushall()
    await next_millisecond()
    assert (await set_link(store, service, UID, 3)).epoch > before


async def test_a_bucket_whose_highest_epoch_is_ahead_of_the_clock_goes_on_from_there(store, raw, service):
    epoch = (await set_link(store, service, UID, 3)).epoch
    ahead = epoch + 10**9
    await raw.zadd(service.index(service.bucket(UID)), {"": -ahead})
    assert (await set_link(store, service, UID, 4)).epoch == ahead + 1
    assert (await set_link_if_absent(store, service, UID, 4, 60)).epoch == ahead + 1


async def test_the_index_holds_pod_and_epoch_exactly_up_to_the_last_pod(store, raw, service):
    done = await set_link(store, service, UID, 8191)
    entry = await raw.zscore(service.index(service.bucket(UID)), UID)
    assert split(entry) == (8191, done.epoch)
    assert await get_link(store, service, UID) == Link(8191, done.epoch)


async def test_a_foreign_clients_link_is_a_link_without_an_epoch(store, raw, service):
    await foreign_link(raw, service, UID, 5, ttl=200)
    assert await get_link(store, service, UID) == Link(5, -1)


async def test_a_foreign_clients_link_gets_an_epoch_when_we_find_it(store, raw, service):
    await foreign_link(raw, service, UID, 5, ttl=200)
    found = await set_link_if_absent(store, service, UID, 3, 60)
    assert found.ordinal == 5
    assert found.epoch > 0
    assert await get_link(store, service, UID) == found
    assert 190 < await raw.ttl(service.link(UID)) <= 200


async def test_a_foreign_clients_move_takes_the_epoch_away_until_we_find_it(store, raw, service):
    await set_link(store, service, UID, 3)
    await foreign_link(raw, service, UID, 4)
    assert await get_link(store, service, UID) == Link(4, -1)


FOREIGN = ["abc", "", "-1", "8192", "1.5", " 5", "5 ", "0x5", "99999999999999999999999", "５"]  # noqa: RUF001  a wide five


@pytest.mark.parametrize("value", FOREIGN)
async def test_a_value_that_is_no_pod_index_is_rejected_and_left_untouched(value, store, raw, service, contents):
    await raw.set(service.link(UID), value)
    before = await contents()
    with pytest.raises(StoreRejected, match="FOREIGN the link holds no pod index"):
        await get_link(store, service, UID)
    with pytest.raises(StoreRejected, match="FOREIGN the link holds no pod index"):
        await set_link_if_absent(store, service, UID, 3, 60)
    assert await contents() == before


@pytest.mark.parametrize("value", FOREIGN)
async def test_setting_a_link_overwrites_what_is_no_pod_index(value, store, raw, service):
    await raw.set(service.link(UID), value)
    assert (await set_link(store, service, UID, 3)).previous is None
    assert (await get_link(store, service, UID)).ordinal == 3


UIDS = ["玩家-🎲", "a b", "*?[x]\\^-", "tenant:7/user#3", "line\nbreak", "\x00", "x" * 1024, "-1", "0"]


@pytest.mark.parametrize("uid", UIDS)
async def test_any_text_without_braces_is_a_uid(uid, store, raw, service):
    done = await set_link(store, service, uid, 2)
    assert await raw.get(f"sf:{{games:lk:{uid}}}room") == "2"
    assert await get_link(store, service, uid) == Link(2, done.epoch)
    assert await get_link(store, service, uid + "x" if len(uid) < 1024 else "y") is None


REFUSED = {
    "an empty uid": {"uid": ""},
    "a blank uid": {"uid": "  "},
    "a uid with a brace": {"uid": "a}b"},
    "no pod": {"ordinal": -1},
    "a pod beyond the index": {"ordinal": 8192},
    "no time at all": {"seconds": 0},
    "a negative time that does not mean for ever": {"seconds": -2},
    "a part of a second": {"seconds": 1.5},
    "milliseconds taken for seconds": {"seconds": MAX_SECONDS + 1},
}


@pytest.mark.parametrize("sentence", REFUSED)
@pytest.mark.parametrize("function", [set_link, set_link_if_absent])
async def test_an_argument_that_cannot_be_stored_is_refused_before_anything_is_sent(
    function, sentence, service, connect
):
    nowhere = connect("redis://127.0.0.1:1")
    arguments = {"uid": UID, "ordinal": 3, "seconds": 60} | REFUSED[sentence]
    with pytest.raises(InvalidArgument):
        await function(nowhere, service, **arguments)


async def test_the_longest_time_to_live_is_taken(store, raw, service):
    await set_link(store, service, UID, 3, MAX_SECONDS)
    assert await raw.ttl(service.link(UID)) > MAX_SECONDS - 10


WRONG_KEYS = {
    "the link": lambda service: service.link(UID),
    "the uid's hash": lambda service: service.links(UID),
    "the index": lambda service: service.index(service.bucket(UID)),
}


@pytest.mark.parametrize("which", WRONG_KEYS)
@pytest.mark.parametrize("function", [set_link, set_link_if_absent])
async def test_a_key_of_another_type_is_rejected_and_nothing_is_written(function, which, store, raw, service, contents):
    await raw.rpush(WRONG_KEYS[which](service), "somebody's list")
    before = await contents()
    with pytest.raises(StoreRejected, match="WRONGTYPE"):
        await function(store, service, UID, 3, 60)
    assert await contents() == before
