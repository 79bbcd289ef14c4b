"""The operator as a process: killed, stopped and started again, what it prints, and what it leaves alone."""

import json
import re
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from stateful_route.devcluster.embedded_store import EmbeddedStore
from stateful_route.domain.routing import Reason
from support.process import OperatorProcess
from support.scene import DENY, READY, Scene
from support.waiting import eventually

StartOperator = Callable[..., OperatorProcess]
MANY = 20_000


async def in_the_middle_of_moving(scene: Scene) -> None:
    """Delete pod 1, which has all links, and wait until some of them have left it and most have not."""
    await scene.make_workload(3)
    await scene.make_route({"failover": {"maxLinksPerSecond": 5000}})
    await scene.wait_all_ready(range(3))
    await scene.link(MANY, [1])
    await scene.wait_resyncs(1)  # so that they are counted
    await scene.delete_pod(1)
    counts = await eventually(scene.counts, lambda counts: counts.get(0, 0) > 1000, "the move has begun")
    assert counts.get(1, 0) > MANY / 4, "it is far from its end"


async def successor_s_migration(scene: Scene) -> Any:
    """The migration as the status tells of it once pod 1 has a successor: until then it has another reason."""

    def tells(latest: Any) -> bool:
        return bool(latest["reason"] == Reason.REPLACED and latest["moved"] > 0)

    return (await scene.wait_status(lambda status: tells(status["lastMigration"])))["lastMigration"]


async def all_moved_once(scene: Scene, before: dict[str, int]) -> None:
    links = await scene.check_links(on=[0, 2])
    assert len(links) == MANY
    after = await scene.epochs()
    assert all(after[uid] > epoch for uid, epoch in before.items()), "each change of owner raises the epoch"
    told = [uid for entry in await scene.moves() for uid, _, _ in json.loads(entry["moves"])]
    assert len(told) == len(set(told)), "no uid has moved twice"


@pytest.mark.parametrize("end", [OperatorProcess.kill, OperatorProcess.stop], ids=["SIGKILL", "SIGTERM"])
async def test_an_operator_that_ends_in_the_middle_of_a_move_finishes_it_when_it_is_back(
    scene: Scene, start_operator: StartOperator, end: Callable[[OperatorProcess], object]
) -> None:
    operator = start_operator(scene)
    await in_the_middle_of_moving(scene)
    going_on = await successor_s_migration(scene)
    assert "completionTime" not in going_on
    assert 0 < going_on["left"] < MANY
    end(operator)  # stop() checks by itself that it took less than 5 s and ended with 0
    epochs = await scene.epochs()
    left = (await scene.counts())[1]
    assert left > 0, "it was not done"
    before = {uid: epochs[uid] for uid, pod in (await scene.links()).items() if pod == 1}
    assert len(before) == left
    operator.start()
    await eventually(scene.counts, lambda counts: not counts.get(1), "all have moved")
    await scene.wait_all_ready(range(3))
    await all_moved_once(scene, before)
    status = await scene.wait_status(lambda s: "completionTime" in s["lastMigration"] and s["links"] == MANY)
    assert status["lastMigration"]["pod"] == "rooms-1"
    assert "left" not in status["lastMigration"]
    assert status["lastMigration"]["startTime"] == going_on["startTime"], "it is the same migration"
    if end is OperatorProcess.stop:
        told = [json.loads(entry["moves"]) for entry in await scene.moves() if entry["reason"] == Reason.REPLACED]
        moved = sum(map(len, told))
        assert status["lastMigration"]["moved"] == moved, "what it had told before it stopped is not forgotten"


async def test_the_number_of_links_is_right_soon_after_a_move_and_not_at_the_next_resync_only(
    scene: Scene, start_operator: StartOperator
) -> None:
    start_operator(scene, resync_seconds=50)
    await scene.make_workload(2)
    await scene.make_route()
    await scene.wait_all_ready(range(2))
    await scene.link(500, range(2))  # after the full pass, so nobody has counted them
    await scene.delete_pod(1)
    await scene.wait_links_off(1)
    await scene.wait_status(lambda s: s["links"] == 500)


async def test_a_restarted_operator_finds_all_as_it_should_be_and_changes_nothing(
    scene: Scene, start_operator: StartOperator
) -> None:
    operator = start_operator(scene, resync_seconds=1)
    await scene.make_workload(3)
    await scene.make_route({"failover": {"delaySeconds": 600}})
    await scene.wait_all_ready(range(3))
    await scene.link(90, range(3))
    await scene.set_ready(2, ready=False)
    await scene.wait_states({2: (DENY, Reason.UNREADY)})
    await scene.wait_status(lambda s: s["pods"] == {"ready": 2, "denying": 1, "shutdown": 0} and s["links"] == 90)
    changes, owner = await scene.changes(), await scene.owner()
    status = await scene.status()
    operator.kill()
    operator.start()
    await scene.wait_resyncs(2)
    assert await scene.changes() == changes
    assert await scene.owner() == owner
    assert not await scene.moved()
    await scene.check_links(on=range(3))
    assert (await scene.status())["conditions"] == status["conditions"]
    assert (await scene.status())["pods"] == status["pods"]


async def test_it_stops_on_sigterm_while_idle(scene: Scene, operator: OperatorProcess) -> None:
    await scene.make_workload(1)
    await scene.make_route()
    await scene.wait_all_ready([0])
    assert operator.stop() < 5
    assert (await scene.view()).pods[0].effective is READY, "callers go on with what it has written"


NAMELESS = """\
import pwd


def nobody(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")


pwd.getpwuid = nobody
"""


async def test_it_runs_as_a_user_without_a_name_as_in_its_container(
    scene: Scene, start_operator: StartOperator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(NAMELESS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    start_operator(scene)
    await scene.make_workload(1)
    await scene.make_route()
    await scene.wait_all_ready([0])


async def test_it_writes_one_json_line_for_each_decision(scene: Scene, start_operator: StartOperator) -> None:
    operator = start_operator(scene, resync_seconds=1)
    await scene.make_workload(2)
    await scene.make_route({"failover": {"delaySeconds": 1}})
    await scene.wait_all_ready(range(2))
    await scene.link(40, range(2))
    await scene.set_ready(1, ready=False)
    await scene.wait_links_off(1)
    await scene.wait_resyncs(2)
    operator.stop()
    printed = operator.text().splitlines()
    lines = [json.loads(line) for line in printed]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    decisions = [(line["ordinal"], line["state"], line["reason"]) for line in operator.lines("pod state")]
    assert {line["service"] for line in operator.lines("pod state")} == {f"{scene.namespace}/rooms"}
    assert decisions.count((1, "READY", "Ready")) == 1
    assert decisions.count((1, "DENY_NEW_CALL", "Unready")) == 1
    assert decisions.count((1, "SHUTDOWN", "UnreadyTooLong")) == 1
    assert len(decisions) == len(set(decisions)), "nothing is said twice"
    [move] = operator.lines("links moved")
    assert (move["ordinal"], move["moved"], move["to"], move["reason"]) == (1, 20, {"0": 20}, "UnreadyTooLong")


async def test_its_text_lines_are_for_people(scene: Scene, start_operator: StartOperator) -> None:
    operator = start_operator(scene, log_format="text")
    await scene.make_workload(1)
    await scene.make_route()
    await scene.wait_all_ready([0])
    operator.stop()
    lines = operator.text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S* (INFO|WARNING|ERROR) ", line) for line in lines), lines
    about = [line for line in lines if "pod state" in line and f"service={scene.namespace}/rooms ordinal=0" in line]
    assert any("state=READY reason=Ready" in line for line in about)


async def test_pods_and_stateful_sets_are_never_written(scene: Scene, start_operator: StartOperator) -> None:
    async def seen() -> dict[str, Any]:
        bodies = [*(await scene.kube.get(scene.pods_path))["items"]]
        bodies.append(await scene.kube.get(f"{scene.workload_path}/rooms"))
        return {body["metadata"]["name"]: body["metadata"] for body in bodies}

    await scene.make_workload(2)
    await eventually(scene.ready_pods, lambda ready: ready == {0, 1}, "both pods are Ready")
    await eventually(
        lambda: scene.kube.get(f"{scene.workload_path}/rooms"),
        lambda body: body["status"].get("readyReplicas") == 2,
        "the StatefulSet has counted them",
    )
    before = await seen()
    start_operator(scene, resync_seconds=1)
    await scene.make_route()
    await scene.wait_all_ready(range(2))
    await scene.wait_resyncs(2)
    after = await seen()
    assert {name: meta["resourceVersion"] for name, meta in after.items()} == {
        name: meta["resourceVersion"] for name, meta in before.items()
    }
    assert not [meta for meta in after.values() if meta.get("finalizers") or "kopf" in json.dumps(meta)]


async def test_the_route_is_not_written_when_nothing_changes(scene: Scene, start_operator: StartOperator) -> None:
    async def version_over_three_resyncs() -> tuple[str, str]:
        before = (await scene.route())["metadata"]["resourceVersion"]
        await scene.wait_resyncs(3)
        return before, (await scene.route())["metadata"]["resourceVersion"]

    operator = start_operator(scene, resync_seconds=1)
    await scene.make_workload(2)
    await scene.make_route()
    await scene.wait_all_ready(range(2))
    await scene.wait_condition("Ready", "True")
    await eventually(version_over_three_resyncs, lambda seen: seen[0] == seen[1], "the status rests")
    body = await scene.route()
    assert "annotations" not in body["metadata"]
    assert body["metadata"]["finalizers"] == ["statefulroute.io/cleanup"]
    assert operator.running


async def test_a_deleted_route_does_not_wait_for_ever_for_a_store_that_is_gone(
    private_scene: Scene, server: EmbeddedStore, start_operator: StartOperator
) -> None:
    scene = private_scene
    operator = start_operator(scene, redis_url=server.url, cleanup_seconds=3)
    await scene.make_workload(2)
    await scene.make_route({"links": {"deletionPolicy": "Delete"}})
    await scene.wait_all_ready(range(2))
    server.kill()
    await scene.delete_route()
    assert (await scene.route())["metadata"]["finalizers"], "it waits, in case the store comes back"
    await eventually(scene.route, lambda body: not body, "the StatefulRoute is gone")
    event = await scene.wait_event("CleanupIncomplete")
    for key in (scene.service.states, f"{scene.service.states}#*", f"sf:*ix:{scene.namespace}:rooms"):
        assert key in event["note"]
    assert event["type"] == "Warning"
    server.start()
    successor = await scene.make_route()
    await eventually(scene.owner, lambda owner: owner == successor, "a new StatefulRoute takes over what is left")
    assert operator.running


@pytest.mark.usefixtures("operator")
async def test_a_route_that_never_reached_its_store_can_be_deleted_at_once(scene: Scene) -> None:
    await scene.make_route({"redis": {"url": "redis://127.0.0.1:1"}})
    await scene.wait_condition("RedisConnected", "False", "StoreUnavailable")
    await scene.delete_route()
    await eventually(scene.route, lambda body: not body, "the StatefulRoute is gone", seconds=5)


@pytest.mark.parametrize("option", ["health_port", "metrics_port"])
async def test_a_port_that_is_taken_is_said_in_one_line(
    scene: Scene, start_operator: StartOperator, option: str
) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        operator = start_operator(scene, **{option: port})
        assert await operator.wait_ended() == 1
    [line] = operator.text().splitlines()
    assert f"port {port}" in line
    assert f"--{option.replace('_', '-')}" in line


async def test_a_second_sigterm_does_no_harm(scene: Scene, operator: OperatorProcess) -> None:
    await scene.make_workload(1)
    await scene.make_route()
    await scene.wait_all_ready([0])
    operator.signal(signal.SIGTERM)
    operator.signal(signal.SIGTERM)
    assert await operator.wait_ended() == 0


MakeScene = Callable[..., Awaitable[Scene]]


async def test_namespaces_that_it_is_not_told_of_are_left_alone(
    make_scene: MakeScene, start_operator: StartOperator
) -> None:
    mine, other = await make_scene(), await make_scene()
    start_operator(mine)
    for scene in (other, mine):
        await scene.make_workload(1)
        await scene.make_route()
    await mine.wait_all_ready([0])
    await mine.wait_resyncs(1)
    assert await other.dump_namespace() == {}
    assert "finalizers" not in (await other.route())["metadata"]
