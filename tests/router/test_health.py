"""The health checker (reference §8): start, stop, what it finds out, and that no pod holds up another; both twins."""

import asyncio
import inspect
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stateful_route.domain.errors import AlreadyRunning, InvalidArgument, NoPodAvailable, NotRunning
from stateful_route.domain.health import NOT_ASKED, ProbeResult
from stateful_route.domain.routing import Reason
from stateful_route.router import probes, probes_sync
from stateful_route.router.health import HealthOptions
from stateful_route.router.probes import RecordAgeProbe
from stateful_route.store.connection import StoreOptions
from stateful_route.store.keys import Service
from support.operator_records import record
from support.waiting import until

NS, SVC = "games", "room"
OFTEN = HealthOptions(period_seconds=0.1, timeout_seconds=2)


class Pod:
    """A pod's HTTP server, on a port of its own; ``status`` is what it answers, None: nothing."""

    def __init__(self):
        pod = self
        self.status = 200
        self.asked = 0
        self.released = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                pod.asked += 1
                if pod.status is None:
                    pod.released.wait(30)
                    return
                self.send_response(pod.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *words):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"

    @contextmanager
    def running(self):
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.released.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join(60)


@pytest.fixture
def pods():
    """Three of them."""
    with ExitStack() as stack:
        yield [stack.enter_context(Pod().running()) for _ in range(3)]


@pytest.fixture
async def three(operate, pods):
    """They are READY, and the operator knows where they are."""
    await operate({number: record(address=pod.address) for number, pod in enumerate(pods)})


@pytest.fixture
def probing(colour):
    """The module whose probes the twin can use."""
    return probes if colour == "async" else probes_sync


@pytest.fixture
async def managing(manage, probing):
    return await manage(probe=probing.HttpProbe(path="/healthz"), health=OFTEN)


@pytest.fixture
def located(colour):
    """A function that says where pods are, of the twin's colour: ``located({0: "127.0.0.1:80"})``."""

    def function(addresses):
        def plain(namespace, service, pod):
            return addresses[namespace, service, pod]

        async def coroutine(*which):
            return plain(*which)

        return coroutine if colour == "async" else plain

    return function


def health(managing):
    return managing.checker.health(NS, SVC)


def healthy(managing):
    return {pod: one.healthy for pod, one in health(managing).items()}


# check


async def test_check(three, pods, managing):
    """One look at each pod."""
    pods[1].status = 503
    found = await managing.checker.check(NS, SVC)
    assert {pod: (one.healthy, one.why, one.consecutive_errors) for pod, one in found.items()} == {
        0: (True, "HTTP 200", 0),
        1: (False, "HTTP 503", 1),
        2: (True, "HTTP 200", 0),
    }
    assert 0 < found[0].response_seconds < 2
    assert found[1].response_seconds == NOT_ASKED
    assert all(abs(datetime.now(UTC) - one.last_check) < timedelta(seconds=60) for one in found.values())
    assert [pod.asked for pod in pods] == [1, 1, 1]


async def test_errors_are_counted_in_a_row(three, pods, managing):
    pods[0].status = 500
    for expected in (1, 2, 3):
        assert (await managing.checker.check(NS, SVC))[0].consecutive_errors == expected
    pods[0].status = 200
    found = (await managing.checker.check(NS, SVC))[0]
    assert (found.healthy, found.consecutive_errors) == (True, 0)


async def test_a_pod_may_be_allowed_some_failures(three, pods, manage, probing):
    options = HealthOptions(failures_allowed=2)
    managing = await manage(probe=probing.HttpProbe(), health=options)
    pods[0].status = 500
    assert [(await managing.checker.check(NS, SVC))[0].healthy for _ in range(3)] == [True, True, False]


async def test_all_pods_are_asked_at_the_same_time(three, pods, manage, probing):
    """None answers before all have been asked."""
    for pod in pods:
        pod.status = None
    managing = await manage(probe=probing.HttpProbe(timeout_seconds=60), health=HealthOptions(timeout_seconds=60))
    looking = asyncio.create_task(managing.checker.check(NS, SVC))
    await until(lambda: [pod.asked for pod in pods] == [1, 1, 1])
    assert health(managing) == {}
    for pod in pods:
        pod.released.set()
    assert {one.why for one in (await looking).values()} == {"no answer in HTTP"}


async def test_who_does_not_answer_in_time_is_not_healthy(three, pods, manage, probing):
    pods[1].status = None
    managing = await manage(probe=probing.HttpProbe(timeout_seconds=60), health=HealthOptions(timeout_seconds=0.3))
    assert (await managing.checker.check(NS, SVC))[1].why == "no answer within 0.3 s"
    assert healthy(managing) == {0: True, 1: False, 2: True}


async def test_only_healthy_pods_get_new_uids(three, pods, managing):
    pods[0].status = pods[2].status = 503
    await managing.checker.check(NS, SVC)
    assert {await managing.manager.get_best_pod(NS, SVC, "RoundRobin") for _ in range(5)} == {1}
    pods[1].status = 503
    await managing.checker.check(NS, SVC)
    with pytest.raises(NoPodAvailable, match="unhealthy"):
        await managing.manager.get_best_pod(NS, SVC)


async def test_least_response_time_goes_by_it(three, pods, managing):
    await managing.checker.check(NS, SVC)
    quickest = min(health(managing).items(), key=lambda item: item[1].response_seconds)[0]
    assert await managing.manager.get_best_pod(NS, SVC, "LeastResponseTime") == quickest


async def test_pods_that_are_gone_are_not_asked_and_forgotten(three, operate, pods, managing, eventually):
    await managing.checker.check(NS, SVC)
    await operate({2: replace(record("SHUTDOWN", address=pods[2].address), reason=Reason.GONE)})

    async def forgotten():
        return set(await managing.checker.check(NS, SVC)) == {0, 1}

    await eventually(forgotten)


# Where a pod is


async def test_a_pod_without_an_address_is_not_healthy(operate, managing):
    await operate({0: record()})
    assert (await managing.checker.check(NS, SVC))[0].why == "its address is not known"


async def test_addresses_may_come_from_elsewhere(publish, pods, manage, probing, located):
    await publish({0: "READY", 1: "READY"})
    where = located({(NS, SVC, 0): pods[0].address})
    managing = await manage(probe=probing.HttpProbe(), address=where, health=OFTEN)
    found = await managing.checker.check(NS, SVC)
    assert found[0].healthy
    assert found[1].why.startswith("KeyError")


# Probes that misbehave


class Odd:
    """A probe that raises, hangs, or gives nothing, by the port it is sent to."""

    def __init__(self, pods, colour):
        self._what = dict(zip((pod.address for pod in pods), ("raise", "hang", "well"), strict=True))
        self._asynchronous = colour == "async"

    def probe(self, host):
        return self._in_time(host) if self._asynchronous else self._now(host)

    async def _in_time(self, host):
        if self._what[host] == "hang":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(60)  # it does not even listen
        return self._now(host)

    def _now(self, host):
        if self._what[host] == "raise":
            raise ZeroDivisionError("in the probe")
        if self._what[host] == "hang":
            time.sleep(3)
        return ProbeResult(healthy=True, seconds=0.5, why="fine")


async def test_a_probe_that_raises_or_hangs_for_one_pod_stops_nothing(three, pods, manage, colour):
    managing = await manage(probe=Odd(pods, colour), health=HealthOptions(timeout_seconds=0.5))
    found = await managing.checker.check(NS, SVC)
    assert {pod: one.why for pod, one in found.items()} == {
        0: "ZeroDivisionError: in the probe",
        1: "no answer within 0.5 s",
        2: "fine",
    }
    assert found[2].healthy
    assert found[2].response_seconds == 0.5


# The state record's age


async def test_the_age_of_the_state_record_may_be_the_probe(publish, manage, raw, service, executor_here):
    await publish({0: "READY", 1: "READY"})
    old = (await raw.time())[0] * 1000 - 50_000
    text = f'{{"state":0,"routingState":"READY","updateTime":{old},"app":"READY"}}'
    await raw.hset(service.states, "1", text)
    managing = await manage(probe=RecordAgeProbe(max_age_seconds=30))
    found = await managing.checker.check(NS, SVC)
    assert {pod: one.healthy for pod, one in found.items()} == {0: True, 1: False}
    assert found[0].response_seconds == NOT_ASKED
    assert {await managing.manager.get_best_pod(NS, SVC, "RoundRobin") for _ in range(4)} == {0}


async def test_it_is_the_usual_one(publish, manage):
    await publish({0: "READY"})
    managing = await manage()
    assert (await managing.checker.check(NS, SVC))[0].healthy


# start, stop


async def test_start_looks_again_and_again(three, pods, managing):
    await managing.checker.start(NS, SVC)
    await until(lambda: min(pod.asked for pod in pods) >= 3)
    assert healthy(managing) == {0: True, 1: True, 2: True}
    pods[1].status = 500
    await until(lambda: healthy(managing) == {0: True, 1: False, 2: True})
    pods[1].status = 200
    await until(lambda: healthy(managing) == {0: True, 1: True, 2: True})


async def test_stop_ends_it_and_what_was_found_stays_known(three, pods, managing):
    await managing.checker.start(NS, SVC)
    await until(lambda: len(health(managing)) == 3)
    await managing.checker.stop(NS, SVC)
    await asyncio.sleep(OFTEN.period_seconds)  # what was on its way has arrived
    asked = [pod.asked for pod in pods]
    await asyncio.sleep(5 * OFTEN.period_seconds)
    assert [pod.asked for pod in pods] == asked
    assert len(health(managing)) == 3


async def test_a_second_start_is_an_error_and_so_is_stopping_what_does_not_run(three, managing):
    with pytest.raises(NotRunning, match="games/room"):
        await managing.checker.stop(NS, SVC)
    await managing.checker.start(NS, SVC)
    with pytest.raises(AlreadyRunning, match="games/room"):
        await managing.checker.start(NS, SVC)
    assert managing.checker.is_running(NS, SVC)
    await managing.checker.stop(NS, SVC)
    with pytest.raises(NotRunning):
        await managing.checker.stop(NS, SVC)
    assert not managing.checker.is_running(NS, SVC)
    await managing.checker.start(NS, SVC)


async def test_each_service_is_looked_after_by_itself(three, pods, managing):
    await managing.checker.start(NS, SVC)
    await managing.checker.start(NS, "other")
    await managing.checker.start("elsewhere", SVC)
    await managing.checker.stop(NS, "other")
    await until(lambda: min(pod.asked for pod in pods) >= 3)
    assert managing.checker.health(NS, "other") == {}


@pytest.fixture
def hearing(colour):
    """A callback of the twin's colour that does so, too: ``hearing(function)``."""

    def made(function):
        async def coroutine(*words):
            result = function(*words)
            return await result if inspect.isawaitable(result) else result

        return coroutine if colour == "async" else function

    return made


async def test_callbacks_hear_of_changes_and_one_that_raises_stops_nothing(three, pods, managing, hearing):
    heard = []

    def broken(*words):
        raise ZeroDivisionError(words)

    managing.checker.on_changed(broken)
    managing.checker.on_changed(hearing(lambda service, pod, found: heard.append((service, pod, found.healthy))))
    await managing.checker.start(NS, SVC)
    await until(lambda: len(heard) == 3)
    pods[2].status = 500
    await until(lambda: len(heard) == 4)
    assert sorted(heard[:3]) == [(Service(NS, SVC), pod, True) for pod in range(3)]
    assert heard[3] == (Service(NS, SVC), 2, False)


async def test_a_callback_that_has_raised_is_called_again_at_the_next_check(three, managing, hearing):
    tried, heard = [], []

    def broken_at_first(service, pod, found):
        tried.append(pod)
        if tried.count(pod) < 3:
            raise ZeroDivisionError

    managing.checker.on_changed(hearing(broken_at_first))
    managing.checker.on_changed(hearing(lambda *words: heard.append(words[1])))
    await managing.checker.start(NS, SVC)
    await until(lambda: sorted(tried) == [0, 0, 0, 1, 1, 1, 2, 2, 2])
    assert sorted(heard) == [0, 1, 2], "who has understood is not told again"


async def test_a_callback_that_takes_long_holds_up_neither_checks_nor_other_pods(
    three, pods, managing, hearing, colour
):
    heard, release, free = [], threading.Event(), asyncio.Event()

    def held_up(service, pod, found):
        heard.append((pod, found.healthy))
        if pod == 1:
            return free.wait() if colour == "async" else release.wait(30)
        return None

    managing.checker.on_changed(hearing(held_up))
    await managing.checker.start(NS, SVC)
    await until(lambda: len(heard) == 3)
    pods[0].status = 500
    pods[1].status = 500
    await until(lambda: (0, False) in heard)
    await until(lambda: pods[1].asked > 3)
    assert not healthy(managing)[1]
    assert [one for one in heard if one[0] == 1] == [(1, True)], "one after the other"
    release.set()
    free.set()
    await until(lambda: heard.count((1, False)) == 1)


@pytest.fixture
async def acting(publish, pods, manage, probing, located):
    """Three pods, of which no operator tells, and a manager that asks them where it is told to."""
    await publish({0: "READY", 1: "READY", 2: "READY"})
    where = located({(NS, SVC, number): pod.address for number, pod in enumerate(pods)})
    return await manage(probe=probing.HttpProbe(), address=where, health=OFTEN)


async def test_a_failure_may_be_handled_by_what_the_checks_find(acting, pods, link, counts, colour):
    """Without Kubernetes: a callback has the uids of a pod that does not answer moved."""
    await link(30, pod=1)
    managing = acting
    manager = managing.manager

    async def act(service, pod, found):
        if not found.healthy:
            await manager.handle_pod_failure(service.namespace, service.name, pod, found.why)

    def act_now(service, pod, found):
        if not found.healthy:
            manager._twin.handle_pod_failure(service.namespace, service.name, pod, found.why)

    managing.checker.on_changed(act if colour == "async" else act_now)
    await managing.checker.start(NS, SVC)
    await until(lambda: len(health(managing)) == 3)
    pods[1].status = 500
    await until(lambda: managing.manager.failover_events(NS, SVC))
    await until(lambda: managing.manager.failover_events(NS, SVC)[-1].moved == {0: 15, 2: 15})
    assert await counts() == {0: 15, 2: 15}


async def test_without_the_store_it_goes_on_asking_the_pods_it_knows(pods, manage, start_server, probing, located):
    server = start_server()
    where = located({(NS, SVC, 0): pods[0].address})
    hurried = StoreOptions(timeout_seconds=0.5, deadline_seconds=1.0)
    managing = await manage(server.url, store=hurried, probe=probing.HttpProbe(), address=where, health=OFTEN)
    await managing.executor.set_service_state(NS, SVC, 0, "READY")
    await managing.checker.start(NS, SVC)
    await until(lambda: healthy(managing) == {0: True})
    server.stop()
    pods[0].status = 500
    await until(lambda: healthy(managing) == {0: False})


def test_the_usual_period_and_timeout_are_the_reference_s():
    options = HealthOptions()
    assert (options.period_seconds, options.timeout_seconds, options.failures_allowed) == (30, 5, 0)
    for wrong in ({"period_seconds": 0}, {"timeout_seconds": float("inf")}, {"failures_allowed": -1}):
        with pytest.raises(InvalidArgument):
            HealthOptions(**wrong)


async def test_a_pod_s_process_that_dies_is_found_out(operate, manage, probing):
    """Nobody listens any more where it was."""
    with socket.socket() as pod:
        pod.bind(("127.0.0.1", 0))
        pod.listen()
        await operate({0: record(address=f"127.0.0.1:{pod.getsockname()[1]}")})
        managing = await manage(probe=probing.TcpProbe(), health=OFTEN)
        await managing.checker.start(NS, SVC)
        await until(lambda: healthy(managing) == {0: True})
    await until(lambda: healthy(managing) == {0: False})
    assert health(managing)[0].why == "Connection refused"
