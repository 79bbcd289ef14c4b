"""A service none of whose pods served: the users of pods that are not back yet wait for them, and not for good."""

from dataclasses import replace

import pytest

from stateful_route.domain.aliveness import Author, ServiceState
from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.lifecycle import Memory, Situation, remember, was_serving
from stateful_route.domain.pod import PodFacts
from stateful_route.domain.policy import MaxUnavailable, MinAvailable, OnLoss, Policy, StartPolicy
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import LinkAction, Reason, RoutingState
from stateful_route.domain.service import judge_service
from stateful_route.domain.startup import begins

READY, DENY, SHUTDOWN = RoutingState
STAY, MOVE, DRAIN = LinkAction.STAY, LinkAction.MOVE, LinkAction.DRAIN
NOW = 5000.0
TIMEOUT = 120.0


def pod(ordinal, **facts):
    usual = {"name": f"room-{ordinal}", "uid": f"pod-{ordinal}", "resource_version": 1, "ready": True}
    return PodFacts(ordinal=ordinal, phase="Running", **(usual | facts))


def situation(facts, *, links=100, served=False, wanted=True, **memory):
    usual = {"ever_ready": True, "unready_since": None, "loss": None, "held_down": False}
    at = Situation(pod=facts, memory=Memory(**(usual | memory), served=True), wanted=wanted, now=NOW, links=links)
    return replace(at, was_serving=served)


KINDS = {
    "serves": lambda n: situation(pod(n), served=True, ready_since=NOW - 3600),
    "READY for 5 s": lambda n: situation(pod(n), served=True, ready_since=NOW - 5),
    "READY for 2 minutes": lambda n: situation(pod(n), served=True, ready_since=NOW - TIMEOUT),
    "just back": lambda n: situation(pod(n), stranded=True, loss=Reason.REPLACED),
    "just back, as nobody had seen it go": lambda n: situation(pod(n), loss=Reason.REPLACED),
    "just back, in the same life": lambda n: situation(pod(n), stranded=True),
    "gone": lambda _: situation(None, unready_since=NOW - 60),
    "gone, without users": lambda _: situation(None, unready_since=NOW - 60, links=0),
    "stranded": lambda _: situation(None, unready_since=NOW - 60, stranded=True),
    "stranded, not wanted": lambda _: situation(None, unready_since=NOW - 60, stranded=True, wanted=False),
    "stranded, starting": lambda n: situation(
        pod(n, ready=False), unready_since=NOW - 1, loss=Reason.REPLACED, ever_ready=False, stranded=True
    ),
    "stranded, now drained": lambda n: situation(
        pod(n, drain_requested=True), served=True, ready_since=NOW - 1, stranded=True
    ),
    "draining": lambda n: situation(pod(n, drain_requested=True), served=True),
    "wobbling": lambda n: situation(pod(n, ready=False), served=True, unready_since=NOW - 2),
    "held by the brake": lambda n: situation(pod(n, ready=False), served=True, unready_since=NOW - 60),
    "hung": lambda n: replace(
        situation(pod(n), served=True), app=ServiceState(0, READY, 1, Author.APP, READY), silent=True
    ),
}
CASES = {
    "one of several fails: its users move at once": (["serves", "gone"], [STAY, MOVE], None),
    "all are gone: there is nobody to wait for yet, and it is remembered": (["gone", "gone"], [MOVE, MOVE], None),
    "the first is back: the others' users wait for 2 minutes from then on": (
        ["just back", "stranded", "stranded"],
        [STAY, STAY, STAY],
        NOW + TIMEOUT,
    ),
    "it has been back for 5 s": (["READY for 5 s", "stranded", "stranded"], [STAY, STAY, STAY], NOW - 5 + TIMEOUT),
    "2 minutes are over: they move": (["READY for 2 minutes", "stranded", "READY for 5 s"], [STAY, MOVE, STAY], None),
    "so they do although another pod came a moment ago": (
        ["READY for 2 minutes", "stranded", "just back"],
        [STAY, MOVE, STAY],
        None,
    ),
    "a pod that starts waits as one that is gone": (
        ["READY for 5 s", "stranded, starting", "stranded"],
        [STAY, STAY, STAY],
        NOW - 5 + TIMEOUT,
    ),
    "a pod that is back keeps its own, although others could take them": (
        ["READY for 5 s", "just back", "stranded"],
        [STAY, STAY, STAY],
        NOW - 5 + TIMEOUT,
    ),
    "all are back: each keeps its own": (["READY for 5 s", "READY for 5 s", "just back"], [STAY, STAY, STAY], None),
    "of pods that are not wanted any more users move when all that are wanted are back": (
        ["READY for 5 s", "just back in the same life", "READY for 5 s", "stranded, not wanted"],
        [STAY, STAY, STAY, MOVE],
        None,
    ),
    "the operator was away: the first pod that it sees has not served": (
        ["just back, as nobody had seen it go", "gone", "gone"],
        [STAY, STAY, STAY],
        NOW + TIMEOUT,
    ),
    "a pod that fails while the service starts is failed over at once": (
        ["READY for 5 s", "gone", "stranded"],
        [STAY, MOVE, STAY],
        NOW - 5 + TIMEOUT,
    ),
    "a pod that is not Ready for a moment serves": (["just back in the same life", "wobbling", "gone"], None, None),
    "one that drains serves": (["draining", "gone", "gone"], [DRAIN, MOVE, MOVE], None),
    "a stranded pod that came back is drained": (
        ["READY for 5 s", "stranded, now drained", "stranded"],
        [STAY, DRAIN, STAY],
        NOW - 5 + TIMEOUT,
    ),
    "a pod without users waits for nobody": (["just back", "gone, without users"], [STAY, MOVE], None),
}
KINDS["just back in the same life"] = KINDS["just back, in the same life"]


def service(*kinds):
    return {ordinal: KINDS[kind](ordinal) for ordinal, kind in enumerate(kinds)}


@pytest.mark.parametrize("sentence", CASES)
def test_what_becomes_of_the_links_of_a_service_that_starts(sentence):
    kinds, links, until = CASES[sentence]
    judgement = judge_service(service(*kinds), Policy(), replicas=3)
    if links is not None:
        assert [judgement.verdicts[ordinal].links for ordinal in range(len(kinds))] == links
    assert (judgement.start and judgement.start.until) == until
    for ordinal in judgement.start.waiting if judgement.start else ():
        verdict = judgement.verdicts[ordinal]
        assert (verdict.links, verdict.stranded) == (STAY, True)
        assert verdict.due <= until, "it is looked at when the time is over"


def test_links_that_were_to_move_when_nobody_served_are_remembered_until_the_start_is_over():
    def remembered(*kinds):
        unbraked = Policy(max_unavailable=MaxUnavailable(100, percent=True))
        verdicts = judge_service(service(*kinds), unbraked, replicas=3).verdicts
        return [ordinal for ordinal, verdict in verdicts.items() if verdict.stranded]

    assert remembered("gone", "gone, without users", "hung") == [0, 2]
    assert remembered("serves", "gone", "gone") == []
    assert remembered("READY for 2 minutes", "stranded", "stranded") == []


def test_pods_that_the_brake_holds_do_not_count_as_serving():
    braked = Policy(max_unavailable=MaxUnavailable(0))
    judgement = judge_service(service("just back", "held by the brake", "gone"), braked, replicas=3)
    assert judgement.paused == {1}
    assert judgement.start.waiting == {2}


BEGINS = {
    "the first pod is READY": (["just back", "gone"], True),
    "another has served before": (["READY for 5 s", "gone"], False),
    "none is READY": (["gone", "gone"], False),
    "no other pod is away": (["just back, in the same life"], False),
}


@pytest.mark.parametrize("sentence", BEGINS)
def test_a_service_begins_to_serve_when(sentence):
    kinds, expected = BEGINS[sentence]
    situations = {ordinal: replace(at, links=0) for ordinal, at in service(*kinds).items()}
    assert begins(situations, judge_service(situations, Policy(), replicas=3).verdicts) is expected


SHARES = {
    "all of three": (MinAvailable(100, percent=True), 3, 3),
    "a part of a pod is one": (MinAvailable(50, percent=True), 3, 2),
    "a number": (MinAvailable(2), 5, 2),
    "no more than there are": (MinAvailable(9), 5, 5),
    "none means the first": (MinAvailable(0, percent=True), 5, 1),
    "of one": (MinAvailable(100, percent=True), 1, 1),
}


@pytest.mark.parametrize("sentence", SHARES)
def test_how_many_pods_are_waited_for(sentence):
    share, replicas, needed = SHARES[sentence]
    assert share.of(replicas) == needed


ENDS = {
    "a share is back": (StartPolicy(min_available=MinAvailable(50, percent=True)), 2),
    "nothing is waited for": (StartPolicy(min_available=MinAvailable(0, percent=True)), 3),
    "no time is given": (StartPolicy(timeout_seconds=0), 3),
    "nobody says how many there should be": (StartPolicy(), None),
    "it is the only pod": (StartPolicy(), 1),
}


@pytest.mark.parametrize("sentence", ENDS)
def test_the_users_of_pods_that_are_not_back_move_when(sentence):
    start, replicas = ENDS[sentence]
    judgement = judge_service(service("READY for 5 s", "stranded"), Policy(start=start), replicas)
    assert judgement.start is None
    assert judgement.verdicts[1].links is MOVE


def test_under_keep_a_pod_that_is_expected_back_stays_remembered():
    keep = Policy(on_replace=OnLoss.KEEP, max_unavailable=MaxUnavailable(100, percent=True))
    at = situation(None, unready_since=NOW - 2, stranded=True)
    verdict = judge_service({0: KINDS["READY for 5 s"](0), 1: at}, keep, replicas=2).verdicts[1]
    assert (verdict.reason, verdict.links, verdict.stranded) == (Reason.REPLACING, STAY, True)


def record(**fields):
    usual = {"state": READY, "reason": Reason.READY, "incarnation": Incarnation("pod-0", 0), "since": 4_000_000}
    return OperatorRecord(**(usual | fields))


SERVED = {
    "it was READY": (pod(0), record(), True),
    "it was draining": (pod(0), record(state=DENY, reason=Reason.DRAIN_REQUESTED), True),
    "it was SHUTDOWN": (pod(0), record(state=SHUTDOWN, reason=Reason.NEVER_READY), False),
    "that was a former life": (pod(0, restarts=1), record(), False),
    "nothing is known": (pod(0), None, False),
    "it is gone": (None, record(), False),
}


@pytest.mark.parametrize("sentence", SERVED)
def test_whether_the_present_life_of_a_pod_was_serving(sentence):
    facts, written, expected = SERVED[sentence]
    assert was_serving(facts, written) is expected


def test_at_the_first_look_at_a_service_whoever_is_ready_counts_as_serving():
    assert was_serving(pod(0), None, first_look=True)
    assert not was_serving(pod(0, ready=False), None, first_look=True)
    assert not was_serving(None, None, first_look=True)


def test_since_when_a_pod_takes_users_and_that_it_was_stranded_is_remembered():
    assert remember(pod(0), record(), Policy(), NOW).ready_since == 4000
    assert remember(pod(0, restarts=1), record(), Policy(), NOW).ready_since is None
    assert remember(pod(0), record(state=DENY, reason=Reason.UNREADY), Policy(), NOW).ready_since is None
    assert remember(None, record(stranded=True), Policy(), NOW).stranded
    kept = OperatorRecord.from_json(record(stranded=True).decision_json())
    assert kept.stranded
    assert kept.decision != record().decision
