"""Which pods belong to a workload, and which container of them is the routed one: tables of what Kubernetes sends."""

from typing import Any

import pytest

from stateful_route.domain.selector import Selector
from stateful_route.domain.workload_ref import WorkloadRef
from stateful_route.kube.containers import routed_container, status_of
from stateful_route.kube.membership import Membership, membership, workload_names
from stateful_route.kube.pods import pod_facts
from stateful_route.reconcile.roster import Aside, Criteria, classify

MEMBER, DISOWNED, STRANGER, NONE = Membership.MEMBER, Membership.DISOWNED, Membership.STRANGER, Membership.NONE
OURS, KRUISE = WorkloadRef("rooms"), WorkloadRef("rooms", "apps.kruise.io", "v1beta1", "StatefulSet")
GAMES = WorkloadRef("rooms", "game.kruise.io", "v1alpha1", "GameServerSet")
APP = Selector.from_body({"matchLabels": {"app": "rooms"}})


def owner(api: str = "apps/v1", kind: str = "StatefulSet", name: str = "rooms") -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "name": name, "uid": "1", "controller": True}


def pod(owner: dict[str, Any] | None = None, name: str = "rooms-0", **labels: str) -> dict[str, Any]:
    labels = {"app": "rooms", "statefulset.kubernetes.io/pod-name": name} | labels
    meta = {"name": name, "uid": f"uid-{name}", "resourceVersion": "7", "creationTimestamp": "2026-11-21T10:00:00Z"}
    return {"metadata": {**meta, "labels": labels, "ownerReferences": [owner] if owner else []}}


BUILT_IN, ADVANCED = owner(), owner("apps.kruise.io/v1beta1")
GAME_SET = owner("game.kruise.io/v1alpha1", "GameServerSet")
CASES = {
    "controlled by it": (pod(BUILT_IN), OURS, APP, MEMBER),
    "controlled by it, as an older API tells": (pod(owner("apps/v1beta2")), OURS, APP, MEMBER),
    "an orphan, to be adopted": (pod(), OURS, APP, MEMBER),
    "an orphan while there is no StatefulSet": (pod(), OURS, None, MEMBER),
    "let go of: its labels have left": (pod(app="quarantine"), OURS, APP, DISOWNED),
    "its labels have left, and nobody has noticed yet": (pod(BUILT_IN, app="quarantine"), OURS, APP, DISOWNED),
    "of a StatefulSet of another group": (pod(ADVANCED), OURS, APP, STRANGER),
    "the same while there is no StatefulSet of ours": (pod(ADVANCED), OURS, None, STRANGER),
    "of another kind": (pod(owner("apps/v1", "ReplicaSet")), OURS, APP, STRANGER),
    "of another StatefulSet": (pod(owner(name="halls"), "halls-0"), OURS, None, NONE),
    "an orphan of another StatefulSet": (pod(name="halls-0"), OURS, None, NONE),
    "one whose name only begins alike": (pod(name="rooms-eu-0"), OURS, None, NONE),
    "of a StatefulSet whose name only ends alike": (pod(owner(name="my-rooms"), "my-rooms-0"), OURS, None, NONE),
    "of the other group, which is meant": (pod(ADVANCED), KRUISE, APP, MEMBER),
    "of the other group in another version": (pod(owner("apps.kruise.io/v1alpha1")), KRUISE, APP, MEMBER),
    "of a StatefulSet, and the other group is meant": (pod(BUILT_IN), KRUISE, APP, STRANGER),
    "of the GameServerSet that is meant": (pod(GAME_SET), GAMES, APP, MEMBER),
    "of what the GameServerSet makes under its name": (pod(ADVANCED), GAMES, APP, MEMBER),
    "of a StatefulSet beside the GameServerSet": (pod(BUILT_IN), GAMES, APP, STRANGER),
}


@pytest.mark.parametrize("case", CASES)
def test_a_pod_belongs_to_the_workload_that_is_named(case: str) -> None:
    body, ref, selector, expected = CASES[case]
    assert membership(body, ref, selector) is expected
    assert expected is NONE or ref.name in workload_names(body), "else its events would not be heard"


def test_a_pod_that_only_has_a_name_is_set_aside_with_its_owner_in_words() -> None:
    aside = classify(pod(ADVANCED), Criteria(OURS, selector=APP))
    assert aside == Aside("rooms-0", "uid-rooms-0", 7, "StatefulSet 'rooms' (apps.kruise.io/v1beta1)")
    beyond = classify(pod(BUILT_IN, "rooms-8192"), Criteria(OURS, selector=APP))
    assert beyond == Aside("rooms-8192", "uid-rooms-8192", 7, None)
    assert classify(pod(name="halls-0"), Criteria(OURS)) is None


# Containers


def body(
    *containers: str, sidecars: tuple[str, ...] = (), init: tuple[str, ...] = (), default: str = ""
) -> dict[str, Any]:
    meta = {"annotations": {"kubectl.kubernetes.io/default-container": default}} if default else {}
    lasting = [{"name": name, "restartPolicy": "Always"} for name in sidecars]
    inits = [{"name": name} for name in init] + lasting
    return {"metadata": meta, "spec": {"containers": [{"name": name} for name in containers], "initContainers": inits}}


ROUTED = {
    "the only one": (body("app"), None, (), "app"),
    "the first one": (body("app", "log"), None, ("app", "log"), "app"),
    "a proxy was put first": (body("proxy", "app"), None, ("app",), "app"),
    "a proxy was put first, and the template is not known": (body("proxy", "app"), None, (), "proxy"),
    "the same, and the pod names its default": (body("proxy", "app", default="app"), None, (), "app"),
    "the template's default is its second one": (body("log", "app", default="app"), None, ("log", "app"), "app"),
    "the default was injected": (body("proxy", "app", default="proxy"), None, ("app",), "app"),
    "the default is none": (body("proxy", "app", default="ap"), None, ("app",), "app"),
    "the template has been renamed": (body("proxy", "app", default="app"), None, ("server",), "app"),
    "the default is a native sidecar": (body("app", sidecars=("holder",), default="holder"), None, (), "holder"),
    "a name": (body("proxy", "app"), "proxy", ("app",), "proxy"),
    "the name of a native sidecar": (body("app", sidecars=("proxy",)), "proxy", ("app",), "proxy"),
    "the name of an init container": (body("app", init=("setup",)), "setup", ("app",), "app"),
    "a name that is none": (body("proxy", "app"), "ap", ("app",), "app"),
    "no containers at all": (body(), None, (), None),
}


@pytest.mark.parametrize("case", ROUTED)
def test_the_routed_container_is_the_applications_own(case: str) -> None:
    pod_body, named, template, expected = ROUTED[case]
    assert routed_container(pod_body, named, template) == expected


def test_restarts_of_a_native_sidecar_are_its_own_and_it_ends_after_the_others() -> None:
    running, ended = {"running": {}}, {"terminated": {}}
    status = {
        "containerStatuses": [{"name": "app", "restartCount": 5, "state": ended}],
        "initContainerStatuses": [{"name": "holder", "restartCount": 2, "state": running}],
    }
    whole = pod(BUILT_IN) | {"spec": body("app", sidecars=("holder",))["spec"], "status": status}
    facts = {name: pod_facts(whole, name) for name in ("app", "holder")}
    assert {name: one and (one.restarts, one.containers_terminated) for name, one in facts.items()} == {
        "app": (5, True),
        "holder": (2, False),
    }
    assert status_of(whole, "nobody") == {}
