"""How many links each pod has: a hash of the service, which on one server the scripts that change links keep exact.

On a Redis Cluster it lies in another slot than the links. There each call that has changed links says so in a second
step; where there is a limit, room is taken before (`take_room`). So the counts are rather too high than too low: what
is lost between two steps is room that nobody uses, until the next count (`index.recount`) sets that right.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Any, NamedTuple

from stateful_route.domain.errors import StatefulRouteError
from stateful_route.store.connection import Store
from stateful_route.store.keys import Service
from stateful_route.store.runtime import deadline
from stateful_route.store.scripts import Call, script

BELIEVED_MS = 10_000
"""Who counts, and was not heard of for so long, has ended in the middle; somebody else may begin."""

ABANDON_SECONDS = 0.5

NOTHING: Mapping[int, int] = MappingProxyType({})


class NoRoom(Enum):
    """Why a link was not made although there are pods that take new uids."""

    FULL = 2
    """Each of them has as many links as it may, and none of these has expired."""
    UNCOUNTED = 3
    """Nobody has counted the links, or some may have expired since: `index.recount`, and try again."""


class Effect(NamedTuple):
    """What a call has done to the counts: pod → how many links more; and the ms that a link lives, -1 for ever."""

    changes: Mapping[int, int]
    lives_ms: int = -1

    @classmethod
    def relinked(cls, previous: int, ordinal: int, lives_ms: int = -1) -> "Effect":
        """Of a link that named one pod, and names another one now; -1: there was, or is, no link."""
        if previous == ordinal:
            return cls(NOTHING, lives_ms)
        return cls({pod: by for pod, by in ((previous, -1), (ordinal, 1)) if pod >= 0}, lives_ms)

    def plus(self, other: "Effect") -> "Effect":
        """Of both."""
        changes = dict(self.changes)
        for ordinal, by in other.changes.items():
            changes[ordinal] = changes.get(ordinal, 0) + by
        lives = [ms for ms in (self.lives_ms, other.lives_ms) if ms >= 0]
        return Effect(changes, min(lives, default=-1))


NO_EFFECT = Effect(NOTHING)


async def kept_counts(store: Store, service: Service) -> dict[int, int] | None:
    """Pod index → links, as they are kept; a pod without any is missing. None: nobody has counted them yet.

    Temporary links that have expired count until a recount, which is made before anybody is told that a pod is full.
    """
    flat = await store.command("HGETALL", service.counts)
    fields = dict(flat) if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
    if b"#" not in fields:
        return None
    counts = {int(field): int(value) for field, value in fields.items() if field.isdigit()}
    return {ordinal: count for ordinal, count in counts.items() if count > 0}


async def begin_count(store: Store, service: Service, who: str, *, none: bool = False) -> bool:
    """Begin to count anew, as ``who``; False: somebody else is at it.

    ``none``: the service is believed to have no links. What changes from now on is counted; who began looks whether
    there was anything before, and ends the count if there was not, and `changed_meanwhile` says no.
    """
    return bool(await store.run(Call(script("beginCount"), (service.counts,), (who, BELIEVED_MS, int(none)))))


async def changed_meanwhile(store: Store, service: Service) -> bool:
    """Whether links have come or gone since a count began; on a Redis Cluster: whether some have come."""
    flat = await store.command("HKEYS", service.counts)
    return any(field[:1] == b"=" and field[1:].isdigit() for field in flat)


async def abandon_count(store: Store, service: Service, who: str) -> None:
    """Give a count up that cannot be ended: others may begin at once. It does not fail, and takes `ABANDON_SECONDS`."""
    try:
        async with deadline(ABANDON_SECONDS):
            await store.run(Call(script("beginCount"), (service.counts,), (who, 0, 0)))
    except (StatefulRouteError, TimeoutError):
        return


def count_call(service: Service, buckets: Collection[int], who: str) -> Call:
    """On one server: count the entries of buckets, the next ones in the order of their tags; replies 1 or 0."""
    keys = [service.index(bucket) for bucket in buckets]
    return Call(script("recountLinks"), keys, (who, BELIEVED_MS), (service.counts,))


async def end_count(
    store: Store, service: Service, who: str, holds: tuple[float, float], counts: Mapping[int, int]
) -> bool:
    """All were counted; False: it has taken too long, and somebody else is at it.

    Args:
        store: Where.
        service: Whose.
        who: As who.
        holds: Seconds until the first of the links expires or another look is due; and for which nobody need count
            again, whatever expires until then.
        counts: What `countLinks` has found, on a Redis Cluster; elsewhere nothing.
    """
    args: list[int | str] = [who, *(max(0, math.floor(seconds * 1000)) for seconds in holds)]
    for ordinal, count in counts.items():
        args += (ordinal, count)
    return bool(await store.run(Call(script("endCount"), (service.counts,), args)))


async def take_room(store: Store, service: Service, limit: int, wanted: Sequence[tuple[int, int]], total: int) -> Any:
    """On a Redis Cluster: take room for ``total`` links, on each pod for at most as many as are wanted there.

    Returns:
        Pod index → for how many links there is room; `NoRoom` when there is none at all.

    Raises:
        StoreUnavailable, StoreRejected: see there; room that was taken stays so until the links are counted anew.
    """
    args = [limit, total]
    for pair in wanted:
        args += pair
    code, *given = await store.run(Call(script("takeRoom"), (service.counts,), args))
    if code:
        return NoRoom(code)
    return {ordinal: count for (ordinal, _), count in zip(wanted, given, strict=True)}


async def adjust(store: Store, service_counts: str, effect: Effect) -> None:
    """On a Redis Cluster: the second step of a call that has changed links; on one server there is nothing to do.

    It does not fail: the links are what they are, and the next count finds them.
    """
    changes = [(ordinal, by) for ordinal, by in effect.changes.items() if by]
    if not store.cluster or (not changes and effect.lives_ms < 0):
        return
    args = [effect.lives_ms]
    for pair in changes:
        args += pair
    try:
        await store.run(Call(script("adjustCounts"), (service_counts,), args))
    except StatefulRouteError:
        return


async def doubt(store: Store, service: Service) -> None:
    """On a Redis Cluster: links have changed in a way that nobody has told; they are counted when they matter next."""
    if store.cluster:
        await store.command("HDEL", service.counts, "#")
