"""What a meter hears of a store: round trips and their trouble, links that move, and what is repaired."""

from collections import Counter
from itertools import count, cycle

import pytest

from stateful_route.domain.errors import StoreRejected, StoreUnavailable
from stateful_route.domain.meter import Meter
from stateful_route.reconcile.upkeep import adopt_foreign, repair_index
from stateful_route.router.failover import Task, move_links
from stateful_route.router.pace import Pace
from stateful_route.store.links import set_link_call
from stateful_route.store.migrate import Moved, append_moves
from stateful_route.store.states import get_service


class Ear(Meter):
    """Keeps what it hears."""

    def __init__(self):
        self.trips, self.failures = Counter(), Counter()
        self.moved, self.left, self.drift = Counter(), Counter(), Counter()

    def round_trip(self, operation, seconds):
        assert 0 < seconds < 10
        self.trips[operation] += 1

    def store_failed(self, operation, failure):
        self.failures[operation, failure] += 1

    def links_moved(self, service, reason, links):
        self.moved[service.name, reason] += links

    def links_not_moved(self, service, cause, links):
        self.left[service.name, cause] += links

    def drift_repaired(self, service, kind, count):
        self.drift[service.name, kind] += count


class Turns:
    def __init__(self, *ordinals):
        self._ordinals = cycle(ordinals)

    def take(self):
        return next(self._ordinals)


@pytest.fixture
def ear(store):
    store.meter = Ear()
    return store.meter


async def test_a_round_trip_has_the_class_of_what_it_carries(store, service, ear):
    links = [set_link_call(service, f"user-{number}", 0) for number in range(3)]
    await store.run(links[0])
    await store.run_many(links)
    await get_service(store, service)
    await store.command("GET", "nothing")
    await store.pipeline([("GET", "nothing"), ("GET", "nobody")])
    assert ear.trips == {"write": 2, "read": 1, "command": 2}
    assert not ear.failures


async def test_scripts_that_the_server_has_lost_are_no_trouble(store, service, ear, raw):
    await store.run(set_link_call(service, "ada", 0))
    await raw.script_flush()
    await store.run(set_link_call(service, "ada", 0))
    assert not ear.failures


async def test_trouble_is_counted_by_its_kind_and_once_a_trip(store, service, ear, raw):
    await raw.lpush(service.link("ada"), "not a string")
    with pytest.raises(StoreRejected):
        await store.run(set_link_call(service, "ada", 0))
    await store.run_many([set_link_call(service, "ada", 0)] * 5)
    with pytest.raises(StoreRejected):
        await store.command("NONSENSE")
    assert ear.failures == {("write", "rejected"): 2, ("command", "rejected"): 1}


async def test_a_store_that_is_away_is_counted(connect, service):
    away = connect("redis://127.0.0.1:1")
    away.meter = Ear()
    with pytest.raises(StoreUnavailable):
        await away.run(set_link_call(service, "ada", 0))
    with pytest.raises(StoreUnavailable):
        await away.command("GET", "nothing")
    assert away.meter.failures == {("write", "unavailable"): 1, ("command", "unavailable"): 1}


async def test_a_script_that_refuses_by_right_is_no_trouble_of_the_store(store, service, ear, raw):
    await raw.set(service.owner, "somebody else")
    with pytest.raises(Exception, match="somebody else"):
        await append_moves(store, service, 0, "Gone", [Moved("ada", 1, 5)], "me")
    assert not ear.failures


async def test_links_that_move_are_counted_and_what_was_wrong_besides(store, service, ear, raw):
    await store.run_many([set_link_call(service, f"user-{number}", 0) for number in range(10)])
    await raw.set(service.link("user-0"), 7)
    await raw.set(service.link("user-1"), "nobody's index")
    pace = Pace(1e6, count().__next__)
    await move_links(store, service, Task(source=0, reason="Gone", spread=lambda: Turns(1, 2)), pace)
    assert ear.moved == {("room", "Gone"): 8}
    assert ear.left == {("room", "foreign"): 1}
    assert ear.drift == {("room", "migration"): 1}
    assert ear.trips["migrate"] >= 1


async def test_epochs_that_rise_move_nobody(store, service, ear):
    await store.run(set_link_call(service, "ada", 0))
    task = Task(source=0, reason="Restarted", spread=lambda: Turns(0))
    await move_links(store, service, task, Pace(1e6, count().__next__))
    assert not ear.moved


async def test_what_is_repaired_is_counted_by_its_kind(store, service, ear, raw):
    await store.run_many([set_link_call(service, f"user-{number}", 0) for number in range(4)])
    await raw.delete(service.link("user-0"))
    await raw.set(service.link("user-1"), 3)
    await raw.set(service.link("foreign"), 1)
    await repair_index(store, service)
    await adopt_foreign(store, service)
    assert ear.drift == {("room", "expired"): 1, ("room", "moved"): 1, ("room", "found"): 1}
