"""Who empties a pod that is to be drained: its own app while there is time, then the operator."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stateful_route.domain.aliveness import Author, ServiceState
from stateful_route.domain.drain import asks, beginning, is_published_by, reserve_seconds, shared_with_app
from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.lifecycle import Memory, Situation, Verdict, judge, remember
from stateful_route.domain.pod import PodFacts
from stateful_route.domain.policy import DrainPolicy, MaxUnavailable, OnLoss, Policy
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import LinkAction, Reason, RoutingState
from stateful_route.domain.service import judge_service

READY, DENY, SHUTDOWN = RoutingState
STAY, DRAIN, MOVE = LinkAction
NOW = 1_800_000_000.0
STORE = 1_799_999_000_000
"""The same moment by the clock of Redis, which is some minutes behind."""
LIFE = Incarnation("pod-a", 2)
BY_APP = Policy(
    expire_seconds=60,
    max_unavailable=MaxUnavailable(100, percent=True),
    drain=DrainPolicy(deadline_seconds=20, links_per_second=100),
)
BY_OPERATOR = replace(BY_APP, drain=replace(BY_APP.drain, by_app=False))


def app(age=5.0, word=READY, incarnation="pod-a/2", **fields):
    """What a ServerDriver published ``age`` seconds ago."""
    usual = {"load": 0.0, "routing_state": word, "update_time": round(STORE - age * 1000), "author": Author.APP}
    return ServiceState(**(usual | {"word": word, "incarnation": incarnation} | fields))


HOUR = 3_600_000
LIVES = {
    "it names pod and restarts": ("pod-a/2", None, True),
    "it names an earlier restart": ("pod-a/1", None, False),
    "it names a later restart, of which Kubernetes has not told yet": ("pod-a/3", None, False),
    "it names another pod": ("pod-b/2", None, False),
    "it names the pod alone": ("pod-a", None, True),
    "it names another pod alone": ("pod-b", None, False),
    "it names the pod alone, and has published since this life was seen": ("pod-a", STORE - 9000, True),
    "likewise, by a clock that has been set back since": ("pod-a", STORE + HOUR, True),
    "it names the pod alone, and has not published since this life was seen": ("pod-a", STORE - 5000, False),
    "it names nothing": (None, None, True),
    "it names nothing, and has not published since this life was seen": (None, STORE - 5000, False),
}


@pytest.mark.parametrize("sentence", LIVES)
def test_an_app_is_of_this_life_when(sentence):
    named, heard, expected = LIVES[sentence]
    known = OperatorRecord(state=READY, reason=Reason.READY, incarnation=LIFE, heard=heard)
    assert is_published_by(LIFE, app(incarnation=named), known) is expected


def test_what_was_heard_before_another_life_says_nothing_of_this_one():
    known = OperatorRecord(state=READY, reason=Reason.READY, incarnation=Incarnation("pod-a", 1), heard=STORE - 5000)
    assert is_published_by(LIFE, app(incarnation="pod-a"), known)
    assert is_published_by(LIFE, app(incarnation="pod-a"), None)


@pytest.mark.parametrize("author", [Author.OPERATOR, Author.FOREIGN])
def test_only_the_library_can_be_asked(author):
    assert not is_published_by(LIFE, app(author=author), None)
    assert not is_published_by(LIFE, None, None)


RESERVES = {
    "no links: a second for a last look": (0, 100, 20, 1),
    "few links: a second": (99, 100, 20, 1),
    "what they take": (500, 100, 20, 5),
    "many links: half of the time is the app's": (100_000, 100, 20, 10),
    "no time at all": (500, 100, 0, 0),
    "little time: half of it": (0, 100, 1, 0.5),
}


@pytest.mark.parametrize("sentence", RESERVES)
def test_what_the_operator_keeps_for_itself(sentence):
    links, rate, seconds, expected = RESERVES[sentence]
    assert reserve_seconds(links, rate, seconds) == expected


@given(links=st.integers(0, 10**7), rate=st.integers(1, 10**6), seconds=st.floats(0, 3600))
def test_the_app_has_at_least_half_of_the_time(links, rate, seconds):
    assert 0 <= reserve_seconds(links, rate, seconds) <= seconds / 2


def pod(**facts):
    usual = {
        "name": "room-0",
        "ordinal": 0,
        "uid": "pod-a",
        "restarts": 2,
        "resource_version": 1,
        "phase": "Running",
        "ready": True,
        "ready_changed": NOW - 3600,
    }
    return PodFacts(**(usual | facts))


ASKED = pod(drain_requested=True)


def at(facts=ASKED, published=None, links=0, wanted=True, **memory):
    usual = {"ever_ready": True, "unready_since": None, "loss": None, "held_down": False}
    return Situation(
        pod=facts,
        memory=Memory(**(usual | memory)),
        wanted=wanted,
        now=NOW,
        store_ms=STORE,
        app=published,
        links=links,
    )


def shared(situation, policy=BY_APP):
    verdict = judge_service({0: situation}, policy).verdicts[0]
    assert verdict == shared_with_app(situation, judge(situation, policy), policy)
    return verdict


def stopping(seconds, **facts):
    return pod(deletion_time=NOW + seconds, **facts)


SHARED = {
    # situation, links, seconds that the app has from now on (None: it is not asked)
    "no app: the operator drains": (at(), DRAIN, None),
    "a fresh app gives its users away, until a second before the deadline": (at(published=app()), STAY, 19),
    "with many links the operator begins earlier": (at(published=app(), links=500), STAY, 15),
    "at half of the time at the earliest": (at(published=app(), links=10_000), STAY, 10),
    "an app that is drained already by its own will": (at(published=app(word=DENY)), STAY, 19),
    "an app that serves nobody any more": (at(published=app(word=SHUTDOWN)), DRAIN, None),
    "an app that has been silent for an instant less than the expiry": (at(published=app(59.999)), STAY, 19),
    "an app that has been silent for the expiry": (at(published=app(60)), DRAIN, None),
    "scaled down": (at(pod(), published=app(), wanted=False), STAY, 19),
    "terminating, with a longer grace period than the deadline": (at(stopping(30), published=app()), STAY, 19),
    "terminating, with a shorter one": (at(stopping(10), published=app()), STAY, 9),
    "terminating, with hardly any": (at(stopping(1), published=app()), STAY, 0.5),
    "terminating and not Ready any more": (at(stopping(30, ready=False), published=app(), unready_since=NOW), STAY, 19),
    "the operator has begun: it goes on": (at(published=app(), drained=True), DRAIN, None),
    "it has been asked before: the moment stays": (at(published=app(), release=STORE + 3000), STAY, 3),
    "also when it has more links than can be moved then": (
        at(published=app(), release=STORE + 3000, links=900),
        STAY,
        3,
    ),
    "it has been asked before, and its time is over": (at(published=app(), release=STORE), DRAIN, None),
    "asked before it was deleted, its first deadline comes first": (
        at(stopping(30), published=app(), release=STORE + 3000),
        STAY,
        3,
    ),
    "asked before it was deleted, its grace period ends first": (
        at(stopping(5), published=app(), release=STORE + 60_000),
        STAY,
        4,
    ),
    "a moment that is near enough to the end of the grace period stays": (
        at(stopping(5), published=app(), release=STORE + 4400),
        STAY,
        4.4,
    ),
    "one that is too near does not": (at(stopping(5), published=app(), release=STORE + 4600), STAY, 4),
}


@pytest.mark.parametrize("sentence", SHARED)
def test_a_drain_is_shared(sentence):
    situation, links, seconds = SHARED[sentence]
    verdict = shared(situation)
    assert (verdict.state, verdict.links) == (DENY, links)
    assert verdict.release == (None if seconds is None else STORE + seconds * 1000)


def test_the_successor_of_a_pod_that_is_drained_is_asked_for_nothing_as_it_has_forgotten_whom_it_had():
    successor = at(ASKED, published=app(), loss=Reason.REPLACED)
    other = at(pod(name="room-1", ordinal=1, uid="pod-b"))
    assert judge_service({0: successor, 1: other}, BY_APP).verdicts[0] == judge(successor, BY_APP)


def test_in_mode_operator_no_app_is_asked():
    assert shared(at(published=app()), BY_OPERATOR).links is DRAIN
    assert shared(at(published=app(), release=STORE + 3000), BY_OPERATOR) == judge(at(), BY_OPERATOR)


OTHERS = {
    "Ready": at(pod(), published=app()),
    "gone": at(None, unready_since=NOW),
    "down": at(ASKED, published=app(), unready_since=NOW - 60),
    "unready": at(pod(ready=False), published=app(), unready_since=NOW),
    "past its grace period": at(stopping(0), published=app()),
}


@pytest.mark.parametrize("sentence", OTHERS)
def test_a_pod_that_is_not_drained_is_asked_for_nothing(sentence):
    assert shared(OTHERS[sentence]) == judge(OTHERS[sentence], BY_APP)


def test_links_that_wait_for_a_successor_stay_without_a_word_to_the_app():
    keep = replace(BY_APP, on_replace=OnLoss.KEEP)
    verdict = shared(at(stopping(30), published=app()), keep)
    assert (verdict.links, verdict.release) == (STAY, None)


DUE = {
    "when the app's time is over": (at(published=app()), 19),
    "when the app's heartbeat expires": (at(published=app(50)), 10),
    "when the grace period ends": (at(stopping(4), published=app(), release=STORE + 60_000), 3),
    "when the pod has been unready for too long": (at(ASKED, published=app(), unready_since=NOW - 4), 6),
}


@pytest.mark.parametrize("sentence", DUE)
def test_a_drain_by_the_app_is_looked_at_again(sentence):
    situation, seconds = DUE[sentence]
    assert shared(situation).due == pytest.approx(NOW + seconds)


BEGINNINGS = {
    "a Ready pod": (at(pod()), False),
    "a pod whose links begin to move": (at(), True),
    "a pod whose links move already": (at(drained=True), False),
    "a pod whose app gives them away": (at(published=app()), False),
    "a pod whose app is late": (at(published=app(61), release=STORE + 5000), True),
    "a pod that is down": (at(ASKED, unready_since=NOW - 60), False),
}


@pytest.mark.parametrize("sentence", BEGINNINGS)
def test_the_operator_is_about_to_move_links_off(sentence):
    situation, expected = BEGINNINGS[sentence]
    verdicts = judge_service({0: situation}, BY_APP).verdicts
    assert beginning({0: situation}, verdicts) == [0] * expected


@pytest.mark.parametrize(
    ("situation", "expected"),
    [(at(), False), (at(published=app()), True), (at(published=app(), release=STORE + 9), False)],
    ids=["no app", "one that has not been asked", "one that has"],
)
def test_the_operator_is_about_to_ask(situation, expected):
    assert asks({0: situation}, judge_service({0: situation}, BY_APP).verdicts) is expected


def written(situation, verdict: Verdict):
    facts = situation.pod
    return OperatorRecord(
        state=verdict.state,
        reason=verdict.reason,
        links=verdict.links,
        incarnation=facts.incarnation if facts else None,
        ever_ready=situation.memory.ever_ready,
        release=verdict.release,
    )


REMEMBERED = {
    "the moment that the app was told": (DENY, Reason.DRAIN_REQUESTED, STAY, STORE + 9, pod(), (STORE + 9, False)),
    "also when the pod is being deleted now": (DENY, Reason.SCALED_DOWN, STAY, STORE, stopping(9), (STORE, False)),
    "that the operator has begun": (DENY, Reason.TERMINATING, DRAIN, None, stopping(9), (None, True)),
    "nothing of a drain that was called off": (READY, Reason.READY, STAY, None, ASKED, (None, False)),
    "nothing of links that moved for another reason": (
        SHUTDOWN,
        Reason.UNREADY_TOO_LONG,
        MOVE,
        None,
        ASKED,
        (None, False),
    ),
    "nothing of an earlier life that was asked": (
        DENY,
        Reason.DRAIN_REQUESTED,
        STAY,
        STORE,
        replace(ASKED, restarts=3),
        (None, False),
    ),
    "nothing of an earlier life that was drained": (
        DENY,
        Reason.DRAIN_REQUESTED,
        DRAIN,
        None,
        replace(ASKED, uid="pod-b"),
        (None, False),
    ),
}


@pytest.mark.parametrize("sentence", REMEMBERED)
def test_of_a_drain_is_remembered(sentence):
    state, reason, links, release, facts, expected = REMEMBERED[sentence]
    before = OperatorRecord(state=state, reason=reason, links=links, incarnation=LIFE, release=release)
    memory = remember(facts, before, BY_APP, NOW)
    assert (memory.release, memory.drained) == expected


@given(
    deadline=st.sampled_from([1, 20, 600]),
    links=st.lists(st.integers(0, 5000), min_size=1, max_size=8),
    steps=st.lists(
        st.tuples(st.floats(0.01, 30), st.sampled_from(["nothing", "deleted", "scaled down", "silent", "shut"])),
        min_size=1,
        max_size=10,
    ),
    skew_ms=st.integers(-50, 50),
)
def test_the_app_is_told_one_moment_and_the_operator_never_gives_links_back(deadline, links, steps, skew_ms):
    policy = replace(BY_APP, drain=replace(BY_APP.drain, deadline_seconds=deadline))
    facts, wanted, record, published = ASKED, True, None, app(0)
    now, first, drained = NOW, None, False
    for number, (seconds, happens) in enumerate(steps):
        now += seconds
        store_ms = STORE + round((now - NOW) * 1000) + (skew_ms if number % 2 else 0)
        published = published and published._replace(update_time=store_ms)
        if happens == "deleted" and not facts.terminating:
            facts = replace(facts, deletion_time=now + 30)
        elif happens == "scaled down":
            wanted = False
        elif happens == "silent":
            published = None
        elif happens == "shut":
            published = published and published._replace(word=SHUTDOWN)
        memory = remember(facts, record, policy, now)
        situation = Situation(
            pod=facts,
            memory=memory,
            wanted=wanted,
            now=now,
            store_ms=store_ms,
            app=published,
            links=links[number % len(links)],
        )
        verdict = judge_service({0: situation}, policy).verdicts[0]
        if verdict.state is SHUTDOWN:
            break
        assert not (drained and verdict.links is STAY), "once the operator has begun it goes on"
        drained = drained or verdict.links is DRAIN
        if verdict.release is not None:
            assert store_ms < verdict.release <= STORE + (steps[0][0] + deadline) * 1000 + 50
            if first is not None and not facts.terminating:
                assert verdict.release == first
            assert first is None or verdict.release <= first
            assert verdict.due is not None
            assert verdict.due > now
            first = verdict.release
        record = written(situation, verdict)
