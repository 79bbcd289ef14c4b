"""Which pods of one ordinal must not speak any more."""

import pytest

from stateful_route.domain.incarnation import FORMER, Container, Succession


def test_the_first_pod_has_replaced_nobody():
    assert Succession().followed_by("a") == Succession("a")


def test_a_pod_that_stays_has_replaced_nobody():
    assert Succession("a").followed_by("a") == Succession("a")


def test_while_no_pod_is_seen_the_last_one_may_still_speak():
    assert Succession("a").followed_by(None) == Succession("a")


def test_a_successor_has_replaced_the_one_before_and_those_before_that():
    assert Succession("a").followed_by("b").followed_by("c") == Succession("c", ("b", "a"))


def test_what_a_record_tells_of_earlier_pods_is_remembered_once():
    assert Succession("b", ("a",)).followed_by("b", ["a", "older"]) == Succession("b", ("a", "older"))


def test_a_pod_is_never_among_those_that_it_has_replaced():
    mistaken = Succession("b").followed_by("a")
    assert mistaken.followed_by("b", ["b"]) == Succession("b", ("a",))


def test_only_the_latest_are_remembered():
    succession = Succession()
    for number in range(20):
        succession = succession.followed_by(f"pod-{number}")
    assert len(succession.former) == FORMER
    assert succession.former[0] == "pod-18"


CONTAINERS = {
    "the same id": (Container("a", "noon"), Container("a", "noon"), False),
    "another id": (Container("a", "noon"), Container("b", "noon"), True),
    "the same id, another start": (Container("a", "noon"), Container("a", "later"), False),
    "no id, another start": (Container(started="noon"), Container(started="later"), True),
    "no id, the same start": (Container(started="noon"), Container(started="noon"), False),
    "an id of which nobody had told, the same start": (Container(started="noon"), Container("a", "noon"), False),
    "an id of which nobody had told, another start": (Container(started="noon"), Container("a", "later"), True),
    "an id that is not told any more": (Container("a", "noon"), Container("", "noon"), False),
    "another id, of the container of that name": (Container("a", "noon", "app"), Container("b", "noon", "app"), True),
    "another container of the pod is meant now": (Container("a", "noon", "app"), Container("b", "later", "web"), False),
    "another id, and nobody had told a name": (Container("a", "noon"), Container("b", "noon", "app"), True),
    "nothing was known": (Container(), Container("a", "noon"), False),
    "nothing is told": (Container("a", "noon"), Container(), False),
}


@pytest.mark.parametrize("sentence", CONTAINERS)
def test_it_is_another_container(sentence):
    former, present, expected = CONTAINERS[sentence]
    assert present.follows(former) is expected


def test_what_is_not_said_any_more_of_a_container_is_remembered():
    assert Container().known_as(Container("a", "noon")) == Container("a", "noon")
    assert Container("b").known_as(Container("", "noon")) == Container("b", "noon")
    assert Container(name="web").known_as(Container("a", "noon", "app")) == Container(name="web")
