"""One pod: each rule of the lifecycle, their order, what policy Keep changes, and that things only get worse."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stateful_route.domain.aliveness import Author, ServiceState
from stateful_route.domain.incarnation import Container, Incarnation
from stateful_route.domain.lifecycle import RULES, Memory, Situation, judge, remember, without_loss
from stateful_route.domain.pod import PodFacts
from stateful_route.domain.policy import OnLoss, Policy
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import LinkAction, Reason, RoutingState

READY, DENY, SHUTDOWN = RoutingState
STAY, DRAIN, MOVE = LinkAction
NOW = 1_800_000_000.0
DELAY = 10.0
DEFAULT = Policy(delay_seconds=DELAY)
KEEP_REPLACED = Policy(delay_seconds=DELAY, on_replace=OnLoss.KEEP)
KEEP_RESTARTED = Policy(delay_seconds=DELAY, on_restart=OnLoss.KEEP)


def pod(**facts):
    """A pod that has been Ready for an hour, but for ``facts``."""
    usual = {
        "name": "room-0",
        "ordinal": 0,
        "uid": "pod-a",
        "resource_version": 1,
        "phase": "Running",
        "ready": True,
        "ready_changed": NOW - 3600,
    }
    return PodFacts(**(usual | facts))


def at(facts=None, *, wanted=True, now=NOW, unready_for=None, **memory):
    """A situation; ``unready_for`` seconds (None: it is Ready), other keywords are what is remembered."""
    if unready_for is not None:
        memory["unready_since"] = now - unready_for
        facts = facts and replace(facts, ready=False)
    usual = {"ever_ready": True, "unready_since": None, "loss": None, "held_down": False}
    usual["failed"] = memory.get("held_down", False)
    return Situation(pod=facts, memory=Memory(**(usual | memory)), wanted=wanted, now=now)


def outcome(situation, policy=DEFAULT):
    verdict = judge(situation, policy)
    return verdict.state, verdict.links, verdict.reason


def silent(seconds, facts=None, **memory):
    """A situation in which the pod has not answered the operator for so long."""
    facts = replace(facts or pod(), unreachable_since=NOW - seconds)
    return at(facts, **({"unready_since": NOW - seconds} | memory))


def said(word, facts=None, *, silent=False, library=True, **more):
    """A situation in which the pod's app has said so much, and may have fallen silent since."""
    app = ServiceState(0, word, 1, Author.APP, word, "pod-a/0") if library else None
    return replace(at(facts or pod(), **more), app=app, word=word, silent=silent)


TERMINATING = pod(deletion_time=NOW + 30)
LIFECYCLE = {
    "no pod has the ordinal": (at(None, unready_for=0), SHUTDOWN, MOVE, Reason.GONE),
    "no pod has an ordinal that nobody wants": (at(None, wanted=False, unready_for=0), SHUTDOWN, MOVE, Reason.GONE),
    "the pod has failed": (at(pod(phase="Failed"), unready_for=0), SHUTDOWN, MOVE, Reason.FINISHED),
    "the pod has succeeded": (at(pod(phase="Succeeded"), unready_for=0), SHUTDOWN, MOVE, Reason.FINISHED),
    "a finished pod that still says Ready": (at(pod(phase="Failed")), SHUTDOWN, MOVE, Reason.FINISHED),
    "another pod has the name, old links remain": (at(pod(), loss=Reason.REPLACED), SHUTDOWN, MOVE, Reason.REPLACED),
    "the container restarted, old links remain": (at(pod(), loss=Reason.RESTARTED), SHUTDOWN, MOVE, Reason.RESTARTED),
    "old links are gone": (at(pod(), loss=None), READY, STAY, Reason.READY),
    "old links leave it while it serves": (at(pod(), loss=Reason.RESTARTED, serves=True), READY, STAY, Reason.READY),
    "old links were taken over": (at(pod(), loss=Reason.REPLACED, took_over=True), READY, STAY, Reason.READY),
    "Terminating, its grace period ends this moment": (
        at(pod(deletion_time=NOW)),
        SHUTDOWN,
        MOVE,
        Reason.GRACE_PERIOD_OVER,
    ),
    "deleted by force, with no grace period": (
        at(pod(deletion_time=NOW, grace_seconds=0.0)),
        SHUTDOWN,
        MOVE,
        Reason.FORCE_DELETED,
    ),
    "past the end of a grace period that it had": (
        at(pod(deletion_time=NOW - 1, grace_seconds=30.0)),
        SHUTDOWN,
        MOVE,
        Reason.GRACE_PERIOD_OVER,
    ),
    "stopped, and then removed as the kubelet does": (
        at(pod(deletion_time=NOW, grace_seconds=0.0, containers_terminated=True)),
        SHUTDOWN,
        MOVE,
        Reason.CONTAINERS_TERMINATED,
    ),
    "Terminating, its grace period has one second left": (
        at(pod(deletion_time=NOW + 1)),
        DENY,
        DRAIN,
        Reason.TERMINATING,
    ),
    "Terminating on a lost node": (at(replace(TERMINATING, node_lost=True)), SHUTDOWN, MOVE, Reason.NODE_LOST),
    "Terminating without running containers": (
        at(replace(TERMINATING, containers_terminated=True)),
        SHUTDOWN,
        MOVE,
        Reason.CONTAINERS_TERMINATED,
    ),
    "on a lost node, but nobody asked it to stop": (at(pod(node_lost=True)), READY, STAY, Reason.READY),
    "containers ended, but nobody asked it to stop": (at(pod(containers_terminated=True)), READY, STAY, Reason.READY),
    "never been Ready": (at(pod(), unready_for=3, ever_ready=False), SHUTDOWN, MOVE, Reason.NEVER_READY),
    "never been Ready and Terminating": (
        at(TERMINATING, unready_for=3, ever_ready=False),
        SHUTDOWN,
        MOVE,
        Reason.NEVER_READY,
    ),
    "not Ready for the delay": (at(pod(), unready_for=DELAY), SHUTDOWN, MOVE, Reason.UNREADY_TOO_LONG),
    "not Ready for an instant less than the delay": (at(pod(), unready_for=DELAY - 0.001), DENY, STAY, Reason.UNREADY),
    "not Ready since this moment": (at(pod(), unready_for=0), DENY, STAY, Reason.UNREADY),
    "Ready, and does not answer the operator since this moment": (
        silent(0),
        DENY,
        STAY,
        Reason.UNREACHABLE,
    ),
    "Ready, and has not answered the operator for an instant less than the delay": (
        silent(DELAY - 0.001),
        DENY,
        STAY,
        Reason.UNREACHABLE,
    ),
    "Ready, and has not answered the operator for the delay": (
        silent(DELAY),
        SHUTDOWN,
        MOVE,
        Reason.UNREACHABLE_TOO_LONG,
    ),
    "already down for not answering": (silent(1, held_down=True), SHUTDOWN, MOVE, Reason.UNREACHABLE_TOO_LONG),
    "neither Ready nor answering": (silent(3, pod(ready=False)), DENY, STAY, Reason.UNREADY),
    "Terminating, and has not answered for long: it drains": (silent(25, TERMINATING), DENY, DRAIN, Reason.TERMINATING),
    "asked to drain, and has not answered for long": (
        silent(DELAY, pod(drain_requested=True)),
        SHUTDOWN,
        MOVE,
        Reason.UNREACHABLE_TOO_LONG,
    ),
    "already down for being unready, whatever the delay is now": (
        at(pod(), unready_for=1, held_down=True),
        SHUTDOWN,
        MOVE,
        Reason.UNREADY_TOO_LONG,
    ),
    "down for being unready, Ready again": (at(pod(), held_down=True), READY, STAY, Reason.READY),
    "Terminating": (at(TERMINATING), DENY, DRAIN, Reason.TERMINATING),
    "its app says that it serves nobody": (said(SHUTDOWN), DENY, MOVE, Reason.APP_SHUTDOWN),
    "a foreign app says so": (said(SHUTDOWN, library=False), DENY, MOVE, Reason.APP_SHUTDOWN),
    "its app says so, and it is not Ready for a moment": (
        said(SHUTDOWN, pod(), unready_for=2),
        DENY,
        MOVE,
        Reason.APP_SHUTDOWN,
    ),
    "its app says so while it stops": (said(SHUTDOWN, TERMINATING), DENY, DRAIN, Reason.TERMINATING),
    "its app denies": (said(DENY), READY, STAY, Reason.READY),
    "its library has fallen silent": (said(READY, silent=True), SHUTDOWN, MOVE, Reason.HEARTBEAT_LOST),
    "its library has fallen silent, it is not Ready for a moment": (
        said(READY, silent=True, unready_for=2),
        SHUTDOWN,
        MOVE,
        Reason.HEARTBEAT_LOST,
    ),
    "its library has fallen silent while it stops": (
        said(READY, TERMINATING, silent=True),
        DENY,
        DRAIN,
        Reason.TERMINATING,
    ),
    "it must publish, and has not in this incarnation": (replace(at(pod()), silent=True), READY, STAY, Reason.READY),
    "Terminating and unready for long: it drains": (at(TERMINATING, unready_for=25), DENY, DRAIN, Reason.TERMINATING),
    "Terminating after it was down for being unready: it stays down": (
        at(TERMINATING, unready_for=25, held_down=True),
        SHUTDOWN,
        MOVE,
        Reason.UNREADY_TOO_LONG,
    ),
    "asked to drain": (at(pod(drain_requested=True)), DENY, DRAIN, Reason.DRAIN_REQUESTED),
    "asked to drain and unready for a moment": (
        at(pod(drain_requested=True), unready_for=3),
        DENY,
        DRAIN,
        Reason.DRAIN_REQUESTED,
    ),
    "asked to drain and unready for long": (
        at(pod(drain_requested=True), unready_for=DELAY),
        SHUTDOWN,
        MOVE,
        Reason.UNREADY_TOO_LONG,
    ),
    "the StatefulSet no longer wants the ordinal": (at(pod(), wanted=False), DENY, DRAIN, Reason.SCALED_DOWN),
    "no StatefulSet can say whether the ordinal is wanted": (at(pod(), wanted=None), READY, STAY, Reason.READY),
    "asked to drain and no longer wanted": (
        at(pod(drain_requested=True), wanted=False),
        DENY,
        DRAIN,
        Reason.DRAIN_REQUESTED,
    ),
    "Ready": (at(pod()), READY, STAY, Reason.READY),
}


@pytest.mark.parametrize("sentence", LIFECYCLE)
def test_a_pod_is_judged_by_the_lifecycle_table(sentence):
    situation, *expected = LIFECYCLE[sentence]
    assert outcome(situation) == tuple(expected)


KEEP = {
    "a gone pod's links wait for its successor": (at(None, unready_for=3), SHUTDOWN, STAY, Reason.REPLACING),
    "they wait no longer than the delay": (at(None, unready_for=DELAY), SHUTDOWN, MOVE, Reason.GONE),
    "no successor will come for an unwanted ordinal": (
        at(None, unready_for=3, wanted=False),
        SHUTDOWN,
        MOVE,
        Reason.GONE,
    ),
    "nor when there is no StatefulSet": (at(None, unready_for=3, wanted=None), SHUTDOWN, MOVE, Reason.GONE),
    "a pod that never was Ready leaves nothing behind": (
        at(None, unready_for=3, ever_ready=False),
        SHUTDOWN,
        MOVE,
        Reason.GONE,
    ),
    "a finished pod's links wait, too": (at(pod(phase="Failed"), unready_for=3), SHUTDOWN, STAY, Reason.REPLACING),
    "a terminated pod's links wait, too": (
        at(pod(deletion_time=NOW - 1), unready_for=3),
        SHUTDOWN,
        STAY,
        Reason.REPLACING,
    ),
    "also when it still says Ready at the end of its grace period": (
        at(pod(deletion_time=NOW - 1)),
        SHUTDOWN,
        STAY,
        Reason.REPLACING,
    ),
    "also when it still says Ready on a lost node": (
        at(pod(deletion_time=NOW + 9, node_lost=True)),
        SHUTDOWN,
        STAY,
        Reason.REPLACING,
    ),
    "but not for ever after its grace period": (
        at(pod(deletion_time=NOW - DELAY)),
        SHUTDOWN,
        MOVE,
        Reason.GRACE_PERIOD_OVER,
    ),
    "a Terminating pod keeps its links for its successor": (at(TERMINATING), DENY, STAY, Reason.TERMINATING),
    "a Terminating pod that nobody wants drains": (at(TERMINATING, wanted=False), DENY, DRAIN, Reason.TERMINATING),
    "a successor takes its predecessor's links over": (at(pod(), loss=Reason.REPLACED), READY, STAY, Reason.READY),
    "a successor that is not Ready yet takes nobody new": (
        at(pod(), loss=Reason.REPLACED, unready_for=3),
        DENY,
        STAY,
        Reason.UNREADY,
    ),
    "a restart is another matter": (at(pod(), loss=Reason.RESTARTED), SHUTDOWN, MOVE, Reason.RESTARTED),
    "an unready pod fails over all the same": (at(pod(), unready_for=DELAY), SHUTDOWN, MOVE, Reason.UNREADY_TOO_LONG),
    "a pod that had failed before its grace period ended goes on to lose its links": (
        at(pod(deletion_time=NOW - 1), unready_for=3, held_down=True),
        SHUTDOWN,
        MOVE,
        Reason.GRACE_PERIOD_OVER,
    ),
}


@pytest.mark.parametrize("sentence", KEEP)
def test_with_on_replace_keep(sentence):
    situation, *expected = KEEP[sentence]
    assert outcome(situation, KEEP_REPLACED) == tuple(expected)


def test_with_on_restart_keep_a_restarted_container_keeps_its_links_and_a_replaced_pod_does_not():
    assert outcome(at(pod(), loss=Reason.RESTARTED), KEEP_RESTARTED) == (READY, STAY, Reason.READY)
    assert outcome(at(pod(), loss=Reason.REPLACED), KEEP_RESTARTED) == (SHUTDOWN, MOVE, Reason.REPLACED)


FIRST_WINS = {
    "gone before lost memory": (at(pod(phase="Failed"), loss=Reason.REPLACED, unready_for=0), Reason.FINISHED),
    "lost memory before terminated": (at(pod(deletion_time=NOW), loss=Reason.RESTARTED), Reason.RESTARTED),
    "lost memory before never ready": (at(pod(), loss=Reason.REPLACED, ever_ready=False), Reason.REPLACED),
    "terminated before never ready": (
        at(pod(deletion_time=NOW), ever_ready=False, unready_for=1),
        Reason.GRACE_PERIOD_OVER,
    ),
    "terminated before unready too long": (
        at(pod(deletion_time=NOW), unready_for=99, held_down=True),
        Reason.GRACE_PERIOD_OVER,
    ),
    "ended containers before the end of the grace period": (
        at(pod(deletion_time=NOW, containers_terminated=True, node_lost=True)),
        Reason.CONTAINERS_TERMINATED,
    ),
    "never ready before unready too long": (at(pod(), ever_ready=False, unready_for=99), Reason.NEVER_READY),
    "unready too long before draining": (at(pod(drain_requested=True), unready_for=99), Reason.UNREADY_TOO_LONG),
    "terminating before draining": (
        at(replace(TERMINATING, drain_requested=True), wanted=False),
        Reason.TERMINATING,
    ),
    "terminating before unready": (at(TERMINATING, unready_for=3), Reason.TERMINATING),
    "draining before unready": (at(pod(), wanted=False, unready_for=3), Reason.SCALED_DOWN),
}


@pytest.mark.parametrize("sentence", FIRST_WINS)
def test_the_first_rule_that_applies_wins(sentence):
    situation, reason = FIRST_WINS[sentence]
    assert judge(situation, DEFAULT).reason is reason


def test_every_rule_decides_at_least_one_row_of_the_tables():
    rows = [*LIFECYCLE.values(), *KEEP.values()]
    deciding = {next(rule for rule in RULES if rule(row[0], DEFAULT) is not None) for row in rows}
    assert deciding == set(RULES)


DUE = {
    "an unready pod is looked at again when the delay is over": (at(pod(), unready_for=4), NOW + 6),
    "a Terminating pod when its grace period is over": (at(TERMINATING), NOW + 30),
    "a draining pod that is unready when the delay is over": (at(pod(), wanted=False, unready_for=4), NOW + 6),
    "a pod that does not answer when the delay is over": (silent(4), NOW + 6),
    "a draining pod that is Ready never": (at(pod(), wanted=False), None),
    "a Ready pod never": (at(pod()), None),
    "a pod that is down never": (at(pod(), unready_for=99), None),
    "a gone pod never": (at(None, unready_for=1), None),
}


@pytest.mark.parametrize("sentence", DUE)
def test_time_alone_changes_the_verdict_of(sentence):
    situation, due = DUE[sentence]
    assert judge(situation, DEFAULT).due == due


def test_links_that_wait_for_a_successor_are_looked_at_again_when_the_delay_is_over():
    assert judge(at(None, unready_for=4), KEEP_REPLACED).due == NOW + 6
    assert judge(at(pod(deletion_time=NOW - 1)), KEEP_REPLACED).due == NOW - 1 + DELAY


def test_without_loss_a_situation_is_judged_as_if_the_process_had_kept_its_memory():
    situation = at(pod(), loss=Reason.REPLACED)
    assert outcome(without_loss(situation)) == (READY, STAY, Reason.READY)
    assert situation.memory.loss is Reason.REPLACED


def record(**fields):
    """What the operator wrote when the pod had been Ready, but for ``fields``."""
    usual = {"state": READY, "reason": Reason.READY, "incarnation": Incarnation("pod-a", 0)}
    usual |= {"ever_ready": True, "served": True}
    return OperatorRecord(**(usual | fields))


UNREADY = pod(ready=False, ready_changed=NOW - 5)
SINCE = NOW - 8
UNREADY_RECORD = record(state=DENY, reason=Reason.UNREADY, unready_since=int(SINCE * 1000))
DOWN_RECORD = replace(UNREADY_RECORD, state=SHUTDOWN, reason=Reason.UNREADY_TOO_LONG)
SUCCESSOR = replace(UNREADY, uid="pod-b")
RESTARTED = replace(UNREADY, restarts=1)
NOTHING = Memory(ever_ready=False, unready_since=NOW, loss=None, held_down=False)
REMEMBERED = {
    "nothing is known of a pod that has just appeared": (
        pod(ready=False, ready_changed=None),
        None,
        DEFAULT,
        NOTHING,
    ),
    "a Ready pod that nobody has recorded has been Ready": (
        pod(),
        None,
        DEFAULT,
        Memory(ever_ready=True, unready_since=None, loss=None, held_down=False),
    ),
    "without a record it counts from now, whatever its kubelet's clock says": (
        replace(UNREADY, ready_changed=NOW - 3600),
        None,
        DEFAULT,
        NOTHING,
    ),
    "also when that clock is ahead": (replace(UNREADY, ready_changed=NOW + 3600), None, DEFAULT, NOTHING),
    "a pod that has been Ready while nobody looked counts anew": (
        UNREADY,
        replace(UNREADY_RECORD, ready_changed=NOW - 300),
        DEFAULT,
        Memory(ever_ready=True, unready_since=NOW, loss=None, held_down=False),
    ),
    "one that has not goes on, whatever its kubelet's clock says": (
        replace(UNREADY, ready_changed=NOW + 3600),
        replace(UNREADY_RECORD, ready_changed=NOW + 3600),
        DEFAULT,
        Memory(ever_ready=True, unready_since=SINCE, loss=None, held_down=False),
    ),
    "another container under the same count has forgotten its users": (
        pod(container=Container("b")),
        record(container=Container("a")),
        DEFAULT,
        Memory(ever_ready=True, unready_since=None, loss=Reason.RESTARTED, held_down=False),
    ),
    "a container of which nobody has told before is no other": (
        pod(container=Container("b")),
        record(container=Container(started="noon")),
        DEFAULT,
        Memory(ever_ready=True, unready_since=None, loss=None, held_down=False),
    ),
    "what served already when it was first seen goes on with it": (
        pod(),
        record(state=READY, loss=Reason.RESTARTED, serves=True),
        DEFAULT,
        Memory(
            ever_ready=True, unready_since=None, loss=Reason.RESTARTED, held_down=False, took_over=True, serves=True
        ),
    ),
    "a restarted operator goes on counting where the record stands": (
        UNREADY,
        UNREADY_RECORD,
        DEFAULT,
        Memory(ever_ready=True, unready_since=SINCE, loss=None, held_down=False),
    ),
    "a pod that is Ready again forgets that it was not": (
        pod(),
        DOWN_RECORD,
        DEFAULT,
        Memory(ever_ready=True, unready_since=None, loss=None, held_down=True),
    ),
    "a pod that is down for being unready stays so": (
        UNREADY,
        DOWN_RECORD,
        DEFAULT,
        Memory(ever_ready=True, unready_since=SINCE, loss=None, held_down=True),
    ),
    "a Ready pod that does not answer counts as unready from its first failure on": (
        pod(unreachable_since=NOW - 3),
        record(),
        DEFAULT,
        Memory(ever_ready=True, unready_since=NOW - 3, loss=None, held_down=False),
    ),
    "it goes on counting where the record stands": (
        pod(unreachable_since=NOW - 3),
        replace(UNREADY_RECORD, reason=Reason.UNREACHABLE),
        DEFAULT,
        Memory(ever_ready=True, unready_since=SINCE, loss=None, held_down=False),
    ),
    "it is down until it answers": (
        pod(unreachable_since=NOW - 30),
        replace(DOWN_RECORD, reason=Reason.UNREACHABLE_TOO_LONG),
        DEFAULT,
        Memory(ever_ready=True, unready_since=SINCE, loss=None, held_down=True),
    ),
    "a pod that has stopped answering before it was unready": (
        replace(UNREADY, unreachable_since=NOW - 9),
        record(),
        DEFAULT,
        Memory(ever_ready=True, unready_since=NOW - 9, loss=None, held_down=False),
    ),
    "a pod that answers again forgets that it did not": (
        pod(),
        replace(DOWN_RECORD, reason=Reason.UNREACHABLE_TOO_LONG),
        DEFAULT,
        Memory(ever_ready=True, unready_since=None, loss=None, held_down=True),
    ),
    "a finished pod is not Ready, whatever its condition says": (
        pod(phase="Failed"),
        record(),
        DEFAULT,
        Memory(ever_ready=True, unready_since=NOW, loss=None, held_down=False),
    ),
    "a pod that is gone keeps its past": (
        None,
        UNREADY_RECORD,
        DEFAULT,
        Memory(ever_ready=True, unready_since=SINCE, loss=None, held_down=False),
    ),
    "a pod that is gone since this moment": (
        None,
        record(),
        DEFAULT,
        Memory(ever_ready=True, unready_since=NOW, loss=None, held_down=False),
    ),
    "an ordinal that never had a pod": (None, None, DEFAULT, NOTHING),
    "a successor knows nothing of its predecessor": (
        SUCCESSOR,
        DOWN_RECORD,
        DEFAULT,
        Memory(ever_ready=False, unready_since=NOW, loss=Reason.REPLACED, held_down=False),
    ),
    "nor does a restarted container": (
        RESTARTED,
        DOWN_RECORD,
        DEFAULT,
        Memory(ever_ready=False, unready_since=NOW, loss=Reason.RESTARTED, held_down=False),
    ),
    "a successor under Keep has been Ready, and inherits the delay": (
        SUCCESSOR,
        DOWN_RECORD,
        KEEP_REPLACED,
        Memory(ever_ready=True, unready_since=SINCE, loss=Reason.REPLACED, held_down=False),
    ),
    "a restarted container under Keep likewise": (
        RESTARTED,
        UNREADY_RECORD,
        KEEP_RESTARTED,
        Memory(ever_ready=True, unready_since=SINCE, loss=Reason.RESTARTED, held_down=False),
    ),
    "a successor under Keep whose predecessor never was Ready": (
        SUCCESSOR,
        replace(UNREADY_RECORD, ever_ready=False),
        KEEP_REPLACED,
        Memory(ever_ready=False, unready_since=SINCE, loss=Reason.REPLACED, held_down=False),
    ),
    "old links are remembered until the record says that they are gone": (
        pod(),
        record(state=SHUTDOWN, reason=Reason.REPLACED, loss=Reason.REPLACED),
        DEFAULT,
        Memory(ever_ready=True, unready_since=None, loss=Reason.REPLACED, held_down=False),
    ),
    "a successor that was told to take its predecessor's links over goes on with it": (
        pod(),
        record(loss=Reason.REPLACED),
        DEFAULT,
        Memory(ever_ready=True, unready_since=None, loss=Reason.REPLACED, held_down=False, took_over=True),
    ),
    "also while it is unready": (
        UNREADY,
        replace(UNREADY_RECORD, loss=Reason.REPLACED),
        DEFAULT,
        Memory(ever_ready=True, unready_since=SINCE, loss=Reason.REPLACED, held_down=False, took_over=True),
    ),
    "but not the next process": (
        pod(uid="pod-b"),
        record(loss=Reason.REPLACED),
        DEFAULT,
        Memory(ever_ready=True, unready_since=None, loss=Reason.REPLACED, held_down=False),
    ),
    "a pod that stops may be unready: the wait for its successor begins when it is gone": (
        None,
        replace(UNREADY_RECORD, reason=Reason.TERMINATING),
        DEFAULT,
        Memory(ever_ready=True, unready_since=NOW, loss=None, held_down=False),
    ),
    "or when its containers have ended": (
        replace(UNREADY, deletion_time=NOW + 30, containers_terminated=True),
        replace(UNREADY_RECORD, reason=Reason.TERMINATING),
        DEFAULT,
        Memory(ever_ready=True, unready_since=NOW, loss=None, held_down=False),
    ),
    "or when its phase says so": (
        replace(UNREADY, deletion_time=NOW + 30, phase="Succeeded"),
        replace(UNREADY_RECORD, reason=Reason.TERMINATING),
        DEFAULT,
        Memory(ever_ready=True, unready_since=NOW, loss=None, held_down=False),
    ),
    "while it still stops its unreadiness is remembered": (
        replace(UNREADY, deletion_time=NOW + 30),
        replace(UNREADY_RECORD, reason=Reason.TERMINATING),
        DEFAULT,
        Memory(ever_ready=True, unready_since=SINCE, loss=None, held_down=False),
    ),
    "a successor under Keep has its own delay when its predecessor stopped in order": (
        replace(SUCCESSOR, ready_changed=None),
        replace(UNREADY_RECORD, reason=Reason.TERMINATING),
        KEEP_REPLACED,
        Memory(ever_ready=True, unready_since=NOW, loss=Reason.REPLACED, held_down=False),
    ),
    "old links are remembered also when the pod is gone": (
        None,
        record(loss=Reason.RESTARTED),
        DEFAULT,
        Memory(ever_ready=True, unready_since=NOW, loss=Reason.RESTARTED, held_down=False),
    ),
    "a restart that keeps does not make a replacement that moves forgotten": (
        replace(pod(), restarts=1),
        record(loss=Reason.REPLACED),
        KEEP_RESTARTED,
        Memory(ever_ready=True, unready_since=None, loss=Reason.REPLACED, held_down=False),
    ),
    "a replacement that moves comes after a restart that kept": (
        pod(uid="pod-b"),
        record(loss=Reason.RESTARTED),
        KEEP_RESTARTED,
        Memory(ever_ready=True, unready_since=None, loss=Reason.REPLACED, held_down=False),
    ),
    "a record that names no incarnation is about this one": (
        UNREADY,
        replace(DOWN_RECORD, incarnation=None),
        DEFAULT,
        Memory(ever_ready=True, unready_since=SINCE, loss=None, held_down=True),
    ),
}


@pytest.mark.parametrize("sentence", REMEMBERED)
def test_what_is_remembered(sentence):
    facts, written, policy, expected = REMEMBERED[sentence]
    remembered = remember(facts, written, policy, NOW)
    assert replace(remembered, served=False, failed=False) == expected


ADDED = {
    "a pod of which nothing was known": (pod(), None, True),
    "one that was there and had not been Ready yet": (
        pod(),
        record(state=SHUTDOWN, reason=Reason.NEVER_READY, ever_ready=False, served=False),
        False,
    ),
    "a successor of one that has served has its place": (pod(uid="pod-b"), record(), False),
    "a successor of one that has not, too": (pod(uid="pod-b"), record(served=False), False),
    "one that was added before": (pod(), record(added=True), True),
    "one that has been Ready before": (pod(), record(), False),
    "one that is unready": (UNREADY, UNREADY_RECORD, False),
}


SERVED = {
    "a pod that is Ready": (pod(), None, False, True),
    "one that was, before its container restarted": (RESTARTED, record(), False, True),
    "not its successor": (SUCCESSOR, record(), False, False),
    "while failovers are held back its successor, too": (SUCCESSOR, record(), True, True),
    "not whoever has an ordinal that nobody wanted meanwhile": (None, record(), True, False),
    "one that ceased to be Ready before anybody saw it": (
        pod(ready=False, ready_changed=1_800_000_002.0, container=Container("a", "2027-01-15T08:00:00Z")),
        None,
        False,
        True,
    ),
    "not one that has not been Ready since its container started": (
        pod(ready=False, ready_changed=1_799_999_999.0, container=Container("a", "2027-01-15T08:00:00Z")),
        None,
        False,
        False,
    ),
    "not one of whose start nobody knows": (pod(ready=False, ready_changed=NOW - 5), None, False, False),
}


@pytest.mark.parametrize("sentence", SERVED)
def test_has_served(sentence):
    facts, written, braked, served = SERVED[sentence]
    assert remember(facts, written, DEFAULT, NOW, braked=braked, wanted=facts is not None).served is served


def test_a_pod_that_ceased_to_be_ready_before_anybody_saw_it_keeps_its_users_for_the_delay():
    facts = pod(ready=False, ready_changed=1_800_000_002.0, container=Container("a", "2027-01-15T08:00:00Z"))
    memory = remember(facts, None, DEFAULT, NOW)
    assert outcome(Situation(pod=facts, memory=memory, wanted=True, now=NOW)) == (DENY, STAY, Reason.UNREADY)


def test_an_app_that_says_shutdown_does_not_make_a_moments_silence_too_long():
    facts = pod(unreachable_since=NOW - 1)
    told = record(state=DENY, reason=Reason.APP_SHUTDOWN)
    situation = Situation(pod=facts, memory=remember(facts, told, DEFAULT, NOW), wanted=True, now=NOW, word=SHUTDOWN)
    assert judge(situation, DEFAULT).reason is Reason.APP_SHUTDOWN
    assert judge(replace(situation, word=READY), DEFAULT).reason is Reason.UNREACHABLE


@pytest.mark.parametrize("sentence", ADDED)
def test_while_failovers_are_held_back_a_pod_counts_as_added(sentence):
    facts, written, added = ADDED[sentence]
    assert remember(facts, written, DEFAULT, NOW, braked=True).added is added
    assert remember(facts, written, DEFAULT, NOW).added is False


# Facts that only worsen, as a walk: each verdict is fed back as the reconciler does through Redis.


@dataclass(frozen=True)
class Step:
    """Some seconds later, one thing is worse."""

    seconds: float
    worse: str


WORSE = {
    "nothing": lambda facts, _: facts,
    "unready": lambda facts, now: replace(facts, ready=False, ready_changed=now // 1) if facts.ready else facts,
    "silent": lambda facts, now: facts if facts.unreachable_since else replace(facts, unreachable_since=now),
    "deleted": lambda facts, now: facts if facts.terminating else replace(facts, deletion_time=now + 30),
    "deleted at once": lambda facts, now: replace(facts, deletion_time=min(facts.deletion_time or now, now)),
    "containers ended": lambda facts, _: replace(facts, containers_terminated=True),
    "node lost": lambda facts, _: replace(facts, node_lost=True),
    "failed": lambda facts, _: replace(facts, phase="Failed"),
    "drain": lambda facts, _: replace(facts, drain_requested=True),
}


def fed_back(facts, memory, verdict, before):
    return OperatorRecord(
        state=verdict.state,
        reason=verdict.reason,
        links=verdict.links,
        incarnation=facts.incarnation if facts else before.incarnation if before else None,
        ever_ready=memory.ever_ready,
        unready_since=None if memory.unready_since is None else int(memory.unready_since * 1000),
        loss=memory.loss,
    )


@given(
    start_ready=st.booleans(),
    ever_ready=st.booleans(),
    policy=st.builds(Policy, delay_seconds=st.sampled_from([0.0, DELAY]), on_replace=st.sampled_from(OnLoss)),
    steps=st.lists(
        st.builds(
            Step,
            seconds=st.sampled_from([0.0, 0.4, 3.0, DELAY, 31.0]),
            worse=st.sampled_from([*WORSE, "gone", "unwanted"]),
        ),
        min_size=1,
        max_size=12,
    ),
)
def test_with_facts_that_only_worsen_severity_never_falls(start_ready, ever_ready, policy, steps):
    facts = pod(ready=start_ready, ready_changed=NOW - 100)
    written = record(ever_ready=ever_ready)
    wanted, now, last = True, NOW, -1
    for step in steps:
        now += step.seconds
        if step.worse == "unwanted":
            wanted = False
        elif step.worse == "gone":
            facts = None
        elif facts is not None:
            facts = WORSE[step.worse](facts, now)
        memory = remember(facts, written, policy, now)
        verdict = judge(Situation(pod=facts, memory=memory, wanted=wanted, now=now), policy)
        assert verdict.state.severity >= last
        assert verdict.due is None or verdict.due > now
        last = verdict.state.severity
        written = fed_back(facts, memory, verdict, written)


@given(
    facts=st.none()
    | st.builds(
        pod,
        phase=st.sampled_from(["Running", "Failed"]),
        ready=st.booleans(),
        deletion_time=st.none() | st.sampled_from([NOW - 5, NOW + 5, NOW + 30]),
        node_lost=st.booleans(),
        drain_requested=st.booleans(),
        unreachable_since=st.none() | st.just(NOW - 3),
    ),
    unready_for=st.none() | st.sampled_from([0.0, 3.0, 9.0, 11.0]),
    memory=st.fixed_dictionaries(
        {
            "ever_ready": st.booleans(),
            "held_down": st.booleans(),
            "loss": st.none() | st.sampled_from([Reason.REPLACED, Reason.RESTARTED]),
        }
    ),
    wanted=st.sampled_from([True, False, None]),
    keep=st.booleans(),
    later=st.sampled_from([0.5, 2.0, 6.0, 15.0, 60.0]),
)
def test_until_its_due_time_a_verdict_holds_and_without_one_it_holds_for_good(
    facts, unready_for, memory, wanted, keep, later
):
    policy = KEEP_REPLACED if keep else DEFAULT
    if facts is not None and facts.unreachable_since is not None:
        unready_for = max(unready_for or 0.0, 3.0)
    situation = at(facts, wanted=wanted, unready_for=unready_for, **memory)
    if facts is None and unready_for is None:
        situation = at(facts, wanted=wanted, unready_for=0, **memory)
    verdict = judge(situation, policy)
    if verdict.due is None or NOW + later < verdict.due:
        then = judge(replace(situation, now=NOW + later), policy)
        assert (then.state, then.links) == (verdict.state, verdict.links)
