"""Stores that an operator cannot use: since when, for whom, and when a fresh client is tried."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from stateful_route.domain.errors import Deposed, StatefulRouteError, StoreUnavailable, UnfitServer

FIRST_SECONDS = 10.0
"""How long a client gets nothing done before a fresh one is tried: it finds its own way back sooner, as a rule."""
LONGEST_SECONDS = 300.0
"""Between two fresh ones that did not help either: each disturbs all others that use the store."""
READ_ONLY = ("READONLY", "read only")
"""What a replica answers to a write, with and without the word that redis-py takes off."""
TOO_LATE = "DEPOSED"
"""What a server answers to a write whose deadline has passed: it is well, and the operator's Lease is to be renewed."""
NAMED = 3
"""So many StatefulRoutes are named where a store cannot be used for more of them."""


@dataclass(frozen=True, slots=True)
class Outage:
    """A StatefulRoute has got nothing done on its store for a while.

    Attributes:
        route: ``<namespace>/<name>``.
        store: The store's URL without its password; empty: nobody knows which store to use.
        cause: What the last attempt has failed with.
        since: When the first one failed; seconds, as all times here, of one clock.
        hopeful: Whether a fresh client might do better.
        try_at: When one is tried.
        pause: How long after that the next one is.
    """

    route: str
    store: str
    cause: str
    since: float
    hopeful: bool
    try_at: float
    pause: float


def failed(former: Outage | None, route: str, store: str, error: StatefulRouteError, now: float) -> Outage:
    """An attempt has failed.

    Args:
        former: What came of the attempts before; None: they went well. An outage of another store ends with this one.
        route: ``<namespace>/<name>``.
        store: As `Outage.store`.
        error: Why.
        now: When, by the outages' clock.
    """
    cause = str(error).removeprefix(f"{store}: ")
    hopeful = fresh_may_help(error)
    if former is None or former.store != store:
        return Outage(route, store, cause, now, hopeful, now + FIRST_SECONDS, FIRST_SECONDS)
    return replace(former, cause=cause, hopeful=hopeful)


def answered(error: StatefulRouteError) -> bool:
    """Whether the server itself has said that a write came too late: the store does its part, the Lease was too old."""
    return isinstance(error, Deposed) and TOO_LATE in str(error)


def fresh_may_help(error: StatefulRouteError) -> bool:
    """Whether another client may reach what this one does not: no answer, or one of a server that is the wrong one."""
    return isinstance(error, (StoreUnavailable, UnfitServer)) or any(words in str(error) for words in READ_ONLY)


def due(outage: Outage, now: float) -> bool:
    """Whether a fresh client is to be tried."""
    return outage.hopeful and now >= outage.try_at


def missed(outage: Outage, now: float) -> Outage:
    """A fresh client was tried, and has not reached the store either."""
    return replace(outage, try_at=now + outage.pause)


def renewed(outage: Outage, now: float) -> Outage:
    """A fresh client has taken the place of the old one; whether it helps is seen."""
    return replace(outage, try_at=now + outage.pause, pause=min(2 * outage.pause, LONGEST_SECONDS))


def told(outages: Iterable[Outage], now: float, wall: float) -> str | None:
    """Which stores cannot be used, since when, for whom and why; None: none is.

    Args:
        outages: Of all StatefulRoutes.
        now: By their clock.
        wall: The same moment as seconds since the epoch.
    """
    by_store: dict[str, list[Outage]] = {}
    for outage in sorted(outages, key=lambda outage: (outage.since, outage.route)):
        by_store.setdefault(outage.store or outage.route, []).append(outage)
    return "; ".join(_told(those, wall - now) for those in by_store.values()) or None


def everywhere(outages: Mapping[str, Outage], served: int) -> bool:
    """Whether none of so many StatefulRoutes that are served has a store."""
    return served > 0 and len(outages) >= served


def _told(outages: list[Outage], offset: float) -> str:
    """What is said of a store; where no store is known, of one StatefulRoute."""
    since, store = datetime.fromtimestamp(outages[0].since + offset, UTC), outages[0].store
    whose = ", ".join(outage.route for outage in outages[:NAMED])
    if (more := len(outages) - NAMED) > 0:
        whose += f" and {more} more"
    what = f"the store {store} cannot be used" if store else "no store is known"
    return f"{what} since {since:%Y-%m-%dT%H:%M:%SZ} for {whose}: {outages[-1].cause}"
