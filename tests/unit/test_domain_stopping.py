"""A pod whose preStop hook runs, and of which Kubernetes says nothing: it is drained until it is another life."""

from dataclasses import replace

import pytest

from stateful_route.domain.lifecycle import Memory, Situation, judge
from stateful_route.domain.pod import PodFacts
from stateful_route.domain.policy import OnLoss, Policy
from stateful_route.domain.routing import LinkAction, Reason, RoutingState
from stateful_route.domain.service import judge_service

READY, DENY, SHUTDOWN = RoutingState
STAY, MOVE, DRAIN = LinkAction.STAY, LinkAction.MOVE, LinkAction.DRAIN
NOW = 5000.0
UNTIL = NOW + 85
MOVES, KEEPS = OnLoss


def stopping(*, facts=None, wanted=True, **memory):
    usual = {"name": "room-0", "uid": "pod-0", "resource_version": 1, "phase": "Running", "ready": True}
    pod = PodFacts(ordinal=0, **(usual | (facts or {})))
    known = {"ever_ready": True, "served": True, "unready_since": None, "loss": None, "held_down": False}
    at = Situation(pod=pod, memory=Memory(**(known | memory)), wanted=wanted, now=NOW)
    return replace(at, stopping=UNTIL)


CASES = {
    "it is Ready": (stopping(), (DENY, DRAIN, Reason.STOPPING, UNTIL)),
    "it is not Ready any more": (
        stopping(facts={"ready": False}, unready_since=NOW - 2),
        (DENY, DRAIN, Reason.STOPPING, NOW + 8),
    ),
    "it is not Ready for too long": (
        stopping(facts={"ready": False}, unready_since=NOW - 10),
        (SHUTDOWN, MOVE, Reason.UNREADY_TOO_LONG, None),
    ),
    "it is deleted, too": (stopping(facts={"deletion_time": NOW + 30}), (DENY, DRAIN, Reason.TERMINATING, NOW + 30)),
    "somebody asks for the same": (
        stopping(facts={"drain_requested": True}),
        (DENY, DRAIN, Reason.DRAIN_REQUESTED, None),
    ),
    "its app gives up": (replace(stopping(), word=SHUTDOWN), (DENY, DRAIN, Reason.STOPPING, UNTIL)),
    "it was evicted": (stopping(facts={"phase": "Failed"}), (SHUTDOWN, MOVE, Reason.FINISHED, None)),
}


@pytest.mark.parametrize("sentence", CASES)
def test_a_pod_whose_hook_runs(sentence):
    at, expected = CASES[sentence]
    verdict = judge(at, Policy(delay_seconds=10))
    assert (verdict.state, verdict.links, verdict.reason, verdict.due) == expected


@pytest.mark.parametrize(
    ("on_restart", "on_replace", "links"),
    [(MOVES, MOVES, DRAIN), (KEEPS, MOVES, DRAIN), (MOVES, KEEPS, DRAIN), (KEEPS, KEEPS, STAY)],
)
def test_its_users_stay_only_if_they_would_after_a_restart_and_after_a_replacement(on_restart, on_replace, links):
    assert judge(stopping(), Policy(on_restart=on_restart, on_replace=on_replace)).links is links


def test_a_pod_that_stops_is_not_ready_because_of_that_and_the_brake_does_not_count_it():
    down = stopping(facts={"ready": False}, unready_since=NOW - 60)
    failing = {1: replace(down, stopping=None), 2: replace(stopping(), stopping=None)}
    unready = stopping(facts={"ready": False}, unready_since=NOW - 2)
    assert judge_service({0: replace(unready, stopping=None)} | failing, Policy()).paused == {0, 1}
    assert not judge_service({0: unready} | failing, Policy()).paused
