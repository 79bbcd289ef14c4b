"""Values at and beyond the bounds of the CRD's fields, made from the schema itself: a new field cannot be forgotten."""

import json
from dataclasses import dataclass

from stateful_route.api.crd import load_crd

SCHEMA = load_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
NOON = "2026-01-31T12:00:00Z"

BEGINS_WITH = {"spec.redis.url": "redis://", "spec.health.probe.httpGet.path": "/"}
"""How a string must begin to match its pattern; the others are made of the letter a alone."""

ENDS_WITH = {"spec.workloadRef.apiVersion": "/v1"}
"""How a string must end to match its pattern."""

MISMATCHES = {
    "spec.serviceName": ["two words", "{rooms}", "r\u00e4ume"],
    "spec.workloadRef.apiVersion": ["v1", "apps.kruise.io", "apps.kruise.io/v1beta1/x", "Apps/v1", "apps.kruise.io/1"],
    "spec.workloadRef.kind": ["Stateful-Set", "statefulsets.apps", "1Set"],
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
    "spec.workloadRef.kind": {"workloadRef": {"apiVersion": "a/v1"}},
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
    tail = ENDS_WITH.get(".".join(path), "")
    head = max(0, length - len(tail))
    return (BEGINS_WITH.get(".".join(path), "").ljust(head, "a")[:head] + tail)[:length]


def example(node, path):
    """The simplest value of a node."""
    match node:
        case {"enum": [first, *_]}:
            return first
        case {"format": "date-time"}:
            return NOON
        case {"type": "string"}:
            fixed = [words.get(".".join(path), "") for words in (BEGINS_WITH, ENDS_WITH)]
            return text(path, len("".join(fixed)) + 1)
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


def entries(node, path, count):
    """A map of so many entries."""
    child = node["additionalProperties"]
    value = example(child, (*path, "0")) or 1
    return {str(n): value for n in range(count)}


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
        yield entries(node, path, node["maxProperties"])
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
        yield entries(node, path, node["maxProperties"] + 1)
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
