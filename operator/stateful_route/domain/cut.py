"""Which links of a pod were made for an earlier life of it: those with an epoch below a cut.

Epochs of a bucket never fall, whatever the server's clock does. So a cut above all epochs that stand is always right
for links that stand: none of a process that has ended is taken for the next one's.
"""

from dataclasses import dataclass

from stateful_route.domain.aliveness import Author, ServiceState
from stateful_route.domain.epoch import EPOCH_START_MS
from stateful_route.domain.lifecycle import is_replaced
from stateful_route.domain.pod import PodFacts
from stateful_route.domain.record import OperatorRecord

AHEAD_MS = 1000
"""Epochs that are ahead of the clock by more than this were not made by that clock as it goes now."""


STAMP_MS = 1000
"""A kubelet cuts its times to the second."""


@dataclass(frozen=True, slots=True)
class Issued:
    """What is known of all epochs that a service's buckets have issued.

    Attributes:
        highest: The highest one; 0: there is none.
        ahead_ms: By how much the highest is ahead of its server's clock; 0 or less: it is not.
        spread_ms: By how much the clocks of the servers may differ at most; 0: there is one server.
    """

    highest: int = 0
    ahead_ms: int = 0
    spread_ms: int = 0


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a pod's present life begins.

    Attributes:
        before: Links with a lower epoch were made for an earlier one.
        begun: When the app of this life spoke first, ms by the clock of Redis; None: it is not known.
        serves: It serves already those who were linked since.
    """

    before: int
    begun: int | None = None
    serves: bool = False


def began(pod: PodFacts, record: OperatorRecord, state: ServiceState | None) -> int | None:
    """When the app of a pod's new life spoke first, ms by the clock of Redis; None: nobody can tell.

    An app does not know how often its container was restarted. What it says is this life's word if it began to speak
    after the former life did; or if as many processes of the pod have begun to speak as its containers were started.

    Args:
        pod: The pod, in its new life.
        record: What was written of it in an earlier life.
        state: What stands of its app.
    """
    if state is None or state.author is not Author.APP or state.since is None:
        return None
    if state.incarnation == str(pod.incarnation) and record.incarnation != pod.incarnation:
        return state.since
    if state.incarnation != pod.uid:
        return None
    if not is_replaced(pod, record) and record.begun is not None:
        return state.since if state.since != record.begun else None
    return state.since if state.lives == pod.restarts + 1 and record.incarnation != pod.incarnation else None


def kubelet_behind(pod: PodFacts, record: OperatorRecord | None, store_ms: int, *, live: bool) -> int | None:
    """By how much the store's clock is later than that of the pod's kubelet at most, in ms; None: not known.

    It shows in what the kubelet says of when the condition Ready has changed: that is seen later, never earlier.

    Args:
        pod: The pod as it is seen now.
        record: What was written of it last.
        store_ms: What the store's clock says.
        live: The pod has been watched since: what it says has just been said.
    """
    known = record if record is not None and not is_replaced(pod, record) else None
    before = known.kubelet_behind if known else None
    if pod.ready_changed is None or (known and known.ready_changed == pod.ready_changed):
        return before
    seen = store_ms - round(pod.ready_changed * 1000)
    return seen if live or before is None else min(before, seen)


def started(pod: PodFacts, record: OperatorRecord) -> int | None:
    """When the container of a pod's new life has started at the latest, ms by the store's clock; None: nobody can tell.

    Its kubelet says it to the second. ``record``: what was written of the pod in an earlier life.
    """
    at, behind = pod.container.started_at, record.kubelet_behind
    if is_replaced(pod, record) or behind is None or at is None or pod.container.started == record.container.started:
        return None
    return round(at * 1000) + STAMP_MS + behind


def cut(
    pod: PodFacts,
    record: OperatorRecord,
    state: ServiceState | None,
    issued: Issued,
    *,
    moves: bool,
    live: bool = False,
) -> Cut:
    """Where the pod's new life begins.

    Where the app says when it began, or else the kubelet when it started the container, that counts: links that were
    made since are its own, however late the new life is seen. Otherwise, and while epochs are ahead of the clock by
    which that is said, it begins when it is first seen; so also where the kubelet alone says it, of a pod that has been
    watched since before: that is soon enough, and a clock that was set need not be believed.

    Args:
        pod: The pod, in its new life.
        record: What was written of it in an earlier life, whose own cut may still stand.
        state: What stands of its app.
        issued: What has been issued, as of now.
        moves: Links of the earlier life leave the pod.
        live: The pod has been watched since before.
    """
    first_seen = max(issued.highest + 1, record.before or 0)
    begun = began(pod, record, state)
    start = begun if begun is not None or live else started(pod, record)
    if start is None or issued.ahead_ms > AHEAD_MS:
        return Cut(first_seen, begun)
    before = max(start - EPOCH_START_MS + issued.spread_ms, record.before or 0)
    if before >= first_seen:
        return Cut(first_seen, begun)
    return Cut(before, begun, serves=moves and pod.ready and record.loss is None)
