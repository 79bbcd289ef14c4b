"""Each field of the CRD: server and models agree on bounds, defaults and unknown fields."""

import pytest
from pydantic import ValidationError

from stateful_route.api.spec import StatefulRouteSpec
from stateful_route.api.statefulroute import InvalidResource, StatefulRoute
from stateful_route.api.status import StatefulRouteStatus
from support.crd_cases import MISMATCHES, SCHEMA, cases, walk
from support.crd_server import BAD_REQUEST, UNPROCESSABLE, Refused

CUT = "status.conditions.[].message"
"""The one field of which the model makes something that fits; see `Condition`."""


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
