"""The migration loop on real servers: where links go, in what portions, and what cancelling it leaves behind."""

import asyncio
import itertools
import json
import time
from collections import Counter

import pytest

from stateful_route.domain.placement import Placement, Spread, Target
from stateful_route.router.failover import LINKS_PER_TRIP, Progress, Task, move_links
from stateful_route.router.pace import Pace
from stateful_route.store.index import count_links, links_of_pod
from stateful_route.store.links import get_link, set_link_call

AT_ONCE = 1e9


def pace(links_per_second=AT_ONCE):
    return Pace(links_per_second, time.monotonic)


class Unhurried(Pace):
    """Nobody ever waits: the portions are what remains of it."""

    def wait_seconds(self, moved, left):  # noqa: ARG002  as its parent
        return 0.0


def to(*ordinals):
    spread = Spread([Target(ordinal) for ordinal in ordinals], Placement())
    return lambda: spread


async def begun(progress):
    return progress.total > 0


@pytest.fixture
def link(store, service):
    async def make(count, ordinal=0, prefix="user"):
        uids = [f"{prefix}-{n}" for n in range(count)]
        await store.run_many([set_link_call(service, uid, ordinal) for uid in uids])
        return uids

    return make


@pytest.fixture
def told(raw, service):
    """The portions in which moves were told: for each entry of the stream its moves."""

    async def read():
        return [json.loads(fields["moves"]) for _, fields in await raw.xrange(service.moves)]

    return read


async def test_all_links_of_the_pod_move_and_no_others(store, service, link):
    await link(2500)
    await link(100, ordinal=1, prefix="other")
    progress = await move_links(store, service, Task(source=0, reason="Gone", spread=to(1, 2)), pace())
    assert progress.moved == {1: 1250, 2: 1250}
    assert await count_links(store, service) == {1: 1350, 2: 1250}


async def test_every_move_is_told_once(store, service, link, told):
    uids = await link(2500)
    await move_links(store, service, Task(source=0, reason="Gone", spread=to(1, 2)), pace())
    moves = [move for portion in await told() for move in portion]
    assert sorted(uid for uid, _, _ in moves) == sorted(uids)
    for uid, target, epoch in moves[::100]:
        assert await get_link(store, service, uid) == (target, epoch)


async def test_links_made_after_a_moment_stay_when_only_earlier_ones_should_move(store, service, link):
    early = await link(50)
    before = (await get_link(store, service, early[-1])).epoch + 1
    await asyncio.sleep(0.005)
    late = await link(50, prefix="late")
    await move_links(store, service, Task(source=0, reason="Replaced", spread=to(1), before=before), pace())
    assert {(await get_link(store, service, uid)).ordinal for uid in early} == {1}
    assert {(await get_link(store, service, uid)).ordinal for uid in late} == {0}


async def test_with_the_source_as_the_only_target_epochs_rise_and_links_stay(store, service, link):
    uids = await link(50)
    before = {uid: await get_link(store, service, uid) for uid in uids}
    await move_links(store, service, Task(source=0, reason="Restarted", spread=to(0)), pace())
    for uid in uids:
        after = await get_link(store, service, uid)
        assert after.ordinal == 0
        assert after.epoch > before[uid].epoch


async def test_without_a_target_links_stay_and_are_counted(store, service, link, told):
    await link(300)
    progress = await move_links(store, service, Task(source=0, reason="Gone", spread=to()), pace())
    assert (progress.total, progress.unplaced) == (0, 300)
    assert await count_links(store, service) == {0: 300}
    assert await told() == []


async def test_a_target_that_fails_meanwhile_gets_no_more(store, service, link, told):
    await link(3000)
    asked = itertools.count()
    both, one = to(1, 2)(), to(1)()
    task = Task(source=0, reason="Gone", spread=lambda: both if next(asked) < 2 else one)
    await move_links(store, service, task, Unhurried(500, time.monotonic))
    to_whom = [Counter(target for _, target, _ in portion) for portion in await told()]
    assert sum(counts[2] > 0 for counts in to_whom) == 2, "told in any order: two are under way at once"
    assert await count_links(store, service) == Counter(
        {1: sum(counts[1] for counts in to_whom), 2: sum(counts[2] for counts in to_whom)}
    )


@pytest.mark.parametrize("links_per_second", [7, 300, AT_ONCE])
async def test_no_portion_is_more_than_a_second_s_worth(store, service, link, told, links_per_second):
    await link(2500)
    task = Task(source=0, reason="Gone", spread=to(1))
    await move_links(store, service, task, Unhurried(links_per_second, time.monotonic))
    portions = [len(portion) for portion in await told()]
    assert sum(portions) == 2500
    assert max(portions) <= min(links_per_second, LINKS_PER_TRIP)
    if links_per_second < LINKS_PER_TRIP:
        assert max(portions) == links_per_second


async def test_a_script_gets_no_more_links_than_the_batch_size(store, service, raw):
    bucket = service.bucket("{same}")
    uids = list(itertools.islice((f"u{n}" for n in itertools.count() if service.bucket(f"u{n}") == bucket), 12))
    await store.run_many([set_link_call(service, uid, 0) for uid in uids])
    scripts = (await raw.info("commandstats"))["cmdstat_evalsha"]["calls"]
    await move_links(store, service, Task(source=0, reason="Gone", spread=to(1), batch_size=5), pace())
    after = (await raw.info("commandstats"))["cmdstat_evalsha"]["calls"]
    reads_and_told = 16384 // 64 + 1
    assert after - scripts >= reads_and_told + 3
    assert await count_links(store, service) == {1: 12}


async def test_a_walk_ends_when_it_is_cancelled(store, service, link):
    """Not a matter of course: see `heeding_cancellation`."""
    await link(500)
    for milliseconds in range(1, 30):
        seen = []

        async def walk(seen=seen):
            async for buckets in links_of_pod(store, service, 0):
                seen.append(buckets)
            seen.append("the end")

        task = asyncio.create_task(walk())
        await asyncio.sleep(milliseconds / 1000)
        if task.done():
            break
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert "the end" not in seen
    else:
        assert milliseconds > 10, "it was cancelled at many moments"


async def test_a_cancelled_migration_stops_and_has_told_what_it_moved(store, service, link, told, eventually):
    await link(4000)
    progress = Progress()
    task = Task(source=0, reason="Unready", spread=to(1, 2))
    moving = asyncio.create_task(move_links(store, service, task, pace(500), progress))
    await eventually(lambda: begun(progress))
    moving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await moving
    counts = await count_links(store, service)
    assert counts[0] >= 2500
    assert counts[1] + counts[2] == progress.total == sum(len(portion) for portion in await told())


async def test_a_migration_cancelled_twice_has_told_what_it_moved(store, service, link, told, eventually):
    """First for new targets, then because the operator stops: the second must not cut off what was sent."""
    await link(6000)
    progress = Progress()
    task = Task(source=0, reason="Unready", spread=to(1, 2))
    moving = asyncio.create_task(move_links(store, service, task, pace(), progress))
    await eventually(lambda: begun(progress))
    while not moving.done():
        moving.cancel()
        await asyncio.sleep(0)
    assert moving.cancelled()
    counts = await count_links(store, service)
    assert counts[0] > 0
    assert counts[1] + counts[2] == progress.total == sum(len(portion) for portion in await told())


async def test_a_migration_that_was_stopped_goes_on_where_it_was(store, service, link, eventually):
    await link(2000)
    task = Task(source=0, reason="Gone", spread=to(1, 2))
    progress = Progress()
    first = asyncio.create_task(move_links(store, service, task, pace(500), progress))
    await eventually(lambda: begun(progress))
    first.cancel()
    await asyncio.wait([first])
    left = (await count_links(store, service))[0]
    rest = await move_links(store, service, task, pace())
    assert rest.total == left < 2000
    assert 0 not in await count_links(store, service)
