"""A call that moves a user: only by a confirmed view of the pod, and told to all; both twins."""

import asyncio
import json

import pytest

from stateful_route.domain.errors import NoPodAvailable
from stateful_route.domain.routing import LinkAction, Reason
from stateful_route.drivers.cache import CacheOptions
from stateful_route.store.links import Candidates
from support.operator_records import record
from support.published import PATIENT
from support.twins import Threaded
from support.waiting import eventually, until

NS, SVC = "games", "room"
DEAF = CacheOptions(refresh_seconds=600.0, push=False)
"""What such a caller knows is a minute old, and nobody tells it."""
UIDS = [f"uid-{number}" for number in range(300)]


@pytest.fixture
async def moves(raw, service):
    """What the stream of moves says: ``[(source, reason, uid, target), …]``."""

    async def read():
        return [
            (int(fields["from"]), fields["reason"], uid, to)
            for _, fields in await raw.xrange(service.moves)
            for uid, to, _ in json.loads(fields["moves"])
        ]

    return read


@pytest.fixture
async def outdated(connect, server, publish, executor_here, service):
    """A caller to whom pod 0 is SHUTDOWN, although it is READY by now; the uids are linked to it."""
    await publish({0: "SHUTDOWN", 1: "READY"})
    caller = await connect(server.url, DEAF)
    assert set((await caller.states.snapshot(service)).dead) == {0}
    await publish({0: "READY"})
    (await executor_here.set_links_if_absent(NS, UIDS, SVC, 0, 300)).all()
    return caller


async def test_a_caller_whose_view_is_old_moves_nobody_off_a_healthy_pod(outdated, executor_here, service, moves):
    before = await executor_here.get_link(NS, UIDS[0], SVC)
    assert await outdated.client.compute_linked_pod(NS, UIDS[0], SVC) == 0
    assert await executor_here.get_link(NS, UIDS[0], SVC) == before
    assert outdated.states.known(service).alive == {0, 1}, "what it knows was corrected"
    assert await moves() == []


async def test_nor_does_a_batch(outdated, executor_here, moves):
    before = (await executor_here.get_links(NS, UIDS, SVC)).all()
    assert set((await outdated.client.compute_linked_pods(NS, UIDS, SVC)).values()) == {0}
    assert (await executor_here.get_links(NS, UIDS, SVC)).all() == before
    assert await moves() == []


async def test_where_nobody_takes_new_uids_an_old_view_does_not_refuse_a_uid_that_has_a_pod(outdated, publish):
    await publish({0: "DENY_NEW_CALL", 1: "DENY_NEW_CALL"})
    await publish({1: "SHUTDOWN"})
    assert await outdated.client.compute_linked_pod(NS, UIDS[0], SVC) == 0


async def test_a_first_placement_reads_no_pods_entry_again(outdated, raw):
    await raw.config_resetstat()
    assert await outdated.client.compute_linked_pod(NS, "new", SVC) == 1
    assert (await raw.info("commandstats"))["cmdstat_evalsha"]["calls"] == 1


async def test_a_move_is_told_and_has_its_reason(publish, pushed, connect, server, executor_here, moves):
    await publish({0: "READY", 1: "READY"})
    await executor_here.set_linked_pod(NS, "ada", SVC, 0)
    other = await connect(server.url, CacheOptions(refresh_seconds=600.0))
    assert await other.client.compute_linked_pod(NS, "ada", SVC) == 0
    await publish({0: "SHUTDOWN"})
    assert await pushed.client.compute_linked_pod(NS, "ada", SVC) == 1
    assert await moves() == [(0, Reason.REROUTED, "ada", 1)]
    assert pushed.client.get_linked_in_cache(NS, "ada", SVC) == 1
    assert await pushed.client.compute_linked_pod(NS, "bob", SVC) == 1
    assert len(await moves()) == 1, "a first placement is no move"


async def test_the_pod_that_a_call_has_moved_a_user_off_hears_of_it_at_once(operate, start_pod, pushed):
    former = await start_pod(0, uid="pod-a")
    await start_pod(1, uid="pod-b")
    assert await former.server.accept("ada")
    await operate({0: record("DENY_NEW_CALL", LinkAction.DRAIN), 1: record()})
    assert await pushed.client.compute_linked_pod(NS, "ada", SVC) == 1
    await until(lambda: not former.server.owns("ada"), seconds=1)
    await until(lambda: former.told.moved == [("ada", 1)], seconds=1)


@pytest.mark.parametrize("many", [False, True], ids=["one by one", "a batch"])
async def test_after_a_failure_many_calls_share_looks_and_entries(publish, pushed, executor_here, raw, moves, many):
    await publish({0: "READY", 1: "READY"})
    await pushed.client.init(NS, SVC)
    for uid in UIDS:
        await executor_here.set_linked_pod(NS, uid, SVC, 0)
    await publish({0: "SHUTDOWN"})
    await raw.config_resetstat()
    if many:
        assert set((await pushed.client.compute_linked_pods(NS, UIDS, SVC)).values()) == {1}
    else:
        await asyncio.gather(*(pushed.client.compute_linked_pod(NS, uid, SVC) for uid in UIDS))
    calls = await raw.info("commandstats")
    assert sorted(uid for *_, uid, _ in await moves()) == sorted(UIDS)
    assert calls["cmdstat_hget"]["calls"] < 200, "two for each look at the pod"
    if many or not isinstance(pushed.client, Threaded):
        assert calls["cmdstat_xadd"]["calls"] < 20, "few threads have little to share, tasks have"


async def test_a_move_that_cannot_be_told_is_told_later_and_the_answer_is_given(
    publish, pushed, executor_here, raw, service, moves
):
    await publish({0: "SHUTDOWN", 1: "READY"})
    await executor_here.set_linked_pod(NS, "ada", SVC, 0)
    await raw.set(service.moves, "of another type")
    assert await pushed.client.compute_linked_pod(NS, "ada", SVC) == 1
    assert pushed.executor.announcer.kept == 1
    await raw.delete(service.moves)
    await until(lambda: not pushed.executor.announcer.kept)
    assert await moves() == [(0, Reason.REROUTED, "ada", 1)]


async def test_a_user_of_a_drained_pod_stays_while_nobody_takes_any(operate, pushed, executor_here, moves):
    await operate({0: record("DENY_NEW_CALL", LinkAction.DRAIN), 1: record("SHUTDOWN", LinkAction.MOVE)})
    await executor_here.set_linked_pod(NS, "ada", SVC, 0)
    await executor_here.set_linked_pod(NS, "bob", SVC, 1)
    assert await pushed.client.compute_linked_pod(NS, "ada", SVC) == 0
    with pytest.raises(NoPodAvailable):
        await pushed.client.compute_linked_pod(NS, "bob", SVC)
    assert await moves() == []


async def test_the_executor_by_itself_tells_what_it_moves(pushed, executor_here, moves):
    candidates = Candidates({1: 0}, frozenset({0}))
    for uid in ("ada", "bob", "eve"):
        await executor_here.set_linked_pod(NS, uid, SVC, 0)
    assert await pushed.executor.compute_linked_pod_if_absent(NS, "ada", SVC, candidates, 300) == 1
    (await pushed.executor.compute_links_if_absent(NS, ["ada", "bob", "eve", "new"], SVC, candidates, 300)).all()
    assert await moves() == [(0, Reason.REROUTED, uid, 1) for uid in ("ada", "bob", "eve")]


@pytest.fixture
async def published_long_ago(operate, publish, executor_here, raw, service):
    """Three pods that were heard last 75 s ago, before an outage or in an older snapshot; each has a user."""
    await operate({pod: record() for pod in range(3)}, expireSeconds=5)
    await publish({0: "READY", 1: "READY", 2: "READY"})
    for pod in range(3):
        await executor_here.set_linked_pod(NS, f"of-{pod}", SVC, pod)
        entry = json.loads(await raw.hget(service.states, str(pod)))
        entry["updateTime"] -= 75_000
        await raw.hset(service.states, str(pod), json.dumps(entry))
    return {f"of-{pod}": pod for pod in range(3)}


async def test_a_caller_that_asks_first_after_an_outage_moves_nobody_off_pods_that_could_not_publish(
    published_long_ago, publish, connect, server, moves
):
    await publish({0: "READY"})  # it is the first that has published anew
    caller = await connect(server.url, PATIENT)
    for uid, pod in published_long_ago.items():
        assert await caller.client.compute_linked_pod(NS, uid, SVC) == pod
    assert await caller.client.compute_linked_pods(NS, list(published_long_ago), SVC) == published_long_ago
    assert await moves() == []


@pytest.mark.usefixtures("published_long_ago")
async def test_a_caller_that_asks_first_leaves_a_pod_that_goes_on_being_silent(publish, connect, server):
    caller = await connect(server.url)

    async def found():
        await publish({0: "READY"})
        return await caller.client.compute_linked_pod(NS, "of-1", SVC)

    assert await found() == 1
    await eventually(found, lambda pod: pod == 0, "pod 1 is left")
