"""One search over all keys of a store for the links of all its services."""

import asyncio

import pytest

from stateful_route.domain.errors import StoreRejected, StoreUnavailable
from stateful_route.reconcile import key_walk as module
from stateful_route.reconcile.key_walk import KeyWalk
from stateful_route.store.connection import Store
from stateful_route.store.index import SCAN_COUNT, Repaired, count_links
from stateful_route.store.keys import Service
from support.waiting import until

OTHERS = 3000
"""Keys that are nobody's links."""


class Searched:
    """A service that notes what it is told."""

    def __init__(self):
        self.begun = 0
        self.found = []

    def walk_begins(self):
        self.begun += 1

    def walk_ended(self, found):
        self.found.append(found)


@pytest.fixture
async def walk(store):
    made = KeyWalk(store)
    yield made
    await made.close()


def joined(walk, services):
    searched = {service: Searched() for service in services}
    for service, one in searched.items():
        walk.join(service, one)
    return searched


async def link_as_a_foreign_client(raw, service, count):
    for number in range(count):
        await raw.set(service.link(f"user-{number}"), number % 3)
        await raw.hset(service.links(f"user-{number}"), service.name, number % 3)


async def scans(raw):
    stats = await raw.info("commandstats")
    return stats.get("cmdstat_scan", {}).get("calls", 0)


async def fill(raw, count=OTHERS):
    async with raw.pipeline(transaction=False) as pipe:
        for number in range(count):
            pipe.set(f"other:{number}", number)
        await pipe.execute()


async def test_one_walk_finds_the_links_of_all_services(walk, store, raw):
    await fill(raw)
    services = [Service(namespace, f"room-{n}") for namespace in ("games", "chats") for n in range(10)]
    for service in services:
        await link_as_a_foreign_client(raw, service, 5)
    searched = joined(walk, services)
    before = await scans(raw)

    for _ in services:
        walk.ask(soon=False)
    await until(lambda: all(one.found for one in searched.values()))

    keys = await raw.dbsize()
    assert await scans(raw) - before <= keys / SCAN_COUNT + 2, "once over all keys, for twenty services"
    assert [one.found for one in searched.values()] == [[Repaired(found=5)]] * len(services)
    assert [await count_links(store, service) for service in services] == [{0: 2, 1: 2, 2: 1}] * len(services)


async def test_who_joins_while_a_walk_is_under_way_has_part_in_the_next_one(walk, raw, monkeypatch):
    monkeypatch.setattr(module, "ROUTINE_PAUSE_SECONDS", 0.05)
    await fill(raw)
    (first,) = joined(walk, [Service("games", "first")]).values()
    walk.ask(soon=False)
    await until(lambda: first.begun)
    late = Service("games", "late")
    await link_as_a_foreign_client(raw, late, 4)
    (second,) = joined(walk, [late]).values()
    walk.ask(soon=False)
    await until(lambda: second.found)
    assert second.found == [Repaired(found=4)]
    assert first.begun == 2


async def test_routine_is_shared_by_all_who_ask_within_a_while(walk, raw):
    service = Service("games", "room")
    (one,) = joined(walk, [service]).values()
    walk.ask(soon=False)
    await until(lambda: one.found)
    before = await scans(raw)
    for _ in range(100):
        walk.ask(soon=False)
        await asyncio.sleep(0)
    assert (one.begun, await scans(raw)) == (1, before), "the next walk begins later, once for all of them"


async def test_a_service_that_has_lost_links_does_not_wait_for_the_routine(walk, raw, monkeypatch):
    monkeypatch.setattr(module, "SOON_PAUSE_SECONDS", 0.0)
    service = Service("games", "room")
    (one,) = joined(walk, [service]).values()
    walk.ask(soon=False)
    await until(lambda: one.found)
    walk.ask(soon=False)  # would begin after the pause
    walk.ask(soon=True)
    await until(lambda: len(one.found) == 2)


async def test_a_walk_begins_again_for_who_is_in_a_hurry_and_nothing_found_is_lost(walk, raw):
    await fill(raw, 20_000)
    service = Service("games", "room")
    await link_as_a_foreign_client(raw, service, 1500)
    for number in range(50):
        await raw.set(service.link(f"odd-{number}"), "the second pod")
    (one,) = joined(walk, [service]).values()
    walk.ask(soon=False)
    await until(lambda: one.begun)
    walk.ask(soon=True)
    await until(lambda: one.found)
    assert one.begun == 2, "links that were lost before the second beginning are seen by that"
    told = Repaired(found=1500, foreign=50)
    assert one.found == [told], "what the first part has found is told, too; what it had to leave is told once"


async def test_links_of_one_service_that_cannot_be_mended_are_no_other_s_trouble(walk, raw):
    sound, broken = Service("games", "sound"), Service("games", "broken")
    searched = joined(walk, [broken, sound])
    for service in searched:
        await link_as_a_foreign_client(raw, service, 2)
    await raw.set(broken.index(broken.bucket("user-0")), "no sorted set")
    walk.ask(soon=False)
    await until(lambda: all(one.found for one in searched.values()))
    assert searched[sound].found == [Repaired(found=2)]
    assert [type(found) for found in searched[broken].found] == [StoreRejected]


async def test_a_store_that_is_away_ends_no_search(monkeypatch):
    monkeypatch.setattr(module, "ROUTINE_PAUSE_SECONDS", 0.05)
    away = Store.from_url("redis://127.0.0.1:1")
    walk = KeyWalk(away)
    (one,) = joined(walk, [Service("games", "room")]).values()
    walk.ask(soon=False)
    await until(lambda: one.found)
    walk.ask(soon=False)
    await until(lambda: len(one.found) == 2)
    assert [type(found) for found in one.found] == [StoreUnavailable] * 2
    await walk.close()
    await away.close()
