"""A StatefulRoute as the operator reads it from the API server and writes its status."""

from copy import deepcopy
from datetime import UTC, datetime
from types import MappingProxyType

import pytest
from pydantic import ValidationError

from stateful_route.api.conditions import Condition
from stateful_route.api.spec import StatefulRouteSpec
from stateful_route.api.statefulroute import InvalidResource, StatefulRoute
from stateful_route.api.status import LastMigration, PodCounts, StatefulRouteStatus

BODY = {
    "apiVersion": "statefulroute.io/v1alpha1",
    "kind": "StatefulRoute",
    "metadata": {
        "name": "rooms",
        "namespace": "game",
        "uid": "31f8cca0-55ba-4c05-824e-9d1c165ae6c3",
        "generation": 3,
        "resourceVersion": "2706",
        "creationTimestamp": "2026-01-31T12:00:00Z",
    },
}
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def body(**parts):
    return deepcopy(BODY) | parts


def test_a_resource_without_a_spec_routes_the_statefulset_of_its_name():
    route = StatefulRoute.parse(body())
    assert route.spec == StatefulRouteSpec()
    assert route.status == StatefulRouteStatus()
    assert (route.service_name, route.workload_name) == ("rooms", "rooms")


def test_names_in_the_spec_go_before_the_name_of_the_resource():
    route = StatefulRoute.parse(body(spec={"serviceName": "Rooms", "workloadRef": {"name": "rooms-v2"}}))
    assert (route.service_name, route.workload_name) == ("Rooms", "rooms-v2")


def test_metadata_is_read_with_aware_times():
    deleted = BODY["metadata"] | {"deletionTimestamp": "2026-01-31T13:00:00+01:00", "finalizers": ["a/b"]}
    metadata = StatefulRoute.parse(body(metadata=deleted)).metadata
    assert metadata.deletion_timestamp == NOON
    assert (metadata.generation, metadata.finalizers, metadata.annotations) == (3, ("a/b",), {})


def test_any_mapping_is_read_not_only_a_dict():
    assert StatefulRoute.parse(MappingProxyType(body())) == StatefulRoute.parse(body())


def test_fields_of_a_newer_crd_are_ignored():
    newer = body(spec={"links": {"temporaryTTLSeconds": 90, "new": 1}, "new": {}}, status={"new": 1}, new=1)
    assert StatefulRoute.parse(newer).spec.links.temporary_ttl_seconds == 90


def test_weights_are_by_ordinal():
    route = StatefulRoute.parse(body(spec={"placement": {"weights": {"0": 3, "10": 0}}}))
    assert route.spec.placement.weights == {0: 3, 10: 0}


UNFIT = {
    "a number below its bound": ({"links": {"temporaryTTLSeconds": 89}}, "spec.links.temporaryTTLSeconds"),
    "a word that is no choice": ({"drain": {"mode": "Maybe"}}, "spec.drain.mode"),
    "a weight for no ordinal": ({"placement": {"weights": {"8192": 1}}}, "spec.placement.weights.8192"),
    "two sources of the store": (
        {"redis": {"url": "redis://cache", "urlSecretRef": {"name": "cache"}}},
        "spec.redis",
    ),
    "a probe without a way": ({"health": {"probe": {}}}, "spec.health.probe"),
    "no percentage": ({"failover": {"maxUnavailable": "half"}}, "spec.failover.maxUnavailable"),
}


@pytest.mark.parametrize(("spec", "path"), UNFIT.values(), ids=UNFIT)
def test_what_does_not_fit_is_named_by_its_path(spec, path):
    with pytest.raises(InvalidResource, match="StatefulRoute game/rooms does not fit") as error:
        StatefulRoute.parse(body(spec=spec))
    assert list(error.value.problems) == [path]
    assert path in str(error.value)


def test_all_that_does_not_fit_is_named_at_once():
    with pytest.raises(InvalidResource) as error:
        StatefulRoute.parse(body(spec={"drain": {"mode": "Maybe"}, "repair": {"periodSeconds": 29}}))
    assert error.value.problems.keys() == {"spec.drain.mode", "spec.repair.periodSeconds"}


@pytest.mark.parametrize("url", ["redis://:hunter2@cache", "http://hunter2@cache"])
def test_an_error_never_repeats_a_url(url):
    with pytest.raises(InvalidResource) as error:
        StatefulRoute.parse(body(spec={"redis": {"url": url}}))
    assert "hunter2" not in str(error.value)
    assert error.value.__suppress_context__
    assert "hunter2" not in str(error.value.__context__)


def test_a_body_that_is_no_resource_is_refused_in_the_same_way():
    with pytest.raises(InvalidResource, match=r"\?/\?"):
        StatefulRoute.parse({})


def test_a_status_of_another_version_does_not_keep_the_operator_from_writing_its_own():
    assert StatefulRoute.parse(body(status={"links": "many", "pods": 3})).status == StatefulRouteStatus()


def test_a_resource_cannot_be_changed():
    route = StatefulRoute.parse(body())
    with pytest.raises(ValidationError):
        route.spec.links.temporary_ttl_seconds = 5


def test_a_status_that_is_written_reads_the_same():
    status = StatefulRouteStatus(
        observed_generation=3,
        conditions=(Condition(type="Ready", status="True", reason="Routing", message="", last_transition_time=NOON),),
        pods=PodCounts(ready=2, denying=1, shutdown=0),
        links=12,
        last_migration=LastMigration(pod="rooms-0", ordinal=0, reason="Gone", moved=4, start_time=NOON),
        last_probe_time=NOON,
    )
    written = status.body()
    assert written["lastMigration"] == {
        "pod": "rooms-0",
        "ordinal": 0,
        "reason": "Gone",
        "moved": 4,
        "startTime": "2026-01-31T12:00:00Z",
    }
    assert StatefulRoute.parse(body(status=written)).status == status
