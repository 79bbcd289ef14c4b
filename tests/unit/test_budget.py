"""Turns on one store: who waits, who goes first, and that a turn is never lost."""

import asyncio
import contextlib
import math

import pytest

from stateful_route.domain.urgency import AT_ONCE, Urgency
from stateful_route.reconcile.budget import Budget
from support.waiting import until

EVENT, MOVE, PODS, ROUTINE, UPKEEP = Urgency


class Bench:
    """Pieces of work that go on until the test ends them."""

    def __init__(self, turn_seconds=math.inf):
        self.budget = Budget(turn_seconds)
        self.begun = []
        self._work = {}

    def add(self, name, kind):
        """Ask for a turn; the turn."""
        turn, over = self.budget.turn(kind), asyncio.Event()

        async def work():
            async with turn:
                self.begun.append(name)
                await over.wait()

        self._work[name] = asyncio.create_task(work()), over
        return turn

    async def end(self, *names):
        for name in names:
            task, over = self._work.pop(name)
            over.set()
            await task

    async def cancel(self, name):
        task, _ = self._work.pop(name)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def settled(self):
        for _ in range(5):
            await asyncio.sleep(0)

    async def close(self):
        for name in list(self._work):
            await self.cancel(name)


@pytest.fixture
async def bench():
    made = Bench(turn_seconds=3600)
    yield made
    await made.close()


def full(bench, kind):
    """As much of a kind as there may be at once; the names."""
    names = [f"{kind.name} {number}" for number in range(AT_ONCE[kind])]
    for name in names:
        bench.add(name, kind)
    return names


async def test_work_of_one_kind_has_its_turn_in_the_order_in_which_it_asked(bench):
    first = full(bench, ROUTINE)
    for name in ("b", "c"):
        bench.add(name, ROUTINE)
    await bench.settled()
    assert bench.begun == first
    await bench.end(*reversed(first))
    await bench.settled()
    assert bench.begun == [*first, "b", "c"]


async def test_a_service_with_pods_goes_before_those_without_that_asked_earlier(bench):
    full(bench, ROUTINE)
    bench.add("without", ROUTINE)
    bench.add("with pods", PODS)
    await bench.settled()
    assert bench.begun[-1] == "with pods"


async def test_what_waits_in_the_routine_goes_first_once_something_happens_to_it(bench):
    full(bench, ROUTINE)
    turns = {name: bench.add(name, ROUTINE) for name in ("a", "b", "c")}
    await bench.settled()
    turns["c"].hurry()
    await bench.settled()
    assert bench.begun[-1] == "c"
    turns["c"].hurry()  # it has begun: there is nothing to hurry
    await bench.end("c")
    for number in range(AT_ONCE[EVENT]):
        bench.add(f"event {number}", EVENT)
    await bench.settled()
    assert bench.begun[-1] == f"event {AT_ONCE[EVENT] - 1}", "all turns for events are free again"


async def test_a_turn_that_is_given_up_is_another_s(bench):
    first = full(bench, ROUTINE)
    for name in ("b", "c"):
        bench.add(name, ROUTINE)
    await bench.settled()
    await bench.cancel("b")
    await bench.cancel(first[0])
    await bench.settled()
    assert bench.begun == [*first, "c"]


async def test_a_turn_that_is_given_up_in_the_moment_when_it_comes_is_another_s(bench):
    async with bench.budget.turn(UPKEEP):
        for name in ("b", "c"):
            bench.add(name, UPKEEP)
        await bench.settled()
    await bench.cancel("b")  # its turn has come, and it has not noticed yet
    await bench.settled()
    assert bench.begun == ["c"]


async def test_work_that_fails_ends_its_turn(bench):
    with contextlib.suppress(ZeroDivisionError):
        async with bench.budget.turn(UPKEEP):
            _ = 1 / 0
    bench.add("next", UPKEEP)
    await bench.settled()
    assert bench.begun == ["next"]


async def test_work_that_takes_long_does_not_keep_others_from_beginning():
    bench = Bench(turn_seconds=0.01)
    first = full(bench, ROUTINE)
    bench.add("next", ROUTINE)
    await until(lambda: "next" in bench.begun)
    await bench.end(*first)
    later = full(bench, ROUTINE)
    await until(lambda: set(later) <= set(bench.begun))
    await bench.close()
