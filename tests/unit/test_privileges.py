"""The judgement on what operators asked for: what was denied fails the session, and so does what is granted in vain."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from support.account import Account, Permission
from support.audit import audit_request
from support.privileges import Enrolled, Findings, complaints, examined, summary, union

ROUTES = "statefulroute.io"
RIGHTS = frozenset(
    {
        Permission("games", ROUTES, "statefulroutes", "list", None),
        Permission(None, "", "namespaces", "get", "kube-system"),
        Permission("games", "", "pods", "watch", None),
    }
)
LISTS_ROUTES = "stateful-route in some namespaces, Role: list statefulroutes.statefulroute.io"
GETS_CLUSTER = "stateful-route in some namespaces, ClusterRole: get namespaces 'kube-system'"
WATCHES_PODS = "stateful-route in some namespaces, Role: watch pods"
TEST = "tests/cluster/operator/test_routes.py::test_one"
ACCOUNT = Account("games", "stateful-route")
ENROLLED = Enrolled(ACCOUNT, RIGHTS, TEST)


def line(verb, uri, ref=None, *, user=ACCOUNT.user, decision="allow", code=200, agent="Python"):
    """One of the audit log, with what the judgement goes by."""
    annotations = {"authorization.k8s.io/decision": decision} if decision else {}
    event = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "stage": "ResponseComplete",
        "requestURI": uri,
        "requestReceivedTimestamp": "2026-11-22T10:00:05.123456Z",
        "verb": verb,
        "user": {"username": user},
        "userAgent": agent,
        "responseStatus": {"metadata": {}, "code": code},
        "annotations": annotations,
    }
    return json.dumps(event | ({"objectRef": ref} if ref else {}))


LIST = line(
    "list",
    "/apis/statefulroute.io/v1alpha1/namespaces/games/statefulroutes",
    {"resource": "statefulroutes", "namespace": "games", "apiGroup": ROUTES, "apiVersion": "v1alpha1"},
    agent="kopf/1.45.2",
)
CLUSTER = line(
    "get",
    "/api/v1/namespaces/kube-system",
    {"resource": "namespaces", "namespace": "kube-system", "name": "kube-system", "apiVersion": "v1"},
)
WATCH = line(
    "watch",
    "/api/v1/namespaces/games/pods?watch=true",
    {"resource": "pods", "namespace": "games", "apiVersion": "v1"},
    agent="kopf/1.45.2",
)
SECRET = "/api/v1/namespaces/games/secrets/store"
SECRET_REF = {"resource": "secrets", "namespace": "games", "name": "store", "apiVersion": "v1"}
DENIED = line("get", SECRET, SECRET_REF, decision="forbid", code=403)
ALL = (LIST, CLUSTER, WATCH)


def found(*lines, enrolled=ENROLLED, whole=True):
    return replace(examined([enrolled], map(audit_request, lines)), whole=whole)


def test_nothing_is_said_of_operators_that_use_what_they_have_and_no_more():
    seen = found(*ALL)
    assert complaints(seen) == []
    assert seen.used == seen.granted == {LISTS_ROUTES, GETS_CLUSTER, WATCHES_PODS}
    assert summary(seen) == ("1 accounts made 3 different requests, none denied; 3 of 3 rights of the chart were used")


def test_a_request_that_was_denied_is_named_with_its_test():
    (complaint,) = complaints(found(*ALL, DENIED))
    assert complaint.startswith(f"DENIED   {TEST}: get {SECRET}; grant it")
    (complaint,) = complaints(found(DENIED, whole=False))
    assert SECRET in complaint, "whatever else has run"


@pytest.mark.parametrize("resource", ["secrets/status", "nodes"])
def test_what_a_test_leaves_out_on_purpose_excuses_that_alone(resource):
    poor = replace(ENROLLED, lacks=frozenset({"secrets"}))
    assert complaints(found(*ALL, DENIED, enrolled=poor)) == []
    name, _, subresource = resource.partition("/")
    other = line("get", "/other", {"resource": name, "subresource": subresource}, decision="forbid", code=403)
    (complaint,) = complaints(found(*ALL, DENIED, other, enrolled=poor))
    assert "get /other" in complaint


def test_an_excuse_that_nobody_needs_is_told():
    (complaint,) = complaints(found(*ALL, enrolled=replace(ENROLLED, lacks=frozenset({"secrets"}))))
    assert complaint.startswith(f"EXCUSED  {TEST}: secrets; nothing of it was denied")


def test_what_the_api_server_does_not_know_at_all_may_be_asked_for_and_must_not_be_denied():
    apis = line("get", "/apis")
    assert complaints(found(*ALL, apis)) == []
    (complaint,) = complaints(found(*ALL, line("get", "/metrics", decision="forbid", code=403)))
    assert "get /metrics" in complaint


@pytest.mark.parametrize(("began", "ended", "excused"), [("04", "06", True), ("06", "07", False), ("03", "05", False)])
def test_an_api_server_that_is_not_ready_yet_may_refuse(began, ended, excused):
    span = (f"2026-11-22T10:00:{began}.000000Z", f"2026-11-22T10:00:{ended}.000000Z")
    seen = examined([ENROLLED], map(audit_request, (*ALL, DENIED)), [span])
    assert (complaints(seen) == []) is excused
    assert ("none denied but 1 by an API server that had just been started" in summary(seen)) is excused


def test_a_refusal_by_admission_is_no_lack_of_rights():
    ending = line("list", "/x", json.loads(LIST)["objectRef"], code=403)
    assert complaints(found(*ALL, ending)) == []


def test_a_right_that_nobody_used_is_named():
    (complaint,) = complaints(found(LIST, WATCH))
    assert complaint.startswith(f"UNUSED   {GETS_CLUSTER}; take it out")
    assert complaints(found(LIST, WATCH, whole=False)) == [], "a part of the tests need not use all"


def test_a_right_on_something_else_does_not_count_as_used():
    elsewhere = line("watch", "/x", {"resource": "pods", "namespace": "chat"})
    other_name = line("get", "/y", {"resource": "namespaces", "name": "default", "namespace": "default"})
    subresource = line("list", "/z", {"resource": "statefulroutes", "subresource": "status", "apiGroup": ROUTES})
    assert found(elsewhere, other_name, subresource).used == set()


def test_the_rights_of_both_modes_are_told_apart():
    everywhere = Permission(None, ROUTES, "statefulroutes", "list", None)
    pods = Permission(None, "", "pods", "watch", None)
    other = Enrolled(Account("other", "stateful-route"), frozenset({everywhere, pods}), TEST)
    requests = [audit_request(LIST), audit_request(LIST)._replace(user=other.account.user, namespace="")]
    seen = replace(examined([ENROLLED, other], requests), whole=True)
    assert "stateful-route in all namespaces, ClusterRole: list statefulroutes.statefulroute.io" in seen.used
    assert "UNUSED   stateful-route in all namespaces, ClusterRole: watch pods" in "\n".join(complaints(seen))


def test_a_right_on_its_own_namespace_is_one_right_of_all_releases():
    enrolled = [
        Enrolled(Account(name, "stateful-route"), frozenset({Permission(None, "", "namespaces", "get", name)}), TEST)
        for name in ("games", "chat")
    ]
    asked = line("get", "/x", {"resource": "namespaces", "namespace": "games", "name": "games"})
    seen = examined(enrolled, [audit_request(asked)])
    assert seen.granted == seen.used == {"stateful-route in some namespaces, ClusterRole: get namespaces of its own"}


@pytest.mark.parametrize("user", ["kubernetes-admin", "system:serviceaccount:games:default"])
def test_an_operator_that_runs_as_somebody_else_is_found_by_its_framework(user):
    stranger = line("watch", "/apis/statefulroute.io/v1alpha1/statefulroutes", user=user, agent="kopf/1.45.2")
    (complaint,) = complaints(found(*ALL, stranger))
    assert complaint.startswith(f"STRANGER {user}: watch /apis/statefulroute.io")
    assert complaints(found(*ALL, line("watch", "/x", user=user, agent="kubectl/v1.36.1"))) == []


def test_where_no_log_is_written_nothing_is_judged_and_that_is_said():
    seen = replace(found(), unaudited={"the cluster of kubeconfig 'mine'"})
    assert complaints(seen) == []
    assert summary(seen) == "not examined, for want of an audit log: the cluster of kubeconfig 'mine'"


def test_all_tests_without_a_single_request_are_no_proof():
    assert [text.split()[0] for text in complaints(Findings(whole=True))] == ["NOTHING"]
    assert complaints(Findings()) == []
    renamed = (text.replace("kopf/", "framework/") for text in ALL)
    assert ["came from kopf/" in text for text in complaints(found(*renamed))] == [True]


def test_what_one_worker_has_not_used_another_may_have():
    one, other = (Findings.of(json.loads(json.dumps(found(*lines).as_dict()))) for lines in ((LIST,), (CLUSTER, WATCH)))
    assert len(complaints(one)) == 2
    assert complaints(union([one, other])) == []
    assert not union([one, replace(other, whole=False)]).whole


CONFTEST = """
import pytest
from support.audit import audit_request
from support.privileges import NAME, Privileges
from test_privileges import ENROLLED

def pytest_configure(config):
    config.pluginmanager.register(Privileges(config, [path for path in config.rootpath.glob("test_it*.py")]), NAME)

@pytest.fixture(scope="session", autouse=True)
def operators(pytestconfig):
    plugin = pytestconfig.pluginmanager.get_plugin(NAME)
    plugin.enroll(ENROLLED)
    yield
    plugin.hear(map(audit_request, (pytestconfig.rootpath / "audit.log").read_text().splitlines()))
"""
FILES = ("test_it_a.py", "test_it_b.py")


@pytest.mark.parametrize(
    ("workers", "chosen", "words"),
    [(2, FILES, ["DENIED", "UNUSED"]), (0, FILES[:1], ["DENIED"])],
    ids=["all tests, two at a time", "one test"],
)
def test_a_session_whose_operators_were_denied_fails(workers, chosen, words, tmp_path):
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "audit.log").write_text(f"{LIST}\n{CLUSTER}\n{DENIED}")
    for name in FILES:
        (tmp_path / name).write_text("def test_one(): pass")
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parent)])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "xdist", f"-n{workers}", "-q", "-p", "no:cacheprovider", *chosen],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert re.findall(r"^(?:DENIED|UNUSED|STRANGER|EXCUSED|NOTHING)", done.stdout, re.MULTILINE) == words, done.stdout
    assert re.search(r"^[12] passed", done.stdout, re.MULTILINE), "the tests themselves did not"
