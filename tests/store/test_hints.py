"""Callers' hints: the operator looks for itself at the pods, and believes what it sees alone."""

import logging
import time
from dataclasses import replace

import pytest

from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.pod import PodFacts
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import Reason, RoutingState
from stateful_route.reconcile import hints as module
from stateful_route.reconcile.hints import Hints
from stateful_route.reconcile.workload import Workload
from stateful_route.router.probes import HttpProbe, TcpProbe
from stateful_route.store.states import report_unreachable
from support.listeners import HTTP_UNAVAILABLE, Listeners

PODS = 3


@pytest.fixture
async def listeners():
    async with Listeners(PODS) as made:
        yield made


def pod(ordinal, **facts):
    usual = {
        "name": f"room-{ordinal}",
        "ordinal": ordinal,
        "uid": f"pod-{ordinal}",
        "resource_version": 1,
        "phase": "Running",
        "ready": True,
        "ip": Listeners.address(ordinal),
    }
    return PodFacts(**(usual | facts))


class Desk:
    """The hints of one service, with its pods as the test has them."""

    def __init__(self, store, service, listeners):
        self.store, self.service = store, service
        self.workload = Workload()
        for ordinal in range(PODS):
            self.see(pod(ordinal))
        self.woken = 0
        self.hints = Hints(service, self.workload, self._wake)
        self.probe = TcpProbe(listeners.port, timeout_seconds=2)

    def _wake(self):
        self.woken += 1

    def see(self, facts, *, deleted=False):
        self.workload.observe(facts, deleted=deleted)

    def prepare(self, records=None):
        self.hints.prepare(self.store, self.probe, records or {}, seconds)

    async def report(self, *ordinals):
        """As callers do, and the channel tells of it."""
        for ordinal in ordinals:
            await report_unreachable(self.store, self.service, ordinal)
            self.hints.look()

    async def is_idle(self):
        return not self.hints._suspects and self.hints._looking is None

    async def unreachable(self):
        return set(self.hints.unreachable)

    async def are(self, *ordinals):
        return await self.unreachable() == set(ordinals)


@pytest.fixture
async def desk(store, service, listeners, monkeypatch, caplog):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.03)
    caplog.set_level(logging.INFO, module.__name__)
    made = Desk(store, service, listeners)
    made.prepare()
    yield made
    await made.hints.stop()


def seconds(milliseconds):
    """Both clocks say the same."""
    return milliseconds / 1000


def said(caplog):
    return [record.message for record in caplog.records if record.name == module.__name__]


async def test_a_pod_that_does_not_answer_while_another_does_is_unreachable_until_it_answers(
    desk, listeners, eventually, caplog
):
    await listeners.close(1)
    began = time.time()
    await desk.report(1)
    assert await desk.are(), "a hint alone moves nobody"
    await eventually(lambda: desk.are(1))
    first = desk.hints.unreachable[1]
    assert began <= first <= time.time() - 2 * 0.03, "it counts from the first failure on"
    assert desk.woken == 1
    await listeners.open(1)
    await eventually(desk.is_idle)
    assert (await desk.unreachable(), desk.woken) == (set(), 2)
    assert said(caplog) == ["pod does not answer", "pod answers again"]
    asked = listeners.asked[1]
    await desk.report(0)
    await eventually(desk.is_idle)
    assert listeners.asked[1] == asked, "it is left alone afterwards"


async def test_a_pod_that_answers_the_operator_is_believed_and_the_caller_is_told_of_once(
    desk, listeners, eventually, caplog
):
    for _ in range(3):
        await desk.report(1)
        await eventually(desk.is_idle)
    assert listeners.asked == {0: 0, 1: 3, 2: 0}
    assert desk.woken == 0
    assert said(caplog) == ["a caller cannot reach a pod that answers the operator"]


async def test_callers_that_complain_without_end_make_one_look_at_a_time(desk, listeners, eventually, monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.5)
    for _ in range(100):
        await desk.report(1)
    await eventually(desk.is_idle)
    assert listeners.asked[1] <= 2


async def test_a_hint_is_taken_up_once(desk, listeners, eventually):
    await desk.report(1)
    await eventually(desk.is_idle)
    for _ in range(3):
        desk.hints.look()
        await eventually(desk.is_idle)
    assert listeners.asked[1] == 1


async def test_a_pod_that_has_failed_now_and_then_is_reachable(desk, listeners, eventually, monkeypatch):
    monkeypatch.setattr(module, "FAILURES", 10**9)
    await listeners.close(1)
    await desk.report(1)
    await eventually(lambda: failed_twice(desk))
    await listeners.open(1)
    await eventually(desk.is_idle)
    assert desk.woken == 0


async def failed_twice(desk):
    return desk.hints._suspects.get(1) and desk.hints._suspects[1].failures >= 2


async def test_when_no_pod_answers_nobody_is_unreachable(desk, listeners, eventually, caplog):
    await listeners.close(0, 1, 2)
    for _ in range(2):
        await desk.report(0, 1, 2)
        await eventually(desk.is_idle)
    assert desk.woken == 0
    assert said(caplog) == ["no pod answers the operator"] * 3, "once of each"
    assert "health.probe" in caplog.records[-1].why


async def test_the_only_pod_is_not_unreachable_there_is_nowhere_else_to_go(desk, listeners, eventually):
    for ordinal in (0, 2):
        desk.see(pod(ordinal), deleted=True)
    await listeners.close(1)
    await desk.report(1)
    await eventually(desk.is_idle)
    assert desk.woken == 0


async def test_one_pod_that_answers_is_enough_although_it_was_reported_too(desk, listeners, eventually):
    await listeners.close(0, 1)
    await desk.report(0, 1, 2)
    await eventually(lambda: desk.are(0, 1))


async def test_pods_that_serve_nobody_are_not_asked_for_comparison(desk, listeners, eventually):
    desk.see(pod(0, ready=False, resource_version=2))
    desk.see(pod(2, deletion_time=time.time() + 30, resource_version=2))
    await listeners.close(1)
    await desk.report(1)
    await eventually(desk.is_idle)
    assert (listeners.asked[0], listeners.asked[2], desk.woken) == (0, 0, 0)


async def test_without_a_probe_the_log_says_once_what_to_set(desk, listeners, eventually, caplog):
    desk.probe = None
    desk.prepare()
    await listeners.close(1)
    for _ in range(3):
        await desk.report(1)
        await eventually(desk.is_idle)
    assert said(caplog) == ["a caller cannot reach a pod, and nobody looks"]
    assert "spec.health.probe" in caplog.records[-1].why
    assert desk.woken == 0


async def test_a_pod_that_answers_by_http_that_it_cannot_serve_is_unreachable(desk, listeners, eventually, caplog):
    desk.probe = HttpProbe(listeners.port, path="/healthz")
    desk.prepare()
    listeners.answers[1] = HTTP_UNAVAILABLE
    await desk.report(1)
    await eventually(lambda: desk.are(1))
    assert caplog.records[-1].why == "HTTP 503"
    del listeners.answers[1]
    await eventually(desk.are)


GONE = {
    "it is gone": lambda desk: desk.see(pod(1), deleted=True),
    "it has failed": lambda desk: desk.see(pod(1, phase="Failed", resource_version=2)),
    "its container has restarted": lambda desk: desk.see(pod(1, restarts=1, resource_version=2)),
    "another pod has its name": lambda desk: desk.see(pod(1, uid="successor", resource_version=2)),
    "nobody says any more how to probe": lambda desk: desk.hints.prepare(desk.store, None, {}, seconds),
}


@pytest.mark.parametrize("sentence", GONE)
async def test_what_was_found_of_a_pod_is_forgotten_when(desk, listeners, eventually, sentence):
    await listeners.close(1)
    await desk.report(1)
    await eventually(lambda: desk.are(1))
    GONE[sentence](desk)
    await eventually(desk.is_idle)
    assert (await desk.unreachable(), desk.woken) == (set(), 2)


async def test_a_pod_that_moves_to_another_address_is_probed_there(desk, listeners, eventually):
    await listeners.close(1)
    await desk.report(1)
    await eventually(lambda: desk.are(1))
    desk.see(pod(1, ip=Listeners.address(2), resource_version=2))
    await eventually(desk.are)


async def test_a_pod_that_stops_is_not_looked_at_unless_it_was_before(desk, listeners, eventually):
    await listeners.close(1, 2)
    await desk.report(1)
    await eventually(lambda: desk.are(1))
    for ordinal in (1, 2):
        desk.see(pod(ordinal, deletion_time=time.time() + 30, resource_version=2))
    await desk.report(2)
    await eventually(lambda: taken_up(desk, 2))
    assert (set(desk.hints._suspects), set(desk.hints.unreachable)) == ({1}, {1})


async def taken_up(desk, ordinal):
    return ordinal in desk.hints._handled


RECORD = OperatorRecord(
    state=RoutingState.SHUTDOWN,
    reason=Reason.UNREACHABLE_TOO_LONG,
    incarnation=Incarnation("pod-1", 0),
    unreachable_since=1_800_000_000_000,
)


async def test_a_restarted_operator_believes_what_it_wrote_until_the_pod_answers(desk, listeners, eventually):
    await listeners.close(1)
    after = Hints(desk.service, desk.workload, desk._wake)
    after.prepare(desk.store, desk.probe, {1: RECORD, 2: replace(RECORD, unreachable_since=None)}, seconds)
    assert after.unreachable == {1: 1_800_000_000.0}
    after.prepare(desk.store, desk.probe, {1: RECORD}, seconds)
    await listeners.open(1)

    async def nobody():
        return not after.unreachable

    await eventually(nobody)
    assert desk.woken == 1
    after.prepare(desk.store, desk.probe, {1: RECORD}, seconds)
    assert not after.unreachable, "the record is late, that is all"


async def test_a_store_that_is_away_is_asked_again_at_the_next_occasion(desk, connect, listeners, eventually, caplog):
    desk.hints.prepare(connect("redis://127.0.0.1:1"), desk.probe, {}, seconds)
    desk.hints.look()
    await eventually(desk.is_idle)
    assert said(caplog) == ["hints not read"]
    desk.prepare()
    await listeners.close(1)
    await desk.report(1)
    await eventually(lambda: desk.are(1))
