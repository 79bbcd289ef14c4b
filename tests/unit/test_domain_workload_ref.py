"""Label selectors, and which ordinals a workload wants."""

import pytest

from stateful_route.domain.selector import Selector
from stateful_route.domain.workload_ref import WorkloadFacts, reserved_ordinals

ROOMS = {"app": "rooms", "tier": "a"}
SELECTORS = {
    "": (True, ""),
    "app=rooms": (True, "app=rooms"),
    "app==rooms , tier in (b, a)": (True, "app=rooms,tier in (a,b)"),
    "app!=rooms": (False, "app notin (rooms)"),
    "example.org/zone notin (x,y),!old": (True, "!old,example.org/zone notin (x,y)"),
    "tier": (True, "tier"),
    "!tier": (False, "!tier"),
    "app=rooms,old": (False, "app=rooms,old"),
    "app=": (False, "app="),
}


@pytest.mark.parametrize("text", SELECTORS)
def test_a_selector_in_the_text_of_the_api_matches_as_the_api_server_does(text: str) -> None:
    matches, shown = SELECTORS[text]
    selector = Selector.parse(text)
    assert (selector.matches(ROOMS), ",".join(sorted(map(str, selector.requirements)))) == (matches, shown)
    assert Selector.parse(selector.query()) == selector


@pytest.mark.parametrize("text", ["app in rooms", "app=(a)", "=rooms", "app rooms", "app in (a", "app=rooms;x"])
def test_a_text_that_is_no_selector_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cannot be understood"):
        Selector.parse(text)


def test_the_selector_of_a_body_is_the_same_as_its_text() -> None:
    expressions = [
        {"key": "tier", "operator": "In", "values": ["b", "a"]},
        {"key": "track", "operator": "NotIn", "values": ["out"]},
        {"key": "app", "operator": "Exists"},
        {"key": "old", "operator": "DoesNotExist"},
    ]
    selector = Selector.from_body({"matchLabels": {"app": "rooms"}, "matchExpressions": expressions})
    assert selector == Selector.parse("app=rooms,app,!old,tier in (a,b),track notin (out)")
    assert selector.matches(ROOMS)
    assert not selector.matches(ROOMS | {"track": "out"})
    assert selector.query(["name"]).startswith("name,")


def facts(replicas: int, *, start: int = 0, reserved: object = (), numbered: bool = True) -> WorkloadFacts:
    left_out = reserved_ordinals(list(reserved))  # type: ignore[call-overload]
    return WorkloadFacts(
        name="rooms",
        uid="1",
        resource_version=1,
        start=start,
        replicas=replicas,
        selector=Selector(),
        governing_service="",
        reserved=left_out,
        numbered=numbered,
    )


ORDINALS = {
    "the first ones": (facts(3), {0, 1, 2}),
    "from a start": (facts(2, start=5), {5, 6}),
    "one is reserved": (facts(3, reserved=[1]), {0, 2, 3}),
    "a range is reserved, and one beyond": (facts(3, reserved=["0-2", 4, "9"]), {3, 5, 6}),
    "one before the start is reserved": (facts(2, start=5, reserved=[3]), {5, 6}),
    "none": (facts(0, reserved=[1]), set()),
    "words that are no ordinals": (facts(2, reserved=["x", "3-1", ""]), {0, 1}),
}


@pytest.mark.parametrize("case", ORDINALS)
def test_a_workload_wants_the_first_ordinals_that_are_not_reserved(case: str) -> None:
    workload, wanted = ORDINALS[case]
    assert {ordinal for ordinal in range(20) if workload.wants(ordinal)} == wanted
    assert workload.last == max(wanted, default=None)


def test_where_only_the_pods_tell_one_that_goes_is_expected_back_while_fewer_stay_than_are_wanted() -> None:
    three = facts(3, numbered=False)
    assert three.last is None
    assert three.wants(7, {0, 4, 7}) is None, "it is there: nobody says that it will go"
    assert three.wants(7, {0, 4}) is True
    assert three.wants(7, {0, 4, 8}) is False
