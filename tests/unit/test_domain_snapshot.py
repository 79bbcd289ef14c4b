"""What a caller makes of the pods' records: tables of cases, and what must hold for any of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stateful_route.domain.aliveness import Author, Heartbeat, PodView, ServiceState
from stateful_route.domain.config import ServiceConfig
from stateful_route.domain.placement import Placement, Strategy
from stateful_route.domain.policy import OnLoss
from stateful_route.domain.routing import LinkAction, RoutingState
from stateful_route.domain.snapshot import Look, all_told, corrected, observed, partly_observed, still_left, told_of
from support.operator_records import record

READY, DENY, SHUTDOWN = RoutingState
STAY, DRAIN, MOVE = LinkAction
CONFIG = ServiceConfig(expire_seconds=60)


def told(state=READY, age=1.0, author=Author.APP, load=0.0, update_time=1000):
    return PodView(ServiceState(load, state, update_time, author, state if author is Author.APP else None), None, age)


def ruled(state=READY, links=STAY):
    """A pod that publishes nothing, by the operator's word; its entry is old."""
    return PodView(ServiceState(0, state, 0, Author.OPERATOR), record(state, links), 10_000.0)


VIEWS = {
    "a fresh app takes new uids": (told(), True, True, False),
    "an app that denies keeps its own": (told(DENY), True, False, False),
    "an app that is down is dead": (told(SHUTDOWN), False, False, True),
    "an app that is silent for the expiry is dead": (told(age=60.0), False, False, True),
    "the operator's word is enough": (ruled(), True, True, False),
    "a pod that the operator drains serves on, and is left": (ruled(DENY, DRAIN), True, False, True),
    "a pod that the operator moves is dead": (ruled(SHUTDOWN, MOVE), False, False, True),
    "the operator is stricter than the app": (
        PodView(told().state, record("DENY_NEW_CALL"), 1.0),
        True,
        False,
        False,
    ),
    "the app is stricter than the operator": (PodView(told(SHUTDOWN).state, record(), 1.0), False, False, True),
    "a record that does not parse says nothing": (PodView(None, None, None), False, False, True),
}


@pytest.mark.parametrize("sentence", VIEWS)
def test_one_pod(sentence):
    view, alive, routable, dead = VIEWS[sentence]
    snapshot = observed({3: view}, CONFIG, 5, 100.0, None)
    assert (3 in snapshot.alive, 3 in snapshot.routable, 3 in snapshot.dead) == (alive, routable, dead)


def published(state=READY, age=1.0, by_operator="READY"):
    return told(state, age)._replace(record=record(by_operator))


def test_what_was_published_before_the_store_was_away_counts_for_a_while_at_a_first_look():
    """All of these have served on, and could not publish; one has by now."""
    views = {0: published(), 1: published(age=75.0), 2: published(DENY, age=4000.0, by_operator="DENY_NEW_CALL")}
    first = observed(views, CONFIG, 5, 100.0, None)
    assert (first.alive, set(first.routable), first.dead) == ({0, 1, 2}, {0, 1}, frozenset())
    assert not still_left(first, 1, views[1], 105.0, 5.0)
    for now in (104.0, 108.0, 112.0):
        first = observed(views, CONFIG, 5, now, first, 5.0)
        assert first.alive == {0, 1, 2}
    later = observed(views, CONFIG, 5, 116.0, first, 5.0)
    assert later.alive == {0}, "they have had time"


@pytest.mark.parametrize("expire", [10, 60, 600])
def test_a_first_look_leaves_fifteen_seconds_or_a_quarter_of_the_expiry(expire):
    config, views = ServiceConfig(expire_seconds=expire), {0: published(age=5000.0), 1: published(age=0.0)}
    leaves = min(expire, max(15, expire / 4))
    first = observed(views, config, 5, 100.0, None)
    views[1] = views[1]._replace(state=told(update_time=2000).state)
    assert observed(views, config, 5, 100.0 + leaves - 0.1, first).alive == {0, 1}
    assert 0 not in observed(views, config, 5, 100.0 + leaves, first).alive


def test_at_a_first_look_a_silent_pod_is_dead_that_the_operator_has_found_down_or_does_not_know():
    views = {0: published(age=75.0, by_operator="SHUTDOWN"), 1: told(age=75.0), 2: told()}
    assert observed(views, CONFIG, 5, 100.0, None).alive == {2}


def test_pods_are_targets_with_their_load_and_their_links():
    views = {
        0: told(load=7.5),
        1: PodView(told(load=2).state, record(count=40), 1.0),
        2: told(DENY),
        3: told(),
    }
    targets = observed(views, CONFIG, 5, 100.0, None).targets(frozenset({3}))
    assert [(target.ordinal, target.load, target.links) for target in targets] == [(0, 7.5, 0), (1, 2, 40)]


def test_a_foreign_record_is_aged_from_when_it_was_seen_to_change():
    first = observed({0: told(author=Author.FOREIGN, age=9999.0)}, CONFIG, 5, 100.0, None)
    assert 0 in first.alive, "it may have been written by a clock that is behind"
    same = observed({0: told(author=Author.FOREIGN)}, CONFIG, 5, 159.0, first)
    assert 0 in same.alive
    changed = observed({0: told(author=Author.FOREIGN, update_time=2)}, CONFIG, 5, 159.5, same)
    later = observed({0: told(author=Author.FOREIGN, update_time=2)}, CONFIG, 5, 219.0, changed)
    assert 0 in later.alive
    silent = observed({0: told(author=Author.FOREIGN, update_time=2), 1: told()}, CONFIG, 5, 219.6, later)
    assert silent.alive == {1}


def test_all_that_expire_at_once_are_held_for_one_reading():
    fresh = observed({0: told(), 1: told(DENY), 2: told()}, CONFIG, 5, 100.0, None)
    views = {0: told(age=61.0), 1: told(DENY, age=61.0), 2: told(SHUTDOWN, age=1.0)}
    held = observed(views, CONFIG, 5, 161.0, fresh)
    assert (held.held, held.alive, set(held.routable), held.dead) == (True, {0, 1}, {0}, {2})
    over = observed(views, CONFIG, 5, 166.0, held)
    assert (over.held, over.alive, over.dead) == (False, frozenset(), {0, 1, 2})


def test_a_pod_that_has_been_seen_is_aged_by_the_readers_clock():
    """The server's may be stepped, forwards or back."""
    seen = observed({0: told(age=1.0), 1: told(age=1.0)}, CONFIG, 5, 100.0, None, 5.0)
    for number in range(1, 13):
        views = {0: told(age=3600.0), 1: told(age=3600.0, update_time=1000 + number)}
        seen = observed(views, CONFIG, 5, 100.0 + 5 * number, seen, 5.0)
        assert seen.pods[1].age_seconds <= 5.0
        assert (0 in seen.alive) is (number < 12), number
        assert 1 in seen.alive
    back = observed({0: told(age=0.0)}, CONFIG, 5, 165.0, seen, 5.0)
    assert 0 not in back.alive, "it has published nothing, whatever the server's clock says now"


def test_the_time_in_which_the_store_was_away_hardly_counts():
    seen = observed({0: told(age=50.0), 1: told()}, CONFIG, 5, 100.0, None, 5.0)
    after = observed({0: told(age=350.0), 1: told(age=301.0)}, CONFIG, 5, 400.0, seen, 5.0)
    assert after.alive == {0, 1}, "they could not publish"
    later = observed({0: told(age=355.0), 1: told(update_time=2)}, CONFIG, 5, 405.0, after, 5.0)
    assert later.alive == {1}


def test_one_that_expires_alone_is_not_held():
    fresh = observed({0: told(), 1: told(age=59.0)}, CONFIG, 5, 100.0, None)
    later = observed({0: told(update_time=2), 1: told(age=64.0)}, CONFIG, 5, 105.0, fresh)
    assert (later.held, later.alive) == (False, {0})


def test_a_service_that_is_emptied_is_not_held():
    fresh = observed({0: told()}, CONFIG, 5, 100.0, None)
    assert observed({}, CONFIG, 5, 101.0, fresh).alive == frozenset()


@pytest.mark.parametrize(
    ("state", "links", "alive", "dead"),
    [
        (DENY, STAY, True, False),
        (DENY, DRAIN, True, True),
        (SHUTDOWN, STAY, False, True),
        (SHUTDOWN, MOVE, False, True),
        (READY, STAY, True, False),
    ],
)
@pytest.mark.parametrize("was", [READY, DENY, SHUTDOWN])
@pytest.mark.parametrize("kind", ["app and record", "operator", "record"])
def test_what_the_operator_says_counts_at_once(kind, was, state, links, alive, dead):
    views = {
        "app and record": PodView(told(was).state, record(was), 1.0),
        "operator": ruled(was),
        "record": PodView(None, record(was), None),
    }
    before = observed({0: views[kind], 1: told(load=3)}, CONFIG, 5, 100.0, None)
    now = told_of(before, 0, state, links)
    assert now is not None
    assert (0 in now.alive, 0 in now.routable, 0 in now.dead) == (alive, state is READY, dead)
    assert now.state(0) is state
    assert (1 in now.alive, now.routable[1]) == (True, 3)
    assert before.state(0) is was, "a snapshot is never changed"
    assert now.read_at == before.read_at


@pytest.mark.parametrize("state", [READY, DENY, SHUTDOWN])
@pytest.mark.parametrize("was", [READY, DENY, SHUTDOWN])
def test_what_an_app_says_counts_at_once_and_is_a_heartbeat(was, state):
    before = observed({0: told(was, age=61.0, load=7), 1: told()}, CONFIG, 5, 100.0, None)
    now = told_of(before, 0, state, None)
    assert now is not None
    assert (0 in now.alive, now.routable.get(0)) == (state is not SHUTDOWN, 7 if state is READY else None)
    assert now.dead == (set() if 0 in now.alive else {0})


def test_a_pod_that_is_drained_stays_so_when_its_app_says_something():
    before = observed({0: PodView(told().state, record("DENY_NEW_CALL", DRAIN), 1.0)}, CONFIG, 5, 100.0, None)
    now = told_of(before, 0, SHUTDOWN, None)
    assert now is not None
    assert (now.alive, now.dead) == (frozenset(), {0})


@pytest.mark.parametrize("pod", [0, 1, 7])
def test_an_app_that_is_heard_of_for_the_first_time_is_to_be_read(pod):
    before = observed({0: ruled(), 1: told(author=Author.FOREIGN)}, CONFIG, 5, 100.0, None)
    assert told_of(before, pod, READY, None) is None


def test_a_silent_app_is_not_alive_by_the_operators_word():
    views = {0: published(DENY, age=61.0, by_operator="DENY_NEW_CALL"), 1: ruled(DENY)}
    before = observed(views, CONFIG, 5, 116, observed(views, CONFIG, 5, 100, None))
    now = told_of(before, 0, READY, STAY)
    assert now is not None
    assert not now.routable


def test_a_message_about_many_pods_is_as_many_messages_about_one():
    before = observed({0: told(load=3), 1: ruled(), 2: ruled(DENY), 3: told(author=Author.FOREIGN)}, CONFIG, 5, 1, None)
    changes = [
        (0, DENY, None),
        (1, DENY, DRAIN),
        (2, DENY, STAY),
        (3, READY, None),
        (4, READY, STAY),
        (0, SHUTDOWN, None),
    ]
    one_by_one = before
    for change in changes:
        one_by_one = told_of(one_by_one, *change) or one_by_one
    now = all_told(before, changes)
    assert now.snapshot == one_by_one
    assert now.unknown == {3, 4}, "they are to be read"
    assert now.repeated == {2}, "it says nothing new of it"


def test_a_pod_that_was_forgotten_is_to_be_read():
    before = observed({0: ruled()}, CONFIG, 5, 1, None)
    assert all_told(before, [(0, None, None)]) == (before, {0}, frozenset())


def test_readers_of_the_same_pods_see_that_they_are_the_same():
    before = observed({0: told(load=3), 1: told()}, CONFIG, 5, 1, None)
    assert observed({0: told(load=3), 1: told()}, CONFIG, 6, 2, before).routable is before.routable
    assert observed({0: told(load=4), 1: told()}, CONFIG, 6, 2, before).routable == {0: 4, 1: 0}


ANY_VIEW = st.builds(
    lambda state, author, age, ruling, links: PodView(
        None if state is None else ServiceState(0, state, 0, author, state if author is Author.APP else None),
        None if ruling is None else record(ruling, links),
        None if state is None else age,
    ),
    st.one_of(st.none(), st.sampled_from(RoutingState)),
    st.sampled_from(Author),
    st.floats(0, 120),
    st.one_of(st.none(), st.sampled_from(RoutingState)),
    st.sampled_from(LinkAction),
)


@given(
    views=st.dictionaries(st.integers(0, 9), ANY_VIEW),
    heartbeat=st.sampled_from(Heartbeat),
    before=st.one_of(st.none(), st.dictionaries(st.integers(0, 9), ANY_VIEW)),
)
def test_whatever_is_read_who_takes_new_uids_is_alive_and_ready(views, heartbeat, before):
    config = ServiceConfig(heartbeat=heartbeat)
    former = None if before is None else observed(before, config, 1, 99.0, None)
    snapshot = observed(views, config, 2, 100.0, former)
    assert set(snapshot.routable) <= snapshot.alive <= set(views)
    assert all(snapshot.state(ordinal) is READY for ordinal in snapshot.routable)
    assert all(snapshot.state(ordinal) is not SHUTDOWN for ordinal in snapshot.alive)
    assert snapshot.alive | snapshot.dead == set(views)
    assert {target.ordinal for target in snapshot.targets()} == set(snapshot.routable)


CONFIGS = {
    "nothing is said": ({}, ServiceConfig()),
    "all is said": (
        {
            "heartbeat": "Required",
            "expireSeconds": "30",
            "strategy": "WeightedRoundRobin",
            "loadRange": "20",
            "weights": '{"0":2,"1":0}',
            "maxLinksPerPod": "9",
            "temporaryTTLSeconds": "120",
            "retainAfterRemoveSeconds": "0",
            "onReplace": "Keep",
        },
        ServiceConfig(
            heartbeat=Heartbeat.REQUIRED,
            expire_seconds=30,
            placement=Placement(Strategy.WEIGHTED_ROUND_ROBIN, 20, {0: 2, 1: 0}, 9),
            temporary_seconds=120,
            retain_seconds=0,
            on_replace=OnLoss.KEEP,
        ),
    ),
    "what does not parse, or is of a later version, has its default": (
        {
            "heartbeat": "Sometimes",
            "expireSeconds": "-1",
            "strategy": "Newest",
            "loadRange": "wide",
            "weights": "[1]",
            "maxLinksPerPod": "",
            "temporaryTTLSeconds": "nan",
            "onReplace": "Perhaps",
            "somethingNew": "1",
        },
        ServiceConfig(),
    ),
}


@pytest.mark.parametrize("sentence", CONFIGS)
def test_the_configuration_as_the_operator_leaves_it(sentence):
    fields, expected = CONFIGS[sentence]
    assert ServiceConfig.from_fields(fields) == expected


NOBODY = PodView(None, None, None)
AGAIN = {
    "a pod that is down still": (told(SHUTDOWN), told(SHUTDOWN, update_time=1001), True),
    "a pod that has come back": (told(SHUTDOWN), told(update_time=1001), False),
    "a pod that is silent still": (told(age=70.0), told(age=70.5), True),
    "a pod that was silent and has published": (told(age=70.0), told(age=0.1, update_time=1001), False),
    "a pod that is drained still": (ruled(DENY, DRAIN), ruled(DENY, DRAIN), True),
    "a pod that is drained no longer": (ruled(DENY, DRAIN), ruled(), False),
    "a pod that was drained and is gone: all is to be read anew": (ruled(DENY, DRAIN), ruled(SHUTDOWN, MOVE), False),
    "a pod that nobody knows": (None, NOBODY, True),
    "a pod that nobody knew": (None, told(), False),
    "a foreign pod that has not changed since it was given up": (
        told(SHUTDOWN, author=Author.FOREIGN),
        told(SHUTDOWN, author=Author.FOREIGN),
        True,
    ),
    "a foreign pod that has changed": (
        told(SHUTDOWN, author=Author.FOREIGN),
        told(author=Author.FOREIGN, update_time=7),
        False,
    ),
}


@pytest.mark.parametrize("sentence", AGAIN)
def test_a_look_at_one_pod_confirms_what_the_snapshot_says(sentence):
    before, now, confirmed = AGAIN[sentence]
    snapshot = observed({1: told()} if before is None else {0: before, 1: told()}, CONFIG, 5, 100.0, None)
    assert still_left(snapshot, 0, now, 100.5, 5.0) is confirmed


def test_a_foreign_pod_that_is_silent_since_this_reader_saw_it_change_is_still_left_however_new_its_clock_is():
    view = told(author=Author.FOREIGN)
    first = observed({0: view, 1: told()}, CONFIG, 5, 100.0, None)
    later = observed({0: view, 1: told(update_time=2)}, CONFIG, 5, 161.0, first)
    assert 0 in later.dead
    assert still_left(later, 0, view, 161.5, 5.0)


@given(first=st.dictionaries(st.integers(0, 4), ANY_VIEW), then=st.dictionaries(st.integers(0, 4), ANY_VIEW))
def test_to_read_all_pods_one_by_one_is_to_read_them_all(first, then):
    before = observed(first, CONFIG, 5, 100.0, None)
    whole = observed(then, CONFIG, 6000, 104.0, before, 5.0)
    read = {ordinal: then.get(ordinal) for ordinal in {*first, *then}}
    partly = partly_observed(before, read, Look(CONFIG, 6000, 104.0, 5.0), before.pods)
    if not whole.held:  # whether all have died is for a reading of all to say
        assert partly == whole


def test_who_was_not_read_stays_as_it_was():
    before = observed({0: told(age=50), 1: told(age=50), 2: told(age=50)}, CONFIG, 5, 100.0, None)
    now = partly_observed(before, {0: told(age=70), 2: None}, Look(CONFIG, 20_000, 120.0), before.pods)
    assert (now.alive, now.dead, set(now.pods)) == ({1}, {0}, {0, 1})
    assert (now.read_at, now.time_ms, now.pods[1].age_seconds) == (120.0, 20_000, 50)


def test_a_pod_that_was_long_not_read_is_as_old_as_the_server_says():
    before = observed({0: told(age=50), 1: told(age=1)}, CONFIG, 5, 100.0, None)
    now = partly_observed(before, {1: told(age=90)}, Look(CONFIG, 20_000, 104.0), steady={0})
    assert now.alive == {0}


def test_a_correction_makes_a_snapshot_no_younger():
    before = observed({0: told(age=50), 1: told(DENY, age=50)}, CONFIG, 5, 100.0, None)
    now = corrected(before, {1: told(READY, age=52, load=7)}, Look(CONFIG, 2_005, 102.0))
    assert (now.read_at, now.time_ms, now.routable) == (100.0, 5, {0: 0, 1: 7})
    assert now.pods[1].age_seconds == 50, "as of the reading of all"
