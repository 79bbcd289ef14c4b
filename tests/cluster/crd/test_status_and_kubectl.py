"""What people see of a StatefulRoute: its status, and what kubectl makes of it."""

import re

import pytest

from stateful_route.api.crd import load_crd
from stateful_route.api.statefulroute import GROUP
from support.crd_cases import NOON
from support.crd_server import Refused

NAME = load_crd()["metadata"]["name"]
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
