"""The links that a caller remembers: bounded, and dropped together with their pod."""

from stateful_route.drivers.link_cache import LinkCache, spread_out
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
    assert len(cache.links) == 1


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
