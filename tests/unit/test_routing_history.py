"""The checks of `support.routing_promises` can fail: small made-up histories, with one breach each, or an excuse."""

import json

import pytest

from support.routing_history import (
    Fence,
    History,
    Hop,
    Placement,
    Removal,
    Request,
    Said,
    Serve,
    Span,
    StateWrite,
    Unknown,
    View,
)
from support.routing_promises import (
    End,
    Times,
    breaches,
    broken_fences,
    callbacks_missed,
    end_breaches,
    fallen_epochs,
    indirect,
    late_receipts,
    links_nobody_made,
    moves_without_cause,
    placements_against_the_view,
    receipts,
    shown,
    slow_answers,
    stale_serves,
    summary,
    unsaved_releases,
    wrong_errors,
)

TIMES = Times(refresh=1.0, update=0.5, expire=2.0, deadline=1.0, slack=0.2)
UID = "ada"


def said(pod, epoch, at, how="read", previous=None, who="caller-0"):
    """It was asked at the time, and answered a tenth of a second later."""
    return Said(UID, pod, epoch, at, at + 0.1, who, how, previous)


def placed(pod, epoch, at, previous=None):
    return said(pod, epoch, at, "placed", previous)


def taken(pod, epoch, at):
    return said(pod, epoch, at, "taken", who=f"pod-{pod}-0")


def request(at, *answers, took=0.01, error=None):
    hops = tuple(Hop(0, False, at, at + took, answer) for answer in answers)
    return Request("caller-0", UID, at, at + took, hops, error)


TWO_OWNERS = [placed(0, 10, 1), taken(0, 10, 2), placed(1, 20, 5, previous=0)]
"""Pod 0 had the uid until a caller moved it at 5."""

CASES = {
    "links that follow each other": (fallen_epochs, History(said=TWO_OWNERS), None),
    "an epoch that was lower than one told before": (
        fallen_epochs,
        History(said=[said(0, 20, 1), said(1, 10, 2)]),
        "the epoch of ada fell",
    ),
    "a lower epoch that may have been told first: the calls overlapped": (
        fallen_epochs,
        History(said=[Said(UID, 0, 20, 1, 3, "a"), Said(UID, 1, 10, 2, 4, "b")]),
        None,
    ),
    "one epoch of two pods": (fallen_epochs, History(said=[said(0, 10, 1), said(1, 10, 2)]), "two pods"),
    "a link that somebody made": (links_nobody_made, History(said=[placed(0, 10, 1), said(0, 10, 2)]), None),
    "a link that nobody made": (links_nobody_made, History(said=[said(0, 10, 2)]), "nobody has made"),
    "a link that a call without an answer may have made": (
        links_nobody_made,
        History(said=[said(0, 10, 2)], unknown=[Unknown(UID, 0, 1, "pod-0-0")]),
        None,
    ),
    "a call without an answer that came too late for the link": (
        links_nobody_made,
        History(said=[said(0, 10, 2)], unknown=[Unknown(UID, 0, 3, "pod-0-0")]),
        "nobody has made",
    ),
    "a call without an answer for another pod": (
        links_nobody_made,
        History(said=[said(0, 10, 2)], unknown=[Unknown(UID, 1, 1, "pod-1-0")]),
        "nobody has made",
    ),
    "a placement on a pod that was READY in the view": (
        placements_against_the_view,
        History(placements=[Placement(placed(0, 10, 5), 5, frozenset({0}), 4.5)]),
        None,
    ),
    "a placement on a pod that was not": (
        placements_against_the_view,
        History(placements=[Placement(placed(0, 10, 5), 5, frozenset({1}), 4.5)]),
        r"saw \[1\] READY",
    ),
    "a placement by an old view": (
        placements_against_the_view,
        History(placements=[Placement(placed(0, 10, 5), 5, frozenset({0}), 3.7)]),
        "by a view of 3.7",
    ),
    "a uid that was moved off a pod that was killed": (
        moves_without_cause,
        History(said=TWO_OWNERS, troubles=[Span(3, 9, "SIGKILL", 0)]),
        None,
    ),
    "by a view of before its return": (
        moves_without_cause,
        History(said=TWO_OWNERS, troubles=[Span(3, 4, "SIGKILL", 0)]),
        None,
    ),
    "long after its return": (
        moves_without_cause,
        History(said=TWO_OWNERS, troubles=[Span(1, 2, "SIGKILL", 0)]),
        "pod 0 was well",
    ),
    "when another pod was killed": (
        moves_without_cause,
        History(said=TWO_OWNERS, troubles=[Span(3, 9, "SIGKILL", 1)]),
        "pod 0 was well",
    ),
    "a pod that takes what was only proposed to another": (
        moves_without_cause,
        History(said=[placed(0, 10, 1), taken(1, 20, 2)]),
        None,
    ),
    "a pod that takes what another owns": (
        moves_without_cause,
        History(said=[placed(0, 10, 1), taken(0, 10, 2), taken(1, 20, 3)]),
        "was owned, and was taken",
    ),
    "a pod that takes what another has given up": (
        moves_without_cause,
        History(said=[taken(0, 10, 2), taken(1, 20, 3)], removals=[Removal(UID, 0, 2.5, "pod-0-0")]),
        None,
    ),
    "a pod that takes what another gives up later": (
        moves_without_cause,
        History(said=[taken(0, 10, 2), taken(1, 20, 3)], removals=[Removal(UID, 0, 4, "pod-0-0")]),
        "was owned, and was taken",
    ),
    "a link that is new though the old one stands": (
        moves_without_cause,
        History(said=[placed(0, 10, 1), placed(1, 20, 3)]),
        "has vanished",
    ),
    "a link that is new after the store was emptied": (
        moves_without_cause,
        History(said=[placed(0, 10, 1), placed(1, 20, 3)], outages=[Span(1.5, 2, "emptied")]),
        None,
    ),
    "a link that is new after the store was restarted": (
        moves_without_cause,
        History(said=[placed(0, 10, 1), placed(1, 20, 3)], outages=[Span(1.5, 2, "restarted")]),
        "has vanished",
    ),
    "a temporary link that expired when the clock was stepped": (
        moves_without_cause,
        History(said=[placed(0, 10, 1), placed(1, 20, 3)], steps=[Span(1.5, 2)]),
        None,
    ),
    "an owned one that vanished when the clock was stepped": (
        moves_without_cause,
        History(said=[placed(0, 10, 1), taken(0, 10, 1.2), placed(1, 20, 3)], steps=[Span(1.5, 2)]),
        "has vanished",
    ),
    "an epoch that rose for the same pod, which another life of it may have": (
        moves_without_cause,
        History(said=[taken(0, 10, 1), taken(0, 20, 3)]),
        None,
    ),
    "an error while the store was away": (
        wrong_errors,
        History(requests=[request(5, "error", error="StoreUnavailable")], outages=[Span(4, 6)]),
        None,
    ),
    "the same while it was there": (
        wrong_errors,
        History(requests=[request(9, "error", error="StoreUnavailable")], outages=[Span(4, 6)]),
        "was told StoreUnavailable",
    ),
    "another error while it was away": (
        wrong_errors,
        History(requests=[request(5, "error", error="KeyError('x')")], outages=[Span(4, 6)]),
        "was told KeyError",
    ),
    "an answer within the deadline": (slow_answers, History(requests=[request(5, "served", took=1.1)]), None),
    "an answer after it": (slow_answers, History(requests=[request(5, "served", took=1.3)]), "waited 1.30 s"),
    "the same, of a caller that was not let run": (
        slow_answers,
        History(requests=[request(5, "served", took=1.3)], late=[Span(5.5, 5.8, "caller-0")]),
        None,
    ),
    "a fence that says yes while nothing else is known": (
        broken_fences,
        History(said=TWO_OWNERS, fences=[Fence("pod-0-0", UID, 10, 5.05, yes=True)]),
        None,
    ),
    "a fence that says yes after the uid has gone elsewhere": (
        broken_fences,
        History(said=TWO_OWNERS, fences=[Fence("pod-0-0", UID, 10, 5.2, yes=True)]),
        "the fence let pod-0-0 write",
    ),
    "a fence that says no then": (
        broken_fences,
        History(said=TWO_OWNERS, fences=[Fence("pod-0-0", UID, 10, 5.2, yes=False)]),
        None,
    ),
    "a request that is served before the former owner can know": (
        stale_serves,
        History(said=TWO_OWNERS, serves=[Serve("pod-0-0", 0, UID, 10, 5.5)]),
        None,
    ),
    "a request that is served more than a period later": (
        stale_serves,
        History(said=TWO_OWNERS, serves=[Serve("pod-0-0", 0, UID, 10, 6)]),
        "served what it had lost 0.90 s before",
    ),
    "the same, with the store away meanwhile": (
        stale_serves,
        History(said=TWO_OWNERS, serves=[Serve("pod-0-0", 0, UID, 10, 6)], outages=[Span(5.2, 5.6)]),
        None,
    ),
    "a request that is served by a pod which was stopped when the uid was taken": (
        stale_serves,
        History(said=TWO_OWNERS, serves=[Serve("pod-0-0", 0, UID, 10, 5.5)], sleeps=[Span(3, 5.4, "pod-0-0")]),
        "woke up, and served",
    ),
    "a uid that is saved, and given away": (
        unsaved_releases,
        History(removals=[Removal(UID, 0, 2, "pod-0-0")], told=[("pod-0-0", {"k": "release", "uid": UID, "at": 1.9})]),
        None,
    ),
    "a uid that is given away, and saved": (
        unsaved_releases,
        History(removals=[Removal(UID, 0, 2, "pod-0-0")], told=[("pod-0-0", {"k": "release", "uid": UID, "at": 2.1})]),
        "unsaved",
    ),
    "a callback that was told what the snapshot says": (
        callbacks_missed,
        History(
            views=[View("caller-0", 1, {0: "READY"})],
            told=[("caller-0", {"k": "callback", "states": {"0": "READY"}, "at": 1})],
        ),
        None,
    ),
    "a callback that was not told the last change": (
        callbacks_missed,
        History(
            views=[View("caller-0", 1, {0: "READY"}), View("caller-0", 2, {0: "SHUTDOWN"})],
            told=[("caller-0", {"k": "callback", "states": {"0": "READY"}, "at": 1})],
        ),
        "the callback of caller-0 was told",
    ),
}


@pytest.mark.parametrize("sentence", CASES)
def test_a_breach_is_found_and_an_excuse_is_heard(sentence):
    check, history, breach = CASES[sentence]
    found = check(history, TIMES) if check.__code__.co_argcount > 1 else check(history)
    if breach is None:
        assert not found
    else:
        assert len(found) == 1
        with pytest.raises(AssertionError, match=breach):
            raise AssertionError(shown(found))


def changed(*states):
    """Pod 0's states, one each ten seconds, each acknowledged a tenth of a second after it was published."""
    return [StateWrite(0, state, 10 * place, 10 * place + 0.1, "pod-0-0") for place, state in enumerate(states)]


RECEIVED = {
    "a change that came by push": (changed("READY", "SHUTDOWN"), [(10.15, "SHUTDOWN")], [0.05]),
    "a change that came too late": (changed("READY", "SHUTDOWN"), [(13, "SHUTDOWN")], [2.9]),
    "a change that never came": (changed("READY", "SHUTDOWN"), [], [None]),
    "a change that was overtaken by the next": (
        [*changed("READY", "DENY_NEW_CALL"), StateWrite(0, "SHUTDOWN", 10.2, 10.3, "pod-0-0")],
        [(10.25, "SHUTDOWN")],
        [0.15, -0.05],
    ),
    "another state that nobody had published by then": (
        changed("READY", "SHUTDOWN"),
        [(10.15, "DENY_NEW_CALL")],
        [None],
    ),
    "a pod that is back as it was": (changed("READY"), [], []),
}


@pytest.mark.parametrize("sentence", RECEIVED)
def test_receipts_of_changes(sentence):
    writes, views, seconds = RECEIVED[sentence]
    history = History(state_writes=writes, lives={"caller-0": Span(1, 100, "caller-0")})
    history.views = [View("caller-0", 1, {0: "READY"}), *(View("caller-0", at, {0: state}) for at, state in views)]
    found = [receipt.seconds for receipt in receipts(history, TIMES)]
    assert [None if one is None else round(one, 3) for one in found] == seconds
    late = [one for one in seconds if one is None or one > TIMES.refresh + TIMES.slack]
    assert len(late_receipts(history, TIMES)) == len(late)


def test_a_change_may_come_later_when_the_store_was_away():
    history = History(state_writes=changed("READY", "SHUTDOWN"), lives={"caller-0": Span(1, 100, "caller-0")})
    history.views = [View("caller-0", 1, {0: "READY"}), View("caller-0", 13, {0: "SHUTDOWN"})]
    assert len(late_receipts(history, TIMES)) == 1
    history.outages = [Span(10.5, 12.5)]
    assert late_receipts(history, TIMES) == []


class Link:
    def __init__(self, ordinal):
        self.ordinal = ordinal


GOOD_END = {"links": {UID: Link(0)}, "held": {0: frozenset({UID})}, "counts": {0: 1}, "word": "READY"}
ENDS = {
    "all is well": ({}, None),
    "a uid without a link": ({"links": {}, "held": {0: frozenset()}, "counts": {}}, "ada is linked to None"),
    "a uid on a pod that is gone": ({"links": {UID: Link(1)}, "held": {0: frozenset()}, "counts": {}}, "live pods are"),
    "a pod that does not know what it owns": ({"held": {0: frozenset()}}, "pod 0 holds"),
    "an index that counts otherwise": ({"counts": {0: 2}}, "the index counts"),
    "a service that is said to be down": ({"word": "SHUTDOWN"}, "the word for the whole service"),
}


@pytest.mark.parametrize("sentence", ENDS)
def test_the_end(sentence):
    changes, breach = ENDS[sentence]
    found = end_breaches(End(**{**GOOD_END, **changes}), [UID])
    assert len(found) == (breach is not None)
    assert breach is None or breach in found[0]


def test_only_requests_of_that_time_must_be_direct():
    served, detour = request(5, "served"), request(6, "moved", "served")
    history = History(requests=[request(1, "moved", "served"), served, detour, request(7, "unreachable")])
    assert indirect(history, 4, 8) == history.requests[2:]


def test_a_request_whose_pod_was_not_let_run_need_not_be_direct():
    waited, moved = request(5, "unreachable"), request(5, "moved", "served")
    history = History(requests=[waited, moved], late=[Span(waited.began, waited.ended, "pod-1-0")])
    assert indirect(history, 4, 8) == history.requests
    history.late = [Span(waited.began, waited.ended, f"pod-{waited.hops[0].pod}-0")]
    assert indirect(history, 4, 8) == [moved]
    history.late = [Span(waited.ended + 1, waited.ended + 2, f"pod-{waited.hops[0].pod}-0")]
    assert indirect(history, 4, 8) == history.requests


# Reading


@pytest.fixture
def read(tmp_path):
    """The history in journals of these lines: ``read("pod-0-0", ordinal=0, lines=[…])``."""

    def journal(name, lines, cut="", **who):
        path = tmp_path / f"{name}.jsonl"
        entries = [{"k": "process", "at": 0.0, "name": name, "wall": 100.0, **who}, *lines]
        path.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + cut)
        history = History()
        history.read(path)
        return history

    return journal


def ask(number, at, script, *args, **more):
    return {"k": "ask", "at": at, "n": number, "s": script, "a": args, **more}


def told(number, at, reply):
    return {"k": "told", "at": at, "n": number, "r": reply}


def view(at, ready):
    return {"k": "view", "at": at, "states": {"0": "READY", "1": "DENY_NEW_CALL"}, "ready": ready}


COMPUTE = ("statefulComputeLinkIfAbsent", UID, "room", 300, 270_000, "", "", 0, 1, 0)
KNOWN = {"begun": None, "read": 0.9}


def test_a_callers_journal_is_read(read):
    history = read(
        "caller-0",
        [
            view(1.0, [0, 1]),
            ask(0, 1.5, *COMPUTE, begun=1.4, read=0.9),
            told(0, 1.6, [1, 10, -1, 300000]),
            view(2.0, [0]),
            ask(1, 2.5, *COMPUTE, begun=2.4, read=1.9),
            told(1, 2.6, [1, 10, 1, 300000]),
            {"k": "call", "at": 2.7, "uid": UID, "began": 2.4, "hops": [[1, False, 2.4, 2.6, "served"]], "error": None},
            {"k": "late", "at": 3.0, "seconds": 0.3},
        ],
        cut='{"k":"vie',
    )
    assert [one.how for one in history.said] == ["placed", "found"]
    assert history.placements == [Placement(history.said[0], 1.4, frozenset({0, 1}), 0.9)]
    assert history.views[-1] == View("caller-0", 2.0, {0: "READY", 1: "DENY_NEW_CALL"})
    assert history.lives == {"caller-0": Span(1.0, 3.0, "caller-0")}
    assert history.requests[0].direct
    assert history.lateness("caller-0", 2.8, 5) == pytest.approx(0.2)


def test_a_thread_may_have_taken_the_view_of_when_its_request_began(read):
    lines = [
        view(1.0, [0, 1]),
        view(2.0, [0]),
        ask(0, 2.5, *COMPUTE, read=1.0, begun=1.4),
        told(0, 2.6, [1, 10, -1, 1]),
    ]
    assert read("caller-0", lines).placements[0].ready == {0, 1}
    lines[2]["begun"] = None
    assert read("caller-1", lines).placements[0].ready == {0}


def test_a_pods_journal_is_read(read):
    history = read(
        "pod-1-0",
        [
            ask(0, 1.0, "takeLink", UID, "room", 1, -1, "unowned", 1),
            told(0, 1.1, [1, 1, 10, -1]),
            ask(1, 1.2, "takeLink", "bob", "room", 1, -1, "unowned", 1),
            told(1, 1.3, [0, 2, 20, 2]),
            {"k": "served", "at": 1.5, "uid": UID, "epoch": 10, "since": 1.4, "write": False},
            ask(2, 1.6, "isOwner", UID, "room", 1, 10),
            told(2, 1.7, 1),
            ask(3, 1.8, "statefulSetState", 1, 0, "READY", "uid", "PUBLISH", 1000),
            told(3, 1.9, ["DENY_NEW_CALL", 1]),
            ask(4, 2.0, "statefulRemoveLinkWithId", UID, "room", 1, 0),
            told(4, 2.1, [1, 1, 10]),
            ask(5, 2.2, "statefulRemoveLinkWithId", "bob", "room", 1, 0),
            told(5, 2.3, [0, 2, -1]),
        ],
        ordinal=1,
    )
    assert [(one.uid, one.pod, one.how) for one in history.said] == [(UID, 1, "taken"), ("bob", 2, "refused")]
    assert history.serves == [Serve("pod-1-0", 1, UID, 10, 1.4)]
    assert history.fences == [Fence("pod-1-0", UID, 10, 1.6, yes=True)]
    assert history.state_writes == [StateWrite(1, "DENY_NEW_CALL", 1.8, 1.9, "pod-1-0")]
    assert history.removals == [Removal(UID, 1, 2.0, "pod-1-0")]


def test_what_was_not_answered_or_may_have_been_written_is_unknown(read):
    history = read(
        "pod-1-0",
        [
            ask(0, 1.0, "takeLink", UID, "room", 1, -1, "unowned", 1),
            {"k": "told", "at": 1.1, "n": 0, "e": "StoreUnavailable", "w": True},
            ask(1, 1.2, "takeLink", "bob", "room", 1, -1, "unowned", 1),
            {"k": "told", "at": 1.3, "n": 1, "e": "StoreUnavailable", "w": False},
            ask(2, 1.4, *COMPUTE, **KNOWN),
            ask(3, 1.5, "statefulRemoveLinkWithId", UID, "room", 1, 0),
            ask(4, 1.6, "isOwner", UID, "room", 1, 10),
        ],
        ordinal=1,
    )
    assert history.unknown == [
        Unknown(UID, 1, 1.0, "pod-1-0"),
        Unknown(UID, 1, 1.4, "pod-1-0"),
        Unknown(UID, None, 1.5, "pod-1-0"),
    ]
    assert not history.said


def test_the_summary_counts_by_phase():
    history = History(
        said=list(TWO_OWNERS),
        requests=[request(1, "moved", "served"), request(2, "error", error="StoreUnavailable"), request(5, "served")],
        phases=[Span(0, 4, "trouble"), Span(4, 9, "quiet")],
        state_writes=changed("READY", "SHUTDOWN"),
        views=[View("caller-0", 1, {0: "READY"}), View("caller-0", 10.15, {0: "SHUTDOWN"})],
        lives={"caller-0": Span(1, 100, "caller-0")},
    )
    text = summary(history, TIMES)
    assert "trouble                       2 requests, misrouted 1, StoreUnavailable 1, error 1" in text
    assert "quiet                         1 requests, misrouted 0" in text
    assert "p50 50.0 ms" in text


def test_all_checks_are_made_together():
    history = History(said=list(TWO_OWNERS), fences=[Fence("pod-0-0", UID, 10, 5.2, yes=True)])
    assert len(breaches(history, TIMES)) == 2
