"""A client that knows nothing but the four keys of the family's layout, and writes them by plain Redis commands."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import Reason
from support.process import OperatorProcess
from support.scene import DENY, READY, SHUTDOWN, Scene
from support.waiting import eventually

StartOperator = Callable[..., OperatorProcess]


class ForeignClient:
    """Reads and writes by key, as the family's other members do."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._namespace, self._service = scene.namespace, scene.name

    async def write_state(self, pod: int, text: str) -> None:
        await self._scene.store.command("HSET", f"sf:{{{self._namespace}:state:{self._service}}}", pod, text)

    async def state(self, pod: int) -> str:
        value = await self._scene.store.command("HGET", f"sf:{{{self._namespace}:state:{self._service}}}", pod)
        return str(value.decode())

    async def link(self, uid: str, pod: int, seconds: int | None = None) -> None:
        key = f"sf:{{{self._namespace}:lk:{uid}}}"
        expiry = () if seconds is None else ("EX", seconds)
        await self._scene.store.command("SET", key + self._service, pod, *expiry)
        await self._scene.store.command("HSET", key, self._service, pod)
        self._scene.linked[uid] = pod

    async def ttl(self, uid: str) -> int:
        return int(await self._scene.store.command("TTL", f"sf:{{{self._namespace}:lk:{uid}}}{self._service}"))

    async def links_of(self, uid: str) -> dict[str, str]:
        flat = await self._scene.store.command("HGETALL", f"sf:{{{self._namespace}:lk:{uid}}}")
        pairs = flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)
        return {name.decode(): value.decode() for name, value in pairs}


@pytest.fixture
async def served(scene: Scene, start_operator: StartOperator) -> Scene:
    """Three pods, routed by an operator that compares everything each second."""
    start_operator(scene, resync_seconds=1)
    await scene.make_workload(3)
    await scene.make_route({"failover": {"delaySeconds": 3}})
    await scene.wait_all_ready(range(3))
    return scene


@pytest.fixture
def client(served: Scene) -> ForeignClient:
    return ForeignClient(served)


async def is_state(client: ForeignClient, pod: int, word: str) -> str:
    return await eventually(
        lambda: client.state(pod),
        lambda text: bool(json.loads(text)["routingState"] == word),
        f"a foreign reader sees pod {pod} as {word}",
    )


def all_ready(records: Mapping[int, OperatorRecord], ordinals: Iterable[int]) -> bool:
    return all(ordinal in records and records[ordinal].state is READY for ordinal in ordinals)


async def test_of_a_foreign_record_only_the_routing_state_is_changed(served: Scene, client: ForeignClient) -> None:
    record = '{ "updateTime":1790000000123,  "mood":"good", "routingState" : "READY","state":42 }'
    await client.write_state(1, record)
    await served.wait_resyncs_of(0, 2)
    assert await client.state(1) == record, "no reason to touch it"
    await served.set_ready(1, ready=False)
    denied = await is_state(client, 1, "DENY_NEW_CALL")
    assert denied == record.replace("READY", "DENY_NEW_CALL")
    down = await is_state(client, 1, "SHUTDOWN")
    assert down == record.replace("READY", "SHUTDOWN")
    await served.set_ready(1, ready=True)
    assert await is_state(client, 1, "READY") == record


@pytest.mark.parametrize("forget", [False, True], ids=["as it was read", "with the family's fields alone"])
async def test_our_own_shutdown_echoed_does_not_keep_a_pod_down(
    served: Scene, client: ForeignClient, forget: bool
) -> None:
    await served.set_ready(1, ready=False)
    read: dict[str, Any] = json.loads(await is_state(client, 1, "SHUTDOWN"))
    if forget:
        read = {name: read[name] for name in ("state", "routingState", "updateTime")}
    await client.write_state(1, json.dumps(read | {"updateTime": round(time.time() * 1000), "state": 5}))
    await served.wait_resyncs_of(0, 2)
    await served.set_ready(1, ready=True)
    await is_state(client, 1, "READY")
    await served.wait_states({1: (READY, Reason.READY)})


async def test_a_heartbeat_that_says_ready_over_our_word_is_put_right_each_time(
    served: Scene, client: ForeignClient
) -> None:
    await served.change_route({"failover": {"delaySeconds": 600}})
    await served.set_ready(1, ready=False)
    await is_state(client, 1, "DENY_NEW_CALL")
    for beat in range(3):
        heartbeat = {"state": beat, "routingState": "READY", "updateTime": round(time.time() * 1000)}
        await client.write_state(1, json.dumps(heartbeat))
        denied = json.loads(await is_state(client, 1, "DENY_NEW_CALL"))
        assert denied == heartbeat | {"routingState": "DENY_NEW_CALL"}
    await served.set_ready(1, ready=True)
    await is_state(client, 1, "READY")


async def test_a_foreign_apps_own_word_counts_and_can_be_taken_back(served: Scene, client: ForeignClient) -> None:
    now = round(time.time() * 1000)
    await client.write_state(1, json.dumps({"state": 1, "routingState": "DENY_NEW_CALL", "updateTime": now}))
    await served.wait_states({1: (DENY, Reason.READY)})
    await served.wait_status(lambda s: s["pods"] == {"ready": 2, "denying": 1, "shutdown": 0})
    await served.set_ready(1, ready=False)
    await served.wait_states({1: (SHUTDOWN, Reason.UNREADY_TOO_LONG)})
    await served.set_ready(1, ready=True)
    await served.wait_states({1: (DENY, Reason.READY)})
    await client.write_state(1, json.dumps({"state": 1, "routingState": "READY", "updateTime": now + 1}))
    await served.wait_states({1: (READY, Reason.READY)})
    await served.wait_status(lambda s: s["pods"]["ready"] == 3)


async def test_links_that_a_foreign_client_made_leave_a_dead_pod_too(served: Scene, client: ForeignClient) -> None:
    await served.link(30, range(3))
    for number in range(30):
        await client.link(f"foreign-{number}", number % 3, seconds=600 if number % 2 else None)
    await served.delete_pod(1)
    await served.wait_links_off(1)
    links = await served.check_links(on=[0, 2])
    assert len(links) == 60
    assert {was for was, _ in (await served.moved()).values()} == {1}
    for number in range(30):
        uid = f"foreign-{number}"
        assert await client.links_of(uid) == {"rooms": str(links[uid])}, "both of its keys say the same"
        ttl = await client.ttl(uid)
        assert 500 < ttl <= 600 if number % 2 else ttl == -1
    await served.wait_status(lambda s: s["links"] == 60)


async def test_a_link_that_a_foreign_client_set_to_a_dead_pod_moves_on(served: Scene, client: ForeignClient) -> None:
    await served.link(30, range(3))
    await served.scale(2)
    await served.wait_links_off(2)
    await client.link("user-0", 2)  # it has not heard yet; the index still says another pod
    await client.link("late", 2)
    await served.wait_links_off(2)
    await served.check_links(on=[0, 1])


async def test_values_that_do_not_parse_are_left_as_they_are_and_said_once(
    scene: Scene, start_operator: StartOperator
) -> None:
    client = ForeignClient(scene)
    await client.write_state(0, "READY, thank you")
    await client.write_state(1, '{"routingState":"MAYBE"}')
    link, hash_key = scene.service.link("odd"), scene.service.links("odd")
    await scene.store.command("SET", link, "the second pod")
    await scene.store.command("HSET", hash_key, "rooms", "the second pod")
    before = await scene.store.pipeline([("DUMP", link), ("DUMP", hash_key)])
    operator = start_operator(scene, resync_seconds=1)
    await scene.make_workload(3)
    await scene.make_route()
    await eventually(scene.records, lambda seen: all_ready(seen, range(3)), "all three are served")
    await scene.link(30, range(3))
    await scene.delete_pod(2)
    await scene.wait_links_off(2)
    await scene.wait_states({2: READY})
    await scene.wait_resyncs_of(2, 3)
    assert await client.state(0) == "READY, thank you"
    assert await client.state(1) == '{"routingState":"MAYBE"}'
    assert await scene.store.pipeline([("DUMP", link), ("DUMP", hash_key)]) == before
    complaints = operator.lines("state record does not parse; left untouched")
    assert sorted(line["ordinal"] for line in complaints) == [0, 1]
    assert {line["key"] for line in complaints} == {scene.service.states}
    [told] = operator.lines("links that hold no pod index are left untouched")
    assert told["links"] == 1
