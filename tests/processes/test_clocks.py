"""Wrong wall clocks, of callers, pods and the server: nobody is evicted, and no epoch falls."""

import asyncio
import contextlib
import signal
import time

import pytest
from redis.asyncio import Redis

from stateful_route.devcluster.embedded_store import EmbeddedStore, find_servers
from support.fleet import at_work
from support.routed_service import EXPIRE_SECONDS
from support.shifted_clock import COMPILER, ShiftedClock

HOUR = 3600

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no cc on this machine, which builds the wrong clock")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return ShiftedClock.built(tmp_path_factory.mktemp("clock"))


async def test_a_caller_an_hour_ahead_and_a_pod_an_hour_behind_evict_nobody(folder, library):
    ahead, behind = ShiftedClock(library, folder / "ahead"), ShiftedClock(library, folder / "behind")
    ahead.step_to(HOUR)
    behind.step_to(-HOUR)
    wrong = {"caller-0": ahead.environment, "pod-1": behind.environment}
    with EmbeddedStore() as server:
        async with at_work(folder, server, ("async", "sync"), wrong) as fleet:
            fleet.phase("wrong clocks")
            await asyncio.sleep(2 * EXPIRE_SECONDS)
            fleet.phase("SIGKILL")
            await fleet.end_pod(1, signal.SIGKILL)
    right = fleet.history.ahead["pod-0-0"]
    assert fleet.history.ahead["caller-0"] == pytest.approx(right + HOUR, abs=60)
    assert fleet.history.ahead["pod-1-0"] == pytest.approx(right - HOUR, abs=60)


@pytest.mark.parametrize("kind", find_servers(), ids=lambda kind: kind.name)
async def test_a_servers_clock_that_is_stepped_evicts_nobody(folder, library, kind):
    clock = ShiftedClock(library, folder / "server")
    with contextlib.closing(EmbeddedStore(kind)) as server:
        with clock.for_children():
            server.start()
        async with Redis.from_url(server.url) as plain:
            await demand_obedience(plain, clock)
            async with at_work(folder, server, ("async", "sync")) as fleet:
                fleet.phase("right")
                await asyncio.sleep(1.5)
                for name, seconds in (("an hour ahead", HOUR), ("an hour behind", -HOUR), ("right again", 0)):
                    fleet.phase(name)
                    clock.step_to(seconds)
                    fleet.clock_stepped()
                    await asyncio.sleep(1.5 * EXPIRE_SECONDS)


async def demand_obedience(plain, clock):
    """The server may have been linked in a way that lets nobody change its clock."""
    clock.step_to(HOUR)
    seconds, _ = await plain.time()
    clock.step_to(0)
    if abs(seconds - time.time() - HOUR) > 60:
        pytest.skip("this server's clock cannot be changed")
