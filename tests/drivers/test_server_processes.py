"""Pods as processes that are asked to end, frozen, and replaced; both twins."""

import asyncio
import json
import signal
import time

import pytest

from stateful_route.domain.incarnation import Incarnation
from support.operator_records import record
from support.stopping_pod import REPLACED_CODE, WATCHED, PodProcess, Role
from support.waiting import eventually

NS, SVC = "games", "room"
OTHER = 5

pytestmark = pytest.mark.parametrize("kind", ["valkey"], indirect=True)
"""What matters here is the process, not the server."""


@pytest.fixture
def run_pod(server, raw, colour):
    """Run a pod as a process: ``with run_pod(uids=20) as pod:``; it is ready when it has printed that."""
    return lambda **role: PodProcess(Role(url=server.url, colour=colour, **role))


async def state_of(raw, service, ordinal=0):
    text = await raw.hget(service.states, str(ordinal))
    return None if text is None else json.loads(text)["routingState"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_signal_stops_the_pod_gracefully(number, run_pod, executor_here, raw, service):
    with run_pod(uids=30) as pod:
        await pod.printed("ready")
        pod.process.send_signal(number)
        assert await pod.ended() == 0
    assert sorted(pod.all("released")) == sorted(f"uid-{number}" for number in range(30))
    assert pod.all("end") == [True]
    assert await raw.keys("*lk*") == []
    assert await state_of(raw, service) == "SHUTDOWN"


async def test_a_second_signal_stops_it_at_once(run_pod, executor_here, raw, service):
    with run_pod(uids=3, settle_seconds=60, stop_seconds=120) as pod:
        await pod.printed("ready")
        pod.process.terminate()
        await eventually(lambda: state_of(raw, service), lambda state: state == "DENY_NEW_CALL", "it denies")
        pod.process.terminate()
        assert await pod.ended() == 0
    assert pod.all("released") == []
    assert await executor_here.batch_get_linked_pod(NS, ["uid-0", "uid-1", "uid-2"], SVC) == {
        0: ["uid-0", "uid-1", "uid-2"]
    }
    assert await state_of(raw, service) == "SHUTDOWN"


async def test_a_save_that_hangs_does_not_keep_the_process_up(run_pod, executor_here, raw, service):
    with run_pod(uids=3, save_seconds=300, stop_seconds=1) as pod:
        await pod.printed("ready")
        began = time.monotonic()
        pod.process.terminate()
        assert await pod.ended() == 0
        assert time.monotonic() - began >= 0.9
    assert await executor_here.get_linked_pod(NS, "uid-0", SVC) == 0
    assert await state_of(raw, service) == "SHUTDOWN"


async def test_what_is_not_saved_at_the_deadline_stays_linked(run_pod, executor_here, raw):
    with run_pod(uids=50, save_seconds=0.1, stop_seconds=1.5, settle_seconds=0, releases_at_once=1) as pod:
        await pod.printed("ready")
        pod.process.terminate()
        assert await pod.ended() == 0
    saved = set(pod.all("released"))
    assert 0 < len(saved) < 50
    left = await executor_here.batch_get_linked_pod(NS, [f"uid-{number}" for number in range(50)], SVC)
    assert set(left) == {0}
    assert len(saved & set(left[0])) <= 1, "the save that was under way: a thread cannot be cancelled"
    assert saved | set(left[0]) == {f"uid-{number}" for number in range(50)}


async def test_a_frozen_pod_that_wakes_up_finds_that_it_owns_nothing_and_the_fence_refuses_it(
    run_pod, executor_here, operate
):
    """Its first answer, in a thread that asks all the time, is no; and the store's as well."""
    await operate({}, expireSeconds=1)
    with run_pod(uids=2, update_seconds=0.3) as pod:
        await pod.printed("ready")
        await asyncio.sleep(0.5)
        pod.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(1.5)  # what is waited for is that nothing happens: the state expires
        assert await executor_here.set_linked_pod(NS, WATCHED, SVC, OTHER) == 0
        pod.process.send_signal(signal.SIGCONT)
        [woke] = await pod.printed("woke")
        assert not woke["owns"]
        assert not await executor_here.is_owner(NS, WATCHED, SVC, 0, woke["token"])
        assert await pod.printed("moved") == [[WATCHED, OTHER]]
        assert await pod.printed("assumed") == [True]
        pod.process.terminate()
        assert await pod.ended() == 0
    assert pod.all("released") == ["uid-1"], "it went on with what nobody had taken"
    assert await executor_here.get_linked_pod_if_persist(NS, WATCHED, SVC) == OTHER


async def test_a_frozen_pod_that_was_replaced_meanwhile_ends(run_pod, executor_here, operate):
    await operate({0: record(incarnation=Incarnation("pod-a", 0))})
    with run_pod(uids=2) as pod:
        await pod.printed("ready")
        pod.process.send_signal(signal.SIGSTOP)
        await operate({0: record(incarnation=Incarnation("pod-b", 0))})
        pod.process.send_signal(signal.SIGCONT)
        assert await pod.printed("replaced") == [True]
        assert await pod.ended() == REPLACED_CODE
    assert pod.all("released") == []
    assert await executor_here.get_linked_pod(NS, "uid-1", SVC) == 0
