"""What the chart makes of values, and what it says of values that do not fit; no cluster is asked."""

import json
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from stateful_route.api.crd import load_crd
from stateful_route.api.spec import Redis
from stateful_route.cli.inspect.rights import operator_rights
from support.account import Account, Permission, permissions
from support.chart_cases import CASES
from support.helm import CHART, REPO, HelmFailed, of_kind, parsed

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
OF_HELM = {"global"}


def leaves(values, schema, path=""):
    """Dotted name → default, of what a user sets."""
    found = {}
    for name, value in values.items():
        properties = schema["properties"][name]
        if "properties" in properties:
            found |= leaves(value, properties, f"{path}{name}.")
        else:
            found[f"{path}{name}"] = value
    return found


LEAVES = leaves(VALUES, SCHEMA)


def described(schema, path=""):
    """Every object and value of the schema: dotted name → its schema."""
    found = {}
    for name, properties in schema.get("properties", {}).items():
        found[f"{path}{name}"] = properties
        found |= described(properties, f"{path}{name}.")
    return found


def deployment(helm, values=None):
    return of_kind(helm.objects(values), "Deployment")[0]


def operator_env(helm, values=None):
    (container,) = deployment(helm, values)["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable for variable in container["env"]}


# The chart itself


@pytest.mark.parametrize("values", [{}, CASES["some namespaces only"], CASES["a Valkey to try it"]], ids=str)
def test_helm_finds_nothing_to_complain_of(helm, values):
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART), values=values)


def test_what_is_taken_from_elsewhere_is_fresh():
    check = [sys.executable, REPO / "tools" / "chart.py", "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def test_every_value_is_in_the_schema_and_every_property_has_a_default():
    def same(values, schema, path=""):
        properties = schema["properties"]
        assert values.keys() == properties.keys() - OF_HELM, path
        assert schema["additionalProperties"] is False, path
        for name, value in values.items():
            if "properties" in properties[name]:
                same(value, properties[name], f"{path}{name}.")

    same(VALUES, SCHEMA)


@pytest.mark.parametrize("name", described(SCHEMA))
def test_the_schema_describes(name):
    description = described(SCHEMA)[name].get("description", "")
    assert description.endswith("."), name
    assert description[0].isupper(), name


def test_the_readme_has_a_row_for_each_value():
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| (.+) \|$", (CHART / "README.md").read_text(), re.MULTILINE)
    assert {name: json.loads(default) for name, default, _ in rows} == LEAVES


# Every value has an effect

SWITCHES = [name for name, default in LEAVES.items() if isinstance(default, bool)]
WORDS = [name for name in LEAVES if name not in SWITCHES]
ALL_ON = dict.fromkeys(SWITCHES, True) | {"valkey.enabled": False}
STORES = ("redis.url", "redis.existingSecret.name", "valkey.enabled")


def word(name):
    """A text that no other value has."""
    return f"x{WORDS.index(name):02}x"


def worded(name):
    """A value of the right form with that text in it."""
    default, text = LEAVES[name], word(name)
    if name == "redis.url":
        return f"redis://{text}?password_file=/etc/stateful-route/login/password"
    if name == "redis.secretNames":
        return {word("watchNamespaces"): [text]}
    if name == "watchNamespaces":
        return [text]
    if name == "workloads":
        return [{"group": text, "resources": [text]}]
    if isinstance(default, list):
        return [{"name": text}]
    return {"x": text} if isinstance(default, dict) else text


@pytest.fixture(scope="module")
def worded_manifests(helm):
    """All values replaced, with one store after the other: the schema, which would refuse, is not asked."""
    replaced = {name: worded(name) for name in WORDS}
    manifests = []
    for store in STORES:
        others = {"redis.url": "", "redis.existingSecret.name": "", "valkey.enabled": False} | {"image.digest": ""}
        one = {store: True if store == "valkey.enabled" else replaced[store]}
        if store != "redis.url":
            one["redis.passwordSecret.name"] = ""
        manifests.append(helm.template(ALL_ON | replaced | others | one, "--skip-schema-validation"))
    by_digest = replaced | {"redis.url": "", "redis.existingSecret.name": "", "redis.passwordSecret.name": ""}
    manifests.append(helm.template(ALL_ON | by_digest, "--skip-schema-validation"))
    return "".join(manifests)


@pytest.mark.parametrize("name", WORDS)
def test_it_gets_into_an_object(worded_manifests, name):
    assert word(name) in worded_manifests


@pytest.mark.parametrize("name", SWITCHES)
def test_it_makes_a_difference(helm, name):
    def made(value):
        stored = {"valkey.enabled": True} if name.startswith("valkey.") else {}
        manifests = helm.template(ALL_ON | stored | {name: value})
        return re.sub(r"^  (password|url|valkey.conf): .*$", "", manifests, flags=re.MULTILINE)

    assert made(True) != made(False)


# Values that do not fit

BAD = {
    "a value that does not exist": ({"watchNamespace": ["games"]}, "watchNamespace"),
    "a misspelt one deep inside": ({"redis.existingSecret.nmae": "x"}, "nmae"),
    "a word for a number": ({"replicas": "two"}, "/replicas"),
    "a negative number": ({"replicas": -1}, "/replicas"),
    "a port that needs root": ({"healthPort": 80}, "/healthPort"),
    "a password in the URL": ({"redis.url": "redis://app:secret@valkey:6379"}, "redis.url"),
    "a URL of something else": ({"redis.url": "http://:secret@valkey"}, "redis.url"),
    "a URL with a space": ({"redis.url": "redis://valkey :secret@valkey"}, "redis.url"),
    "a namespace that cannot be": ({"watchNamespaces": ["Games"]}, "/watchNamespaces/0"),
    "a namespace twice": ({"watchNamespaces": ["games", "games"]}, "/watchNamespaces"),
    "all Secrets of a namespace": ({"redis.secretNames": {"games": []}}, "/redis/secretNames/games"),
    "an unknown pull policy": ({"image.pullPolicy": "Sometimes"}, "/image/pullPolicy"),
    "half a digest": ({"image.digest": "sha256:12"}, "/image/digest"),
    "an unknown level": ({"operator.logLevel": "LOUD"}, "/operator/logLevel"),
    "a resync that starves the entries": ({"operator.resyncSeconds": 300}, "/operator/resyncSeconds"),
}


@pytest.mark.parametrize(("values", "named"), BAD.values(), ids=BAD)
def test_the_message_names(helm, values, named):
    with pytest.raises(HelmFailed) as refused:
        helm.template(values)
    said = str(refused.value)
    assert named in said or named.strip("/").replace("/", ".") in said
    assert "secret@" not in said, "the message holds no password"
    assert "=secret" not in said, "the message holds no password"


WITH_A_PASSWORD = [
    "redis://app:secret@valkey:6379",
    "redis://:secret@valkey",
    "redis://app:sec/ret@valkey",
    "redis://valkey:6379?password=secret",
    "redis+sentinel://valkey:26379/main?sentinel_password=secret",
    "redis://valkey?sentinel_password=secret",
    "rediss://valkey?db=1&ssl_password=secret",
    "rediss+sentinel://valkey/main?sentinel_ssl_password=secret",
    "unix:///run/valkey.sock?password=secret",
    "redis://valkey?passwor%64=secret",
    "redis://valkey?PASSWORD=secret",
]


@pytest.mark.parametrize("url", WITH_A_PASSWORD)
def test_a_url_with_a_password_is_refused_in_words_that_do_not_have_it(helm, url):
    with pytest.raises(HelmFailed) as refused:
        helm.template({"redis.url": url})
    assert "redis.url has a password" in str(refused.value)
    assert "redis.existingSecret.name" in str(refused.value)
    assert "=secret" not in str(refused.value)
    assert "secret@" not in str(refused.value)
    with pytest.raises(ValidationError, match="password"):  # of a StatefulRoute, too
        Redis(url=url)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://app@a:1,b:2/main?sentinel_password_file=/etc/stateful-route/login/password",
        "redis://valkey?password_file=%2Fetc%2Fstateful-route%2Flogin%2Fpassword&db=3",
        "rediss+cluster://[fd00::5]:6379,[fd00::6]:6379?password_file=/etc/stateful-route/login/password",
    ],
)
def test_a_url_that_names_the_mounted_password_is_taken(helm, url):
    env = operator_env(helm, {"redis.url": url, "redis.passwordSecret.name": "login"})
    assert env["STATEFUL_ROUTE_REDIS_URL"]["value"] == url


LOGIN = {"redis.passwordSecret.name": "login"}
CONTRADICTIONS = {
    "a password for no URL": (LOGIN, ["redis.passwordSecret.name", "redis.url"]),
    "a password beside a URL in a Secret": (
        LOGIN | {"redis.existingSecret.name": "store"},
        ["redis.passwordSecret.name", "redis.existingSecret"],
    ),
    "a password for the Valkey of the chart": (LOGIN | {"valkey.enabled": True}, ["redis.passwordSecret.name"]),
    "a password that the URL does not name": (
        LOGIN | {"redis.url": "redis://app@valkey"},
        ["redis.passwordSecret.name", "password_file=/etc/stateful-route/login/password"],
    ),
    "a password that the URL seeks elsewhere": (
        LOGIN | {"redis.url": "redis://app@valkey?password_file=/etc/password"},
        ["redis.passwordSecret.name", "password_file=/etc/stateful-route/login/password"],
    ),
    "two default stores": ({"redis.url": "redis://a", "valkey.enabled": True}, ["redis.url", "valkey.enabled"]),
    "two operators without an election": (
        {"replicas": 2, "leaderElection.enabled": False},
        ["replicas", "leaderElection.enabled"],
    ),
    "a Secret of a namespace that is not served": (
        {"watchNamespaces": ["games"], "redis.secretNames": {"chat": ["store"]}},
        ["redis.secretNames", '"chat"', "watchNamespaces"],
    ),
}


@pytest.mark.parametrize(("values", "named"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_the_message_explains(helm, values, named):
    with pytest.raises(HelmFailed) as refused:
        helm.template(values)
    assert all(word in str(refused.value) for word in named)


# What the documents say

SET = re.compile(r"^\s*(helm (?:install|upgrade) (?:.*\\\n)*.*)$|`(--set[^`]* [^`]+)`", re.MULTILINE)
PAGES = [REPO / "README.md", CHART / "README.md", *sorted((REPO / "docs").rglob("*.md"))]


def documented_flags():
    """The ``--set…`` flags of each command, and of each piece of code that begins with one."""
    for page in PAGES:
        for match in SET.finditer(page.read_text()):
            words = shlex.split(match[1] or match[2])
            flags = [word for pair in pairwise(words) for word in pair if pair[0].startswith("--set")]
            if flags:
                yield f"{page.relative_to(REPO)}: {' '.join(flags)}", flags


FLAGS = dict(documented_flags())


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
def test_the_documented_flags_are_taken(helm, flags):
    (operator,) = of_kind(list(parsed(helm.template(None, *flags))), "Deployment")
    for _, given in filter(lambda pair: pair[0].startswith("--set"), pairwise(flags)):
        name, _, url = given.partition("=")
        if name == "redis.url":
            assert {"name": "STATEFUL_ROUTE_REDIS_URL", "value": url.replace("\\,", ",")} in (
                operator["spec"]["template"]["spec"]["containers"][0]["env"]
            )


def test_urls_with_commas_are_documented():
    assert any("redis.url=redis+cluster://node-0:6379,node-1:6379" in flags for flags in FLAGS.values())


# What is in the objects


def test_the_readme_lists_what_the_operator_may_do(helm):
    readme = (CHART / "README.md").read_text().partition("## What the operator may do")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([a-z/]+) \| ([^|]+) \|", readme, re.MULTILINE)
    told = {(resource, verb) for resource, verbs in rows for verb in re.findall("get|list|watch|patch|create", verbs)}
    account = Account("default", "try-stateful-route")
    modes = ({}, {"watchNamespaces": ["games"], "redis.secretNames": {"games": ["rooms"]}})
    granted = set().union(*(permissions(helm.objects(values), account) for values in modes))
    assert told == {(permission.resource, permission.verb) for permission in granted}


@pytest.mark.parametrize("elected", [True, False], ids=["with a Lease", "without"])
@pytest.mark.parametrize("watched", [["games", "chat"], []], ids=["some namespaces", "all namespaces"])
def test_the_doctor_asks_for_the_rights_that_the_chart_grants_the_operator(helm, watched, elected):
    values = {"watchNamespaces": watched, "leaderElection.enabled": elected}
    environment = {name: variable.get("value", "") for name, variable in operator_env(helm, values).items()}
    account = Account("default", "try-stateful-route")
    asked = {
        Permission(
            None if right.everywhere else right.namespace or served, right.group, right.resource, right.verb, name
        )
        for right in operator_rights(environment)
        for served in watched or [None]
        for name in [right.name or None]
    }
    assert asked == permissions(helm.objects(values), account)


@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
def test_no_pod_is_more_than_it_must_be(helm, values):
    pods = [
        body["spec"] if body["kind"] == "Pod" else body["spec"]["template"]["spec"]
        for body in helm.objects(values)
        if body["kind"] in {"Deployment", "StatefulSet", "Job", "Pod"}
    ]
    assert pods
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} == container["resources"]["requests"].keys()
            assert not container["image"].endswith(":latest")


@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
def test_no_role_allows_everything_or_all_secrets(helm, values):
    for body in helm.objects(values):
        for rule in body.get("rules", ()) if body["kind"] in {"Role", "ClusterRole"} else ():
            assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
            if "secrets" in rule["resources"]:
                assert body["kind"] == "Role"
                assert rule["resourceNames"]
                assert rule["verbs"] == ["get"]


def test_workloads_are_read_only_where_they_are_listed_and_only_where_the_operator_serves(helm):
    group = "apps.kruise.io"

    def rules(values):
        bodies = [body for kind in ("Role", "ClusterRole") for body in of_kind(helm.objects(values), kind)]
        return [(body["kind"], rule) for body in bodies for rule in body["rules"] if group in rule["apiGroups"]]

    listed = {"workloads": [{"group": group, "resources": ["statefulsets"]}]}
    rule = {"apiGroups": [group], "resources": ["statefulsets", "statefulsets/scale"], "verbs": ["get"]}
    assert rules({}) == []
    assert rules(listed) == [("ClusterRole", rule)]
    assert rules(listed | {"watchNamespaces": ["games", "chat"]}) == [("Role", rule)] * 2


def test_with_a_secret_of_the_user_every_render_of_the_trial_valkey_is_the_same(helm):
    values = {"valkey.enabled": True, "valkey.existingSecret.name": "trial"}
    assert helm.template(values) == helm.template(values)
    assert of_kind(helm.objects(values), "Secret") == []
    url = operator_env(helm, values)["STATEFUL_ROUTE_REDIS_URL"]["valueFrom"]["secretKeyRef"]
    (valkey,) = of_kind(helm.objects(values), "StatefulSet")
    pod = valkey["spec"]["template"]["spec"]
    (config,) = (volume["secret"] for volume in pod["volumes"] if volume["name"] == "config")
    assert (url["name"], config["secretName"]) == ("trial", "trial")
    assert pod["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"] == {"name": "trial", "key": "password"}


def test_no_pod_has_a_fixed_user_where_the_cluster_gives_out_user_ids(helm):
    ids = ("runAsUser", "runAsGroup", "fsGroup")
    places = ("podSecurityContext", "valkey.podSecurityContext")
    objects = helm.objects({"valkey.enabled": True} | {f"{place}.{name}": None for place in places for name in ids})
    pods = [
        body["spec"]["template"]["spec"] for body in objects if body["kind"] in {"Deployment", "StatefulSet", "Job"}
    ]
    assert len(pods) == 3
    for pod in pods:
        assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_with_namespaces_nothing_of_a_namespace_is_granted_in_the_whole_cluster(helm):
    objects = helm.objects(CASES["some namespaces only"])
    granted = {
        resource for body in of_kind(objects, "ClusterRole") for rule in body["rules"] for resource in rule["resources"]
    }
    assert granted == {"namespaces", "nodes", "customresourcedefinitions"}
    assert {body["metadata"]["namespace"] for body in of_kind(objects, "Role")} == {"games", "chat", "default"}


def test_without_an_election_the_old_operator_ends_first(helm):
    assert deployment(helm)["spec"]["strategy"] == {"type": "RollingUpdate"}
    assert deployment(helm, {"leaderElection.enabled": False})["spec"]["strategy"] == {"type": "Recreate"}
    assert operator_env(helm, {"leaderElection.enabled": False})["STATEFUL_ROUTE_LEASE_NAME"]["value"] == ""


def test_the_url_of_the_store_is_in_no_manifest_but_its_secret(helm):
    for values in ({"valkey.enabled": True}, {"redis.existingSecret.name": "store"}):
        assert "secretKeyRef" in operator_env(helm, values)["STATEFUL_ROUTE_REDIS_URL"]["valueFrom"]
    assert "STATEFUL_ROUTE_REDIS_URL" not in operator_env(helm)


def test_the_crd_is_the_one_of_the_operator_and_is_kept_unless_told_otherwise(helm):
    for keep in (True, False):
        (crd,) = of_kind(helm.objects({"crds.keep": keep}), "CustomResourceDefinition")
        assert (crd["metadata"].pop("annotations", {}).get("helm.sh/resource-policy") == "keep") is keep
        assert crd["metadata"].pop("labels")["app.kubernetes.io/managed-by"] == "Helm"
        assert crd == load_crd()


def test_prometheus_finds_the_metrics_under_the_name_that_alerts_and_dashboard_use(helm):
    objects = helm.objects(CASES["everything for Prometheus and Grafana"])
    (monitor,), (rule,) = of_kind(objects, "ServiceMonitor"), of_kind(objects, "PrometheusRule")
    (service,) = of_kind(objects, "Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} == {"metrics"}
    assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "stateful-route"
    assert all(endpoint["honorLabels"] for endpoint in monitor["spec"]["endpoints"])
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert rule["spec"] == yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())
    (dashboard,) = of_kind(objects, "ConfigMap")
    assert json.loads(dashboard["data"]["stateful-route.json"])["panels"]


def test_the_names_of_two_releases_do_not_meet(helm):
    def names(namespace):
        objects = helm.objects(CASES["some namespaces only"] | {"crds.enabled": False}, namespace=namespace)
        return {(body["kind"], body["metadata"].get("namespace"), body["metadata"]["name"]) for body in objects}

    assert not names("one") & names("two")


def test_a_package_has_all_that_is_needed(helm, tmp_path):
    helm("package", str(CHART), "--destination", str(tmp_path))
    (package,) = tmp_path.glob("stateful-route-*.tgz")
    shown = helm("show", "all", str(package))
    assert (CHART / "README.md").read_text().strip() in shown
    assert "kind: CustomResourceDefinition" in helm("template", "try", str(package))
    assert Path(package).stat().st_size < 100_000
