"""From a spec to the values that the operator works with."""

import pytest

from stateful_route.domain.policy import DrainPolicy
from stateful_route.reconcile.spec import policy_of, probe_of
from stateful_route.router.probes import HttpProbe, TcpProbe
from support.resources import route

PROBES = {
    "nothing is said: the operator asks nobody": ({}, None),
    "a port for callers: a connection to it": ({"address": {"port": 7777}}, TcpProbe(7777, timeout_seconds=2)),
    "a port to connect to": (
        {"address": {"port": 7777}, "health": {"probe": {"tcpSocket": {"port": 8080}}}},
        TcpProbe(8080, timeout_seconds=2),
    ),
    "with patience": (
        {"health": {"probe": {"tcpSocket": {"port": 8080}, "timeoutSeconds": 5}}},
        TcpProbe(8080, timeout_seconds=5),
    ),
    "a page to ask for": (
        {"health": {"probe": {"httpGet": {"port": 8080}}}},
        HttpProbe(8080, path="/", scheme="HTTP", timeout_seconds=2),
    ),
    "all of it": (
        {"health": {"probe": {"httpGet": {"port": 8443, "path": "/live?x=1", "scheme": "HTTPS"}, "timeoutSeconds": 1}}},
        HttpProbe(8443, path="/live?x=1", scheme="HTTPS", timeout_seconds=1),
    ),
}


@pytest.mark.parametrize("sentence", PROBES)
def test_a_pod_is_probed(sentence):
    spec, expected = PROBES[sentence]
    assert probe_of(route("room", "games", **spec)) == expected


DRAINS = {
    "by default by its app": ({}, DrainPolicy(by_app=True, deadline_seconds=20, links_per_second=2000)),
    "by the operator alone": (
        {"mode": "Operator", "deadlineSeconds": 5, "linksPerSecond": 7},
        DrainPolicy(by_app=False, deadline_seconds=5, links_per_second=7),
    ),
}


@pytest.mark.parametrize("sentence", DRAINS)
def test_a_pod_is_drained(sentence):
    drain, expected = DRAINS[sentence]
    assert policy_of(route("room", "games", drain=drain)).drain == expected
