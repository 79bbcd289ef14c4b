"""A member of the family that knows only the four keys: it reads what we write, we read what it writes, mixed as well.

It speaks plain commands and the keys' names as the reference spells them; nothing of ours is used to make them.
"""

import json
import time
from collections.abc import AsyncIterator

import pytest

from stateful_route.domain.aliveness import Author
from stateful_route.domain.routing import RoutingState
from stateful_route.store.connection import Store
from stateful_route.store.executor import StatefulExecutor
from stateful_route.store.links import Candidates
from stateful_route.store.migrate import Batch

NS, SVC = "games", "room"


class ForeignClient:
    """Link, states and workload by raw commands, each operation as the reference describes it."""

    def __init__(self, raw):
        self.raw = raw

    async def set_link(self, uid, pod, seconds=-1, service=SVC):
        before = await self.raw.get(f"sf:{{{NS}:lk:{uid}}}{service}")
        await self.raw.set(f"sf:{{{NS}:lk:{uid}}}{service}", pod, ex=None if seconds == -1 else seconds)
        await self.raw.hset(f"sf:{{{NS}:lk:{uid}}}", service, pod)
        return -1 if before is None else int(before)

    async def remove_link(self, uid, seconds=0, service=SVC):
        await self.raw.hdel(f"sf:{{{NS}:lk:{uid}}}", service)
        if seconds:
            return await self.raw.expire(f"sf:{{{NS}:lk:{uid}}}{service}", seconds)
        return await self.raw.delete(f"sf:{{{NS}:lk:{uid}}}{service}")

    async def link(self, uid, service=SVC):
        """(pod, is it persistent), or None."""
        key = f"sf:{{{NS}:lk:{uid}}}{service}"
        pod = await self.raw.get(key)
        return None if pod is None else (int(pod), await self.raw.ttl(key) == -1)

    async def services(self, uid):
        fields = await self.raw.hgetall(f"sf:{{{NS}:lk:{uid}}}")
        return {service: int(pod) for service, pod in fields.items()}

    async def set_state(self, pod, load, word):
        record = {"state": load, "routingState": word, "updateTime": int(time.time() * 1000)}
        await self.raw.hset(f"sf:{{{NS}:state:{SVC}}}", pod, json.dumps(record))

    async def states(self):
        fields = await self.raw.hgetall(f"sf:{{{NS}:state:{SVC}}}")
        return {int(pod): json.loads(text) for pod, text in fields.items()}

    async def set_workload(self, word):
        await self.raw.set(f"sf:{{{NS}:workload:{SVC}}}", word)

    async def workload(self):
        return await self.raw.get(f"sf:{{{NS}:workload:{SVC}}}")


@pytest.fixture
def theirs(raw):
    return ForeignClient(raw)


@pytest.fixture
async def ours(server, raw) -> AsyncIterator[StatefulExecutor]:
    async with StatefulExecutor(Store.from_url(server.url)) as executor:
        yield executor


# They read what we write


async def test_they_read_our_link(ours, theirs):
    await ours.set_linked_pod(NS, "ada", SVC, 3)
    assert await theirs.link("ada") == (3, True)
    await ours.set_linked_pod(NS, "ada", SVC, 4, 60)
    assert await theirs.link("ada") == (4, False)
    assert await theirs.services("ada") == {SVC: 4}


WRITERS = {
    "try_set": lambda ours, uid: ours.try_set_linked_pod(NS, uid, SVC, 0),
    "if_absent": lambda ours, uid: ours.set_linked_pod_if_absent(NS, uid, SVC, 0, 60),
    "compute": lambda ours, uid: ours.compute_linked_pod_if_absent(NS, uid, SVC, Candidates({0: 1}), 60),
    "many if_absent": lambda ours, uid: ours.set_links_if_absent(NS, [uid], SVC, 0, 60),
    "many computed": lambda ours, uid: ours.compute_links_if_absent(NS, [uid], SVC, Candidates({0: 1}), 60),
}


@pytest.mark.parametrize("sentence", WRITERS)
async def test_they_read_our_link_however_it_was_made(sentence, ours, theirs):
    await WRITERS[sentence](ours, "ada")
    assert await theirs.link("ada") == (0, sentence == "try_set")
    assert await theirs.services("ada") == {SVC: 0}


@pytest.mark.parametrize("seconds", [0, 60])
async def test_they_see_that_we_have_removed_a_link(seconds, ours, theirs):
    for remove in (
        lambda: ours.remove_linked_pod(NS, "ada", SVC, seconds),
        lambda: ours.remove_linked_pod_with_id(NS, "ada", SVC, 3, seconds),
        lambda: ours.remove_links(NS, ["ada"], SVC, seconds),
    ):
        await ours.set_linked_pod(NS, "ada", SVC, 3)
        await remove()
        assert await theirs.link("ada") == ((3, False) if seconds else None)
        assert await theirs.services("ada") == {}


async def test_they_see_that_we_have_moved_a_link(ours, theirs):
    await ours.set_linked_pod(NS, "ada", SVC, 3)
    await ours.compute_linked_pod_if_absent(NS, "ada", SVC, Candidates({5: 0}, dead=frozenset({3})), 60)
    assert (await theirs.link("ada"), await theirs.services("ada")) == ((5, False), {SVC: 5})


async def test_they_read_our_states(ours, theirs, raw):
    await ours.set_service_state(NS, SVC, 0, "READY", load=17, incarnation="pod-a/0")
    await ours.set_service_state(NS, SVC, 12, RoutingState.DENY_NEW_CALL)
    states = await theirs.states()
    assert {pod: (state["state"], state["routingState"]) for pod, state in states.items()} == {
        0: (17, "READY"),
        12: (0, "DENY_NEW_CALL"),
    }
    seconds, _ = await raw.time()
    assert all(abs(state["updateTime"] / 1000 - seconds) < 60 for state in states.values())
    assert all(isinstance(state["state"], int) for state in states.values())
    await ours.set_workload_state(NS, SVC, "busy")
    assert await theirs.workload() == "busy"


async def test_our_other_keys_do_not_stand_where_they_look(ours, theirs, raw):
    await ours.set_linked_pod(NS, "ada", SVC, 3)
    await ours.set_service_state(NS, SVC, 0, "READY")
    assert sorted(await raw.keys(f"sf:{{{NS}:lk:*")) == [f"sf:{{{NS}:lk:ada}}", f"sf:{{{NS}:lk:ada}}{SVC}"]
    assert sorted(await raw.keys(f"sf:{{{NS}:state:*}}")) == [f"sf:{{{NS}:state:{SVC}}}"]


# We read what they write


async def test_we_read_their_links(ours, theirs):
    await theirs.set_link("ada", 3)
    await theirs.set_link("bob", 0, 60)
    await theirs.set_link("ada", 7, service="chat")
    assert await ours.get_linked_pod(NS, "ada", SVC) == 3
    assert await ours.get_linked_pod(NS, "bob", SVC) == 0
    assert await ours.get_linked_pod_if_persist(NS, "ada", SVC) == 3
    assert await ours.get_linked_pod_if_persist(NS, "bob", SVC) is None
    assert await ours.batch_get_linked_pod(NS, ["ada", "bob", "cyd"], SVC) == {3: ["ada"], 0: ["bob"]}
    assert await ours.get_link_service(NS, "ada") == {SVC: 3, "chat": 7}
    assert (await ours.get_link(NS, "ada", SVC)).epoch == -1
    assert not await ours.is_owner(NS, "ada", SVC, 3, -1)


async def test_we_keep_to_their_links(ours, theirs):
    await theirs.set_link("ada", 3)
    assert await ours.try_set_linked_pod(NS, "ada", SVC, 4) == (False, 3)
    assert await ours.set_linked_pod_if_absent(NS, "ada", SVC, 4, 60) == 3
    assert await ours.compute_linked_pod_if_absent(NS, "ada", SVC, Candidates({4: 0}), 60) == 3
    assert await ours.remove_linked_pod_with_id(NS, "ada", SVC, 4) is False
    assert await theirs.link("ada") == (3, True)
    assert await ours.set_linked_pod(NS, "ada", SVC, 4) == 3
    assert await ours.remove_linked_pod(NS, "ada", SVC) is True
    assert await theirs.link("ada") is None


async def test_we_see_that_they_have_removed_a_link(ours, theirs):
    done = await ours.set_link(NS, "ada", SVC, 3)
    await theirs.remove_link("ada", 60)
    assert await ours.get_linked_pod(NS, "ada", SVC) == 3
    assert await ours.get_linked_pod_if_persist(NS, "ada", SVC) is None
    assert not await ours.is_owner(NS, "ada", SVC, 3, done.epoch)
    await theirs.remove_link("ada")
    assert await ours.get_linked_pod(NS, "ada", SVC) is None
    assert await ours.remove_linked_pod(NS, "ada", SVC) is False


async def test_we_read_their_states(ours, theirs):
    await theirs.set_state(0, 17, "READY")
    await theirs.set_state(3, -2, "SHUTDOWN")
    states = await ours.get_service_state(NS, SVC)
    assert {pod: (state.load, state.routing_state, state.author) for pod, state in states.items()} == {
        0: (17, "READY", Author.FOREIGN),
        3: (-2, "SHUTDOWN", Author.FOREIGN),
    }
    assert (await ours.get_service_pod_state(NS, SVC, 3)) == states[3]
    assert await ours.get_service_pod_state(NS, SVC, 1) is None
    await theirs.set_workload("busy")
    assert await ours.get_workload_states(NS, [SVC, "chat"]) == {SVC: "busy", "chat": None}
    assert await ours.get_workload_state(NS, SVC) == "busy"


# Both write


async def test_they_and_we_write_the_same_uid_by_turns(ours, theirs):
    """Each sees the other's last word, epochs rise, the index follows whenever we touch the uid."""
    last = 0
    for turn in range(6):
        pod = turn % 3
        if turn % 2:
            assert await theirs.set_link("ada", pod) == (turn - 1) % 3
            assert await ours.get_linked_pod(NS, "ada", SVC) == pod
        else:
            done = await ours.set_link(NS, "ada", SVC, pod)
            assert done.previous == (None if turn == 0 else (turn - 1) % 3)
            assert done.epoch > last
            last = done.epoch
            assert await theirs.link("ada") == (pod, True)
            assert await ours.is_owner(NS, "ada", SVC, pod, last)
            assert await ours.count_links(NS, SVC) == {pod: 1}


async def test_a_link_of_theirs_moves_once_it_is_known(ours, theirs):
    await theirs.set_link("ada", 3)
    assert await ours.count_links(NS, SVC) == {}
    assert (await ours.repair(NS, SVC, foreign=True)).found == 1
    pages = [page async for page in ours.links_of_pod(NS, SVC, 3)]
    assert [page.uids for page in pages] == [["ada"]]
    (result,) = await ours.migrate(NS, SVC, 3, [Batch(pages[0].cursor - 1, ["ada"], [5])], reason="Gone")
    assert [moved.to for moved in result.moved] == [5]
    assert (await theirs.link("ada"), await theirs.services("ada")) == ((5, True), {SVC: 5})


async def test_a_state_of_ours_over_theirs_and_theirs_over_ours(ours, theirs):
    await theirs.set_state(0, 5, "SHUTDOWN")
    assert await ours.set_service_state(NS, SVC, 0, "READY", load=1) is RoutingState.READY
    assert (await theirs.states())[0]["routingState"] == "READY"
    await theirs.set_state(0, 6, "DENY_NEW_CALL")
    assert (await ours.get_service_state(NS, SVC))[0].load == 6
