"""Lets hypothesis draw histories until a promise is broken, and shortens what breaks one."""

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import fields, replace

from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings

from rules.operator_actor import in_time
from rules.promises import PROMISES, Broken
from rules.steps import SETUPS, THEMES, Step, histories, take
from rules.world import Setup, World
from support.draws import PLAIN

MOST = 24
"""Steps in one history."""

TRIES = 150
"""To shorten a history."""


class _Enough(Exception):  # noqa: N818  nothing is wrong
    """Ends hypothesis's drawing."""


def play(setup: Setup, steps: Sequence[Step], promises: Collection[str] = PROMISES) -> World:
    """One history, from its beginning until all has settled.

    Raises:
        Broken: one of the promises was.
    """
    with in_time() as time:
        world = World(setup, time, promises)
        for step in steps:
            take(world, step)
        world.calm()
    return world


def search(
    chosen: int,
    histories_at_most: int,
    *,
    promises: Collection[str] = PROMISES,
    themes: Sequence[Sequence[str]] = THEMES,
    shorten: bool = True,
) -> Broken | None:
    """What a history breaks, by the shortest one that was found; None: none of them breaks a promise."""
    found: list[tuple[Setup, list[Step], Broken]] = []

    @seed(chosen)
    @settings(
        backend=PLAIN,
        max_examples=histories_at_most,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
    )
    @given(SETUPS, histories(MOST, themes))
    def one(setup: Setup, steps: list[Step]) -> None:
        if found:  # hypothesis repeats what it has found
            raise _Enough
        try:
            play(setup, steps, promises)
        except Broken as broken:
            found.append((setup, steps, broken))
            raise _Enough from None

    with contextlib.suppress(_Enough):
        one()
    if not found:
        return None
    setup, steps, broken = found[0]
    return shortened(setup, steps, broken) if shorten else broken


def shortened(setup: Setup, steps: Sequence[Step], broken: Broken) -> Broken:
    """The same promise broken by fewer steps, and from a simpler beginning."""
    tries = TRIES

    def breaks(simpler: Setup, fewer: Sequence[Step]) -> Broken | None:
        nonlocal tries
        tries -= 1
        try:
            play(simpler, fewer, [broken.promise])
        except Broken as found:
            return found if found.promise == broken.promise else None
        return None

    size = max(1, len(steps) // 2)
    while tries > 0:
        start, better = 0, False
        while start < len(steps) and tries > 0:
            fewer = [*steps[:start], *steps[start + size :]]
            if (found := breaks(setup, fewer)) is not None:
                steps, broken, better = fewer, found, True
            else:
                start += size
        if size == 1 and not better:
            break
        size = max(1, size // 2)
    for field in fields(Setup):
        simpler = replace(setup, **{field.name: field.default})
        if simpler != setup and (found := breaks(simpler, steps)) is not None:
            setup, broken = simpler, found
    broken.setup, broken.steps = setup, list(steps)
    return broken
