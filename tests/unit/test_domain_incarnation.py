"""Which pods of one ordinal must not speak any more."""

from stateful_route.domain.incarnation import FORMER, Succession


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
