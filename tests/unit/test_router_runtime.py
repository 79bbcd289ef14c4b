"""Work that overlaps and work that must end in time: the hand-written pair of the router."""

import asyncio
import threading
import time

import pytest

from stateful_route.router import runtime, runtime_sync


async def test_two_trips_are_made_at_once_and_no_more():
    under_way, most = 0, 0

    async def trip():
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1

    async with runtime.Trips(2) as trips:
        for _ in range(6):
            await trips.start(trip)
    assert (most, under_way) == (2, 0)


async def test_what_a_trip_raises_ends_the_others_after_they_have_been_seen_through():
    done = []

    async def broken():
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async def well():
        await asyncio.sleep(0.02)
        done.append("well")

    async def make():
        async with runtime.Trips(3) as trips:
            await trips.start(broken)
            await trips.start(well)
            await trips.start(well)
            done.append("not reached")

    with pytest.raises(ZeroDivisionError):
        await make()
    assert done == ["well", "well"]


async def test_trips_are_seen_through_however_often_one_is_cancelled():
    begun, done = asyncio.Event(), []

    async def trip():
        begun.set()
        await asyncio.sleep(0.05)
        done.append("through")

    async def make():
        async with runtime.Trips(2) as trips:
            await trips.start(trip)
            await asyncio.sleep(10)

    making = asyncio.create_task(make())
    await begun.wait()
    while not making.done():
        making.cancel()
        await asyncio.sleep(0.005)
    assert making.cancelled()
    assert done == ["through"]


def test_synchronous_trips_are_made_one_after_the_other():
    done = []
    with runtime_sync.Trips(2) as trips:
        for number in range(3):
            trips.start(lambda number=number: done.append(number))
            assert done[-1] == number
    with pytest.raises(ZeroDivisionError), runtime_sync.Trips(2) as trips:
        trips.start(lambda: 1 / 0)


async def test_within_gives_what_was_done_or_raised():
    async def well():
        return 7

    async def broken():
        raise ZeroDivisionError

    assert await runtime.within(5, well) == 7
    with pytest.raises(ZeroDivisionError):
        await runtime.within(5, broken)
    assert isinstance(await runtime.attempted(5, broken), ZeroDivisionError)


async def test_within_does_not_wait_for_what_does_not_listen():
    ended = asyncio.Event()

    async def deaf():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            ended.set()
            raise ZeroDivisionError from None  # nobody hears of it, also not the loop's handler

    with pytest.raises(TimeoutError):
        await runtime.within(0.01, deaf)
    assert not ended.is_set()
    await asyncio.wait_for(ended.wait(), 5)


async def test_who_is_cancelled_within_ends_the_work():
    cancelled = asyncio.Event()

    async def work():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    task = asyncio.create_task(runtime.within(60, work))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(cancelled.wait(), 5)


async def test_work_that_cancels_itself_is_as_late_as_can_be():
    async def odd():
        raise asyncio.CancelledError

    assert isinstance(await runtime.attempted(5, odd), TimeoutError)


def test_synchronous_work_is_left_behind_when_its_time_is_over():
    release = threading.Event()
    began = time.monotonic()
    assert isinstance(runtime_sync.attempted(0.05, lambda: release.wait(30)), TimeoutError)
    assert time.monotonic() - began < 20
    release.set()
    assert runtime_sync.within(5, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        runtime_sync.within(5, lambda: 1 / 0)
    assert isinstance(runtime_sync.attempted(5, lambda: 1 / 0), ZeroDivisionError)
