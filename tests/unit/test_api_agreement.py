"""The hand-written CRD and the models say the same; `tests/cluster/crd` proves it on a real API server."""

import re
from functools import reduce

import pytest

from stateful_route.api.conditions import MAX_MESSAGE, Reason
from stateful_route.api.crd import load_crd
from stateful_route.api.spec import PLACEHOLDERS, SCHEMES, StatefulRouteSpec
from stateful_route.api.statefulroute import GROUP, KIND, PLURAL, VERSION
from stateful_route.api.status import StatefulRouteStatus
from stateful_route.domain.placement import Strategy
from stateful_route.domain.policy import OnLoss
from stateful_route.store import connection

CRD = load_crd()
SCHEMA = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
MODELS = {"spec": StatefulRouteSpec, "status": StatefulRouteStatus}
COMPARED = (
    *("type", "enum", "format", "default", "required"),
    *("minimum", "maximum", "minLength", "maxLength", "pattern", "maxItems", "maxProperties"),
)
LIMITS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


def crd_node(node):
    """A node of the CRD in the terms in which both sides are compared."""
    node = dict(node)
    if node.pop("x-kubernetes-int-or-string", False):
        node["type"] = "int-or-string"
        del node["maxLength"]  # it only bounds the cost of the rule, which allows four characters
    if node.get("format") in LIMITS:
        low, high = LIMITS[node.pop("format")]
        node = {"minimum": low, "maximum": high} | node
    if "default" in node:
        node["default"] = defaulted(node, node["default"])
    return node


def defaulted(node, value):
    """``value`` with the defaults of all levels, as the API server fills them in."""
    if node.get("type") != "object":
        return value
    known = node.get("properties", {})
    value = {name: child["default"] for name, child in known.items() if "default" in child} | value
    return {name: defaulted(known[name], inner) for name, inner in value.items()}


def model_node(node, definitions):
    """A node of a model's JSON schema in the same terms."""
    if "$ref" in node:
        node = definitions[node["$ref"].rpartition("/")[2]] | node
    if "anyOf" in node:
        choices = [choice for choice in node["anyOf"] if choice != {"type": "null"}]
        if [choice.get("type") for choice in choices] == ["integer", "string"]:
            node = node | {"type": "int-or-string"}
        else:
            (choice,) = choices
            node = model_node(choice, definitions) | node
    if "const" in node:
        node = node | {"enum": [node["const"]]}
    if node.get("default") is None or node.get("type") == "array":  # no list and an empty one mean the same
        return {key: value for key, value in node.items() if key != "default"}
    return node | {"default": without_none(node["default"])}


def without_none(value):
    return {key: without_none(v) for key, v in value.items() if v is not None} if isinstance(value, dict) else value


def flat(node, path, understand):
    """All nodes under ``path``, by path."""
    node = understand(node)
    facts = {key: node[key] for key in COMPARED if key in node}
    if "required" in facts:
        facts["required"] = sorted(facts["required"])
    children = {f".{name}": child for name, child in node.get("properties", {}).items()}
    children |= {suffix: node[key] for suffix, key in (("[]", "items"), (".*", "additionalProperties")) if key in node}
    return reduce(dict.__or__, (flat(c, path + suffix, understand) for suffix, c in children.items()), {path: facts})


def model_facts(part):
    schema = MODELS[part].model_json_schema()
    return flat(schema, part, lambda node: model_node(node, schema["$defs"]))


IN_CRD = flat(SCHEMA["spec"], "spec", crd_node) | flat(SCHEMA["status"], "status", crd_node)
IN_MODELS = model_facts("spec") | model_facts("status")
IN_MODELS["spec"]["default"] = without_none(StatefulRouteSpec().model_dump())


@pytest.mark.parametrize("path", sorted(IN_CRD.keys() | IN_MODELS.keys()))
def test_crd_and_model_say_the_same_of(path):
    assert IN_MODELS.get(path, "not in the models") == IN_CRD.get(path, "not in the CRD")


def test_the_comparison_sees_every_kind_of_fact():
    seen = {fact for facts in IN_CRD.values() for fact in facts}
    assert seen == set(COMPARED)


def explained(node, path):
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from explained(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in node:
            yield from explained(node[key], path + "[]")


FIELDS = [entry for part in ("spec", "status") for entry in explained(SCHEMA[part], part)]


@pytest.mark.parametrize(("path", "field"), FIELDS, ids=[path for path, _ in FIELDS])
def test_kubectl_explains_in_sentences_and_says_the_default(path, field):
    text = field.get("description", "")
    assert re.fullmatch(r"\S.{15,}\.", text), f"{path} needs a description of at least one sentence"
    default = field.get("default", {})
    assert default == {} or text.endswith(f" Default: {default}."), (
        f"kubectl shows no default but that in the text of {path}"
    )


def test_the_names_in_code_are_those_of_the_crd():
    names = CRD["spec"]["names"]
    assert (CRD["spec"]["group"], names["kind"], names["plural"]) == (GROUP, KIND, PLURAL)
    assert [version["name"] for version in CRD["spec"]["versions"]] == [VERSION]
    assert CRD["metadata"]["name"] == f"{PLURAL}.{GROUP}"


OF_THE_LIBRARY = {Strategy.LEAST_LOAD, Strategy.LEAST_RESPONSE_TIME}
"""The operator asks no pod how quickly it answers."""


def test_the_choices_are_those_that_the_domain_knows():
    assert IN_CRD["spec.placement.strategy"]["enum"] == [
        strategy.value for strategy in Strategy if strategy not in OF_THE_LIBRARY
    ]
    assert IN_CRD["spec.failover.onRestart"]["enum"] == [choice.value for choice in OnLoss]
    assert IN_CRD["spec.failover.onReplace"]["enum"] == [choice.value for choice in OnLoss]


def test_a_url_may_name_every_kind_of_store_that_can_be_connected():
    assert set(SCHEMES) == set(connection.SCHEMES)


def test_the_template_is_explained_with_every_placeholder():
    explained = SCHEMA["spec"]["properties"]["address"]["properties"]["template"]["description"]
    assert all("{" + name + "}" in explained for name in PLACEHOLDERS)


def test_every_reason_can_be_written_to_the_status():
    pattern = IN_CRD["status.conditions[].reason"]["pattern"]
    assert [reason for reason in Reason if not re.fullmatch(pattern, reason)] == []
    assert IN_CRD["status.conditions[].message"]["maxLength"] == MAX_MESSAGE
