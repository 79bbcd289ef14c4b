"""How a pod is emptied that still serves: by its own app, which saves each user, and by the operator at the end."""

from collections.abc import Mapping
from dataclasses import replace

from stateful_route.domain.aliveness import Author, ServiceState
from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.lifecycle import Situation, Verdict
from stateful_route.domain.policy import DrainPolicy, Policy
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import LinkAction, RoutingState

LEAST_RESERVE_SECONDS = 1.0
"""What the operator keeps for itself at least: for a look at the index, and for clocks that differ."""


def is_published_by(life: Incarnation, state: ServiceState | None, record: OperatorRecord | None) -> bool:
    """True when the state record is the word of this life of the pod, by the library.

    An app that does not know how often its container was restarted, or not even its pod's uid, is believed to be this
    life if it has published since that was first seen: it does not say what it had said then.
    """
    if state is None or state.author is not Author.APP:
        return False
    if state.incarnation == str(life):
        return True
    if state.incarnation not in {None, life.pod_uid}:
        return False
    return record is None or record.incarnation != life or state.update_time != record.heard


def reserve_seconds(links: int, links_per_second: float, seconds: float) -> float:
    """How long before the end of a drain the operator takes what the app has left.

    Args:
        links: How many there may be.
        links_per_second: How fast it moves them.
        seconds: What the app and the operator have together.

    Returns:
        What moving them takes, at least `LEAST_RESERVE_SECONDS`, at most half of all the time.
    """
    return min(max(LEAST_RESERVE_SECONDS, links / links_per_second), seconds / 2)


def shared_with_app(at: Situation, verdict: Verdict, policy: Policy) -> Verdict:
    """The verdict on a pod that is to be drained, when its own app gives its uids away for as long as there is time.

    The app is asked once: the moment that it is told stays the same, unless the pod's grace period ends earlier. Once
    the operator has begun to move links it goes on.
    """
    if verdict.links is not LinkAction.DRAIN or not policy.drain.by_app or at.memory.drained:
        return verdict
    expires = _expires(at.app, policy.expire_seconds)
    if at.app is None or at.app.word is RoutingState.SHUTDOWN or expires <= at.store_ms:
        return verdict
    release = _release(at, policy.drain)
    if release <= at.store_ms:
        return verdict
    ask_again = at.now + (min(release, expires) - at.store_ms) / 1000
    due = ask_again if verdict.due is None else min(verdict.due, ask_again)
    return replace(verdict, links=LinkAction.STAY, release=release, due=due)


def beginning(situations: Mapping[int, Situation], verdicts: Mapping[int, Verdict]) -> list[int]:
    """The pods that the operator has let alone so far and is about to drain itself."""
    return [
        ordinal
        for ordinal, verdict in verdicts.items()
        if verdict.links is LinkAction.DRAIN and not situations[ordinal].memory.drained
    ]


def asks(situations: Mapping[int, Situation], verdicts: Mapping[int, Verdict]) -> bool:
    """Whether the operator is about to ask an app that it has not asked so far."""
    return any(
        verdict.release is not None and situations[ordinal].memory.release is None
        for ordinal, verdict in verdicts.items()
    )


def _expires(app: ServiceState | None, expire_seconds: float) -> float:
    return 0.0 if app is None else app.update_time + expire_seconds * 1000


def _release(at: Situation, drain: DrainPolicy) -> int:
    """Until when the app gives its uids away, ms by the clock of Redis."""
    grace = None if at.pod is None or at.pod.deletion_time is None else at.pod.deletion_time - at.now
    release = at.memory.release
    if release is None:
        seconds = drain.deadline_seconds if grace is None else min(drain.deadline_seconds, grace)
        reserve = reserve_seconds(at.links, drain.links_per_second, seconds)
        return at.store_ms + round((seconds - reserve) * 1000)
    if grace is not None:
        reserve = reserve_seconds(at.links, drain.links_per_second, grace)
        # Half of it is no reason to change what the app was told: that would be told anew with each pass.
        if release > at.store_ms + (grace - reserve / 2) * 1000:
            release = at.store_ms + round((grace - reserve) * 1000)
    return release
