"""A service without links is known to have none by a look at the keys, which all services of a store share."""

import asyncio

import pytest
from redis.asyncio import Redis

from stateful_route.domain.errors import StoreUnavailable
from stateful_route.reconcile.vacancies import Vacancies
from stateful_route.store import index
from stateful_route.store.connection import Store
from stateful_route.store.counts import kept_counts
from stateful_route.store.index import count_entries, counted_links, indexed_services
from stateful_route.store.keys import Service
from stateful_route.store.links import remove_link, set_link
from support.tcp_proxy import TcpProxy


async def calls(raw, command):
    return (await raw.info("commandstats")).get(f"cmdstat_{command}", {}).get("calls", 0)


@pytest.fixture
async def vacancies(store):
    made = Vacancies(store)
    yield made
    await made.close()


async def none() -> bool:
    return True


async def test_the_counts_of_a_service_without_links_are_kept_without_a_look_at_its_buckets(store, raw, service):
    await raw.config_resetstat()
    assert await counted_links(store, service, none) == {}
    assert await calls(raw, "zrangebyscore") == 0
    assert await kept_counts(store, service) == {}
    await set_link(store, service, "ada", 3)
    assert await kept_counts(store, service) == await count_entries(store, service) == {3: 1}


async def test_links_that_are_made_during_the_look_are_counted(store, service):
    async def look():
        await set_link(store, service, "ada", 3)
        return True

    await counted_links(store, service, look)
    assert await kept_counts(store, service) == {3: 1}


async def test_links_that_come_and_go_during_the_look_are_counted(store, service):
    """The look may have come to a bucket after its only link had gone, and to another one before it had any."""
    await set_link(store, service, "ada", 3)

    async def look():
        await remove_link(store, service, "ada")
        await set_link(store, service, "bob", 3)
        return True

    assert await counted_links(store, service, look) == {3: 1}
    assert await kept_counts(store, service) == await count_entries(store, service) == {3: 1}


async def test_a_service_that_may_have_links_is_counted(store, service):
    await set_link(store, service, "ada", 3)

    async def look():
        return False

    assert await counted_links(store, service, look) == {3: 1}


async def test_a_look_that_fails_keeps_nobody_from_counting(store, service):
    async def look():
        raise StoreUnavailable("away", maybe_written=False)

    with pytest.raises(StoreUnavailable):
        await counted_links(store, service, look)
    assert await counted_links(store, service, none) == {}


async def test_the_services_that_have_an_index_are_told(store, raw):
    rooms, chats = Service("games", "rooms"), Service("chats", "r:ooms")
    await set_link(store, rooms, "ada", 3)
    await set_link(store, chats, "bob", 3)
    await raw.set("sf:{abc}ix:no service", 1)
    await raw.set("sf:{games:lk:eve}ix", 1)
    assert await indexed_services(store) == {rooms, chats}


async def test_the_services_of_a_cluster_that_have_an_index_are_told(cluster):
    async with AsyncStore(cluster.url) as store:
        services = {Service("games", f"rooms-{number}") for number in range(20)}
        for service in services:
            await set_link(store, service, "ada", 3)
        assert await indexed_services(store) == services


async def test_on_a_cluster_a_service_whose_counts_know_of_no_link_is_not_walked_again(cluster):
    async with AsyncStore(cluster.url) as store:
        service = Service("games", "rooms")
        assert await counted_links(store, service, none) == {}
        before = await scripts_of(cluster)
        assert await counted_links(store, service, none) == {}
        assert await scripts_of(cluster) == before
        await set_link(store, service, "ada", 3)
        assert await counted_links(store, service, none) == {3: 1}


class AsyncStore:
    def __init__(self, url):
        self._store = Store.from_url(url)

    async def __aenter__(self):
        return self._store

    async def __aexit__(self, *_):
        await self._store.close()


async def scripts_of(cluster):
    total = 0
    for server in cluster.servers:
        async with Redis.from_url(server.url, decode_responses=True) as client:
            total += await calls(client, "evalsha")
    return total


async def test_a_store_with_very_many_keys_is_not_looked_at_whole(store, raw, service, vacancies, monkeypatch):
    await raw.mset({f"key-{number}": 1 for number in range(3 * index.SCAN_COUNT)})
    assert await vacancies.has_none(service)
    monkeypatch.setattr(index, "FEW_KEYS", index.SCAN_COUNT)
    assert not await vacancies.has_none(service)
    before = await calls(raw, "scan")
    assert not await vacancies.has_none(service)
    assert await calls(raw, "scan") == before, "that it is too full is remembered"


async def test_all_who_ask_at_once_share_a_look_that_begins_after_they_have_asked(store, raw, vacancies):
    await raw.config_resetstat()
    services = [Service("games", f"rooms-{number}") for number in range(50)]
    first = asyncio.create_task(vacancies.has_none(services[0]))
    await asyncio.sleep(0)  # it has asked by now
    await set_link(store, services[7], "ada", 3)
    answers = await asyncio.gather(*(vacancies.has_none(service) for service in services))
    assert answers == [number != 7 for number in range(50)]
    assert await first
    assert await calls(raw, "scan") <= 2


async def test_without_the_right_to_look_at_keys_nobody_can_tell(store, raw, server, service):
    await raw.execute_command("ACL", "SETUSER", "blind", "on", ">pw", "~*", "&*", "+@all", "-scan")
    blind = Vacancies(Store.from_url(server.url.replace("://", "://blind:pw@")))
    assert not await blind.has_none(service)
    assert not await blind.has_none(service)
    await blind.close()


async def test_who_waits_when_it_is_closed_is_cancelled(server, connect, service):
    async with TcpProxy(server.port) as proxy:
        proxy.flowing.clear()
        ending = Vacancies(connect(proxy.url))
        asking = asyncio.create_task(ending.has_none(service))
        await asyncio.sleep(0)  # it has asked by now
        await ending.close()
        await asyncio.wait([asking])
    assert asking.cancelled()
