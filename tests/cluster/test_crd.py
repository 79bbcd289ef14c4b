"""The CRD on a real API server: what it accepts, refuses and says, and that the models think the same.

The cases for bounds are made from the schema itself, so a new field cannot be forgotten. What need not be stored is
sent as a server-side dry run.
"""

import json
import re
import time
import uuid
from dataclasses import dataclass
from functools import partial

import pytest
from kubernetes import client
from kubernetes.config import new_client_from_config
from pydantic import ValidationError

from stateful_route.api.crd import load_crd
from stateful_route.api.spec import StatefulRouteSpec
from stateful_route.api.statefulroute import GROUP, KIND, PLURAL, VERSION, InvalidResource, StatefulRoute
from stateful_route.api.status import StatefulRouteStatus

CRD = load_crd()
NAME = CRD["metadata"]["name"]
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
NOON = "2026-01-31T12:00:00Z"
BAD_REQUEST, NOT_FOUND, UNPROCESSABLE = 400, 404, 422
SERVED_WITHIN_SECONDS = 30
CUT = "status.conditions.[].message"
"""The one field of which the model makes something that fits; see `Condition`."""


# ── The API server ───────────────────────────────────────────────────────────────────────────────────────────────────


class Refused(Exception):  # noqa: N818  reads well in the tests
    """The API server's answer to a bad request: its status code and message."""

    def __init__(self, error):
        super().__init__(json.loads(error.body)["message"])
        self.code = error.status


class Server:
    """StatefulRoutes of one namespace on a real API server."""

    def __init__(self, connection, namespace):
        self.routes = client.CustomObjectsApi(connection)
        self.namespace = namespace
        self.where = (GROUP, VERSION, namespace, PLURAL)

    def serves(self):
        """True once the CRD is established and the API server has taken notice, a moment later."""
        try:
            self.routes.list_namespaced_custom_object(*self.where)
        except client.ApiException as error:
            if error.status != NOT_FOUND:
                raise
            return False
        return True

    def create(self, *, dry_run=None, validation="Strict", **parts):
        body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "metadata": {"name": f"r-{uuid.uuid4().hex[:8]}"}}
        create = partial(self.routes.create_namespaced_custom_object, *self.where, dry_run=dry_run)
        return answer(create, body | parts, field_validation=validation)

    def patch(self, name, body, *, status=False, dry_run=None):
        routes = self.routes
        patch = routes.patch_namespaced_custom_object_status if status else routes.patch_namespaced_custom_object
        return answer(
            partial(patch, *self.where, name), body, dry_run=dry_run, _content_type="application/merge-patch+json"
        )


def answer(call, *args, **options):
    try:
        return call(*args, **options)
    except client.ApiException as error:
        raise Refused(error) from None


@pytest.fixture(scope="module")
def server(control_plane):
    """An API server that serves this CRD, and a fresh namespace on it."""
    control_plane.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", text=json.dumps(CRD))
    namespace = f"crd-{uuid.uuid4().hex[:8]}"
    control_plane.kubectl("create", "namespace", namespace)
    server = Server(new_client_from_config(config_file=str(control_plane.kubeconfig)), namespace)
    deadline = time.monotonic() + SERVED_WITHIN_SECONDS
    while not server.serves():
        assert time.monotonic() < deadline, f"{NAME} is not served"
        time.sleep(0.05)
    yield server
    control_plane.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.fixture(scope="module")
def stored(server):
    """A StatefulRoute without a spec, as the API server stores it."""
    return server.create()


# ── Bounds: the cases are made from the schema ───────────────────────────────────────────────────────────────────────

BEGINS_WITH = {"spec.redis.url": "redis://", "spec.health.probe.httpGet.path": "/"}
"""How a string must begin to match its pattern; the others are made of the letter a alone."""

MISMATCHES = {
    "spec.serviceName": ["two words", "{rooms}", "r\u00e4ume"],
    "spec.workloadRef.name": ["Rooms", "-rooms", "rooms.", "rooms_1"],
    "spec.redis.url": ["localhost:6379", "http://cache", "redis://", "redis:// cache"],
    "spec.redis.urlSecretRef.name": ["Cache", "cache/url"],
    "spec.redis.urlSecretRef.key": ["the url", "a/b"],
    "spec.health.container": ["Server", "server.1"],
    "spec.health.probe.httpGet.path": ["healthz", "/health z"],
    "status.conditions.[].type": ["not ready", "-Ready"],
    "status.conditions.[].reason": ["not ready", "1st"],
}
"""For each field with a pattern, what it must keep out."""

NEIGHBOURS = {
    "spec.placement.strategy": {"placement": {"weights": {"0": 1}}},
    "spec.health.probe.timeoutSeconds": {"health": {"probe": {"tcpSocket": {"port": 1}}}},
}
"""What a rule wants beside a field."""


@dataclass(frozen=True)
class Case:
    """A value somewhere in a resource; ``whole`` is the smallest spec or status that holds it."""

    path: tuple[str, ...]
    value: object
    whole: object
    fits: bool

    @property
    def field(self):
        return ".".join(self.path)

    def __str__(self):
        text = json.dumps(self.value)
        return f"{self.field}={text if len(text) <= 40 else f'{text[:20]}...{len(self.value)}'}"


def walk(node, path):
    """All nodes of a schema with their paths; [] stands for the items of a list, 0 for a key of a map."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from walk(child, (*path, name))
    for step, key in (("[]", "items"), ("0", "additionalProperties")):
        if key in node:
            yield from walk(node[key], (*path, step))


def text(path, length):
    """A string of this length that matches the pattern of the field, if it is long enough for that."""
    return BEGINS_WITH.get(".".join(path), "").ljust(length, "a")[:length]


def example(node, path):
    """The simplest value of a node."""
    match node:
        case {"enum": [first, *_]}:
            return first
        case {"format": "date-time"}:
            return NOON
        case {"type": "string"}:
            return text(path, len(BEGINS_WITH.get(".".join(path), "")) + 1)
        case {"type": "integer"}:
            return node.get("minimum", 0)
        case {"type": "object"}:
            return {name: example(node["properties"][name], (*path, name)) for name in node.get("required", [])}
    return node["default"]


def around(node, steps, value, path):
    """The simplest value of ``node``, which lies at ``path``, that has ``value`` at ``steps`` below."""
    match steps:
        case ():
            return value
        case ("[]", *rest):
            return [around(node["items"], tuple(rest), value, (*path, "[]"))]
        case ("0", *rest):
            return {"0": around(node["additionalProperties"], tuple(rest), value, (*path, "0"))}
        case (name, *rest):
            child = around(node["properties"][name], tuple(rest), value, (*path, name))
            return example(node, path) | {name: child}


def merged(left, right):
    """Both mappings in one, at every level."""
    return left | right | {key: merged(left[key], right[key]) for key in left.keys() & right.keys()}


def fitting(node, path):
    """Values at the bounds of a node."""
    yield from node.get("enum", [])
    yield from (node[bound] for bound in ("minimum", "maximum") if bound in node)
    if node.get("format") == "int32" and "maximum" not in node:
        yield 2**31 - 1
    if "maxLength" in node and "type" in node:
        yield text(path, node["maxLength"])
    if "maxItems" in node:
        yield [example(node["items"], (*path, "[]")) | {"type": f"Type{n}"} for n in range(node["maxItems"])]
    if "maxProperties" in node:
        yield {str(n): 1 for n in range(node["maxProperties"])}
    if node.get("format") == "date-time":
        yield NOON


def unfit(node, path):
    """Values one beyond the bounds of a node, and of another type."""
    if node.get("format") == "date-time":
        yield "yesterday"
    else:  # of a date-time the API server checks the format alone, and only of strings
        yield ["of another type"]
    yield from MISMATCHES.get(".".join(path), [])
    if "enum" in node:
        yield "Nonsense"
    if "minimum" in node:
        yield node["minimum"] - 1
    if "maximum" in node or node.get("format") == "int32":
        yield node.get("maximum", 2**31 - 1) + 1
    if "minLength" in node:
        yield text(path, node["minLength"] - 1)
    if "maxLength" in node and "type" in node:
        yield text(path, node["maxLength"] + 1)
    if "maxItems" in node:
        yield [example(node["items"], (*path, "[]")) | {"type": f"Type{n}"} for n in range(node["maxItems"] + 1)]
    if "maxProperties" in node:
        yield {str(n): 1 for n in range(node["maxProperties"] + 1)}
    for missing in node.get("required", []):
        yield {name: value for name, value in example(node, path).items() if name != missing}


def cases(part):
    root = SCHEMA["properties"][part]
    for path, node in walk(root, (part,)):
        for values, fits in ((fitting, True), (unfit, False)):
            for value in values(node, path):
                whole = around(root, path[1:], value, (part,))
                if ".".join(path) in NEIGHBOURS:
                    whole = merged(whole, NEIGHBOURS[".".join(path)])
                yield Case(path, value, whole, fits)


def named(cases):
    return pytest.mark.parametrize("case", [pytest.param(case, id=str(case)) for case in cases])


SPECS = list(cases("spec"))
STATUSES = list(cases("status"))


@named(case for case in SPECS if case.fits)
def test_server_and_model_accept_the_spec(server, stored, case):
    accepted = server.create(spec=case.whole, dry_run="All")
    assert at(accepted, case.path) == case.value
    StatefulRoute.parse(stored | {"spec": accepted["spec"]})


@named(case for case in SPECS if not case.fits)
def test_server_and_model_refuse_the_spec_and_name_the_field(server, stored, case):
    with pytest.raises(Refused) as server_says:
        server.create(spec=case.whole, dry_run="All")
    assert server_says.value.code == UNPROCESSABLE
    assert case.field in str(server_says.value)
    with pytest.raises(InvalidResource) as model_says:
        StatefulRoute.parse(stored | {"spec": case.whole})
    assert any(path.startswith(case.field) for path in model_says.value.problems)


@named(case for case in STATUSES if case.fits)
def test_server_and_model_accept_the_status(server, stored, case):
    accepted = server.patch(stored["metadata"]["name"], {"status": case.whole}, status=True, dry_run="All")
    assert at(accepted, case.path) == case.value
    StatefulRouteStatus.model_validate(accepted["status"])


@named(case for case in STATUSES if not case.fits)
def test_server_and_model_refuse_the_status_and_name_the_field(server, stored, case):
    with pytest.raises(Refused) as server_says:
        server.patch(stored["metadata"]["name"], {"status": case.whole}, status=True, dry_run="All")
    assert server_says.value.code == UNPROCESSABLE
    assert case.field.replace(".[]", "[0]") in str(server_says.value)
    if not (case.field == CUT and isinstance(case.value, str)):
        with pytest.raises(ValidationError):
            StatefulRouteStatus.model_validate(case.whole)


def at(body, path):
    for step in path:
        body = body[0] if step == "[]" else body[step]
    return body


def test_every_pattern_has_something_to_keep_out():
    patterns = {
        ".".join(path)
        for part in ("spec", "status")
        for path, node in walk(SCHEMA["properties"][part], (part,))
        if "pattern" in node
    }
    assert patterns == MISMATCHES.keys()


# ── Defaults and unknown fields ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("parts", [{}, {"spec": {}}, {"spec": None}, {"spec": {"failover": {}}}], ids=str)
def test_what_is_left_out_gets_the_defaults_that_the_model_has(server, parts):
    filled_in = server.create(**parts, dry_run="All")["spec"]
    assert filled_in == StatefulRouteSpec().model_dump(exclude_none=True)


def test_the_defaults_of_optional_parts_are_those_that_the_model_has(server):
    spec = {
        "redis": {"urlSecretRef": {"name": "cache"}},
        "health": {"probe": {"httpGet": {"port": 8080}}},
    }
    filled_in = server.create(spec=spec, dry_run="All")["spec"]
    assert filled_in == StatefulRouteSpec.model_validate(spec).model_dump(exclude_none=True)


def test_a_misspelt_field_is_pruned(server):
    pruned = server.create(spec={"drian": {"mode": "App"}}, dry_run="All", validation="Ignore")
    assert "drian" not in pruned["spec"]


def test_a_misspelt_field_is_refused_when_the_user_asks_for_strictness(server):
    with pytest.raises(Refused, match=r'unknown field "spec\.drian"') as refused:
        server.create(spec={"drian": {"mode": "App"}}, dry_run="All", validation="Strict")
    assert refused.value.code == BAD_REQUEST


# ── Rules that a schema cannot state: each one's message says what to write ──────────────────────────────────────────

SECRET = {"urlSecretRef": {"name": "cache"}}
RULES = {
    "two sources of the store": ({"redis": SECRET | {"url": "redis://cache"}}, "remove one of them"),
    "a password": ({"redis": {"url": "redis://:hunter2@cache"}}, "redis.urlSecretRef"),
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


# ── What people see ──────────────────────────────────────────────────────────────────────────────────────────────────

STATUS = {
    "conditions": [
        {"type": kind, "status": status, "reason": "Because", "message": "", "lastTransitionTime": NOON}
        for kind, status in (("RedisConnected", "True"), ("Ready", "False"))
    ],
    "pods": {"ready": 3, "denying": 1, "shutdown": 0},
    "links": 12,
}


def test_a_status_can_only_be_written_as_a_status(server):
    created = server.create(status=STATUS)
    name = created["metadata"]["name"]
    assert "status" not in created
    assert "status" not in server.patch(name, {"status": STATUS})


def test_writing_the_status_leaves_the_spec_and_its_generation_alone(server):
    created = server.create()
    written = server.patch(
        created["metadata"]["name"], {"status": STATUS, "spec": {"links": {"temporaryTTLSeconds": 90}}}, status=True
    )
    assert written["status"] == STATUS
    assert written["spec"] == created["spec"]
    assert written["metadata"]["generation"] == created["metadata"]["generation"]


def test_a_condition_type_appears_once(server, stored):
    twice = STATUS | {"conditions": STATUS["conditions"] * 2}
    with pytest.raises(Refused, match="Duplicate value"):
        server.patch(stored["metadata"]["name"], {"status": twice}, status=True, dry_run="All")


def test_kubectl_get_shows_readiness_pods_links_store_and_age(server, control_plane):
    name = server.create()["metadata"]["name"]
    server.patch(name, {"status": STATUS}, status=True)
    header, row = control_plane.kubectl("get", "sroute", name, "-n", server.namespace).splitlines()
    assert re.split(r"\s{2,}", header) == ["NAME", "READY", "PODS READY", "LINKS", "REDIS", "AGE"]
    assert row.split()[:-1] == [name, "False", "3", "12", "True"]


@pytest.mark.parametrize(
    "word", ["sroute", "statefulroute", "statefulroutes", "statefulroute.v1alpha1.statefulroute.io"]
)
def test_kubectl_finds_the_resource_by_each_of_its_names(server, stored, control_plane, word):
    name = stored["metadata"]["name"]
    found = control_plane.kubectl("get", word, name, "-n", server.namespace, "-o", "name")
    assert found.strip() == f"statefulroute.{GROUP}/{name}"


@pytest.mark.usefixtures("server")
def test_the_category_lists_the_resource(control_plane):
    listed = control_plane.kubectl("api-resources", "--categories=statefulroute", "-o", "name")
    assert listed.split() == [NAME]


@pytest.mark.usefixtures("server")
def test_kubectl_explains_a_field(control_plane):
    explained = control_plane.kubectl("explain", "sroute.spec.failover.delaySeconds")
    assert "FIELD: delaySeconds <integer>" in explained
    assert "Seconds that a pod may be not Ready before its users are moved." in explained
