"""The links that a caller remembers: bounded, and dropped together with their pod."""

from hypothesis import given
from hypothesis import strategies as st

from stateful_route.drivers.link_cache import SHARD_LINKS, LinkCache, spread_out
from stateful_route.store.keys import Service

ROOM, CHAT = Service("games", "room"), Service("games", "chat")


def key(uid, service=ROOM):
    return service.namespace, uid, service.name


def test_a_link_counts_until_its_time():
    cache = LinkCache(10)
    cache.put(ROOM, "ada", 3, until=5.0)
    assert [cache.get(key("ada"), now) for now in (0.0, 4.9, 5.0)] == [3, 3, None]
    assert cache.get(key("bob"), 0.0) is None
    assert cache.get(key("ada", CHAT), 0.0) is None


def test_pod_zero_is_a_pod():
    cache = LinkCache(10)
    cache.put(ROOM, "ada", 0, until=5.0)
    assert cache.get(key("ada"), 1.0) == 0
    assert cache.take(key("ada"), 1.0) == 0


def test_a_later_link_takes_the_place_of_a_former_one():
    cache = LinkCache(10)
    cache.put(ROOM, "ada", 3, until=5.0)
    cache.put(ROOM, "ada", 4, until=9.0)
    assert cache.get(key("ada"), 7.0) == 4
    assert len(cache) == 1


def test_the_oldest_gives_way():
    cache = LinkCache(3)
    for uid in ("ada", "bob", "eve"):
        cache.put(ROOM, uid, 1, until=5.0)
    cache.put(ROOM, "ada", 1, until=6.0)
    cache.put(ROOM, "dan", 1, until=5.0)
    assert [uid for uid in ("ada", "bob", "eve", "dan") if cache.get(key(uid), 1.0) == 1] == ["ada", "eve", "dan"]


def test_all_links_of_a_pod_end_at_once_and_new_ones_count():
    cache = LinkCache(10)
    for uid, pod in (("ada", 1), ("bob", 1), ("eve", 2)):
        cache.put(ROOM, uid, pod, until=5.0)
    cache.put(CHAT, "ada", 1, until=5.0)
    cache.end(ROOM, [1, 7])
    assert [cache.get(key(uid), 1.0) for uid in ("ada", "bob", "eve")] == [None, None, 2]
    assert cache.get(key("ada", CHAT), 1.0) == 1
    assert (cache.has(ROOM, 1), cache.pods(ROOM)) == (False, [2])
    cache.put(ROOM, "ada", 1, until=5.0)
    assert [cache.get(key(uid), 1.0) for uid in ("ada", "bob")] == [1, None]


def test_all_links_of_a_service_end_at_once():
    cache = LinkCache(10)
    for service in (ROOM, CHAT):
        cache.put(service, "ada", 1, until=5.0)
    cache.end_all(ROOM)
    assert [cache.get(key("ada", service), 1.0) for service in (ROOM, CHAT)] == [None, 1]


def test_a_link_is_forgotten_by_name():
    cache = LinkCache(10)
    cache.put(ROOM, "ada", 1, until=5.0)
    assert cache.take(key("ada"), 1.0) == 1
    assert cache.take(key("ada"), 1.0) is None
    cache.put(ROOM, "bob", 1, until=5.0)
    assert cache.take(key("bob"), 6.0) is None, "it has expired"


def test_times_are_shortened_by_a_tenth_at_most():
    assert all(216 <= spread_out(240) <= 240 for _ in range(1000))


UIDS, PODS, UNTIL = st.sampled_from("abcdefgh"), st.integers(0, 3), st.integers(0, 20).map(float)
STEPS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from([ROOM, CHAT]), UIDS, PODS, UNTIL),
    st.tuples(st.just("take"), st.sampled_from([ROOM, CHAT]), UIDS),
    st.tuples(st.just("end"), st.sampled_from([ROOM, CHAT]), st.lists(PODS)),
    st.tuples(st.just("clear")),
)


@given(size=st.integers(1, 6), steps=st.lists(STEPS, max_size=60))
def test_a_cache_answers_as_a_dictionary_in_the_order_of_entering(size, steps):
    """The plain way to say it; what it leaves out is what a change costs."""
    cache, plain = LinkCache(size), {}
    for now, (what, *of) in enumerate(steps):
        match what:
            case "put":
                service, uid, pod, until = of
                cache.put(service, uid, pod, until)
                plain.pop(key(uid, service), None)
                if len(plain) == size:
                    del plain[next(iter(plain))]
                plain[key(uid, service)] = (until, service, pod)
            case "take":
                service, uid = of
                until, _, pod = plain.pop(key(uid, service), (0.0, None, None))
                assert cache.take(key(uid, service), now) == (pod if now < until else None)
            case "end":
                service, pods = of
                cache.end(service, pods)
                # Ended links keep their place, and count no more.
                ended = {k: (0.0, None, None) for k, (_, at, pod) in plain.items() if at == service and pod in pods}
                plain |= ended
            case "clear":
                cache.clear()
                plain.clear()
        assert len(cache) == len(plain)
        for service in (ROOM, CHAT):
            linked = {pod for _, at, pod in plain.values() if at == service}
            assert set(cache.pods(service)) == linked
            for uid in "abcdefgh":
                until, _, pod = plain.get(key(uid, service), (0.0, None, None))
                assert cache.get(key(uid, service), now) == (pod if now < until else None)


def test_the_oldest_give_way_also_in_a_cache_of_many_parts():
    size = 8 * SHARD_LINKS
    cache = LinkCache(size)
    for number in range(3 * size):
        cache.put(ROOM, f"user-{number}", number % 7, until=1.0)
    known = [number for number in range(3 * size) if cache.get(key(f"user-{number}"), 0.0) == number % 7]
    assert known == list(range(2 * size, 3 * size))


def test_no_part_of_a_cache_grows_with_its_size():
    """A dictionary is rebuilt as a whole now and then, while everything else stands still."""
    cache = LinkCache(100_000)
    for number in range(150_000):
        cache.put(ROOM, f"user-{number}", 0, until=1.0)
    assert max(map(len, cache._shards)) < 2 * SHARD_LINKS


def test_a_pod_without_links_is_forgotten_and_its_hits_are_kept():
    cache = LinkCache(2)
    for pod, uid in enumerate(("ada", "bob", "eve")):
        cache.put(ROOM, uid, pod, until=5.0)
        assert cache.hit(key(uid), 1.0) == pod
    assert cache.pods(ROOM) == [1, 2]
    assert cache.take(key("bob"), 1.0) == 1
    assert cache.pods(ROOM) == [2]
    assert cache.hits() == {ROOM: 3}
