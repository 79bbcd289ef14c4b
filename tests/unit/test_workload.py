"""Pods as two late sources tell of them: events out of order, LISTs that overlap with events."""

import pytest

from stateful_route.domain.pod import PodFacts
from stateful_route.kube.pods import pod_facts
from stateful_route.reconcile.workload import Workload


def pod(uid, version, *, ordinal=0, **facts):
    return PodFacts(name=f"rooms-{ordinal}", ordinal=ordinal, uid=uid, resource_version=version, **facts)


def told(uid, version, *, made):
    """The facts of a pod as the API server describes it."""
    meta = {"name": "rooms-0", "uid": uid, "resourceVersion": str(version), "creationTimestamp": made}
    return pod_facts({"metadata": meta})


def seen(workload):
    return {ordinal: pod.uid for ordinal, pod in workload.by_ordinal().items()}


def watched(*events):
    """A workload that has been told these events, each (pod, deleted)."""
    workload = Workload()
    for facts, deleted in events:
        workload.observe(facts, deleted=deleted)
    return workload


FORMER, LEAVING = pod("former", 10), pod("former", 20, deletion_time=130.0)
ENDED, SUCCESSOR = pod("former", 21, deletion_time=130.0), pod("successor", 22)
ORDERS = {
    "in order": [(FORMER, False), (LEAVING, False), (ENDED, True), (SUCCESSOR, False)],
    "the end of the former comes last": [(FORMER, False), (LEAVING, False), (SUCCESSOR, False), (ENDED, True)],
    "all of the former's events come last": [(SUCCESSOR, False), (FORMER, False), (LEAVING, False), (ENDED, True)],
    "the former is told of only by its end": [(SUCCESSOR, False), (ENDED, True)],
    "the former's end is never told": [(FORMER, False), (LEAVING, False), (SUCCESSOR, False)],
    "the former is told of again, twice": [(SUCCESSOR, False), (FORMER, False), (ENDED, True), (ENDED, True)],
}


@pytest.mark.parametrize("sentence", ORDERS)
def test_the_successor_has_the_name_whatever_the_order_of_events(sentence):
    assert seen(watched(*ORDERS[sentence])) == {0: "successor"}


@pytest.mark.parametrize("made", ["2026-11-21T09:00:00Z", "2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z"])
def test_the_successor_has_the_name_whatever_the_api_servers_clock_said_when_it_was_made(made):
    former = told("former", 10, made="2026-11-21T10:00:00Z")
    successor = told("successor", 22, made=made)
    for events in ([former, successor], [successor, former]):
        assert seen(watched(*((facts, False) for facts in events))) == {0: "successor"}


def test_an_older_event_of_a_pod_tells_nothing():
    workload = watched((LEAVING, False))
    assert not workload.observe(FORMER, deleted=False)
    assert not workload.observe(LEAVING, deleted=False)
    assert workload.by_ordinal()[0] == LEAVING


def test_the_end_of_an_unknown_pod_tells_nothing():
    assert not watched((SUCCESSOR, False)).observe(ENDED, deleted=True)


def test_what_was_before_a_list_that_did_not_have_it_is_over():
    workload = watched((FORMER, False))
    workload.begin_listing()
    workload.end_listing([], version=30)
    assert seen(workload) == {}
    assert not workload.observe(LEAVING, deleted=False), "the watch is late: the pod has ended since"
    assert seen(workload) == {}


def test_what_comes_after_a_list_is_new():
    workload = Workload()
    workload.begin_listing()
    workload.end_listing([], version=21)
    assert workload.observe(SUCCESSOR, deleted=False)
    assert seen(workload) == {0: "successor"}


def test_a_pod_that_was_made_while_the_list_was_under_way_stays():
    workload = Workload()
    workload.begin_listing()
    workload.observe(SUCCESSOR, deleted=False)
    workload.end_listing([FORMER], version=15)
    assert seen(workload) == {0: "successor"}


def test_a_pod_that_ended_while_the_list_was_under_way_is_gone_although_the_list_has_it():
    workload = watched((FORMER, False))
    workload.begin_listing()
    workload.observe(ENDED, deleted=True)
    workload.end_listing([FORMER], version=15)
    assert seen(workload) == {}


def test_an_event_that_is_older_than_the_list_does_not_hide_what_the_list_says():
    workload = watched((FORMER, False))
    workload.begin_listing()
    workload.observe(pod("former", 12), deleted=False)
    workload.end_listing([LEAVING], version=25)
    assert workload.by_ordinal()[0] == LEAVING


def test_an_event_that_is_newer_than_the_list_stays():
    workload = watched((FORMER, False))
    workload.begin_listing()
    workload.observe(LEAVING, deleted=False)
    workload.end_listing([FORMER], version=15)
    assert workload.by_ordinal()[0] == LEAVING


def test_a_list_names_what_the_watch_should_have_told_but_not_the_first_one():
    workload = Workload()
    workload.begin_listing()
    assert workload.end_listing([FORMER], version=15) == []
    workload.begin_listing()
    assert workload.end_listing([LEAVING, pod("other", 5, ordinal=1)], version=25) == [
        LEAVING,
        pod("other", 5, ordinal=1),
    ]
    workload.begin_listing()
    assert workload.end_listing([LEAVING], version=30) == []
    assert seen(workload) == {0: "former"}
