"""Lets hypothesis draw histories, until a promise is broken or there were enough; and shortens what breaks one.

Histories are long, and each takes a while: they are shortened here, by leaving out steps, with a bound on the tries.
What the numbers in a step are does not matter to who reads it.
"""

import contextlib
from collections.abc import Callable, Sequence

from hypothesis import HealthCheck, Phase, given, seed, settings

from model.judge import PROMISES, Broken
from model.run import Counts, run
from model.steps import SETUPS, Step, histories
from model.wire import Network
from model.world import Setup
from support.draws import PLAIN

LEAST, MOST = 20, 50
"""Steps in one history."""

USUAL = 35
"""Steps of a history on average, as hypothesis draws them."""

TRIES = 80
"""To shorten a history."""


class _Enough(Exception):  # noqa: N818  nothing is wrong
    """Ends hypothesis's drawing."""


History = tuple[Setup, Sequence[Step]]


def explore(
    network: Network, chosen: int, steps: int, promises: Sequence[str] = PROMISES, counts: Counts | None = None
) -> Counts:
    """Take about so many steps; raises `Broken` with a short history that breaks a promise."""
    counts = counts or Counts()
    broken: list[History] = []

    @seed(chosen)
    @settings(
        backend=PLAIN,
        max_examples=max(1, steps // USUAL),
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
    )
    @given(SETUPS, histories(LEAST, MOST))
    def one(setup: Setup, steps: list[Step]) -> None:
        if broken:  # hypothesis repeats what it has found
            raise _Enough
        try:
            run(network, setup, steps, promises, counts)
        except Broken:
            broken.append((setup, steps))
            raise _Enough from None

    with contextlib.suppress(_Enough):
        one()
    for setup, long in broken:
        raise shortened(network, setup, long, promises)
    return counts


def shortened(network: Network, setup: Setup, steps: Sequence[Step], promises: Sequence[str]) -> Broken:
    """The same promise broken by fewer steps."""

    def broken_by(fewer: Sequence[Step]) -> Broken | None:
        try:
            run(network, setup, fewer, promises)
        except Broken as broken:
            return broken
        return None

    found = broken_by(steps)
    if found is None:
        return Broken(f"a history that breaks a promise only once: {setup} {steps}")
    promises = (found.promise,)
    return _fewer(list(steps[: found.taken]), found, broken_by)


def _fewer(steps: list[Step], best: Broken, broken_by: Callable[[Sequence[Step]], Broken | None]) -> Broken:
    tries, size = TRIES, max(1, len(steps) // 2)
    while True:
        start, better = 0, False
        while start < len(steps) and tries:
            tries -= 1
            fewer = steps[:start] + steps[start + size :]
            if (found := broken_by(fewer)) is not None:
                steps, best, better = fewer[: found.taken], found, True
            else:
                start += size
        if not tries or (size == 1 and not better):
            return best
        if not better:
            size //= 2
