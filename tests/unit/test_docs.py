"""What the documents show is true: every reason is explained, every example fits, every link leads somewhere."""

import re
import tomllib
from dataclasses import replace
from itertools import product
from pathlib import Path, PurePath
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from stateful_route.api import conditions
from stateful_route.api.crd import load_crd
from stateful_route.api.spec import StatefulRouteSpec
from stateful_route.api.statefulroute import GROUP, KIND, VERSION, StatefulRoute
from stateful_route.domain import routing
from stateful_route.domain.aliveness import Author, ServiceState
from stateful_route.domain.lifecycle import Memory, Situation, judge
from stateful_route.domain.pod import PodFacts
from stateful_route.domain.policy import OnLoss, Policy
from stateful_route.drivers.identity import Identity
from stateful_route.kube.pods import DRAIN_ANNOTATION
from stateful_route.reconcile.spec import config_of
from stateful_route.store.keys import META, Service
from stateful_route.store.layout import LAYOUT_VERSION

REPO = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*REPO.glob("*.md"), *REPO.glob("docs/**/*.md")])
EXAMPLES = sorted(REPO.glob("examples/*.yaml"))
README = (REPO / "README.md").read_text()
REASONS = (REPO / "docs" / "reasons.md").read_text()
LAYOUT = (REPO / "docs" / "store-layout.md").read_text()
PODS = (REPO / "docs" / "how-to" / "pods.md").read_text()
STORES = (REPO / "docs" / "how-to" / "stores.md").read_text()
CONTRIBUTING = (REPO / "CONTRIBUTING.md").read_text()
FULL_EXAMPLE = (REPO / "examples" / "statefulroute.yaml").read_text()
SPEC_SCHEMA = load_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]


def section(document: str, title: str) -> str:
    """The text under a heading of the second level."""
    parts = re.split(r"^## (.+)$", document, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))[title]


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in a text, without heads and rules."""
    found = []
    for line, following in zip(text.splitlines(), [*text.splitlines()[1:], ""], strict=True):
        if line.startswith("|") and not line.startswith("| ---") and not following.startswith("| ---"):
            found.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", document, flags=re.DOTALL | re.MULTILINE)


POD_REASONS = {row[0].strip("`"): row[1:] for row in rows(section(REASONS, "Why a pod has its state"))}
CONDITION_REASONS = {row[1].strip("`"): row for row in rows(section(REASONS, "Conditions"))}


def test_every_reason_of_a_pod_is_explained_and_no_other():
    assert set(POD_REASONS) == set(routing.Reason)


def test_every_reason_of_a_condition_is_explained_and_no_other():
    assert set(CONDITION_REASONS) == set(conditions.Reason)


def test_every_condition_has_reasons_and_there_is_no_other():
    named = {name for row in CONDITION_REASONS.values() for name in row[0].split(", ")}
    assert named == set(conditions.ConditionType)


@pytest.mark.parametrize("table", ["Why a pod has its state", "Conditions"])
def test_every_reason_says_what_it_means_and_what_to_do(table):
    assert [
        row
        for row in rows(section(REASONS, table))
        if len(row) != 5 or len(row[3]) < 15 or not row[4].endswith((".", "`."))
    ] == []


def test_the_states_and_actions_are_those_that_exist():
    assert {state for state, *_ in POD_REASONS.values()} == {*routing.RoutingState, "any"}
    assert {links for _, links, *_ in POD_REASONS.values()} == {*routing.LinkAction, "any"}


def every_verdict() -> dict[routing.Reason, set[tuple[str, str]]]:
    """What the rules say in all kinds of situations: reason → its states and actions."""
    now = 1000.0
    fixed = {"name": "rooms-0", "ordinal": 0, "uid": "1", "resource_version": 1}
    booleans = [False, True]
    pods: list[PodFacts | None] = [None]
    for ready, ends, ended, drain, lost in product(booleans, [None, now - 1, now + 1], *[booleans] * 3):
        pod = PodFacts(**fixed, ready=ready, deletion_time=ends, containers_terminated=ended)
        pods += [replace(pod, drain_requested=drain, node_lost=lost), replace(pod, phase="Failed")]
        pods += [replace(pod, disowned=True), replace(pod, grace_seconds=0.0)]
    losses = [None, routing.Reason.REPLACED, routing.Reason.RESTARTED]
    found: dict[routing.Reason, set[tuple[str, str]]] = {}
    for pod, ever, since, loss, wanted, policy in product(
        pods, booleans, [None, now - 1, now - 60], losses, booleans, [Policy(), Policy(on_replace=OnLoss.KEEP)]
    ):
        memory = Memory(ever_ready=ever, unready_since=since, loss=loss, held_down=False)
        silent = Situation(pod=pod, memory=memory, wanted=wanted, now=now)
        app = ServiceState(0, routing.RoutingState.READY, 1, Author.APP, routing.RoutingState.READY)
        for at in (
            silent,
            replace(silent, word=routing.RoutingState.SHUTDOWN),
            replace(silent, app=app, silent=True),
            replace(silent, stopping=now + 1),
        ):
            verdict = judge(at, policy)
            found.setdefault(verdict.reason, set()).add((verdict.state, verdict.links))
    return found


def test_a_reason_has_the_state_and_action_that_the_rules_give_it():
    verdicts = every_verdict()
    by_others = {
        routing.Reason.FAILOVER_PAUSED,  # the brake looks at all pods
        routing.Reason.POD_FAILURE,  # a route manager says so
        routing.Reason.UNKNOWN,  # a later version does
        routing.Reason.REBALANCE,  # a person does
        routing.Reason.REROUTED,  # a caller does
        routing.Reason.TAKEN,  # a pod does
        routing.Reason.RELEASED,
        routing.Reason.REMOVED,  # an app does
    }
    assert set(verdicts) == set(routing.Reason) - by_others
    wrong = {reason: pairs for reason, pairs in verdicts.items() if tuple(POD_REASONS[reason][:2]) not in pairs}
    assert wrong == {}


def test_only_a_terminating_pod_has_two_actions_and_the_page_says_when():
    twofold = [reason for reason, pairs in every_verdict().items() if len(pairs) > 1]
    assert twofold == [routing.Reason.TERMINATING]
    assert "onReplace: Keep" in POD_REASONS[routing.Reason.TERMINATING][2]


def test_every_key_of_the_store_is_described():
    service = Service("<namespace>", "<service>")
    keys = [service.states, service.workload, service.links("<uid>"), service.link("<uid>"), META]
    own = [service.records, service.config, service.owner, service.changes, service.moves, service.channel]
    shown = [f"`{key}`" for key in keys] + [f"`S{key.removeprefix(service.states)}`" for key in own]
    assert [key for key in shown if f"| {key} |" not in LAYOUT] == []
    tag = service.index(0).removeprefix("sf:{").partition("}")[0]
    assert f"`{service.index(0).replace(tag, '<tag>')}`" in LAYOUT
    assert f"layout version {LAYOUT_VERSION}" in LAYOUT


def test_every_field_that_a_script_appends_to_a_stream_is_described():
    streams = section(LAYOUT, "Ours").partition("### The streams")[2]
    fields = set()
    for script in (REPO / "lua").glob("*.lua"):
        for call in re.findall(r"'\*', (.*)[)}]", script.read_text()):
            fields |= set(re.findall(r"'([a-z]+)', (?:[\w.\[\]]+|'\w*')", call))
        fields |= set(re.findall(r"words\[#words \+ 1\] = '([a-z]+)'", script.read_text()))
    assert fields >= {"pod", "from", "to", "reason", "moves", "prev", "sum", "purged"}
    assert [field for field in sorted(fields) if f"`{field}`" not in streams] == []


def test_every_field_of_the_configuration_is_described():
    metadata = {
        "name": "r",
        "namespace": "n",
        "uid": "1",
        "resourceVersion": "1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    fields = config_of(StatefulRoute.parse({"metadata": metadata}))
    (row,) = (row for row in rows(LAYOUT) if row[0] == "`S#cfg`")
    assert [field for field in fields if field not in row[2]] == []


def manifests(text: str) -> list[dict]:
    return [document for document in yaml.safe_load_all(text) if document]


ROUTES = [
    pytest.param(document, id=f"{origin}:{document['metadata']['name']}")
    for origin, text in [(page.name, block) for page in DOCUMENTS for block in blocks(page.read_text(), "yaml")]
    + [(p.name, p.read_text()) for p in EXAMPLES]
    for document in manifests(text)
    if document.get("kind") == KIND
]


def unknown_fields(value: object, schema: dict, path: str = "spec") -> list[str]:
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    unknown = [f"{path}.{name}" for name in value if name not in schema["properties"]]
    known = [name for name in value if name in schema["properties"]]
    return unknown + [
        bad for name in known for bad in unknown_fields(value[name], schema["properties"][name], f"{path}.{name}")
    ]


@pytest.mark.parametrize("route", ROUTES)
def test_a_route_in_an_example_is_valid(route):
    assert route["apiVersion"] == f"{GROUP}/{VERSION}"
    spec = route.get("spec", {})
    assert unknown_fields(spec, SPEC_SCHEMA) == []
    StatefulRouteSpec.model_validate(spec)


def test_the_readme_and_each_example_show_a_route():
    shown = {route.id.partition(":")[0] for route in ROUTES}
    assert shown >= {"README.md", "rooms.yaml", "statefulroute.yaml"}


def fields_of(schema: dict) -> set[str]:
    children = schema.get("properties", {})
    return set(children) | {name for child in children.values() for name in fields_of(child)}


def test_the_full_example_shows_every_field_of_the_spec():
    assert [name for name in sorted(fields_of(SPEC_SCHEMA)) if not re.search(rf"\b{name}:", FULL_EXAMPLE)] == []


NO_DEFAULTS = {"serviceName", "name", "redis", "address", "weights", "container", "probe"}


def differing(value: dict, schema: dict, path: str = "") -> list[str]:
    found = []
    for name, child in value.items():
        if name in NO_DEFAULTS:
            continue
        known = schema["properties"][name]
        if "properties" in known:
            found += differing(child, known, f"{path}{name}.")
        elif child != known["default"]:
            found.append(f"{path}{name}: {child}, by default {known['default']}")
    return found


@pytest.mark.parametrize("text", [FULL_EXAMPLE, *blocks(README, "yaml")], ids=["full example", "README"])
def test_values_that_are_said_to_be_the_defaults_are(text):
    route = [document for document in manifests(text) if document.get("kind") == KIND][-1]
    assert differing(route["spec"], SPEC_SCHEMA) == []


def test_the_rooms_of_the_demo_are_five_pods_with_a_short_delay():
    stateful_set, route = manifests((REPO / "examples" / "rooms.yaml").read_text())
    assert (stateful_set["kind"], stateful_set["metadata"]["name"], stateful_set["spec"]["replicas"]) == (
        "StatefulSet",
        "rooms",
        5,
    )
    assert (route["metadata"]["name"], route["spec"]) == ("rooms", {"failover": {"delaySeconds": 2}})


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_a_stateful_set_in_an_example_selects_its_own_pods(path):
    for document in manifests(path.read_text()):
        if document["kind"] == "StatefulSet":
            spec = document["spec"]
            assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]


def test_the_headless_service_publishes_pods_that_are_not_ready():
    service, stateful_set, *_ = manifests(FULL_EXAMPLE)
    assert (service["kind"], service["spec"]["clusterIP"], service["spec"]["publishNotReadyAddresses"]) == (
        "Service",
        "None",
        True,
    )
    assert service["metadata"]["name"] == stateful_set["spec"]["serviceName"]
    assert service["spec"]["selector"] == stateful_set["spec"]["template"]["metadata"]["labels"]


def test_the_pods_of_the_page_on_pods_are_told_who_they_are_and_given_time_to_release_their_users():
    stateful_set, service, route = manifests("---\n".join(blocks(PODS, "yaml")))
    template = stateful_set["spec"]["template"]["spec"]
    values = {
        "metadata.name": "rooms-2",
        "metadata.namespace": "games",
        "metadata.uid": "0b6c",
    }
    (container,) = template["containers"]
    given = {
        variable["name"]: values[source["fieldRef"]["fieldPath"]]
        for variable in container["env"]
        if "fieldRef" in (source := variable["valueFrom"])
    }
    assert Identity.from_environment(given) == Identity("games", "rooms", 2, "0b6c")
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert template["terminationGracePeriodSeconds"] > route["spec"]["drain"]["deadlineSeconds"]
    (stop_seconds,) = map(int, re.findall(r"ServerOptions\(stop_seconds=(\d+)\)", PODS))
    assert template["terminationGracePeriodSeconds"] > stop_seconds


def test_the_secret_of_a_pod_is_made_on_the_page_that_names_it():
    stateful_set, *_ = manifests("---\n".join(blocks(PODS, "yaml")))
    (container,) = stateful_set["spec"]["template"]["spec"]["containers"]
    (ref,) = [v["valueFrom"]["secretKeyRef"] for v in container["env"] if "secretKeyRef" in v["valueFrom"]]
    assert f"create secret generic {ref['name']} --namespace games --from-literal={ref['key']}=" in PODS


def test_the_password_file_of_the_page_on_stores_is_mounted_from_the_secret_that_it_makes():
    (pod,) = [body for block in blocks(STORES, "yaml") for body in manifests(block)]
    (container,), (volume,) = pod["spec"]["containers"], pod["spec"]["volumes"]
    (variable,), (mount,) = container["env"], container["volumeMounts"]
    path = PurePath(parse_qs(urlsplit(variable["value"]).query)["password_file"][0])
    assert (str(path.parent), mount["name"]) == (mount["mountPath"], volume["name"])
    assert "subPath" not in mount
    made = f"create secret generic {volume['secret']['secretName']} --namespace games --from-literal={path.name}="
    assert made in STORES


def anchors(document: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", document.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_of_a_document_leads_somewhere(document):
    lost = []
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        place = (document.parent / path).resolve() if path else document
        if not place.exists() or (anchor and anchor not in anchors(place)):
            lost.append(target)
    assert lost == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_that_a_document_names_exists(document):
    targets = set(re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), flags=re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make (?:PYTHON=\S+ )?([a-z][a-z-]*)", document.read_text(), flags=re.MULTILINE))
    assert named - targets == set()


@pytest.mark.parametrize("document", [README, REASONS, FULL_EXAMPLE], ids=["README", "reasons", "full example"])
def test_the_annotation_that_asks_for_a_drain_is_the_one_that_is_read(document):
    assert set(re.findall(r"statefulroute\.io/drain[\w]*", document)) == {DRAIN_ANNOTATION}


@pytest.mark.parametrize("path", sorted(REPO.glob("docs/adr/*.md")), ids=lambda path: path.stem)
def test_every_decision_tells_its_context_alternatives_and_consequences(path):
    number = int(path.stem.partition("-")[0])
    assert path.read_text().startswith(f"# {number}. ")
    heads = re.findall(r"^## (.+)$", path.read_text(), flags=re.MULTILINE)
    assert heads == ["Context", "Decision", "Alternatives", "Consequences"]
    assert all(section(path.read_text(), head).strip() for head in heads)


def test_every_dependency_has_its_reason():
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *(text for extra in project["optional-dependencies"].values() for text in extra)]
    names = {re.split(r"[\[<>=~ ]", text)[0] for text in asked} - {project["name"]}
    explained = {name for row in rows(section(CONTRIBUTING, "Dependencies")) for name in row[0].split(", ")}
    assert explained == names


def test_the_changelog_has_a_place_for_what_is_not_released():
    heads = re.findall(r"^## (\S+)", (REPO / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert heads[0] == "[Unreleased]"
