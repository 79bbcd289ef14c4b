"""Health and events as values: what a row of looks says, and which events are kept."""

import math
from datetime import UTC, datetime, timedelta

import pytest

from stateful_route.domain.aliveness import Author, PodView, ServiceState
from stateful_route.domain.health import (
    NOT_ASKED,
    Health,
    ProbeResult,
    is_unhealthy,
    life_of,
    with_response_times,
)
from stateful_route.domain.history import KEPT_EVENTS, EventKind, FailoverEvent, History
from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.placement import Target
from stateful_route.domain.routing import RoutingState
from stateful_route.router.probes import where
from support.operator_records import record

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
WELL = ProbeResult(healthy=True, seconds=0.25, why="HTTP 200")
ILL = ProbeResult(healthy=False, seconds=5.0, why="HTTP 503")


def row(*results, allowed=0):
    health = None
    for number, result in enumerate(results):
        health = Health.judged(health, result, NOON + timedelta(seconds=number), "pod/0", allowed)
    return health


ROWS = {
    "one failure is enough": ([ILL], 0, False, 1),
    "unless some are allowed": ([ILL, ILL], 2, True, 2),
    "one more than are allowed": ([ILL, ILL, ILL], 2, False, 3),
    "a success in between begins anew": ([ILL, ILL, WELL, ILL], 2, True, 1),
    "who answers again is healthy": ([ILL, ILL, ILL, WELL], 0, True, 0),
}


@pytest.mark.parametrize("sentence", ROWS)
def test_a_row_of_looks(sentence):
    results, allowed, healthy, errors = ROWS[sentence]
    health = row(*results, allowed=allowed)
    assert (health.healthy, health.consecutive_errors) == (healthy, errors)
    assert health.last_check == NOON + timedelta(seconds=len(results) - 1)


def test_a_pod_that_did_not_answer_has_no_response_time():
    assert row(WELL).response_seconds == 0.25
    assert row(WELL, ILL).response_seconds == NOT_ASKED == math.inf


def test_errors_of_an_earlier_life_do_not_count():
    assert Health.judged(row(ILL, ILL), ILL, NOON, "pod/1").consecutive_errors == 1


def view(incarnation=None, **more):
    return PodView(ServiceState(0, RoutingState.READY, 0, Author.APP, None, incarnation), None, 1.0, **more)


LIVES = {
    "as the app says": (view("pod/3"), "pod/3"),
    "else as the operator says": (PodView(None, record(incarnation=Incarnation("pod", 4)), None), "pod/4"),
    "the app knows itself best": (
        PodView(view("pod").state, record(incarnation=Incarnation("pod", 4)), 1.0),
        "pod",
    ),
    "else nobody has said": (view(), None),
}


@pytest.mark.parametrize("sentence", LIVES)
def test_a_pod_s_life(sentence):
    pod, life = LIVES[sentence]
    assert life_of(pod) == life


def test_a_judgement_speaks_against_one_life_only():
    assert is_unhealthy(row(ILL), view("pod/0"))
    assert not is_unhealthy(row(ILL), view("pod/1"))
    assert not is_unhealthy(row(WELL), view("pod/0"))
    assert not is_unhealthy(None, view("pod/0"))


def test_response_times_are_laid_on_targets():
    targets = [Target(0, 5), Target(1, 7)]
    assert with_response_times(targets, {1: row(WELL)}) == [Target(0, 5), Target(1, 7, response_seconds=0.25)]


# Events


def event(number, **more):
    names = {"namespace": "games", "service": "room", "reason": "test"}
    return FailoverEvent(number=number, time=NOON, kind=EventKind.POD_FAILURE, pod=1, **names, **more)


def test_the_last_hundred_events_of_each_service_are_kept():
    history = History()
    for number in range(150):
        assert history.next_number("a") == number + 1
        history.add("a", event(number + 1))
    history.add("b", event(1))
    assert [one.number for one in history.events("a")] == list(range(51, 151))
    assert len(history.events("a")) == KEPT_EVENTS == 100
    assert len(history.events("b")) == 1
    assert history.events("c") == []


def test_an_event_is_revised_where_it_stands_and_one_that_is_gone_stays_gone():
    history = History(kept=2)
    for number in (1, 2, 3):
        history.add("a", event(number))
    history.revise("a", event(2, moved={0: 5}))
    history.revise("a", event(1, moved={0: 5}))
    assert [(one.number, one.moved) for one in history.events("a")] == [(2, {0: 5}), (3, {})]


def test_affected_are_all_links_that_were_found():
    assert event(1, moved={0: 5, 2: 3}, unplaced=2, refused=1).affected == 11


# Addresses


ADDRESSES = {
    "a name": ("pod-0.room", 80, ("pod-0.room", 80)),
    "an address": ("10.0.0.7", 80, ("10.0.0.7", 80)),
    "with a port of its own": ("10.0.0.7:8080", None, ("10.0.0.7", 8080)),
    "the probe's port is the one that counts": ("10.0.0.7:8080", 80, ("10.0.0.7", 80)),
    "of version 6": ("fd00::7", 80, ("fd00::7", 80)),
    "of version 6 in brackets": ("[fd00::7]", 80, ("fd00::7", 80)),
    "of version 6 with a port": ("[fd00::7]:8080", None, ("fd00::7", 8080)),
}


@pytest.mark.parametrize("sentence", ADDRESSES)
def test_where_a_pod_is(sentence):
    address, port, expected = ADDRESSES[sentence]
    assert where(address, port) == expected


@pytest.mark.parametrize("address", ["pod-0", "fd00::7", "[fd00::7]", "pod-0:", "pod-0:http", ""])
def test_without_a_port_there_is_nowhere_to_go(address):
    with pytest.raises(ValueError, match="no port"):
        where(address, None)
