"""Pods whose app saves and releases its users itself when it is asked to, and what the operator does of it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import LinkAction, Reason, RoutingState
from stateful_route.drivers.cache import CacheOptions, ServiceStateCache
from stateful_route.drivers.identity import Identity
from stateful_route.drivers.server import ServerDriver
from stateful_route.drivers.server_options import ServerHooks, ServerOptions
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.states import set_state
from support.process import OperatorProcess
from support.scene import DENY, READY, Scene
from support.waiting import always, eventually

StartOperator = Callable[..., OperatorProcess]
DRAIN = "statefulroute.io/drain"
SELDOM = {"resync_seconds": 50}
"""The operator must notice by itself when something is due, and not by looking at everything now and then."""


async def served(scene: Scene, drain: dict[str, object] | None = None, **spec: object) -> None:
    """Three Ready pods with 100 links each."""
    await scene.make_workload(3, by_hand=True)
    await scene.make_route({"drain": drain or {}, **spec})
    await scene.run_pods(range(3))
    await scene.wait_all_ready(range(3))
    await scene.link(300, range(3))


async def publish(scene: Scene, ordinal: int, word: RoutingState = READY) -> None:
    """As the library in the pod does, which knows its pod's uid from the Downward API."""
    await set_state(scene.store, scene.service, ordinal, word, incarnation=await scene.pod_uid(ordinal))


@asynccontextmanager
async def publishing(scene: Scene, ordinal: int) -> AsyncIterator[None]:
    """An app that goes on publishing."""

    async def beat() -> None:
        while True:
            await publish(scene, ordinal)
            await asyncio.sleep(1)

    await publish(scene, ordinal)
    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


async def wait_asked(scene: Scene, ordinal: int, reason: Reason = Reason.DRAIN_REQUESTED) -> tuple[OperatorRecord, int]:
    """Until the app has been asked; the record, and until when (ms by the clock of Redis)."""

    async def look() -> OperatorRecord | None:
        record = (await scene.records())[ordinal]
        return record if record.release is not None and record.reason is reason else None

    record = await eventually(look, bool, f"the app of pod {ordinal} is asked")
    assert record is not None
    assert record.release is not None
    assert (record.state, record.links) == (DENY, LinkAction.STAY)
    return record, record.release


async def clock(scene: Scene) -> int:
    seconds, micros = await scene.store.command("TIME")
    return int(seconds) * 1000 + int(micros) // 1000


async def last_move(scene: Scene) -> int:
    """When links were last moved, ms by the clock of Redis."""
    [(entry, _)] = await scene.store.command("XREVRANGE", scene.service.moves, "+", "-", "COUNT", 1)
    return int(entry.partition(b"-")[0])


async def test_an_app_that_releases_its_users_in_time_has_none_moved(
    scene: Scene, start_operator: StartOperator
) -> None:
    start_operator(scene)
    await served(scene, {"deadlineSeconds": 8})
    executor = StatefulExecutor(scene.store)
    async with publishing(scene, 1):
        await scene.annotate_pod(1, DRAIN, "true")
        record, release = await wait_asked(scene, 1)
        assert release - record.since == pytest.approx(7000, abs=100), "a second is the operator's"
        await scene.wait_resyncs_of(0, 2)
        assert (await scene.records())[1].decision == record.decision, "it stays as it was told"
        assert not await scene.moved()
        uids = [uid for uid, pod in (await scene.links()).items() if pod == 1]
        await asyncio.gather(*(executor.remove_linked_pod_with_id(scene.namespace, uid, scene.name, 1) for uid in uids))
        for uid in uids:
            del scene.linked[uid]
        assert await clock(scene) < release

        async def over() -> bool:
            return (await scene.records())[1].links is LinkAction.DRAIN

        await eventually(over, bool, "its time is over")
        assert (await scene.records())[1].release is None
        await scene.wait_resyncs_of(0, 1)
    assert {move["reason"] for move in await scene.moves()} == {"Removed"}, "the operator has moved none"
    assert (await scene.states())[1] == (DENY, Reason.DRAIN_REQUESTED)
    await scene.check_links(on=[0, 2])


async def test_what_the_app_has_left_is_moved_before_the_deadline(scene: Scene, start_operator: StartOperator) -> None:
    start_operator(scene, **SELDOM)
    await served(scene, {"deadlineSeconds": 6, "linksPerSecond": 50})
    async with publishing(scene, 1):
        await scene.annotate_pod(1, DRAIN, "true")
        record, release = await wait_asked(scene, 1)
        assert release - record.since == pytest.approx(4000, abs=600), "100 links at 50 a second take two: counted now"

        async def untouched() -> bool:
            return not await scene.moved() or await clock(scene) >= release

        await always(untouched, bool, "the app has its time", seconds=3)
        await scene.wait_links_off(1)
    assert record.since + 4000 < await last_move(scene) < record.since + 6500
    assert await scene.moved_off() == {1: 100}
    await scene.check_links(on=[0, 2])
    assert await scene.history(1) == ["READY", "DENY_NEW_CALL"]


async def test_a_terminating_pod_is_empty_before_its_grace_period_ends(
    scene: Scene, start_operator: StartOperator
) -> None:
    start_operator(scene, **SELDOM)
    await served(scene, {"deadlineSeconds": 600})
    async with publishing(scene, 1):
        await scene.annotate_pod(1, DRAIN, "true")
        _, first = await wait_asked(scene, 1)
        end = await clock(scene) + 6000
        await scene.delete_pod(1, grace_seconds=6)
        _, release = await wait_asked(scene, 1, Reason.TERMINATING)
        assert release < first, "the second word comes with SIGTERM, and tells of less time"
        assert release == pytest.approx(end - 1000, abs=400), "it counts from when the deletion was seen"
        await scene.wait_links_off(1)
        assert release <= await last_move(scene) < end + 400
        assert (await scene.states())[1] == (DENY, Reason.TERMINATING)
    await scene.check_links(on=[0, 2])


async def test_a_pod_that_was_asked_before_it_is_deleted_keeps_its_first_deadline(
    scene: Scene, start_operator: StartOperator
) -> None:
    start_operator(scene, **SELDOM)
    await served(scene, {"deadlineSeconds": 8})
    async with publishing(scene, 1):
        await scene.annotate_pod(1, DRAIN, "true")
        _, first = await wait_asked(scene, 1)
        await scene.delete_pod(1, grace_seconds=600)
        _, second = await wait_asked(scene, 1, Reason.TERMINATING)
        assert second == first
        await scene.wait_links_off(1)
    assert first <= await last_move(scene) < first + 1500


async def test_an_app_that_falls_silent_is_not_waited_for(scene: Scene, start_operator: StartOperator) -> None:
    start_operator(scene, **SELDOM)
    await served(scene, {"deadlineSeconds": 600}, health={"expireSeconds": 5})
    async with publishing(scene, 1):
        await scene.annotate_pod(1, DRAIN, "true")
        record, _ = await wait_asked(scene, 1)

        async def age() -> int:
            return await clock(scene) - record.since

        await eventually(age, lambda passed: passed > 8000, "more than the expiry has passed")
        assert not await scene.moved(), "it goes on publishing"
    silent = await clock(scene)
    await scene.wait_links_off(1)
    assert 3500 < await last_move(scene) - silent < 7000
    await scene.check_links(on=[0, 2])


async def test_an_app_that_says_shutdown_is_not_waited_for(scene: Scene, start_operator: StartOperator) -> None:
    start_operator(scene, **SELDOM)
    await served(scene, {"deadlineSeconds": 600})
    await publish(scene, 1)
    await scene.annotate_pod(1, DRAIN, "true")
    await wait_asked(scene, 1)
    await publish(scene, 1, RoutingState.SHUTDOWN)
    await scene.wait_links_off(1, seconds=5)
    assert await scene.moved_off() == {1: 100}
    assert (await scene.records())[1].release is None


async def test_pods_without_the_library_or_with_a_predecessor_s_word_alone_are_drained_at_once(
    scene: Scene, start_operator: StartOperator
) -> None:
    start_operator(scene)
    await served(scene, {"deadlineSeconds": 600})
    await set_state(scene.store, scene.service, 1, READY, incarnation="predecessor")
    for ordinal in (0, 1):
        await scene.annotate_pod(ordinal, DRAIN, "true")
    await scene.wait_links_off(0, 1, seconds=5)
    await scene.check_links(on=[2])


async def test_in_mode_operator_an_app_is_not_asked_and_a_change_of_mode_ends_the_wait(
    scene: Scene, start_operator: StartOperator
) -> None:
    start_operator(scene)
    await served(scene, {"deadlineSeconds": 600, "mode": "Operator"})
    async with publishing(scene, 0), publishing(scene, 1):
        await scene.annotate_pod(0, DRAIN, "true")
        await scene.wait_links_off(0, seconds=5)
        await scene.change_route({"drain": {"mode": "App"}})
        await scene.annotate_pod(1, DRAIN, "true")
        await wait_asked(scene, 1)
        assert (await scene.records())[0].links is LinkAction.DRAIN, "what the operator has begun it goes on with"
        await scene.change_route({"drain": {"mode": "Operator"}})
        await scene.wait_links_off(1, seconds=5)
    await scene.check_links(on=[2])


async def test_a_drain_that_is_called_off_asks_the_app_for_nothing_any_more(
    scene: Scene, start_operator: StartOperator
) -> None:
    start_operator(scene, **SELDOM)
    await served(scene, {"deadlineSeconds": 600})
    async with publishing(scene, 1):
        await scene.annotate_pod(1, DRAIN, "true")
        _, first = await wait_asked(scene, 1)
        await scene.annotate_pod(1, DRAIN, None)
        await scene.wait_states({1: (READY, Reason.READY)})
        assert (await scene.records())[1].release is None
        await scene.annotate_pod(1, DRAIN, "true")
        _, second = await wait_asked(scene, 1)
        assert second > first
    assert not await scene.moved()


async def test_a_restarted_operator_does_not_ask_anew(scene: Scene, start_operator: StartOperator) -> None:
    operator = start_operator(scene)
    await served(scene, {"deadlineSeconds": 16})
    async with publishing(scene, 1):
        await scene.annotate_pod(1, DRAIN, "true")
        record, release = await wait_asked(scene, 1)
        operator.kill()
        await eventually(lambda: clock(scene), lambda now: now > record.since + 3000, "a while goes by")
        operator.start()
        await scene.wait_resyncs_of(0, 1)
        assert (await scene.records())[1].decision == record.decision
        await scene.wait_links_off(1)
    assert release <= await last_move(scene) < record.since + 16_500


async def test_an_app_that_has_just_begun_to_publish_is_asked_although_nobody_has_told_of_it(
    scene: Scene, start_operator: StartOperator
) -> None:
    start_operator(scene, **SELDOM)
    await served(scene, {"deadlineSeconds": 600})
    await publish(scene, 1)  # READY as before: no message
    began = time.monotonic()
    await scene.scale(1)
    await scene.delete_pod(1, grace_seconds=60)
    await wait_asked(scene, 1, Reason.TERMINATING)
    assert time.monotonic() - began < 20, "not by the period"
    assert (await scene.placed())[1] == 100


@pytest.mark.parametrize("how", ["asked to drain", "deleted"])
async def test_the_library_in_the_pod_saves_and_releases_each_of_its_users_when_it_is(
    scene: Scene, start_operator: StartOperator, how: str
) -> None:
    start_operator(scene, **SELDOM)
    await scene.make_workload(3, by_hand=True)
    await scene.make_route({"drain": {"deadlineSeconds": 8}})
    await scene.run_pods(range(3))
    await scene.wait_all_ready(range(3))
    saved: list[str] = []
    cache = ServiceStateCache(StatefulExecutor(scene.store), CacheOptions(refresh_seconds=0.5))
    identity = Identity(scene.namespace, scene.name, 1, await scene.pod_uid(1))
    options = ServerOptions(update_seconds=1, settle_seconds=0.5)
    async with ServerDriver(cache, identity, options, ServerHooks(on_release=saved.append)) as server:
        own = {f"own-{number}" for number in range(50)}
        for uid in own:
            await server.set_linked_pod(uid)
        if how == "deleted":
            await scene.delete_pod(1, grace_seconds=20)
        else:
            await scene.annotate_pod(1, DRAIN, "true")
        _, release = await wait_asked(scene, 1, Reason.TERMINATING if how == "deleted" else Reason.DRAIN_REQUESTED)
        await eventually(scene.placed, lambda placed: not placed[1], "the app has given all away")
        assert await clock(scene) < release
        assert set(saved) == own
        assert len(saved) == len(own)
        assert server.stats.held == 0
        await scene.link(10, [1], prefix="late")  # by callers who have not heard
        await scene.wait_links_off(1)
    await cache.close()
    scene.linked.clear()  # whether the app released the late ones or the operator moved them is a matter of moments
    told = {uid: move["reason"] for move in await scene.moves() for uid, _, _ in json.loads(move["moves"])}
    assert {uid for uid, reason in told.items() if reason == "Released"} >= own
    assert await clock(scene) < release + 3000
    await scene.check_links(on=[0, 2])
