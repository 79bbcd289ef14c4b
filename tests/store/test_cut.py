"""Where a pod's new life begins, as the store tells it, also when its clock has been set back."""

import json

import pytest

from stateful_route.domain.cut import Issued
from stateful_route.domain.incarnation import Container, Incarnation
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import Reason, RoutingState
from stateful_route.store.index import issued_epochs, purge
from stateful_route.store.links import set_link
from stateful_route.store.moves import read_moves
from stateful_route.store.states import (
    NO_ENTRY,
    Publication,
    claim,
    get_service,
    publish_state,
    set_operator_states,
)

READY = RoutingState.READY
HOUR_MS = 3_600_000
OWNER = "cluster/route"


async def ahead_of_the_clock(store, raw, service, uid="ada"):
    """A link as it stands after the server's clock was set back by an hour; its epoch."""
    epoch = (await set_link(store, service, uid, 0)).epoch + HOUR_MS
    await raw.zadd(service.index(service.bucket(uid)), {uid: epoch, "": -epoch})
    return epoch


async def test_nothing_was_issued_where_nobody_is_linked(store, service):
    assert await issued_epochs(store, service) == Issued()


async def test_the_highest_epoch_is_above_those_of_all_links(store, service):
    epochs = [(await set_link(store, service, f"user-{number}", 0)).epoch for number in range(50)]
    issued = await issued_epochs(store, service)
    assert (issued.highest, issued.spread_ms) == (max(epochs), 0)
    assert issued.ahead_ms <= 0


async def test_epochs_ahead_of_the_clock_are_told(store, raw, service):
    epoch = await ahead_of_the_clock(store, raw, service)
    await set_link(store, service, "bob", 0)
    issued = await issued_epochs(store, service)
    assert issued.highest == epoch
    assert HOUR_MS - 10_000 < issued.ahead_ms <= HOUR_MS


async def test_a_bucket_that_has_lost_its_highest_epoch_goes_by_its_links(store, raw, service):
    epoch = await ahead_of_the_clock(store, raw, service)
    await raw.zrem(service.index(service.bucket("ada")), "")
    assert (await issued_epochs(store, service)).highest == epoch


async def test_the_word_that_a_purge_begins_covers_links_that_are_ahead_of_the_clock(store, raw, service):
    epoch = await ahead_of_the_clock(store, raw, service)
    await purge(store, service)
    first, *_ = (await read_moves(store, service, NO_ENTRY)).entries
    assert first.purged >= epoch


# Which life of a pod its app's word is of


def begins(uid="pod-a", *, first=True, since=None):
    return Publication(READY, incarnation=uid, begins=first, since_ms=since)


async def spoken(store, service):
    return (await get_service(store, service)).pods[0].state


async def test_each_process_of_a_pod_that_speaks_first_is_counted(store, service):
    for count in (1, 2, 3):
        since = (await publish_state(store, service, 0, begins())).time_ms
        await publish_state(store, service, 0, begins(first=False, since=since))
        state = await spoken(store, service)
        assert state.lives == count
        assert state.since >= since
    await publish_state(store, service, 0, begins("pod-b"))
    assert (await spoken(store, service)).lives == 1


async def test_how_many_have_spoken_stays_unknown_where_the_first_was_not_heard(store, service):
    await publish_state(store, service, 0, begins(first=False, since=5))
    await publish_state(store, service, 0, begins())
    assert (await spoken(store, service)).lives is None


@pytest.mark.parametrize("uid", ["pod-a", "pod-b"])
async def test_who_speaks_later_has_begun_later_also_with_a_clock_set_back(store, raw, service, uid):
    await publish_state(store, service, 0, begins())
    record = json.loads(await raw.hget(service.states, "0"))
    ahead = record["since"] + HOUR_MS
    await raw.hset(service.states, "0", json.dumps(record | {"since": ahead}))
    await publish_state(store, service, 0, begins(uid))
    assert (await spoken(store, service)).since == ahead + 1


@pytest.fixture
def say(store, service):
    """The operator says of pod 0 that it is READY; gives the record that the script wrote."""

    async def operator_says(restarts, **fields):
        await claim(store, service, OWNER, {"heartbeat": "Auto"})
        life = Incarnation("pod-a", restarts)
        said = OperatorRecord(state=READY, reason=Reason.READY, incarnation=life, **fields)
        return (await set_operator_states(store, service, OWNER, {0: said})).records[0]

    return operator_says


async def test_a_word_from_before_a_restart_does_not_count_until_the_app_says_another(store, raw, service, say):
    await publish_state(store, service, 0, begins())
    assert (await say(0)).app_word is READY
    state = json.loads(await raw.hget(service.states, "0"))
    future = state["updateTime"] + HOUR_MS  # the server's clock is set back after this
    await raw.hset(service.states, "0", json.dumps(state | {"updateTime": future}))
    restarted = await say(1, before=1, loss=Reason.RESTARTED)
    assert (restarted.app_word, restarted.heard, restarted.begun) == (None, future, None)
    assert (await say(1)).app_word is None
    await publish_state(store, service, 0, begins())
    heard = await say(1)
    assert (heard.app_word, heard.begun) == (READY, (await spoken(store, service)).since)


async def test_a_word_that_is_known_to_be_the_new_lifes_counts_at_once(store, service, say):
    await say(0)
    since = (await publish_state(store, service, 0, begins())).time_ms
    restarted = await say(1, before=1, loss=Reason.RESTARTED, begun=since)
    assert (restarted.app_word, restarted.heard, restarted.begun) == (READY, None, since)


async def test_another_container_under_the_same_count_is_another_life(store, service, say):
    await publish_state(store, service, 0, begins())
    for same in (Container(started="noon"), Container("a", "noon"), Container("a"), Container("a", "later")):
        assert (await say(0, container=same)).app_word is READY
    assert (await say(0, container=Container("b", "later"))).app_word is None


async def test_another_start_is_another_life_where_no_id_is_known(store, service, say):
    await publish_state(store, service, 0, begins())
    assert (await say(0, container=Container(started="noon"))).app_word is READY
    assert (await say(0, container=Container(started="later"))).app_word is None
