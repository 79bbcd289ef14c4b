"""``stateful-route wait-drained`` as a pod's preStop hook, on a store alone: what it says, and when it ends."""

import asyncio
import contextlib
import time

import pytest

from stateful_route.cli.inspect import wait_drained as module
from stateful_route.cli.inspect.wait_drained import NOTICE_SECONDS, Hook, Pod, main, wait_drained
from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import LinkAction, Reason, RoutingState
from stateful_route.store.index import links_of_pod
from stateful_route.store.links import remove_link, set_link
from stateful_route.store.states import claim, get_service_pod, set_operator_states, set_state
from support.waiting import until

READY, DENY, SHUTDOWN = RoutingState
OWNER = "cluster/route"
LIFE, SUCCESSOR = Incarnation("pod-a", 0), Incarnation("pod-b", 0)
PATIENT_SECONDS = 60
"""What a client waits for an answer of a store that is frozen, where the hook's deadline is sooner."""


class Running:
    """A hook at work: what it says, and how many links it has left in the end (None: the store did not answer)."""

    def __init__(self, store, pod, seconds):
        self.said = []
        say = self.said.append
        self.task = asyncio.ensure_future(wait_drained(store, pod, seconds, say, Hook(pod, seconds, say)))

    async def end(self):
        return await asyncio.wait_for(self.task, 30), "\n".join(self.said)


@pytest.fixture
async def hook(server, connect, service):
    """Starts hooks of pod 0, each with connections of its own."""
    running = []

    def start(seconds, uid="", *, url=server.url, **options):
        running.append(Running(connect(url, **options), Pod(service, 0, "room-0", uid), seconds))
        return running[-1]

    yield start
    for one in running:
        one.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await one.task


@pytest.fixture
async def decide(store, service):
    """The operator decides about pod 0."""
    await claim(store, service, OWNER, {"heartbeat": "Auto"})

    async def decides(life=LIFE, state=READY, reason=Reason.READY, links=LinkAction.STAY):
        record = OperatorRecord(state=state, reason=reason, incarnation=life, ever_ready=True, links=links)
        return (await set_operator_states(store, service, OWNER, {0: record})).records[0]

    return decides


@pytest.fixture
def noted(store, service, eventually):
    """Wait until the store knows that pod 0 stops; until when."""

    async def look():
        state = (await get_service_pod(store, service, 0)).state
        return state and state.stops

    async def wait():
        return await eventually(look)

    return wait


async def test_it_asks_for_the_drain_and_ends_when_nobody_is_left(hook, decide, noted, store, service):
    await decide()
    await set_link(store, service, "ada", 0)
    waiting = hook(15, "pod-a")
    await noted()
    assert (await get_service_pod(store, service, 0)).effective is DENY
    await decide(state=DENY, reason=Reason.STOPPING, links=LinkAction.DRAIN)
    await remove_link(store, service, "ada", 0)
    left, said = await waiting.end()
    assert left == 0, said
    assert "room-0 is empty after" in said
    assert "nobody has asked" not in said


async def test_it_asks_again_when_the_store_has_lost_it(hook, decide, noted, store, service, raw):
    await decide()
    await set_link(store, service, "ada", 0)
    hook(15)
    await noted()
    await raw.hdel(service.states, 0)
    await noted()


async def test_two_hooks_of_one_pod_both_end_well(hook, decide, noted):
    await decide()
    ends = await asyncio.gather(*[hook(15).end() for _ in range(2)])
    assert [left for left, _ in ends] == [0, 0]
    assert await noted()


async def test_without_an_operator_it_says_that_nobody_moves_the_users(hook, noted, store, service):
    await set_state(store, service, 0, READY)
    await set_link(store, service, "ada", 0)
    waiting = hook(NOTICE_SECONDS + 2)
    await until(lambda: waiting.said)
    assert waiting.said == ["room-0: 1 user left, DENY_NEW_CALL; no other pod is READY"], "it has only just asked"
    left, said = await waiting.end()
    assert left == 1
    assert "1 user left, DENY_NEW_CALL: no operator has answered yet, which would move them" in said
    assert await noted(), "new users go elsewhere all the same"


async def test_it_says_that_the_other_pods_are_full(hook, store, service):
    await claim(store, service, OWNER, {"maxLinksPerPod": 1})
    for ordinal, uid in enumerate(("ada", "bob")):
        await set_state(store, service, ordinal, READY)
        await set_link(store, service, uid, ordinal)
    _, said = await hook(1).end()
    assert "1 user left, DENY_NEW_CALL; every other READY pod is full (placement.maxLinksPerPod)" in said
    await remove_link(store, service, "bob", 0)
    _, said = await hook(1).end()
    assert "full" not in said


async def test_users_that_have_left_while_it_counted_are_not_said_to_be_stuck(hook, store, service, monkeypatch):
    """Those that are moved fill the pods that take them: what is said of the room is older than the count."""
    await claim(store, service, OWNER, {"maxLinksPerPod": 2})
    for ordinal, uid in ((0, "ada"), (0, "bob"), (1, "eve")):
        await set_state(store, service, ordinal, READY)
        await set_link(store, service, uid, ordinal)

    async def moved_meanwhile(*of):
        async for buckets in links_of_pod(*of):
            yield buckets
        await set_link(store, service, "bob", 1)

    monkeypatch.setattr(module, "links_of_pod", moved_meanwhile)
    _, said = await hook(2).end()
    said = said.splitlines()
    assert said[0].startswith("room-0: 2 users left, DENY_NEW_CALL")
    assert not [line for line in said if "2 users" in line and "full" in line]
    assert [line for line in said if "1 user" in line and "full" in line]


async def test_it_does_not_call_a_pod_empty_that_nobody_knows_and_leaves_no_trace_of_it(hook, service, raw):
    left, said = await hook(15).end()
    assert left == 0
    assert "room-0 has no users after" in said
    assert "is empty" not in said
    assert not await raw.exists(service.states, service.records, service.changes)


@pytest.mark.parametrize("seconds", ["1", "15"])
async def test_a_wrong_name_is_named_also_by_a_quiet_hook_which_lets_the_pod_stop(server, monkeypatch, capsys, seconds):
    for name in ("POD_UID", "POD_INDEX", "STATEFUL_ROUTE_NAMESPACE", "STATEFUL_ROUTE_SERVICE"):
        monkeypatch.delenv(name, raising=False)
    words = ["-q", "-n", "demo", "--pod", "nosuch-0", "--redis-url", server.url, "--deadline-seconds", seconds]
    assert await asyncio.to_thread(main, words) == 0
    assert capsys.readouterr().err == (
        "stateful-route wait-drained: nobody knows demo/nosuch pod 0: are POD_NAME, POD_NAMESPACE (and the service's "
        "name) right? Nothing to wait for\n"
    )


async def test_users_of_a_pod_that_nobody_knows_are_waited_for(hook, store, service):
    await set_link(store, service, "ada", 0)
    left, said = await hook(1).end()
    assert left == 1
    assert f"1 user left; nobody knows {service} pod 0: are POD_NAME" in said
    assert "Nothing to wait for" not in said


async def test_it_asks_again_when_the_store_was_emptied_and_the_operator_writes_the_pod_again(
    hook, decide, noted, store, service, raw
):
    await decide()
    await set_link(store, service, "ada", 0)
    waiting = hook(15)
    await noted()
    async with raw.pipeline(transaction=True) as lost:
        lost.delete(service.states, service.records, service.owner)
        await lost.execute()
    await until(lambda: "nobody knows" in "\n".join(waiting.said))
    await claim(store, service, OWNER, {"heartbeat": "Auto"})
    await decide()
    assert await noted()


@pytest.mark.parametrize("uid", ["pod-a", ""])
async def test_the_hook_of_a_pod_that_was_replaced_does_not_drain_its_successor(
    hook, decide, noted, store, service, uid
):
    await decide()
    await set_link(store, service, "ada", 0)
    waiting = hook(15, uid)
    await noted()
    await decide(SUCCESSOR)
    left, said = await waiting.end()
    assert left == 0
    assert "has a successor" in said
    assert (await get_service_pod(store, service, 0)).state.stops is None


async def test_a_user_without_the_right_to_write_waits_for_a_drain_that_others_ask_for(
    hook, decide, raw, server, store, service
):
    await decide(state=DENY, reason=Reason.TERMINATING, links=LinkAction.DRAIN)
    await set_link(store, service, "ada", 0)
    await raw.hset("sf:meta", "layout", "1")
    reader = (
        "on",
        ">secret",
        "%R~sf:*",
        "(~sf:* +eval +evalsha)",
        "+@read",
        "+time",
        "+info",
        "+ping",
        "+role",
        "+hello",
    )
    await raw.execute_command("ACL", "SETUSER", "reader", "reset", *reader, "+select", "+client", "+command")
    url = server.url.replace("redis://", "redis://reader:secret@")
    waiting = hook(15, "pod-a", url=url)
    await until(lambda: waiting.said)
    assert "room-0 cannot ask for its drain, it is drained when it is deleted" in waiting.said[0]
    await remove_link(store, service, "ada", 0)
    left, said = await waiting.end()
    assert left == 0, said


@pytest.mark.parametrize("answers_at_first", [True, False])
async def test_a_store_that_is_frozen_does_not_hold_it_beyond_its_deadline(
    hook, decide, noted, server, answers_at_first
):
    await decide()
    began = time.monotonic()
    if not answers_at_first:
        server.pause()
    waiting = hook(3, timeout_seconds=PATIENT_SECONDS, deadline_seconds=PATIENT_SECONDS)
    if answers_at_first:
        await noted()
        server.pause()
    try:
        left, said = await waiting.end()
    finally:
        server.resume()
    assert left is None
    assert said.splitlines()[-1] == "room-0: the store does not answer"
    assert 3 <= time.monotonic() - began < PATIENT_SECONDS / 2
