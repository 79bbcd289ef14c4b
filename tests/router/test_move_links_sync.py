"""The synchronous twin of the migration loop; what both do is told in tests/store/test_failover.py of the other."""

import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from stateful_route.domain.errors import OwnedElsewhere, StoreUnavailable
from stateful_route.domain.placement import Placement, Spread, Target
from stateful_route.router.failover import Progress, Task
from stateful_route.router.failover_sync import move_links
from stateful_route.router.pace import Pace
from stateful_route.store.connection import StoreOptions
from stateful_route.store.connection_sync import Store
from stateful_route.store.index_sync import count_links
from stateful_route.store.links import set_link_call

AT_ONCE = 1e9


@pytest.fixture
def store(server, raw) -> Iterator[Store]:
    ours = Store.from_url(server.url)
    yield ours
    ours.close()


@pytest.fixture
def link(store, service):
    def make(count, ordinal=0, prefix="user"):
        uids = [f"{prefix}-{number}" for number in range(count)]
        store.run_many([set_link_call(service, uid, ordinal) for uid in uids])
        return uids

    return make


def to(*ordinals):
    spread = Spread([Target(ordinal) for ordinal in ordinals], Placement())
    return lambda: spread


def pace(links_per_second=AT_ONCE):
    return Pace(links_per_second, time.monotonic)


async def test_all_links_of_the_pod_move_and_each_move_is_told_once(store, service, link, raw):
    uids = link(2500)
    link(100, ordinal=1, prefix="other")
    progress = move_links(store, service, Task(source=0, reason="Gone", spread=to(1, 2)), pace())
    assert progress.moved == {1: 1250, 2: 1250}
    assert count_links(store, service) == {1: 1350, 2: 1250}
    told = [uid for _, fields in await raw.xrange(service.moves) for uid, *_ in json.loads(fields["moves"])]
    assert sorted(told) == sorted(uids)


def test_without_a_target_links_stay_and_are_counted(store, service, link):
    link(300)
    progress = move_links(store, service, Task(source=0, reason="Gone", spread=to()), pace())
    assert (progress.total, progress.unplaced) == (0, 300)
    assert count_links(store, service) == {0: 300}


async def test_a_target_that_fails_meanwhile_gets_no_more(store, service, link, raw):
    link(900)
    asked = itertools.count()
    both, one = to(1, 2)(), to(1)()
    task = Task(source=0, reason="Gone", spread=lambda: both if next(asked) < 2 else one)
    move_links(store, service, task, pace(300))
    portions = [json.loads(fields["moves"]) for _, fields in await raw.xrange(service.moves)]
    to_whom = [Counter(target for _, target, _ in portion) for portion in portions]
    assert all(counts[2] for counts in to_whom[:2])
    assert not any(counts[2] for counts in to_whom[2:])


async def test_one_who_has_lost_the_service_stops_and_has_told_what_moved(store, service, link, raw):
    link(2500)
    await raw.set(service.owner, "somebody/else")
    progress = Progress()
    with pytest.raises(OwnedElsewhere):
        move_links(store, service, Task(source=0, reason="Gone", spread=to(1), owner="us/here"), pace(), progress)
    counts = count_links(store, service)
    assert counts == {0: 2500 - progress.total, 1: progress.total}
    assert 0 < progress.total < 2500
    told = [uid for _, fields in await raw.xrange(service.moves) for uid, *_ in json.loads(fields["moves"])]
    assert len(told) == progress.total


def test_what_was_stopped_by_the_store_goes_on_where_it_was(start_server, service):
    server = start_server("--save", "", "--appendonly", "no")
    store = Store.from_url(server.url, StoreOptions(timeout_seconds=0.5, deadline_seconds=1.0))
    store.run_many([set_link_call(service, f"user-{number}", 0) for number in range(1000)])
    asked = itertools.count()

    def spread():
        if next(asked) == 2:
            server.pause()
        return to(1)()

    progress = Progress()
    with pytest.raises(StoreUnavailable):
        move_links(store, service, Task(source=0, reason="Gone", spread=spread), pace(300), progress)
    server.resume()
    assert 0 < progress.total < 1000
    move_links(store, service, Task(source=0, reason="Gone", spread=to(1)), pace())
    assert count_links(store, service) == {1: 1000}
    store.close()
