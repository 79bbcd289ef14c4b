"""Where a pod's new life begins: which links are an earlier one's, also by clocks that have been set."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from stateful_route.domain.aliveness import Author, ServiceState
from stateful_route.domain.cut import Cut, Issued, began, cut, kubelet_behind
from stateful_route.domain.epoch import EPOCH_START_MS
from stateful_route.domain.incarnation import Container, Incarnation
from stateful_route.domain.pod import PodFacts
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import Reason, RoutingState

BEGAN = EPOCH_START_MS + 50_000_000
HIGHEST = 50_060_000
HOUR = 3_600_000


def pod(**facts):
    usual = {"name": "room-0", "ordinal": 0, "uid": "a", "resource_version": 1, "restarts": 1}
    return PodFacts(**(usual | {"ready": True} | facts))


def record(life="a/0", **fields):
    """What was written in the former life."""
    usual = {"state": RoutingState.READY, "reason": Reason.READY, "incarnation": Incarnation.parse(life)}
    return OperatorRecord(**(usual | fields))


def app(life="a", since=BEGAN, lives=None, author=Author.APP):
    word = RoutingState.READY
    return ServiceState(1.0, word, BEGAN + 5000, author, word, life, since, lives)


KNOWN = record(begun=BEGAN - 1000)
BEGINNINGS = {
    "another beginning than the former life's": (pod(), KNOWN, app(), True),
    "also by a clock that was set back in between": (pod(), record(begun=BEGAN + HOUR), app(), True),
    "the former life's: the new one has not spoken": (pod(), record(begun=BEGAN), app(), False),
    "as many have begun as containers were started": (pod(), record(), app(lives=2), True),
    "one has begun of two: it may be either": (pod(), record(), app(lives=1), False),
    "three have begun of two": (pod(), record(), app(lives=3), False),
    "nobody knows how many have begun": (pod(), record(), app(), False),
    "another pod": (pod(uid="b", restarts=0), KNOWN, app("b", lives=1), True),
    "another pod, of whose two containers one has begun": (pod(uid="b"), KNOWN, app("b", lives=1), False),
    "the pod before": (pod(uid="b", restarts=0), KNOWN, app(lives=1), False),
    "it says itself which life it is": (pod(), record(), app("a/1"), True),
    "it says itself that it is the former life": (pod(), record(), app("a/0"), False),
    "another container under the same count": (pod(restarts=0), KNOWN, app(), True),
    "another container under the same count, of a life that nobody had heard": (
        pod(restarts=0),
        record(),
        app(lives=1),
        False,
    ),
    "the operator's own entry": (pod(), KNOWN, app(author=Author.OPERATOR), False),
    "an app that does not say when it began": (pod(), KNOWN, app(since=None), False),
    "an app that does not say which pod it is": (pod(), KNOWN, app(None), False),
}


@pytest.mark.parametrize("sentence", BEGINNINGS)
def test_when_the_new_life_began_is_known_of(sentence):
    facts, former, state, known = BEGINNINGS[sentence]
    assert began(facts, former, state) == (BEGAN if known else None)


def test_no_app_says_nothing():
    assert began(pod(), KNOWN, None) is None


SECOND = pod(ready_changed=1000.0)
BEHIND = {
    "it is seen half a second after the kubelet's word": (SECOND, None, 1_000_500, 500),
    "the kubelet is an hour behind": (SECOND, None, 4_600_500, HOUR + 500),
    "the kubelet is ahead": (SECOND, None, 995_000, -5000),
    "it was seen before": (SECOND, record(ready_changed=1000.0, kubelet_behind=500), 1_900_000, 500),
    "the next word is seen late": (SECOND, record(ready_changed=900.0, kubelet_behind=500), 1_900_000, 500),
    "the next word is seen sooner": (SECOND, record(ready_changed=900.0, kubelet_behind=500), 1_000_100, 100),
    "another pod may be on another node": (SECOND, record("b/0", ready_changed=9.0, kubelet_behind=5), 1_000_500, 500),
    "it says nothing": (pod(), None, 1_000_500, None),
    "it says nothing any more": (pod(), record(ready_changed=900.0, kubelet_behind=500), 1_000_500, 500),
}


@pytest.mark.parametrize("sentence", BEHIND)
def test_how_far_a_kubelet_is_behind_at_most(sentence):
    facts, known, store_ms, expected = BEHIND[sentence]
    assert kubelet_behind(facts, known, store_ms, live=False) == expected


def test_a_kubelet_whose_clock_is_set_while_it_is_watched_is_believed():
    known = record(ready_changed=900.0, kubelet_behind=500)
    assert kubelet_behind(SECOND, known, 4_600_500, live=True) == HOUR + 500
    assert kubelet_behind(pod(ready_changed=900.0), known, 4_600_500, live=True) == 500


FIRST_SEEN = HIGHEST + 1
STARTED = datetime.fromtimestamp(BEGAN / 1000, UTC).isoformat().replace("+00:00", "Z")
CUTS = {
    "without a word it begins when it is first seen: above all links that stand": (
        cut(pod(), KNOWN, None, Issued(HIGHEST), moves=True),
        Cut(FIRST_SEEN),
    ),
    "links since its first word are its own, and it goes on serving": (
        cut(pod(), KNOWN, app(), Issued(HIGHEST), moves=True),
        Cut(50_000_000, BEGAN, serves=True),
    ),
    "it serves nobody as long as it is not Ready": (
        cut(pod(ready=False), KNOWN, app(), Issued(HIGHEST), moves=True),
        Cut(50_000_000, BEGAN),
    ),
    "links that stay need nobody to go on": (
        cut(pod(), KNOWN, app(), Issued(HIGHEST), moves=False),
        Cut(50_000_000, BEGAN),
    ),
    "of several servers the one that is ahead may have made a former link": (
        cut(pod(), KNOWN, app(), Issued(HIGHEST, spread_ms=5000), moves=True),
        Cut(50_005_000, BEGAN, serves=True),
    ),
    "epochs ahead of the clock say that its word does not tell which links are older": (
        cut(pod(), KNOWN, app(), Issued(HIGHEST, ahead_ms=HOUR), moves=True),
        Cut(FIRST_SEEN, BEGAN),
    ),
    "where nobody was linked since it begins when it is first seen": (
        cut(pod(), KNOWN, app(), Issued(49_000_000), moves=True),
        Cut(49_000_001, BEGAN),
    ),
    "without the library links since its container started are its own": (
        cut(pod(container=Container("b", STARTED)), record(kubelet_behind=2000), None, Issued(HIGHEST), moves=True),
        Cut(50_003_000, serves=True),
    ),
    "a kubelet whose clock was set is not asked of a pod that was watched all the time": (
        cut(
            pod(container=Container("b", STARTED)),
            record(kubelet_behind=-HOUR),
            None,
            Issued(HIGHEST),
            moves=True,
            live=True,
        ),
        Cut(FIRST_SEEN),
    ),
    "an app is, also then": (
        cut(pod(), KNOWN, app(), Issued(HIGHEST), moves=True, live=True),
        Cut(50_000_000, BEGAN, serves=True),
    ),
    "also when the kubelet is ahead": (
        cut(pod(container=Container("b", STARTED)), record(kubelet_behind=-2000), None, Issued(HIGHEST), moves=True),
        Cut(49_999_000, serves=True),
    ),
    "nobody knows how far the kubelet is behind": (
        cut(pod(container=Container("b", STARTED)), record(), None, Issued(HIGHEST), moves=True),
        Cut(FIRST_SEEN),
    ),
    "the kubelet says of the new container what it said of the former one": (
        cut(
            pod(container=Container("b", STARTED)),
            record(kubelet_behind=0, container=Container("a", STARTED)),
            None,
            Issued(HIGHEST),
            moves=True,
        ),
        Cut(FIRST_SEEN),
    ),
    "what the kubelet says is no time": (
        cut(pod(container=Container("b", "noon")), record(kubelet_behind=0), None, Issued(HIGHEST), moves=True),
        Cut(FIRST_SEEN),
    ),
    "another pod may be on another node": (
        cut(
            pod(uid="b", container=Container("b", STARTED)), record(kubelet_behind=0), None, Issued(HIGHEST), moves=True
        ),
        Cut(FIRST_SEEN),
    ),
    "of the app's word and the kubelet's the app's counts": (
        cut(
            pod(container=Container("b", STARTED)), replace(KNOWN, kubelet_behind=0), app(), Issued(HIGHEST), moves=True
        ),
        Cut(50_000_000, BEGAN, serves=True),
    ),
    "not before a life whose links are still there": (
        cut(pod(), record(begun=1, before=HIGHEST + 9), None, Issued(HIGHEST), moves=True),
        Cut(HIGHEST + 9),
    ),
    "two in a row: it has to wait for the first one's links": (
        cut(pod(), record(begun=1, loss=Reason.RESTARTED, before=50_030_000), app(), Issued(HIGHEST), moves=True),
        Cut(50_030_000, BEGAN),
    ),
    "nobody was ever linked": (cut(pod(), KNOWN, None, Issued(), moves=True), Cut(1)),
}


@pytest.mark.parametrize("sentence", CUTS)
def test_a_new_life_begins(sentence):
    found, expected = CUTS[sentence]
    assert found == expected
