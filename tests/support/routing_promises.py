"""The promises of the design's section 6, held against a history: each check gives a sentence for each breach.

``slack`` is how late the machine may be, in seconds: it is added where a promise names a time, and nowhere else.
"""

import bisect
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from support.routed_service import LATE_SECONDS
from support.routing_history import History, Removal, Request, Said, Span, StateWrite, Unknown, View, by_uid

OUTAGE_ERRORS = frozenset({"StoreUnavailable", "NoPodAvailable"})

SHOWN = 12


@dataclass(frozen=True)
class Times:
    """What the promises are measured by, in seconds."""

    refresh: float
    update: float
    expire: float
    deadline: float
    slack: float = 2.0


# 1: one link, and epochs that never fall


def fallen_epochs(history: History) -> list[str]:
    """An epoch that is lower than one that somebody had been told before it was asked for; one epoch of two pods."""
    breaches = []
    for uid, saids in by_uid(said for said in history.said if said.epoch >= 0).items():
        pods: dict[int, Said] = {}
        for said in saids:
            first = pods.setdefault(said.epoch, said)
            if first.pod != said.pod:
                breaches.append(f"{uid} is linked to two pods since one epoch: {first} and {said}")
        answered = sorted(saids, key=lambda said: said.answered)
        place, highest = 0, None
        for said in sorted(saids, key=lambda said: said.asked):
            while answered[place].answered < said.asked:
                if highest is None or answered[place].epoch > highest.epoch:
                    highest = answered[place]
                place += 1
            if highest is not None and said.epoch < highest.epoch:
                breaches.append(f"the epoch of {uid} fell: {highest}, then {said}")
    return breaches


def links_nobody_made(history: History) -> list[str]:
    """A link that was seen, and that nobody has made, nor may have made by a call that was not answered."""
    made = {(said.uid, said.pod, said.epoch) for said in history.said if said.written}
    maybe = by_uid(history.unknown)
    seen: dict[tuple[str, int, int], Said] = {}
    for said in history.said:
        key = (said.uid, said.pod, said.epoch)
        if key not in made and (key not in seen or said.answered < seen[key].answered):
            seen[key] = said
    return [
        f"nobody has made the link {said}"
        for said in seen.values()
        if not any(one.pod == said.pod and one.asked <= said.answered for one in maybe.get(said.uid, ()))
    ]


# 2: what a caller has received counts; everything is received in time


def placements_against_the_view(history: History, times: Times) -> list[str]:
    """A new link to a pod that was not READY in the caller's view, or by a view that was too old."""
    breaches = []
    for placement in history.placements:
        said = placement.said
        if said.pod not in placement.ready:
            breaches.append(f"{said.who} saw {sorted(placement.ready)} READY and has linked {said}")
        read = -math.inf if placement.read is None else placement.read
        late = history.lateness(said.who, read, placement.begun) + LATE_SECONDS  # less than that is not noticed
        if placement.begun - read > times.refresh + late:
            breaches.append(f"{said.who} has placed by a view of {placement.read}: {said}")
    return breaches


@dataclass(frozen=True)
class Receipt:
    """A change of state reached a caller so many seconds after its acknowledgement; None: never."""

    change: StateWrite
    caller: str
    seconds: float | None
    allowed: float


def receipts(history: History, times: Times) -> list[Receipt]:
    """When each caller has received each change; what came later counts as well, if its write had begun by then."""
    views: dict[str, list[View]] = {}
    for view in history.views:
        views.setdefault(view.caller, []).append(view)
    found = []
    for change, later in _changes(history.state_writes):
        for caller, life in history.lives.items():
            due = change.answered + times.refresh + times.slack
            due += history.lateness(caller, change.answered, due)
            for outage in sorted(history.outages):
                if outage.meets(change.asked, due):
                    due = max(due, outage.ended + times.refresh + times.slack)
            if change.asked < life.began or due > life.ended:
                continue
            at = _received(change, later, views[caller])
            found.append(Receipt(change, caller, None if at is None else at - change.answered, due - change.answered))
    return found


def late_receipts(history: History, times: Times) -> list[str]:
    """A change that a caller has not received within one refresh period, and the store was there."""
    return [
        f"{receipt.caller} has received {receipt.change} after {receipt.seconds} s"
        for receipt in receipts(history, times)
        if receipt.seconds is None or receipt.seconds > receipt.allowed
    ]


def _changes(writes: Iterable[StateWrite]) -> list[tuple[StateWrite, list[StateWrite]]]:
    """Each write that has changed a pod's state, and those that did so after it."""
    changes: dict[int, list[StateWrite]] = {}
    for write in sorted(writes, key=lambda write: write.answered):
        known = changes.setdefault(write.pod, [])
        if not known or known[-1].state != write.state:
            known.append(write)
    return [(change, known[place + 1 :]) for known in changes.values() for place, change in enumerate(known)]


def _received(change: StateWrite, later: Sequence[StateWrite], views: Sequence[View]) -> float | None:
    """When the caller knew of it; its view may have said so all along (the pod was away, and has come back)."""
    known = None
    for view in views:
        state = view.states.get(change.pod)
        fits = state == change.state or any(state == one.state and one.asked <= view.at for one in later)
        if view.at < change.asked:
            known = change.answered if state == change.state else None
        elif known is not None:
            return known
        elif fits:
            return view.at
    return known


# 3: a link moves for a reason


def moves_without_cause(history: History, times: Times) -> list[str]:
    """A link that was moved off a pod that was well, taken from a pod that owned it, or that vanished.

    A caller may move by a view that is a refresh period old; a pod that was stopped publishes within its update period.
    """
    breaches = []
    removals, unknown = by_uid(history.removals), by_uid(history.unknown)
    after = times.refresh + times.update + times.slack
    for uid, saids in by_uid(said for said in history.said if said.epoch >= 0).items():
        chain = _chain(saids)
        for link, new in pairwise(chain):
            owned = any(one.how == "taken" and (one.pod, one.epoch) == (link.pod, link.epoch) for one in saids)
            lost = [outage for outage in history.outages if outage.what == "emptied"]
            lost += [] if owned else history.steps  # a temporary link ends at a time by the server's clock
            gone = _gone(link, new, removals.get(uid, ()), unknown.get(uid, ()), lost)
            if new.how == "placed" and new.previous is not None:
                well = not any(
                    trouble.pod == new.previous and trouble.meets(new.asked - after, new.answered)
                    for trouble in history.troubles
                )
                if new.previous == new.pod or well:
                    breaches.append(f"pod {new.previous} was well, and {uid} was moved off it: {new}, after {link}")
            elif new.how == "placed" and not gone:
                breaches.append(f"the link {link} has vanished: {new}")
            elif new.how == "taken" and owned and new.pod != link.pod and not (gone or _is_renewed(new, saids)):
                breaches.append(f"{link} was owned, and was taken: {new}")
    return breaches


def _is_renewed(new: Said, saids: Sequence[Said]) -> bool:
    """Whether the pod had the link before: somebody else has moved it there."""
    return any(one.how == "renewed" and (one.pod, one.epoch) == (new.pod, new.epoch) for one in saids)


def _chain(saids: Sequence[Said]) -> list[Said]:
    """A uid's links, one after the other, each as whoever made it was told (or, where nobody was, as it was seen)."""
    links: dict[int, Said] = {}
    order = {"placed": 0, "taken": 1}  # who places makes a link, who takes one may only have made it last
    for said in sorted(saids, key=lambda said: (order.get(said.how, 2), said.answered)):
        links.setdefault(said.epoch, said)
    return [links[epoch] for epoch in sorted(links)]


def _gone(
    link: Said, new: Said, removals: Sequence[Removal], unknown: Sequence[Unknown], losses: Sequence[Span]
) -> bool:
    """Whether the link may have been gone when the new one was made: removed, or lost by the store."""
    removed = any(one.pod == link.pod and link.asked <= one.asked <= new.answered for one in removals)
    maybe = any(one.pod is None and link.asked <= one.asked <= new.answered for one in unknown)
    lost = any(link.asked <= one.ended and one.began <= new.answered for one in losses)
    return removed or maybe or lost


# 4: everybody has a live pod in the end


@dataclass(frozen=True)
class End:
    """How everything stood in the end.

    Attributes:
        links: uid → its link (with ``ordinal``), or None.
        held: Live pod → the uids that it believes to own.
        counts: Pod → its links by the index.
        word: The one for the whole service.
    """

    links: Mapping[str, Any]
    held: Mapping[int, frozenset[str]]
    counts: Mapping[int, int]
    word: str | None


def end_breaches(end: End, uids: Iterable[str]) -> list[str]:
    """A uid without a live pod, a pod that believes something else than the store, an index that counts otherwise."""
    breaches = []
    linked: dict[int, set[str]] = {pod: set() for pod in end.held}
    for uid in uids:
        link = end.links.get(uid)
        if link is None or link.ordinal not in linked:
            breaches.append(f"{uid} is linked to {link}, and the live pods are {sorted(linked)}")
        else:
            linked[link.ordinal].add(uid)
    for pod, owned in end.held.items():
        if owned != linked[pod]:
            breaches.append(f"pod {pod} holds {sorted(owned)}, and is linked to {sorted(linked[pod])}")
        if end.counts.get(pod, 0) != len(linked[pod]):
            breaches.append(f"the index counts {end.counts} links, pod {pod} has {len(linked[pod])}")
    if end.word != "READY":
        breaches.append(f"the word for the whole service is {end.word}")
    return breaches


# 5: while the store is away


def wrong_errors(history: History, times: Times) -> list[str]:
    """An error that is not one of the store's absence, or that came while the store was there."""
    breaches = []
    for request in history.requests:
        if request.error is None:
            continue
        excused = any(
            outage.meets(request.began, request.ended, times.update + times.slack) for outage in history.outages
        )
        if request.error not in OUTAGE_ERRORS or not excused:
            breaches.append(f"{request.caller} was told {request.error}: {request}")
    return breaches


def slow_answers(history: History, times: Times) -> list[str]:
    """A look-up that took longer than the store's deadline, and the caller was let run."""
    breaches = []
    for request in history.requests:
        for hop in request.hops:
            if hop.ended - hop.began <= times.deadline + times.slack:
                continue
            late = history.lateness(request.caller, hop.began, hop.ended)
            if hop.ended - hop.began - late > times.deadline + times.slack:
                breaches.append(f"{request.caller} waited {hop.ended - hop.began:.2f} s: {request}")
    return breaches


# Giving away


def unsaved_releases(history: History) -> list[str]:
    """A link that a pod has removed before the app was told to save the uid's state."""
    saved: dict[tuple[str, str], list[float]] = {}
    for who, entry in history.told:
        if entry["k"] == "release":
            saved.setdefault((who, entry["uid"]), []).append(entry["at"])
    return [
        f"{removal.who} has given {removal.uid} away unsaved: {removal}"
        for removal in history.removals
        if not any(at <= removal.asked for at in saved.get((removal.who, removal.uid), ()))
    ]


def callbacks_missed(history: History) -> list[str]:
    """A caller whose callback was told something else in the end than what its snapshot says."""
    told = {who: _states(entry) for who, entry in history.told if entry["k"] == "callback"}
    views = {view.caller: dict(view.states) for view in history.views}
    return [
        f"the callback of {caller} was told {states}, the snapshot says {views[caller]}"
        for caller, states in told.items()
        if states != views.get(caller)
    ]


def _states(entry: Mapping[str, Any]) -> dict[int, str]:
    return {int(pod): state for pod, state in entry["states"].items()}


# Fencing


def broken_fences(history: History) -> list[str]:
    """A fence that said yes although somebody had been told of a later link before it was asked."""
    laters = _Laters(history.said)
    return [
        f"the fence let {fence.who} write, which had lost the uid: {fence}, after {later}"
        for fence in history.fences
        if fence.yes and (later := laters.before(fence.uid, fence.epoch, fence.asked)) is not None
    ]


def stale_serves(history: History, times: Times) -> list[str]:
    """A request that a pod has served although another pod had the uid already, for longer than one update period.

    Not even once by a pod that was stopped when the uid was taken.
    """
    laters = _Laters(history.said)
    breaches = []
    for serve in history.serves:
        later = laters.before(serve.uid, serve.epoch, serve.at, other_than=serve.pod)
        if later is None:
            continue
        age = serve.at - later.answered
        if any(nap.what == serve.who and later.answered < nap.ended < serve.at for nap in history.sleeps):
            breaches.append(f"{serve.who} was stopped, woke up, and served what it had lost: {serve}, after {later}")
        elif age > times.update + times.slack + history.away(later.answered, serve.at):
            breaches.append(f"{serve.who} served what it had lost {age:.2f} s before: {serve}, after {later}")
    return breaches


class _Laters:
    """Finds who was told first of a later link."""

    def __init__(self, saids: Iterable[Said]) -> None:
        firsts: dict[tuple[str, int, int], Said] = {}
        for said in saids:
            key = (said.uid, said.pod, said.epoch)
            if key not in firsts or said.answered < firsts[key].answered:
                firsts[key] = said
        self._by_uid = by_uid(sorted(firsts.values(), key=lambda said: said.answered))
        self._times = {uid: [said.answered for said in saids] for uid, saids in self._by_uid.items()}

    def before(self, uid: str, epoch: int, at: float, other_than: int | None = None) -> Said | None:
        """The first of the links with a higher epoch that somebody had been told of before then."""
        end = bisect.bisect_left(self._times.get(uid, []), at)
        for said in self._by_uid.get(uid, [])[:end]:
            if said.epoch > epoch and said.pod != other_than:
                return said
        return None


# All together


def breaches(history: History, times: Times) -> list[str]:
    """All of them, but for what needs more than the history."""
    return [
        *fallen_epochs(history),
        *links_nobody_made(history),
        *placements_against_the_view(history, times),
        *late_receipts(history, times),
        *moves_without_cause(history, times),
        *wrong_errors(history, times),
        *slow_answers(history, times),
        *unsaved_releases(history),
        *callbacks_missed(history),
        *broken_fences(history),
        *stale_serves(history, times),
    ]


def indirect(history: History, since: float, until: float) -> list[Request]:
    """Requests of that time that did not reach the owner at once; not those whose pod was not let run meanwhile."""
    return [
        request
        for request in history.requests
        if since <= request.began <= until and not request.direct and not _stalled(history, request)
    ]


def _stalled(history: History, request: Request) -> bool:
    """It has waited in vain for the pod of the link, and that pod's process was late."""
    last = request.hops[-1] if len(request.hops) == 1 else None
    if last is None or last.answer != "unreachable":
        return False
    late = [span for span in history.late if span.what.startswith(f"pod-{last.pod}-")]
    return any(span.began < request.ended and request.began < span.ended for span in late)


def summary(history: History, times: Times) -> str:
    """Requests, detours and errors by phase, and how quickly changes were received."""
    lines = []
    for phase in history.phases:
        requests = [request for request in history.requests if phase.began <= request.began < phase.ended]
        detours = Counter(hop.answer for request in requests for hop in request.hops if hop.answer != "served")
        errors = Counter(request.error for request in requests if request.error)
        line = f"  {phase.what:<24}{len(requests):>7} requests, misrouted {detours.pop('moved', 0)}"
        lines.append(line + "".join(f", {kind} {count}" for kind, count in sorted((detours | errors).items())))
    seconds = sorted(max(0.0, one.seconds) for one in receipts(history, times) if one.seconds is not None)
    if seconds:
        p50, p99 = seconds[len(seconds) // 2], seconds[int(len(seconds) * 0.99)]
        lines.append(
            f"  {len(seconds)} receipts of state changes: p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms, "
            f"max {seconds[-1] * 1000:.1f} ms"
        )
    fences = Counter(fence.yes for fence in history.fences)
    moved = sum(placement.said.previous is not None for placement in history.placements)
    lines.append(
        f"  {len(history.said)} links told, {len(history.placements)} placed of which {moved} moved, "
        f"{len(history.unknown)} unknown; fence yes {fences[True]}, no {fences[False]}; "
        f"late {sum(span.ended - span.began for span in history.late):.1f} s"
    )
    return "\n".join(lines)


def shown(found: Sequence[str]) -> str:
    """The first of them, for an assertion's message."""
    return f"{len(found)} breaches:\n" + "\n".join(found[:SHOWN])
