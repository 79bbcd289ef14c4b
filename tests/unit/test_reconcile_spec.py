"""From a spec to the values that the operator works with."""

import pytest

from stateful_route.domain.pod import PodFacts
from stateful_route.domain.policy import DrainPolicy
from stateful_route.reconcile.spec import address_of, policy_of, probe_of
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


ADDRESSES = {
    "an IP alone": ({}, "10.0.0.7", "10.0.0.7"),
    "an IP and a port": ({"port": 7777}, "10.0.0.7", "10.0.0.7:7777"),
    "IPv6 alone": ({}, "fd00:10:244::5", "fd00:10:244::5"),
    "IPv6 and a port": ({"port": 7777}, "fd00:10:244::5", "[fd00:10:244::5]:7777"),
    "IPv6 in a template": ({"port": 7777, "template": "{ip}"}, "fd00:10:244::5", "[fd00:10:244::5]:7777"),
    "IPv6 before its port": ({"port": 7777, "template": "{ip}:{port}"}, "fd00:10:244::5", "[fd00:10:244::5]:7777"),
    "brackets in the template": (
        {"port": 7777, "template": "[{ip}]:{port}"},
        "fd00:10:244::5",
        "[fd00:10:244::5]:7777",
    ),
    "a port in the template": ({"template": "{ip}:80"}, "fd00:10:244::5", "[fd00:10:244::5]:80"),
    "a port in the template and one besides": ({"port": 7777, "template": "{ip}:80"}, "10.0.0.7", "10.0.0.7:80"),
    "IPv6 in a URL": ({"template": "http://{ip}/x"}, "fd00:10:244::5", "http://[fd00:10:244::5]/x"),
    "IPv6 in a URL's end": ({"port": 80, "template": "http://{ip}"}, "fd00::5", "http://[fd00::5]:80"),
    "an IP in a URL": ({"port": 80, "template": "http://{ip}"}, "10.0.0.7", "http://10.0.0.7:80"),
    "a name": ({"port": 80, "template": "{pod}.example"}, "fd00::5", "room-2.example:80"),
    "no IP yet": ({"port": 80}, None, None),
}


@pytest.mark.parametrize("sentence", ADDRESSES)
def test_callers_are_told_the_address_of_a_pod(sentence):
    address, ip, expected = ADDRESSES[sentence]
    pod = PodFacts(name="room-2", ordinal=2, uid="u", resource_version=1, ip=ip)
    assert address_of(route("room", "games", address=address), pod, None) == expected
