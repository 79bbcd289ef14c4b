"""All pods at once: the brake, and successors that nobody else can stand in for."""

from dataclasses import replace

import pytest

from stateful_route.domain.aliveness import Author, ServiceState
from stateful_route.domain.lifecycle import Memory, Situation
from stateful_route.domain.placement import Placement
from stateful_route.domain.pod import PodFacts
from stateful_route.domain.policy import MaxUnavailable, OnLoss, Policy
from stateful_route.domain.routing import LinkAction, Reason, RoutingState
from stateful_route.domain.service import judge_service, keeping

READY, DENY, SHUTDOWN = RoutingState
NOW = 1_800_000_000.0
DEFAULT = Policy(delay_seconds=10.0)


def pod(ordinal, **facts):
    usual = {
        "name": f"room-{ordinal}",
        "ordinal": ordinal,
        "uid": f"pod-{ordinal}",
        "resource_version": 1,
        "phase": "Running",
        "ready": True,
        "ready_changed": NOW - 3600,
    }
    return PodFacts(**(usual | facts))


def situation(facts, *, wanted=True, **memory):
    usual = {"ever_ready": True, "unready_since": None, "loss": None, "held_down": False}
    memory = {"served": memory.get("ever_ready", True)} | memory
    return Situation(pod=facts, memory=Memory(**(usual | memory)), wanted=wanted, now=NOW)


KINDS = {
    "ready": lambda n: situation(pod(n)),
    "failing": lambda n: situation(pod(n, ready=False), unready_since=NOW - 60),
    "down": lambda n: situation(pod(n, ready=False), unready_since=NOW - 60, held_down=True),
    "failing in a moment": lambda n: situation(pod(n, ready=False), unready_since=NOW - 9.5),
    "silent too long in a moment": lambda n: situation(pod(n, unreachable_since=NOW - 9.2), unready_since=NOW - 9.2),
    "wobbling": lambda n: situation(pod(n, ready=False), unready_since=NOW - 2),
    "silent": lambda n: situation(pod(n, unreachable_since=NOW - 60), unready_since=NOW - 60),
    "silent for a moment": lambda n: situation(pod(n, unreachable_since=NOW - 2), unready_since=NOW - 2),
    "down, silent": lambda n: situation(pod(n, unreachable_since=NOW - 60), unready_since=NOW - 60, held_down=True),
    "gone": lambda _: situation(None, unready_since=NOW - 60),
    "failed": lambda n: situation(pod(n, phase="Failed", ready=False), unready_since=NOW - 60),
    "starting": lambda n: situation(pod(n, ready=False), unready_since=NOW - 60, ever_ready=False),
    "restarting": lambda n: situation(pod(n, ready=False), unready_since=NOW - 1, ever_ready=False, served=True),
    "restarted, drained": lambda n: situation(pod(n, drain_requested=True), loss=Reason.RESTARTED),
    "restarted, drained, wobbling": lambda n: situation(
        pod(n, ready=False, drain_requested=True), unready_since=NOW - 2, loss=Reason.RESTARTED
    ),
    "starting, Pending for an hour": lambda n: situation(
        pod(n, ready=False, ready_changed=None), unready_since=NOW - 3600, ever_ready=False
    ),
    "added under the brake": lambda n: situation(pod(n), added=True),
    "added under the brake, failing": lambda n: situation(pod(n, ready=False), unready_since=NOW - 60, added=True),
    "given up": lambda n: replace(situation(pod(n)), word=SHUTDOWN),
    "given up, moved": lambda n: replace(situation(pod(n), held_down=True), word=SHUTDOWN),
    "hung": lambda n: replace(situation(pod(n)), app=ServiceState(0, READY, 1, Author.APP, READY), silent=True),
    "denying": lambda n: replace(situation(pod(n)), word=DENY),
    "unheard": lambda n: replace(situation(pod(n)), silent=True),
    "draining, wobbling": lambda n: situation(pod(n, ready=False, drain_requested=True), unready_since=NOW - 2),
    "terminating": lambda n: situation(pod(n, deletion_time=NOW + 30)),
    "terminating, unready": lambda n: situation(pod(n, ready=False, deletion_time=NOW + 30), unready_since=NOW - 2),
    "lost node": lambda n: situation(pod(n, deletion_time=NOW + 30, node_lost=True)),
    "replaced": lambda n: situation(pod(n), loss=Reason.REPLACED),
    "restarted": lambda n: situation(pod(n), loss=Reason.RESTARTED),
    "took over": lambda n: situation(pod(n), loss=Reason.REPLACED, took_over=True),
    "replaced, starting": lambda n: situation(
        pod(n, ready=False), unready_since=NOW - 1, loss=Reason.REPLACED, ever_ready=False
    ),
    "replaced, terminating": lambda n: situation(pod(n, deletion_time=NOW + 30), loss=Reason.REPLACED),
}


def service(*kinds):
    return {ordinal: KINDS[kind](ordinal) for ordinal, kind in enumerate(kinds)}


def reasons(judgement):
    return [judgement.verdicts[ordinal].reason for ordinal in sorted(judgement.verdicts)]


ANY = Reason.UNREADY_TOO_LONG
SILENT = Reason.UNREACHABLE_TOO_LONG
HELD = Reason.FAILOVER_PAUSED
BRAKE = {
    "two of five fail: they move": (
        ["failing", "failing", "ready", "ready", "ready"],
        [ANY, ANY, Reason.READY, Reason.READY, Reason.READY],
    ),
    "three of five fail: all are held": (
        ["failing", "failing", "failing", "ready", "ready"],
        [HELD, HELD, HELD, Reason.READY, Reason.READY],
    ),
    "exactly half fail: they move": (
        ["failing", "failing", "ready", "ready"],
        [ANY, ANY, Reason.READY, Reason.READY],
    ),
    "the only pod fails: it is held, there is nowhere to move": (["failing"], [HELD]),
    "those that are down already stay down, the third is held": (
        ["down", "down", "failing", "ready", "ready"],
        [ANY, ANY, HELD, Reason.READY, Reason.READY],
    ),
    "more than allowed are down already: nothing is held": (
        ["down", "down", "down", "ready", "ready"],
        [ANY, ANY, ANY, Reason.READY, Reason.READY],
    ),
    "two of five do not answer: they move": (
        ["silent", "silent", "ready", "ready", "ready"],
        [SILENT, SILENT, Reason.READY, Reason.READY, Reason.READY],
    ),
    "three of five do not answer: all are held": (
        ["silent", "silent", "silent", "ready", "ready"],
        [HELD, HELD, HELD, Reason.READY, Reason.READY],
    ),
    "unready pods and those that do not answer count together": (
        ["failing", "silent", "down, silent", "ready", "ready"],
        [HELD, HELD, SILENT, Reason.READY, Reason.READY],
    ),
    "those that have not answered for a moment count": (
        ["silent for a moment", "silent for a moment", "failing", "ready", "ready"],
        [Reason.UNREACHABLE, Reason.UNREACHABLE, HELD, Reason.READY, Reason.READY],
    ),
    "those that have been unready for a moment count": (
        ["failing", "wobbling", "wobbling", "ready", "ready"],
        [HELD, Reason.UNREADY, Reason.UNREADY, Reason.READY, Reason.READY],
    ),
    "so does one that is drained and unready": (
        ["failing", "wobbling", "draining, wobbling", "ready", "ready"],
        [HELD, Reason.UNREADY, Reason.DRAIN_REQUESTED, Reason.READY, Reason.READY],
    ),
    "pods that were never Ready do not take it off": (
        ["failing", "failing", "failing", "ready", "ready", "starting", "starting, Pending for an hour"],
        [HELD, HELD, HELD, Reason.READY, Reason.READY, Reason.NEVER_READY, Reason.NEVER_READY],
    ),
    "nor do pods that were added while it is on and have become Ready": (
        ["failing", "failing", "failing", "ready", "ready", "added under the brake", "added under the brake"],
        [HELD, HELD, HELD, Reason.READY, Reason.READY, Reason.READY, Reason.READY],
    ),
    "one that was added while it was on does not pull it again": (
        ["failing", "failing", "ready", "ready", "added under the brake, failing"],
        [ANY, ANY, Reason.READY, Reason.READY, ANY],
    ),
    "one whose container has restarted fails until it is Ready again": (
        ["failing", "failing", "restarting", "ready", "ready"],
        [HELD, HELD, Reason.NEVER_READY, Reason.READY, Reason.READY],
    ),
    "pods that stop are not Ready because of that": (
        ["failing", "failing", "terminating, unready", "ready", "ready"],
        [ANY, ANY, Reason.TERMINATING, Reason.READY, Reason.READY],
    ),
    "nor do unready pods that stop count as pods": (
        ["failing", "failing", "ready", "terminating, unready", "terminating, unready"],
        [HELD, HELD, Reason.READY, Reason.TERMINATING, Reason.TERMINATING],
    ),
    "the first of many that failed together does not go before the others count": (
        ["failing", "failing in a moment", "silent too long in a moment", "ready", "ready"],
        [HELD, Reason.UNREADY, Reason.UNREACHABLE, Reason.READY, Reason.READY],
    ),
    "two of five have given up or hang: they move": (
        ["given up", "hung", "ready", "ready", "ready"],
        [Reason.APP_SHUTDOWN, Reason.HEARTBEAT_LOST, Reason.READY, Reason.READY, Reason.READY],
    ),
    "they count like those that are unready": (
        ["given up", "hung", "wobbling", "ready", "ready"],
        [HELD, HELD, Reason.UNREADY, Reason.READY, Reason.READY],
    ),
    "one that has given up before stays so": (
        ["given up, moved", "hung", "hung", "ready", "ready"],
        [Reason.APP_SHUTDOWN, HELD, HELD, Reason.READY, Reason.READY],
    ),
    "pods that are gone still move while others are held": (
        ["failing", "failing", "gone", "ready"],
        [HELD, HELD, Reason.GONE, Reason.READY],
    ),
    "pods that are gone are not counted among the pods": (
        ["failing", "ready", "gone", "gone", "gone"],
        [ANY, Reason.READY, Reason.GONE, Reason.GONE, Reason.GONE],
    ),
    "nor are pods that have failed": (
        ["failing", "failing", "ready", "failed", "failed"],
        [HELD, HELD, Reason.READY, Reason.FINISHED, Reason.FINISHED],
    ),
    "a Terminating pod on a lost node still moves": (
        ["failing", "failing", "lost node"],
        [HELD, HELD, Reason.NODE_LOST],
    ),
    "starting and terminating pods do not pull the brake": (
        ["starting", "terminating", "failing", "ready"],
        [Reason.NEVER_READY, Reason.TERMINATING, ANY, Reason.READY],
    ),
    "a service without pods is judged, too": (["gone", "gone"], [Reason.GONE, Reason.GONE]),
}


@pytest.mark.parametrize("sentence", BRAKE)
def test_the_brake(sentence):
    kinds, expected = BRAKE[sentence]
    judgement = judge_service(service(*kinds), DEFAULT)
    assert reasons(judgement) == expected
    named = {HELD, Reason.UNREADY, Reason.UNREACHABLE} if HELD in expected else set()
    assert judgement.paused == {ordinal for ordinal, reason in enumerate(expected) if reason in named}


def test_a_held_pod_takes_no_new_uids_and_keeps_its_links():
    verdict = judge_service(service("failing"), DEFAULT).verdicts[0]
    assert (verdict.state, verdict.links) == (DENY, LinkAction.STAY)


MAX_UNAVAILABLE = {
    "a number allows as many": (MaxUnavailable(2), 2, False),
    "a number allows no more": (MaxUnavailable(2), 3, True),
    "none at all": (MaxUnavailable(0), 1, True),
    "none at all, and none fails": (MaxUnavailable(0), 0, False),
    "a hundred per cent never brakes": (MaxUnavailable(100, percent=True), 5, False),
    "zero per cent brakes at the first": (MaxUnavailable(0, percent=True), 1, True),
    "a third of five allows one": (MaxUnavailable(33, percent=True), 1, False),
    "a third of five does not allow two": (MaxUnavailable(33, percent=True), 2, True),
}


@pytest.mark.parametrize("sentence", MAX_UNAVAILABLE)
def test_max_unavailable(sentence):
    limit, failing, brakes = MAX_UNAVAILABLE[sentence]
    assert limit.exceeded(failing, pods=5) is brakes
    kinds = ["failing"] * failing + ["ready"] * (5 - failing)
    assert bool(judge_service(service(*kinds), Policy(max_unavailable=limit)).paused) is brakes


SUCCESSORS = {
    "one was replaced, another is Ready: links move": (["replaced", "ready"], [Reason.REPLACED, Reason.READY]),
    "all were restarted: each keeps its own": (["restarted", "restarted"], [Reason.READY, Reason.READY]),
    "all were replaced: each keeps its own": (["replaced", "replaced"], [Reason.READY, Reason.READY]),
    "the only pod was replaced": (["replaced"], [Reason.READY]),
    "the others are not Ready: the successor keeps its own": (
        ["replaced", "wobbling", "gone"],
        [Reason.READY, Reason.UNREADY, Reason.GONE],
    ),
    "the one that has taken its own over keeps them when others come": (
        ["took over", "replaced", "ready"],
        [Reason.READY, Reason.REPLACED, Reason.READY],
    ),
    "successors that are not Ready are not spared": (
        ["replaced, starting", "replaced, starting"],
        [Reason.REPLACED, Reason.REPLACED],
    ),
    "one that is drained serves its own until others can": (["restarted, drained"], [Reason.DRAIN_REQUESTED]),
    "one that is drained and not Ready does not": (["restarted, drained, wobbling"], [Reason.RESTARTED]),
    "nor those that are Terminating": (["replaced, terminating"], [Reason.REPLACED]),
    "only the one that is Ready is": (
        ["replaced", "replaced, starting"],
        [Reason.READY, Reason.REPLACED],
    ),
}


FULL = Policy(placement=Placement(max_links=100))
FILLED = {
    "the others are full: it takes over what is left": (["restarted", "ready"], [60, 100], Reason.READY),
    "they are over the limit": (["replaced", "ready", "ready"], [60, 120, 100], Reason.READY),
    "one has room: links move there first": (["restarted", "ready", "ready"], [60, 100, 99], Reason.RESTARTED),
    "who has room takes nobody by its own word": (["restarted", "denying", "ready"], [60, 0, 100], Reason.READY),
    "who has room is counted as dead": (["restarted", "unheard", "ready"], [60, 0, 100], Reason.READY),
    "who has room does not take links": (["restarted", "wobbling", "ready"], [60, 0, 100], Reason.READY),
    "it took over before, and others have room now": (["took over", "ready"], [60, 0], Reason.READY),
}


@pytest.mark.parametrize("sentence", FILLED)
def test_a_successor_takes_over_what_nobody_else_has_room_for(sentence):
    kinds, links, expected = FILLED[sentence]
    situations = {o: replace(at, links=links[o]) for o, at in service(*kinds).items()}
    assert judge_service(situations, FULL).verdicts[0].reason is expected


def test_all_others_being_full_each_successor_takes_over_its_own():
    situations = {o: replace(at, links=100) for o, at in service("restarted", "replaced", "ready").items()}
    assert reasons(judge_service(situations, FULL)) == [Reason.READY] * 3
    assert reasons(judge_service(situations, DEFAULT)) == [Reason.RESTARTED, Reason.REPLACED, Reason.READY]


@pytest.mark.parametrize("sentence", SUCCESSORS)
def test_successors_keep_their_links_when_nobody_else_can_take_them(sentence):
    kinds, expected = SUCCESSORS[sentence]
    assert reasons(judge_service(service(*kinds), DEFAULT)) == expected


def test_links_can_be_kept_until_it_is_known_who_takes_them():
    judgement = judge_service(service("terminating", "terminating", "gone", "ready"), DEFAULT)
    kept = keeping(judgement, [1])
    assert [kept.verdicts[ordinal].links for ordinal in range(4)] == [
        LinkAction.DRAIN,
        LinkAction.STAY,
        LinkAction.MOVE,
        LinkAction.STAY,
    ]
    assert reasons(kept) == reasons(judgement)
    assert judgement.verdicts[1].links is LinkAction.DRAIN


def test_under_keep_successors_are_ready_at_once():
    keep = Policy(on_replace=OnLoss.KEEP)
    assert reasons(judge_service(service("replaced", "ready"), keep)) == [Reason.READY, Reason.READY]


def test_no_pods_no_verdicts():
    judgement = judge_service({}, DEFAULT)
    assert judgement.verdicts == {}
    assert not judgement.paused
