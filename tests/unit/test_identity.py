"""Which pod a process is, by what the Downward API puts into its environment."""

import pytest
import yaml

from stateful_route.domain.errors import InvalidArgument
from stateful_route.drivers.identity import SNIPPET, Identity

POD = {"POD_NAME": "room-2", "POD_NAMESPACE": "games", "POD_UID": "11f3-aa"}

FOUND = {
    # sentence: (what else is set, identity)
    "a StatefulSet's pod": ({}, ("games", "room", 2, "11f3-aa")),
    "pod 0": ({"POD_NAME": "room-0"}, ("games", "room", 0, "11f3-aa")),
    "a name with dashes and digits": ({"POD_NAME": "room-v2-10"}, ("games", "room-v2", 10, "11f3-aa")),
    "the label's index wins": ({"POD_INDEX": "5"}, ("games", "room", 5, "11f3-aa")),
    "a cluster without that label": ({"POD_INDEX": ""}, ("games", "room", 2, "11f3-aa")),
    "another service name": ({"STATEFUL_ROUTE_SERVICE": "lobby"}, ("games", "lobby", 2, "11f3-aa")),
    "another namespace": ({"STATEFUL_ROUTE_NAMESPACE": "arcade"}, ("arcade", "room", 2, "11f3-aa")),
    "a name without ordinal": (
        {"POD_NAME": "room-7f9c-x", "POD_INDEX": "1", "STATEFUL_ROUTE_SERVICE": "room"},
        ("games", "room", 1, "11f3-aa"),
    ),
    "no name at all": (
        {"POD_NAME": "", "POD_INDEX": "1", "STATEFUL_ROUTE_SERVICE": "room"},
        ("games", "room", 1, "11f3-aa"),
    ),
}


@pytest.mark.parametrize("sentence", FOUND)
def test_the_identity(sentence):
    more, (namespace, service, ordinal, uid) = FOUND[sentence]
    assert Identity.from_environment(POD | more) == Identity(namespace, service, ordinal, uid)


WRONG = {
    # sentence: (what is set otherwise, what the message names)
    "no namespace": ({"POD_NAMESPACE": ""}, "lacks POD_NAMESPACE"),
    "no name": ({"POD_NAME": ""}, "lacks POD_NAME"),
    "no uid": ({"POD_UID": ""}, "lacks POD_UID"),
    "nothing": (dict.fromkeys(POD, ""), "lacks POD_NAMESPACE and POD_NAME and POD_UID"),
    "a Deployment's pod": ({"POD_NAME": "room-7f9c-x2b"}, "POD_NAME is 'room-7f9c-x2b'.*POD_INDEX and STATEFUL_ROUTE"),
    "a name with a wrong ordinal": ({"POD_NAME": "room-007"}, "POD_NAME is 'room-007'"),
    "an index that is none": ({"POD_INDEX": "two"}, "POD_INDEX is 'two'"),
    "an index in other digits": ({"POD_INDEX": "٢"}, "POD_INDEX"),
    "an index, and no service": ({"POD_NAME": "x", "POD_INDEX": "1"}, "STATEFUL_ROUTE_SERVICE"),
}


@pytest.mark.parametrize("sentence", WRONG)
def test_what_is_missing_is_named_with_the_way_out(sentence):
    more, said = WRONG[sentence]
    with pytest.raises(InvalidArgument, match=said) as error:
        Identity.from_environment(POD | more)
    assert SNIPPET in str(error.value)


@pytest.mark.parametrize(
    "values", [("", "room", 0), ("games", "{room}", 0), ("games", "room", -1), ("games", "room", 8192)]
)
def test_what_cannot_be_stored_is_refused(values):
    with pytest.raises(InvalidArgument):
        Identity(*values)


def test_the_processs_own_environment_is_read(monkeypatch):
    for name, value in POD.items():
        monkeypatch.setenv(name, value)
    assert Identity.from_environment() == Identity("games", "room", 2, "11f3-aa")


def test_the_incarnation_is_the_pods_uid_alone():
    assert Identity.from_environment(POD).incarnation == "11f3-aa"
    assert Identity("games", "room", 0).incarnation == ""


def test_the_snippet_is_good_yaml_and_sets_what_is_read():
    fields = {entry["name"]: entry["valueFrom"]["fieldRef"]["fieldPath"] for entry in yaml.safe_load(SNIPPET)["env"]}
    assert fields == {
        "POD_NAME": "metadata.name",
        "POD_NAMESPACE": "metadata.namespace",
        "POD_UID": "metadata.uid",
        "POD_INDEX": "metadata.labels['apps.kubernetes.io/pod-index']",
    }
