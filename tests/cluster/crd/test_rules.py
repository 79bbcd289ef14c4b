"""Rules that a schema cannot state: each one's message says what to write."""

import pytest

from stateful_route.api.spec import StatefulRouteSpec
from stateful_route.api.statefulroute import InvalidResource, StatefulRoute
from support.crd_cases import SCHEMA, walk
from support.crd_server import UNPROCESSABLE, Refused

SECRET = {"urlSecretRef": {"name": "cache"}}
RULES = {
    "a workload without ordinals": ({"workloadRef": {"kind": "Deployment"}}, "only a StatefulSet (apps/v1)"),
    "an API that is gone": (
        {"workloadRef": {"apiVersion": "apps/v1beta2"}},
        "only a StatefulSet (apps/v1)",
    ),
    "two sources of the store": ({"redis": SECRET | {"url": "redis://cache"}}, "remove one of them"),
    "a password": ({"redis": {"url": "redis://:hunter2@cache"}}, "redis.urlSecretRef"),
    "a password in a setting whose name is %-encoded": (
        {"redis": {"url": "redis://cache?passwor%64=hunter2"}},
        "redis.urlSecretRef",
    ),
    "a password of Sentinels": ({"redis": {"url": "redis+sentinel://a/m?sentinel_password=x"}}, "redis.urlSecretRef"),
    "a user and a password": ({"redis": {"url": "redis+cluster://me:hunter2@a:1,b:2"}}, "redis.urlSecretRef"),
    "a password with a slash": ({"redis": {"url": "rediss://:hunter/2@cache"}}, "redis.urlSecretRef"),
    "a password as a parameter": ({"redis": {"url": "unix:///run/cache?db=1&password=x"}}, "redis.urlSecretRef"),
    "a placeholder that nobody knows": ({"address": {"template": "{pod}.{zone}"}}, "{pod}, {ordinal}, {service}"),
    "a brace that is not closed": ({"address": {"template": "{pod"}}, "{pod}, {ordinal}, {service}"),
    "a port nobody has set": ({"address": {"template": "{ip}:{port}"}}, "set address.port"),
    "weighting without weights": ({"placement": {"strategy": "WeightedRoundRobin"}}, 'weights: {"0": 3, "1": 1}'),
    "weighting with no weight": (
        {"placement": {"strategy": "WeightedRoundRobin", "weights": {}}},
        'weights: {"0": 3, "1": 1}',
    ),
    "a weight by the pod's name": ({"placement": {"weights": {"rooms-0": 1}}}, "pod ordinals from 0 to 8191"),
    "a weight beyond the last ordinal": ({"placement": {"weights": {"8192": 1}}}, "pod ordinals from 0 to 8191"),
    "a weight before the first ordinal": ({"placement": {"weights": {"-1": 1}}}, "pod ordinals from 0 to 8191"),
    "a probe in no way": ({"health": {"probe": {"timeoutSeconds": 2}}}, "tcpSocket: {port: 8080}"),
    "a probe in two ways": (
        {"health": {"probe": {"tcpSocket": {"port": 1}, "httpGet": {"port": 1}}}},
        "tcpSocket: {port: 8080}",
    ),
    "fewer than no pods": ({"failover": {"maxUnavailable": -1}}, 'a percentage from "0%" to "100%"'),
    "more than all pods": ({"failover": {"maxUnavailable": "101%"}}, 'a percentage from "0%" to "100%"'),
    "a number in quotes": ({"failover": {"maxUnavailable": "2"}}, 'a percentage from "0%" to "100%"'),
    "repair without a rest": ({"repair": {"periodSeconds": 29}}, "0 (never) or at least 30"),
}


@pytest.mark.parametrize(("spec", "way_out"), RULES.values(), ids=RULES)
def test_a_rule_refuses_and_tells_the_way_out(server, stored, spec, way_out):
    with pytest.raises(Refused) as refused:
        server.create(spec=spec, dry_run="All")
    assert refused.value.code == UNPROCESSABLE
    assert way_out in str(refused.value)
    assert "hunter" not in str(refused.value)
    with pytest.raises(InvalidResource):
        StatefulRoute.parse(stored | {"spec": spec})


GOOD = {
    "a workload of another group": {"workloadRef": {"apiVersion": "apps.kruise.io/v1beta1", "kind": "StatefulSet"}},
    "a user without a password": {"redis": {"url": "rediss://me@cache:6379/1"}},
    "sentinels": {"redis": {"url": "redis+sentinel://a:1,b:2/main"}},
    "a socket": {"redis": {"url": "unix:///run/cache.sock"}},
    "every placeholder": {"address": {"port": 8080, "template": "{pod}.{ordinal}.{service}.{namespace}.{ip}:{port}"}},
    "weights for the first and the last ordinal": {
        "placement": {"strategy": "WeightedRoundRobin", "weights": {"0": 3, "8191": 0}}
    },
    "weights that wait for their strategy": {"placement": {"weights": {"0": 3}}},
    "a probe": {"health": {"probe": {"httpGet": {"port": 8080, "path": "/healthz", "scheme": "HTTPS"}}}},
    "a number of pods": {"failover": {"maxUnavailable": 0}},
    "no pods at all": {"failover": {"maxUnavailable": "0%"}},
    "all pods": {"failover": {"maxUnavailable": "100%"}},
    "no repair": {"repair": {"periodSeconds": 0}},
    "the shortest repair": {"repair": {"periodSeconds": 30}},
}


@pytest.mark.parametrize("spec", GOOD.values(), ids=GOOD)
def test_a_rule_lets_good_specs_pass(server, stored, spec):
    accepted = server.create(spec=spec, dry_run="All")
    assert StatefulRoute.parse(stored | {"spec": accepted["spec"]}).spec == StatefulRouteSpec.model_validate(spec)


FIXED = {
    "a service name": ({"serviceName": "a"}, {"serviceName": "b"}, "serviceName"),
    "a service name that was not given": ({}, {"serviceName": "b"}, "serviceName"),
    "a service name, to the default": ({"serviceName": "a"}, {"serviceName": None}, "serviceName"),
    "a workload": ({"workloadRef": {"name": "a"}}, {"workloadRef": {"name": "b"}}, "workloadRef.name"),
    "a workload that was not given": ({}, {"workloadRef": {"name": "b"}}, "workloadRef.name"),
    "a workload, to the default": ({"workloadRef": {"name": "a"}}, {"workloadRef": None}, "workloadRef.name"),
}


@pytest.mark.parametrize(("before", "after", "field"), FIXED.values(), ids=FIXED)
def test_what_names_the_links_cannot_be_changed(server, before, after, field):
    name = server.create(spec=before)["metadata"]["name"]
    with pytest.raises(Refused, match=rf"spec\.{field}: Forbidden: {field} cannot be changed") as refused:
        server.patch(name, {"spec": after}, dry_run="All")
    assert refused.value.code == UNPROCESSABLE
    assert "create another StatefulRoute" in str(refused.value)


@pytest.mark.parametrize("change", GOOD.values(), ids=GOOD)
def test_all_else_can_be_changed(server, stored, change):
    changed = server.patch(stored["metadata"]["name"], {"spec": change}, dry_run="All")
    assert changed["metadata"]["generation"] == stored["metadata"]["generation"] + 1


def test_every_rule_of_the_crd_has_a_case():
    messages = {rule["message"] for _, node in walk(SCHEMA, ()) for rule in node.get("x-kubernetes-validations", [])}
    said = {way_out for _, way_out in RULES.values()} | {f"{field} cannot be" for *_, field in FIXED.values()}
    assert [message for message in messages if not any(part in message for part in said)] == []
