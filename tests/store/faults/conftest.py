"""Clients with little patience, so that faults are quick, and what must hold after each fault."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from stateful_route.store.connection import StoreOptions
from stateful_route.store.executor import StatefulExecutor
from support.waiting import PATIENCE_SECONDS
from support.writers import Writers

CLIENTS = 4
HASTY = StoreOptions(timeout_seconds=0.3, deadline_seconds=0.8)
ONCE_ONLY = replace(HASTY, retries=0)


@pytest.fixture
async def executors():
    """So many executors for a URL: ``await executors(url)``; closed after the test."""
    async with AsyncExitStack() as stack:

        async def make(url, count=CLIENTS, options=HASTY):
            return [await stack.enter_async_context(StatefulExecutor.from_url(url, options)) for _ in range(count)]

        yield make


@pytest.fixture
async def writers(executors, service):
    """Clients at work on a URL: ``async with await writers(url) as load``."""

    async def make(url, **uids):
        return Writers(await executors(url), await executors(url, options=ONCE_ONLY), service, **uids)

    return make


@pytest.fixture
def report(capsys, request):
    """Prints a test's figures although it passes."""

    def show(**figures):
        words = ", ".join(f"{name} {figure}" for name, figure in figures.items())
        with capsys.disabled():
            print(f"\n  {request.node.name}: {words}")

    return show


@pytest.fixture
def all_is_well(executors, report):
    """What must hold after a fault without a failover: nothing lost, nothing twice, all told can be explained."""

    async def check(load, url, **figures):
        (looker,) = await executors(url, 1, StoreOptions())
        count = await load.settle(looker)
        indexed, linked = await load.everywhere(looker)
        failed = load.failures.total()
        report(acknowledged=count.acknowledged, failed=failed, lost=count.lost, fallen=count.fallen, **figures)
        assert count.acknowledged > 0
        assert (count.lost, count.forged, count.fallen) == (0, 0, 0)
        assert load.history.unexplained() == []
        assert indexed == linked
        return count

    return check


@pytest.fixture
def failed_over(executors, report):
    """What must hold after a failover: only that is lost which was written behind the last thing that is replicated."""

    async def check(load, url, confirmed):
        (looker,) = await executors(url, 1, StoreOptions())
        count = await load.settle(looker, confirmed)
        indexed, linked = await load.everywhere(looker)
        figures = {"acknowledged": count.acknowledged, "failed": load.failures.total()}
        report(**figures, lost=count.lost, of_these_not_replicated=count.excused, fallen=count.fallen)
        assert count.lost == count.excused, "a write that had been replicated is lost"
        assert (count.forged, count.fallen) == (0, 0)
        assert indexed == linked
        return count

    return check


@pytest.fixture
def until():
    """Wait until a quick look says yes; gives what it said."""

    async def wait(holds, what):
        clock = asyncio.get_running_loop().time
        deadline = clock() + PATIENCE_SECONDS
        while not (value := holds()):
            assert clock() < deadline, f"not within {PATIENCE_SECONDS} s: {what}"
            await asyncio.sleep(0.01)
        return value

    return wait
