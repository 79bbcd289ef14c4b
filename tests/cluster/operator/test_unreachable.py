"""Callers that cannot reach a pod: the operator asks the pod itself, here by real connections to loopback."""

from collections.abc import AsyncIterator, Callable, Iterable

import pytest

from stateful_route.domain.routing import Reason
from stateful_route.store.states import report_unreachable
from support.exposition import page, samples
from support.listeners import HTTP_UNAVAILABLE, Listeners
from support.ports import free_port
from support.process import OperatorProcess
from support.scene import DENY, READY, SHUTDOWN, Scene
from support.waiting import always, eventually

StartOperator = Callable[..., OperatorProcess]
LONG = {"delaySeconds": 600}


@pytest.fixture
async def listeners() -> AsyncIterator[Listeners]:
    async with Listeners(5) as made:
        yield made


async def served(scene: Scene, listeners: Listeners, count: int = 3, **spec: object) -> None:
    """Pods with 30 links each that answer at their addresses; probed by connections unless the spec says otherwise."""
    await scene.make_workload(count)
    await scene.make_route({"address": {"port": listeners.port}, **spec})
    await scene.wait_all_ready(range(count))
    for ordinal in range(count):
        await scene.set_ip(ordinal, listeners.address(ordinal))
    await scene.link(30 * count, range(count))


async def report(scene: Scene, ordinals: Iterable[int]) -> None:
    for ordinal in ordinals:
        await report_unreachable(scene.store, scene.service, ordinal)


async def test_a_pod_that_is_reported_and_does_not_answer_fails_over_and_comes_back_when_it_answers(
    scene: Scene, start_operator: StartOperator, listeners: Listeners
) -> None:
    port = free_port()
    operator = start_operator(scene, resync_seconds=50, metrics_port=port)
    await served(scene, listeners, failover={"delaySeconds": 5})
    await listeners.close(1)
    await report(scene, [1])
    await scene.wait_states({0: READY, 1: (DENY, Reason.UNREACHABLE), 2: READY})
    record = (await scene.records())[1]
    assert record.unreachable_since == record.unready_since
    assert not await scene.moved()
    shown, service = samples(await page(port)), (scene.namespace, scene.service.name)
    assert shown["stateful_route_hints_total", *service, "unreachable"] == 1
    assert shown["stateful_route_unreachable_pods", *service] == 1
    await scene.wait_states({1: (SHUTDOWN, Reason.UNREACHABLE_TOO_LONG)})
    down = (await scene.records())[1]
    assert record.unready_since is not None
    assert 5000 <= down.since - record.unready_since < 7000, "the delay is counted from the first failure on"
    await scene.wait_links_off(1)
    assert await scene.moved_off() == {1: 30}
    await scene.check_links(on=[0, 2])
    await listeners.open(1)
    await scene.wait_states({1: (READY, Reason.READY)})
    assert (await scene.records())[1].unreachable_since is None
    assert await scene.history(1) == ["READY", "DENY_NEW_CALL", "SHUTDOWN", "READY"]
    assert [line["ordinal"] for line in operator.lines("pod does not answer")] == [1]
    assert [line["ordinal"] for line in operator.lines("pod answers again")] == [1]
    assert samples(await page(port))["stateful_route_unreachable_pods", *service] == 0


async def test_one_caller_s_bad_network_moves_nobody(
    scene: Scene, start_operator: StartOperator, listeners: Listeners
) -> None:
    operator = start_operator(scene, resync_seconds=50)
    await served(scene, listeners, failover={"delaySeconds": 0, "maxUnavailable": "100%"})
    changes = await scene.changes()
    for _ in range(3):
        await report(scene, range(3))

    async def believed() -> set[int]:
        return {line["ordinal"] for line in operator.lines("a caller cannot reach a pod that answers the operator")}

    await eventually(believed, lambda seen: seen == {0, 1, 2}, "all three have been probed")
    await scene.change_route({"failover": {"delaySeconds": 1}})
    await eventually(scene.route, lambda route: observed(route) == 2, "another pass has gone by")
    assert await scene.changes() == changes
    assert not await scene.moved()


def observed(route: dict[str, object]) -> object:
    status = route.get("status")
    return status.get("observedGeneration") if isinstance(status, dict) else None


async def test_where_no_pod_answers_the_operator_itself_is_cut_off_and_moves_nobody(
    scene: Scene, start_operator: StartOperator, listeners: Listeners
) -> None:
    operator = start_operator(scene)
    await served(scene, listeners, failover={"delaySeconds": 0, "maxUnavailable": "100%"})
    changes = await scene.changes()
    await listeners.close(0, 1, 2)
    await report(scene, [0, 1])

    async def told() -> set[int]:
        return {line["ordinal"] for line in operator.lines("no pod answers the operator")}

    await eventually(told, lambda seen: seen == {0, 1}, "the log says so")
    await scene.wait_resyncs(1)
    assert await scene.changes() == changes
    assert not await scene.moved()


@pytest.mark.usefixtures("operator")
async def test_the_brake_holds_when_too_many_pods_do_not_answer(scene: Scene, listeners: Listeners) -> None:
    await served(scene, listeners, 5, failover={"delaySeconds": 4})
    await listeners.close(2, 3, 4)
    await report(scene, range(5))
    held = dict.fromkeys((2, 3, 4), (DENY, Reason.FAILOVER_PAUSED))
    await scene.wait_states({0: READY, 1: READY, **held})
    await scene.wait_condition("FailoverPaused", "True", "TooManyUnready")
    await scene.wait_resyncs(1)
    assert not await scene.moved()
    await listeners.open(2)
    await scene.wait_states({2: READY, **dict.fromkeys((3, 4), (SHUTDOWN, Reason.UNREACHABLE_TOO_LONG))})
    await scene.wait_links_off(3, 4)
    await scene.check_links(on=[0, 1, 2])


async def test_a_restarted_operator_remembers_who_did_not_answer_and_since_when(
    scene: Scene, start_operator: StartOperator, listeners: Listeners
) -> None:
    operator = start_operator(scene)
    await served(scene, listeners, failover=LONG)
    await listeners.close(1)
    await report(scene, [1])
    await scene.wait_states({1: (DENY, Reason.UNREACHABLE)})
    before = (await scene.records())[1]
    operator.kill()
    await scene.store.command("DEL", scene.service.hints)
    operator.start()
    await scene.wait_resyncs(2)
    assert (await scene.records())[1] == before
    assert await scene.history(1) == ["READY", "DENY_NEW_CALL"]
    await scene.change_route({"failover": {"delaySeconds": 1}})
    await scene.wait_states({1: (SHUTDOWN, Reason.UNREACHABLE_TOO_LONG)})
    operator.kill()
    operator.start()
    await scene.wait_resyncs(1)
    await listeners.open(1)
    await scene.wait_states({1: (READY, Reason.READY)})
    assert await scene.history(1) == ["READY", "DENY_NEW_CALL", "SHUTDOWN", "READY"]


@pytest.mark.usefixtures("operator")
async def test_a_pod_that_says_by_http_that_it_cannot_serve_does_not_answer(scene: Scene, listeners: Listeners) -> None:
    probe = {"httpGet": {"port": listeners.port, "path": "/healthz"}}
    await served(scene, listeners, health={"probe": probe}, failover=LONG)
    listeners.answers[1] = HTTP_UNAVAILABLE
    await report(scene, [1])
    await scene.wait_states({0: READY, 1: (DENY, Reason.UNREACHABLE), 2: READY})
    del listeners.answers[1]
    await scene.wait_states({1: (READY, Reason.READY)})


async def test_without_a_probe_a_hint_is_logged_with_what_to_set_and_nothing_else_happens(
    scene: Scene, start_operator: StartOperator
) -> None:
    operator = start_operator(scene)
    await scene.make_workload(2)
    await scene.make_route({"failover": {"delaySeconds": 0}})
    await scene.wait_all_ready(range(2))
    for _ in range(3):
        await report(scene, [1])
        await scene.wait_resyncs(1)
    [told] = operator.lines("a caller cannot reach a pod, and nobody looks")
    assert told["ordinal"] == 1
    assert "spec.health.probe" in told["why"]
    assert (await scene.states())[1] == (READY, Reason.READY)


@pytest.mark.usefixtures("operator")
async def test_a_hint_that_no_message_tells_of_is_found_with_the_next_full_pass(
    scene: Scene, listeners: Listeners
) -> None:
    await served(scene, listeners, failover=LONG)
    await listeners.close(1)
    seconds, _ = await scene.store.command("TIME")
    await scene.store.command("HSET", scene.service.hints, 1, int(seconds) * 1000)
    await scene.wait_states({1: (DENY, Reason.UNREACHABLE)})


@pytest.mark.usefixtures("operator")
async def test_a_pod_that_does_not_answer_is_drained_and_deleted_like_any_other(
    scene: Scene, listeners: Listeners
) -> None:
    await served(scene, listeners, failover=LONG)
    await listeners.close(1)
    await report(scene, [1])
    await scene.wait_states({1: (DENY, Reason.UNREACHABLE)})
    former = await scene.pod_uid(1)
    await scene.delete_pod(1)
    await scene.wait_links_off(1)
    await scene.wait_successor(1, former)
    await scene.wait_taken_over(1)
    assert (await scene.records())[1].unreachable_since is None, "its successor is another matter"
    await always(scene.states, lambda states: states[1][0] is READY, "the successor is READY", seconds=2)
    await scene.check_links(on=[0, 2])
