"""What is expected of the watch, and what is not."""

from stateful_route.reconcile.watchdog import Watchdog


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_what_does_not_come_is_overdue_until_it_does():
    clock = Clock()
    dog = Watchdog(clock, 90)
    dog.expect("1", "Pod a", 5, ("games", "pods"))
    clock.now = 89
    assert dog.overdue() is None
    assert dog.overdue(60) == "the watch has not brought Pod a for 89 s"
    clock.now = 91
    assert dog.overdue() == "the watch has not brought Pod a for 91 s"
    dog.seen("1", 5)
    assert dog.overdue() is None


def test_a_watch_that_is_not_allowed_is_excused_where_it_is_not_and_waited_for_anew_once_it_is():
    clock = Clock()
    dog = Watchdog(clock, 90)
    dog.expect("1", "Pod a", 5, ("games", "pods"))
    clock.now = 100
    dog.excuse(frozenset({("games", "pods")}))
    assert dog.overdue() is None
    dog.expect("2", "Pod b", 6, ("chat", "pods"))
    dog.expect("3", "StatefulSet c", 7, ("games", "statefulsets"))
    clock.now = 200
    assert dog.overdue() == "the watch has not brought Pod b for 100 s"
    dog.excuse(frozenset({(None, "pods")}))
    assert dog.overdue() == "the watch has not brought StatefulSet c for 100 s"
    dog.forget("3")
    dog.excuse(frozenset())
    assert dog.overdue() is None
    clock.now = 291
    assert dog.overdue() == "the watch has not brought Pod a for 91 s"
