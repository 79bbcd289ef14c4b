"""What a caller knows of a service at one moment: which pods take new uids, which still serve, which are to be left."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from stateful_route.domain.aliveness import Author, PodView, is_alive, is_routable
from stateful_route.domain.config import ServiceConfig
from stateful_route.domain.placement import Target
from stateful_route.domain.routing import LinkAction, RoutingState

FIRST_LOOK_SECONDS = 15.0
"""So long, or a quarter of the expiry if that is more, a pod counts from a reader's first look on, whatever the age of
what it has published: the store may have come back just now, and nobody could publish while it was away."""


class Snapshot(NamedTuple):
    """All pods of a service as one reader sees them; never changed, only replaced by a newer one.

    Attributes:
        pods: What is known of each pod index; ages are those at the moment of reading.
        config: What the StatefulRoute says.
        read_at: When it was read, seconds by the reader's monotonic clock.
        time_ms: The same moment by the server's clock.
        alive: Pods that serve the uids they have.
        routable: Pods that take new uids, by load (smaller is less).
        dead: Pods whose uids get another pod at their next call: those that serve nobody, and those that are drained.
        held: All pods had expired at once (a fault of publishing, not a mass death): they count as before for one
            period more.
        changed_at: When a foreign client's record was last seen to change, by the reader's clock.
    """

    pods: Mapping[int, PodView]
    config: ServiceConfig
    read_at: float
    time_ms: int
    alive: frozenset[int] = frozenset()
    routable: Mapping[int, float] = MappingProxyType({})
    dead: frozenset[int] = frozenset()
    held: bool = False
    changed_at: Mapping[int, float] = MappingProxyType({})

    def state(self, ordinal: int) -> RoutingState | None:
        """The pod's effective routing state; None: there is no such pod."""
        view = self.pods.get(ordinal)
        return None if view is None else view.effective

    def states(self) -> dict[int, RoutingState]:
        """Pod index → effective routing state."""
        return {ordinal: view.effective for ordinal, view in self.pods.items()}

    def targets(self, avoid: frozenset[int] = frozenset()) -> list[Target]:
        """The pods that take new uids, in the order of their indexes, but for those to ``avoid``."""
        return [
            Target(ordinal, load, record.count if (record := self.pods[ordinal].record) else 0)
            for ordinal, load in sorted(self.routable.items())
            if ordinal not in avoid
        ]


def observed(
    pods: Mapping[int, PodView],
    config: ServiceConfig,
    time_ms: int,
    now: float,
    before: Snapshot | None,
    usual_seconds: float = math.inf,
) -> Snapshot:
    """The snapshot of what has just been read.

    Args:
        pods: What was read; ages are by the server's clock alone.
        config: Likewise.
        time_ms: The server's clock then.
        now: The reader's monotonic clock, seconds.
        before: The reader's last snapshot; None: this is the first, or the store was away since.
        usual_seconds: Between two looks; after a longer time the store was away.
    """
    if before is None:
        pods = {ordinal: _first_seen(view, config.expire_seconds) for ordinal, view in pods.items()}
    changed_at = {
        ordinal: _changed_at(ordinal, view, now, before) for ordinal, view in pods.items() if _is_foreign(view)
    }
    aged = {
        ordinal: _seen(ordinal, view, now, before, usual_seconds, config.expire_seconds)
        for ordinal, view in pods.items()
    }
    alive = frozenset(o for o, view in aged.items() if is_alive(view, config.heartbeat, config.expire_seconds))
    held = False
    if not alive and before is not None and before.alive and not before.held:
        alive = frozenset(o for o in before.alive if o in aged and aged[o].effective is not RoutingState.SHUTDOWN)
        held = bool(alive)
    routable: Mapping[int, float] = {
        ordinal: view.state.load if view.state else 0.0
        for ordinal, view in aged.items()
        if ordinal in alive
        and (
            view.effective is RoutingState.READY if held else is_routable(view, config.heartbeat, config.expire_seconds)
        )
    }
    if before is not None and before.routable == routable:
        routable = before.routable  # whoever has worked something out of it need not do so again
    return Snapshot(
        pods=aged,
        config=config,
        read_at=now,
        time_ms=time_ms,
        alive=alive,
        routable=routable,
        dead=frozenset(o for o, view in aged.items() if o not in alive or _is_left(view)),
        held=held,
        changed_at=changed_at,
    )


def still_left(snapshot: Snapshot, ordinal: int, view: PodView, now: float, usual_seconds: float = math.inf) -> bool:
    """Whether a pod that the snapshot calls dead, or does not know, is as it says by what was just read of the pod.

    False: the snapshot is out of date, read all anew. The arguments are those of `observed`, for one pod; ``view`` is
    empty for a pod that the store does not know.
    """
    view = _seen(ordinal, view, now, snapshot, usual_seconds, snapshot.config.expire_seconds)
    alive = is_alive(view, snapshot.config.heartbeat, snapshot.config.expire_seconds)
    return (not alive or _is_left(view)) and alive == (ordinal in snapshot.alive)


class Told(NamedTuple):
    """What a message makes of a snapshot.

    Attributes:
        snapshot: With all that the message says.
        unknown: Pods of which it says too little: their load, incarnation and heartbeat are not known.
        repeated: Pods of which it says nothing new: it means something that it does not say.
    """

    snapshot: Snapshot
    unknown: frozenset[int]
    repeated: frozenset[int]


def told_of(snapshot: Snapshot, ordinal: int, state: RoutingState, links: LinkAction | None) -> Snapshot | None:
    """As `all_told`, of one pod; None: read anew."""
    told = all_told(snapshot, [(ordinal, state, links)])
    return None if told.unknown else told.snapshot


def all_told(snapshot: Snapshot, changes: Iterable[tuple[int, RoutingState | None, LinkAction | None]]) -> Told:
    """The same snapshot, but for pods whose effective state has just become another one.

    ``changes``: pod index, its state now (None: it was forgotten), and what becomes of its links, if the operator has
    said it (None: the app has changed its word, and is alive).
    """
    pods, routable = dict(snapshot.pods), dict(snapshot.routable)
    alive, dead = set(snapshot.alive), set(snapshot.dead)
    unknown, repeated = set(), set()
    for ordinal, state, links in changes:
        view = pods.get(ordinal)
        new = None if view is None or state is None else _changed(view, state, links)
        if view is None or new is None:
            unknown.add(ordinal)
            continue
        if (view.record, view.effective) == (new.record, new.effective):
            repeated.add(ordinal)
        pods[ordinal] = new
        lives = is_alive(new, snapshot.config.heartbeat, snapshot.config.expire_seconds)
        told_to_leave = new.record is None and links is not None and links is not LinkAction.STAY
        (alive.add if lives else alive.discard)(ordinal)
        (dead.add if not lives or _is_left(new) or told_to_leave else dead.discard)(ordinal)
        routable.pop(ordinal, None)
        if lives and state is RoutingState.READY:
            routable[ordinal] = new.state.load if new.state else 0.0
    newer = snapshot._replace(pods=pods, alive=frozenset(alive), routable=routable, dead=frozenset(dead))
    return Told(newer, frozenset(unknown), frozenset(repeated))


class Look(NamedTuple):
    """When and how some pods of a service were read; the same as the arguments of `observed`."""

    config: ServiceConfig
    time_ms: int
    now: float
    usual_seconds: float = math.inf


def corrected(before: Snapshot, read: Mapping[int, PodView | None], look: Look) -> Snapshot:
    """A snapshot of all pods, in which some have just been read anew; the others stay as old as they were."""
    now = partly_observed(before, read, look, before.pods)
    lag = look.now - before.read_at
    pods = dict(now.pods)
    for ordinal in read:
        view = pods.get(ordinal)
        if view is not None and view.age_seconds is not None:  # ages are as of the reading of all
            pods[ordinal] = view._replace(age_seconds=max(0.0, view.age_seconds - lag))
    return now._replace(pods=pods, read_at=before.read_at, time_ms=before.time_ms)


def partly_observed(
    before: Snapshot, read: Mapping[int, PodView | None], look: Look, steady: Collection[int]
) -> Snapshot:
    """The snapshot of a reader for whom some pods matter, which it has just read; the others are as they were.

    Args:
        before: The reader's last snapshot.
        read: What was read, ages by the server's clock alone; None: there is no such pod any more.
        look: When.
        steady: Pods that were read when ``before`` was made, too: their ages go on by the reader's clock, as those of
            pods that it does not know do.
    """
    config, time_ms, now, usual_seconds = look
    pods, changed_at = dict(before.pods), dict(before.changed_at)
    for ordinal, view in read.items():
        pods.pop(ordinal, None)
        last = before if ordinal in steady or ordinal not in before.pods else None
        changed_at.pop(ordinal, None)
        if view is not None:
            if _is_foreign(view):
                changed_at[ordinal] = _changed_at(ordinal, view, now, last)
            pods[ordinal] = _seen(ordinal, view, now, last, usual_seconds, config.expire_seconds)
    again = pods if config != before.config else read
    alive, dead, routable = set(before.alive), set(before.dead), dict(before.routable)
    for ordinal in again:
        aged = pods.get(ordinal)
        for known in (alive, dead):
            known.discard(ordinal)
        routable.pop(ordinal, None)
        if aged is None:
            continue
        lives = is_alive(aged, config.heartbeat, config.expire_seconds)
        if lives:
            alive.add(ordinal)
        if not lives or _is_left(aged):
            dead.add(ordinal)
        if is_routable(aged, config.heartbeat, config.expire_seconds):
            routable[ordinal] = aged.state.load if aged.state else 0.0
    return before._replace(
        pods=pods,
        config=config,
        read_at=now,
        time_ms=time_ms,
        alive=frozenset(alive),
        routable=before.routable if before.routable == routable else routable,
        dead=frozenset(dead),
        changed_at=changed_at,
    )


def _changed(view: PodView, state: RoutingState, links: LinkAction | None) -> PodView | None:
    """The pod as a message says that it is; None: that is not enough."""
    by_app = links is None
    if by_app and (view.state is None or view.state.author is not Author.APP):
        return None
    # The effective state is the more severe of two layers: with both at it, it is right, whoever has changed it.
    record = view.record
    if record is not None and (record.state, record.links) != (state, links or record.links):
        record = replace(record, state=state, links=links or record.links)
    published = None if view.state is None else view.state._replace(routing_state=state)
    return PodView(published, record, 0.0 if by_app else view.age_seconds)


def _is_foreign(view: PodView) -> bool:
    return view.state is not None and view.state.author is Author.FOREIGN


def _seen(ordinal: int, view: PodView, now: float, before: Snapshot | None, usual: float, expire: float) -> PodView:
    """What was read of a pod, with the age of its record as this reader knows it."""
    if _is_foreign(view):
        return view._replace(age_seconds=now - _changed_at(ordinal, view, now, before))
    if before is None:
        return view
    return _aged(view, before.pods.get(ordinal), now - before.read_at, usual, expire)


def _first_seen(view: PodView, expire: float) -> PodView:
    """What is known of a pod at first, if the operator has not found it down: it has this long to publish anew."""
    if view.age_seconds is None or view.record is None or view.record.state is RoutingState.SHUTDOWN:
        return view
    return view._replace(age_seconds=min(view.age_seconds, max(0.0, expire - max(FIRST_LOOK_SECONDS, expire / 4))))


def _is_left(view: PodView) -> bool:
    return view.record is not None and view.record.links is not LinkAction.STAY


def _changed_at(ordinal: int, view: PodView, now: float, before: Snapshot | None) -> float:
    """A foreign clock is not to be trusted: what counts is when we have seen the record change."""
    former = before.pods.get(ordinal) if before is not None else None
    if before is None or former is None or former.state != view.state:
        return now
    return before.changed_at.get(ordinal, -math.inf)


def _aged(view: PodView, former: PodView | None, elapsed: float, usual: float, expire: float) -> PodView:
    """How old our own record is, by the reader's clock once it has seen the pod: the server's may have been stepped.

    While the store was away nobody could publish: the time in which the reader could not look hardly counts.
    """
    if view.state is None or view.age_seconds is None:
        return view
    since = max(0.0, elapsed) if elapsed <= usual else min(usual, expire / 4)
    if former is None or former.state is None or former.state.update_time != view.state.update_time:
        return view._replace(age_seconds=min(view.age_seconds, since))  # it was published after the last look
    return view._replace(age_seconds=(former.age_seconds or 0.0) + since)
