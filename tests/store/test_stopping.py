"""What a preStop hook says of its pod, beside what the pod's app, foreign clients and the operator say."""

import json

import pytest

from stateful_route.domain.aliveness import Author
from stateful_route.domain.errors import Replaced
from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import Reason, RoutingState
from stateful_route.store.states import (
    Publication,
    claim,
    get_service,
    get_service_pod,
    publish_state,
    refresh_states,
    set_operator_states,
    stop_pod,
)

READY, DENY, SHUTDOWN = RoutingState
OWNER = "cluster/route"
LIFE, RESTARTED, SUCCESSOR = Incarnation("pod-a", 0), Incarnation("pod-a", 1), Incarnation("pod-b", 0)


@pytest.fixture
async def decide(store, service):
    """The operator decides about pod 0; gives the record that stands then."""
    await claim(store, service, OWNER, {"heartbeat": "Auto"})

    async def decides(life=LIFE, state=READY, reason=Reason.READY, **more):
        record = OperatorRecord(state=state, reason=reason, incarnation=life, ever_ready=True, **more)
        return (await set_operator_states(store, service, OWNER, {0: record})).records[0]

    return decides


@pytest.fixture
def stop(store, service):
    async def stops(uid="pod-a", seconds=90):
        return await stop_pod(store, service, 0, uid, seconds)

    return stops


@pytest.fixture
def seen(store, service):
    """What pod 0's entry says."""

    async def look():
        return (await get_service_pod(store, service, 0)).state

    return look


@pytest.fixture
def publish(store, service):
    """The app of pod 0 publishes."""

    async def publishes(word=READY, uid="pod-a", *, begins=False):
        return await publish_state(store, service, 0, Publication(word, 3, uid, begins))

    return publishes


async def test_a_pod_without_the_library_takes_no_new_uids_and_owes_no_heartbeat(
    decide, stop, seen, wakeups, store, service
):
    await decide()
    await wakeups()
    assert await stop() is DENY
    state = await seen()
    assert (state.routing_state, state.author) == (DENY, Author.OPERATOR)
    assert await wakeups() == ["ev"]
    await refresh_states(store, service, OWNER, [0])
    assert (await seen()).stops == state.stops
    noted = await decide(state=DENY, reason=Reason.STOPPING)
    assert (noted.stops, noted.app_word) == (state.stops, None)
    assert (await seen()).stops == state.stops, "it stays while the operator writes"


async def test_an_operator_that_has_not_heard_of_it_yet_does_not_write_over_it(decide, stop, seen):
    await decide()
    await stop()
    record = await decide()
    assert record.stops
    assert (record.written, (await seen()).routing_state) == (DENY, DENY)


async def test_what_the_app_says_stays_and_does_not_end_it(decide, publish, stop, seen):
    await publish(begins=True)
    await decide()
    before = await seen()
    await stop()
    now = await seen()
    assert now == before._replace(routing_state=DENY, stops=now.stops)
    assert (await publish()).effective is DENY
    assert ((await seen()).word, (await seen()).stops) == (READY, now.stops)
    assert (await publish(SHUTDOWN)).effective is SHUTDOWN


async def test_the_first_word_of_a_restarted_app_ends_it(decide, publish, stop, seen):
    await publish(begins=True)
    await decide()
    await stop()
    await publish(begins=True)
    assert ((await seen()).routing_state, (await seen()).stops) == (READY, None)


@pytest.mark.parametrize("library", [False, True])
@pytest.mark.parametrize("life", [RESTARTED, SUCCESSOR])
async def test_it_does_not_hold_for_another_life(decide, publish, stop, seen, life, library):
    if library:
        await publish(begins=True)
    await decide()
    await stop()
    record = await decide(life)
    assert (record.stops, record.written, record.app_word) == (None, READY, None)
    assert ((await seen()).routing_state, (await seen()).stops) == (READY, None)
    assert await stop(life.pod_uid) is DENY, "this life may stop in its turn"


async def test_a_pod_that_was_replaced_says_nothing_of_its_successor(decide, publish, stop, seen):
    await decide()
    await decide(SUCCESSOR)
    with pytest.raises(Replaced):
        await stop("pod-a")
    assert (await seen()).stops is None
    await publish(uid="pod-b", begins=True)
    await publish(uid="pod-c", begins=True)
    with pytest.raises(Replaced):
        await stop("pod-b")
    assert await stop("") is DENY, "who does not know the uid means whoever is there"


async def test_two_hooks_agree_on_the_later_end(decide, stop, seen):
    await decide()
    await stop(seconds=90)
    later = (await seen()).stops
    await stop(seconds=30)
    assert (await seen()).stops == later


async def test_it_ends_when_its_time_is_over(decide, publish, stop, seen, eventually):
    await decide()
    await stop(seconds=0.05)

    async def over():
        return (await decide()).stops is None

    await eventually(over)
    assert ((await seen()).routing_state, (await seen()).stops) == (READY, None)
    await publish(begins=True)
    await stop(seconds=0.05)

    async def takes():
        return (await publish()).effective is READY

    await eventually(takes)
    assert (await seen()).stops is None


async def test_what_a_foreign_client_says_stays_its_own(decide, stop, seen, raw, service):
    text = '{"state": 7, "routingState": "READY", "updateTime": 1700000000000}'
    await raw.hset(service.states, 0, text)
    await decide()
    await stop()
    state = await seen()
    assert (state.author, state.load, state.routing_state) == (Author.FOREIGN, 7, READY)
    record = await decide(state=DENY, reason=Reason.STOPPING)
    assert (record.app_word, record.written) == (READY, DENY)
    await decide(RESTARTED)
    left = json.loads(await raw.hget(service.states, "0"))
    assert (left["routingState"], left.get("stops")) == ("READY", None)


async def test_of_a_pod_that_nobody_knows_nothing_is_written(stop, store, service, raw):
    assert await stop() is None
    assert await get_service_pod(store, service, 0) == (None, None, None)
    assert not await raw.exists(service.states, service.records, service.changes)


async def test_a_pod_that_only_the_operator_knows_is_noted(decide, stop, store, service, raw):
    await decide()
    await raw.hdel(service.states, 0)
    assert await stop() is DENY
    view = (await get_service(store, service)).pods[0]
    assert (view.effective, view.state.author) == (DENY, Author.OPERATOR)


# The store's clock may have been set: of what the operator has read it decides by its own


@pytest.fixture(params=["operator", "app", "foreign client"])
async def entry(request, decide, publish, raw, service):
    """Pod 0 has one, of each author."""
    if request.param == "foreign client":
        await raw.hset(service.states, 0, '{"state": 7, "routingState": "READY", "updateTime": 1700000000000}')
    if request.param == "app":
        await publish(begins=True)
    await decide()


@pytest.mark.usefixtures("entry")
async def test_the_operator_says_how_long_it_counts_and_when_it_is_over(decide, stop, seen):
    await stop()
    said, load = (await seen()).stops, (await seen()).load
    for read, until in ((said, said + 3_600_000), (said + 3_600_000, 5)):
        noted = await decide(state=DENY, reason=Reason.STOPPING, stops=until, stops_read=read)
        assert (noted.stops, (await seen()).stops) == (until, until)
    over = await decide(stops_read=5)
    assert (over.stops, over.written, (await seen()).stops) == (None, READY, None)
    assert ((await seen()).routing_state, (await seen()).load) == (READY, load)


@pytest.mark.usefixtures("entry")
async def test_what_a_hook_has_said_since_the_operator_looked_counts(decide, stop, seen):
    await stop()
    first = (await seen()).stops
    await stop(seconds=200)
    second = (await seen()).stops
    for decided in ({}, {"stops_read": first}, {"stops": first + 5, "stops_read": first}):
        assert (await decide(**decided)).stops == second
        assert (await seen()).stops == second


async def test_what_the_operator_has_noted_an_app_leaves_to_it(decide, publish, stop, seen):
    await publish(begins=True)
    await decide()
    await stop()
    await decide(state=DENY, reason=Reason.STOPPING, stops=5, stops_read=(await seen()).stops)
    assert (await publish()).effective is DENY
    assert (await seen()).stops == 5, "it is over by the store's clock"
    await publish(begins=True)
    assert (await seen()).stops is None


async def test_since_when_it_is_in_a_state_gets_the_name_that_the_operator_gives_it(decide):
    before = await decide()
    assert (await decide()).since == before.since
    assert (await decide(since=5)).since == 5
    assert (await decide()).since == 5
    assert (await decide(state=DENY, reason=Reason.STOPPING, since=5)).since >= before.since
