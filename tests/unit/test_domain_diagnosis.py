"""What the doctor says of servers, clocks, states and the time to drain."""

from dataclasses import replace

import pytest

from stateful_route.domain.aliveness import Author, PodView, ServiceState
from stateful_route.domain.diagnosis import Finding, ServerFacts, Severity, judge_clocks, judge_server, worst
from stateful_route.domain.drift import ServiceFacts, judge_drift, judge_grace
from stateful_route.domain.pod import Incarnation, PodFacts
from stateful_route.domain.policy import DrainPolicy
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import Reason, RoutingState

OK, UNKNOWN, WARNING, ERROR = Severity.OK, Severity.UNKNOWN, Severity.WARNING, Severity.ERROR
SOUND = ServerFacts(name="valkey:6379", saves=True, appends=True, policy="noeviction", replicas_to_write=0)

SERVERS = {
    "a sound server": ({}, OK, ""),
    "snapshots alone": ({"appends": False}, WARNING, "snapshots only"),
    "neither snapshots nor an append-only file": ({"appends": False, "saves": False}, WARNING, "loses every link"),
    "no persistence with replicas": (
        {"appends": False, "saves": False, "replicas": 1, "replicas_to_write": 1},
        ERROR,
        "empties them",
    ),
    "a server that does not say": ({"appends": None, "saves": None}, UNKNOWN, "does not say"),
    "a full disk": ({"write_failed": True}, ERROR, "could not write"),
    "a limit without eviction": ({"memory_limit": 2**30, "memory_used": 2**20}, OK, ""),
    "a limit that is nearly reached": ({"memory_limit": 2**30, "memory_used": 2**30 - 1}, WARNING, "refused soon"),
    "eviction of any key": ({"memory_limit": 2**30, "policy": "allkeys-lru"}, ERROR, "drops links"),
    "eviction of what expires": ({"memory_limit": 2**30, "policy": "volatile-ttl"}, WARNING, "drops temporary links"),
    "eviction without a limit": ({"policy": "allkeys-lru"}, OK, ""),
    "replicas that need not have a write": ({"replicas": 2}, WARNING, "min-replicas-to-write"),
    "replicas that must": ({"replicas": 2, "replicas_to_write": 1}, OK, ""),
}


@pytest.mark.parametrize("case", SERVERS)
def test_a_server(case):
    changes, severity, words = SERVERS[case]
    found = list(judge_server(replace(SOUND, **changes)))
    assert worst(found) is severity
    assert any(words in finding.message for finding in found if finding.severity is severity)


def test_whatever_is_bad_comes_with_advice():
    found = [finding for changes, *_ in SERVERS.values() for finding in judge_server(replace(SOUND, **changes))]
    assert [f for f in found if f.severity in {WARNING, ERROR} and not f.advice] == []


CLOCKS = {
    "the same time": ([0.0, 0.01], [OK, OK, OK]),
    "this machine alone is wrong": ([3.0, 3.0], [WARNING, WARNING, OK]),
    "the servers differ": ([0.0, 3.0], [OK, WARNING, WARNING]),
    "the servers differ by more than a failover takes": ([0.0, -8.0], [OK, WARNING, ERROR]),
    "one server has nobody to differ from": ([0.0], [OK]),
    "a proxy has no clock": ([None], [WARNING]),
    "who has no clock differs from nobody": ([None, 0.0, 8.0], [WARNING, OK, WARNING, ERROR]),
}


@pytest.mark.parametrize("case", CLOCKS)
def test_clocks(case):
    skews, severities = CLOCKS[case]
    servers = [replace(SOUND, name=str(n), skew_seconds=skew) for n, skew in enumerate(skews)]
    assert [finding.severity for finding in judge_clocks(servers)] == severities


def test_a_slow_answer_is_no_skew():
    (finding,) = judge_clocks([replace(SOUND, skew_seconds=2.0, skew_error_seconds=1.5)])
    assert finding.severity is OK


LIFE = Incarnation("uid-0", 0)
POD = PodFacts(name="rooms-0", ordinal=0, uid="uid-0", resource_version=1, ready=True, phase="Running")


def view(
    state: RoutingState = RoutingState.READY, reason: Reason = Reason.READY, life: Incarnation | None = LIFE
) -> PodView:
    said = ServiceState(0.0, state, 0, Author.OPERATOR)
    return PodView(said, OperatorRecord(state=state, reason=reason, incarnation=life), 1.0)


def facts(pod: PodFacts | None = POD, seen: PodView | None = None, links: int = 1, **changes: object) -> ServiceFacts:
    both = ServiceFacts(
        name="rooms",
        pods={0: pod} if pod else {},
        views={0: seen} if seen else {},
        owner="cluster/route",
        wanted_owner="cluster/route",
        links={0: links} if links else {},
    )
    return replace(both, **changes)


FOREIGN = PodView(ServiceState(0.0, RoutingState.READY, 0), None, 1.0)
DRIFT = {
    "both sides say the same": (facts(seen=view()), OK, "as Kubernetes says"),
    "nobody owns the service": (facts(seen=view(), owner=None), ERROR, "no operator has served it"),
    "another route owns it": (facts(seen=view(), owner="cluster/other"), ERROR, "another owner"),
    "another cluster owns it": (facts(seen=view(), owner="other/route"), ERROR, "another owner"),
    "a cluster that nobody may know is any": (facts(seen=view(), wanted_owner="?/route"), OK, ""),
    "the pod has no state": (facts(), ERROR, "has written no state"),
    "its app alone has spoken": (facts(seen=FOREIGN), ERROR, "has written no state"),
    "a pod that is gone is READY": (facts(pod=None, seen=view()), ERROR, "there is no such pod"),
    "a pod that is gone is SHUTDOWN": (facts(pod=None, seen=view(RoutingState.SHUTDOWN, Reason.GONE)), OK, ""),
    "links of nobody": (facts(pod=None), ERROR, "of which nobody knows"),
    "the store tells of the former pod": (facts(seen=view(life=Incarnation("x", 0))), ERROR, "earlier pod"),
    "not Ready and READY": (facts(replace(POD, ready=False), view()), ERROR, "not Ready, its state is READY"),
    "Terminating and READY": (facts(replace(POD, deletion_time=1.0), view()), ERROR, "Terminating"),
    "asked to drain and READY": (facts(replace(POD, drain_requested=True), view()), ERROR, "asked to drain"),
    "Ready and SHUTDOWN": (facts(seen=view(RoutingState.SHUTDOWN, Reason.RESTARTED)), WARNING, "(Restarted)"),
    "Ready and scaled away": (facts(seen=view(RoutingState.DENY_NEW_CALL, Reason.SCALED_DOWN)), OK, ""),
}


@pytest.mark.parametrize("case", DRIFT)
def test_drift(case):
    both, severity, words = DRIFT[case]
    found = list(judge_drift(both))
    assert worst(found) is severity
    assert words in found[0].message
    assert all(finding.advice for finding in found if finding.severity is not OK)


GRACE = {
    "few links": (30, DrainPolicy(by_app=False), 100, OK),
    "more links than the rate can move, but for the deadline": (30, DrainPolicy(by_app=False), 10**6, OK),
    "a deadline beyond the grace period, and few links": (
        30,
        DrainPolicy(by_app=False, deadline_seconds=60),
        100,
        OK,
    ),
    "a deadline beyond it, and many": (30, DrainPolicy(by_app=False, deadline_seconds=60), 10**6, WARNING),
    "an app may take all of the deadline": (30, DrainPolicy(deadline_seconds=60), 0, WARNING),
    "no time at all": (0, DrainPolicy(by_app=False), 100, WARNING),
}


@pytest.mark.parametrize("case", GRACE)
def test_the_grace_period(case):
    seconds, drain, links, severity = GRACE[case]
    found = judge_grace("rooms", seconds, drain, {1: links} if links else {}, {1: "rooms-1"})
    assert found.severity is severity
    assert bool(found.advice) == (severity is WARNING)


@pytest.mark.parametrize("drain", [DrainPolicy(), DrainPolicy(by_app=False)], ids=["by the app", "by the operator"])
def test_a_grace_period_is_not_judged_where_nobody_could_count_the_links(drain):
    found = judge_grace("rooms", 30, drain, None, {})
    assert found.severity is UNKNOWN
    assert "at most 0" not in found.message


def test_the_memory_of_a_server_that_does_not_say_is_unknown():
    (found,) = [
        f for f in judge_server(ServerFacts(name="a:1", memory_limit=None, memory_used=None)) if "memory" in f.check
    ]
    assert found.severity is UNKNOWN


def test_nothing_found_is_well():
    assert worst([]) is OK
    assert worst([Finding(UNKNOWN, "a", "", ""), Finding(OK, "a", "", "")]) is UNKNOWN
