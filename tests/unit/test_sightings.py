"""Moments that others have written: no clock that is set, or was wrong from the start, changes a period."""

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from stateful_route.domain.pod import PodFacts
from stateful_route.kube.server_clock import ServerClock, steady
from stateful_route.reconcile.sightings import StoreMoments, Terminations

NOW = 1_800_000_000.0
HOUR = 3600.0
WRONG = pytest.mark.parametrize("wrong", [0.0, HOUR, -HOUR], ids=["right", "an hour ahead", "an hour behind"])


def pod(**facts):
    return PodFacts(**({"name": "room-0", "ordinal": 0, "uid": "a", "resource_version": 1} | facts))


def server(ahead, heard_at=NOW):
    """The API server's clock, so much ahead of the operator's, as of that moment."""
    clock = ServerClock()
    clock.heard(format_datetime(datetime.fromtimestamp(heard_at + ahead, UTC), usegmt=True), heard_at)
    return clock


def stopping(stamp, grace=30.0):
    return pod(deletion_time=stamp, grace_seconds=grace)


@WRONG
def test_a_grace_period_is_counted_from_when_the_pod_is_seen_to_stop(wrong):
    ends = Terminations(lambda _moment: NOW - HOUR)
    assert ends.seen(pod(), NOW - 5).deletion_time is None
    assert ends.seen(stopping(NOW + wrong + 30), NOW).deletion_time == NOW + 30
    assert ends.seen(stopping(NOW + wrong + 30), NOW + 7).deletion_time == NOW + 30


@WRONG
def test_of_a_pod_that_stops_already_the_servers_stamp_counts_by_the_servers_clock(wrong):
    ends = Terminations(server(wrong).latest)
    assert ends.seen(stopping(NOW + wrong + 10), NOW).deletion_time == NOW + 11


def test_the_stamp_makes_no_grace_period_longer():
    assert Terminations(server(-HOUR).latest).seen(stopping(NOW + 30), NOW).deletion_time == NOW + 30


@WRONG
def test_what_the_servers_clock_shows_now_goes_on_from_its_last_answer(wrong):
    clock, moment = server(wrong, steady() - 7), steady()
    shown = clock.now()
    assert shown is not None
    assert -1 <= shown.timestamp() - (moment + wrong) < 1


def test_a_server_that_does_not_tell_the_time_shortens_nothing():
    clock = ServerClock()
    clock.heard(None)
    assert clock.latest(NOW) is None
    assert Terminations(clock.latest).seen(stopping(NOW - HOUR), NOW).deletion_time == NOW + 30
    clock.heard("noon")
    assert clock.latest(NOW) is None
    assert clock.now() is None


def test_a_second_deletion_ends_nothing_earlier_unless_it_is_by_force():
    ends = Terminations(lambda _moment: None)
    ends.seen(pod(), NOW)
    ends.seen(stopping(NOW + 30), NOW)
    assert ends.seen(stopping(NOW + 7, grace=2.0), NOW + 5).deletion_time == NOW + 30
    assert ends.seen(stopping(NOW + 6, grace=0.0), NOW + 6).deletion_time == NOW + 6
    assert ends.seen(stopping(NOW + 6, grace=0.0), NOW + 9).deletion_time == NOW + 6


def test_pods_that_are_gone_are_forgotten():
    ends = Terminations(lambda _moment: None)
    ends.seen(stopping(NOW + 30), NOW)
    ends.keep({"a"})
    assert ends.seen(stopping(NOW + 30), NOW + 9).deletion_time == NOW + 30
    ends.keep(())
    assert ends.seen(stopping(NOW + 30), NOW + 9).deletion_time == NOW + 39


STORE, OWN = 1_900_000_000_000, 1_800_000_000_000


def test_a_moment_is_translated_once_whatever_the_stores_clock_does():
    moments = StoreMoments()
    stored = moments.stored(OWN - 4000, STORE, OWN)
    assert stored == STORE - 4000
    assert moments.own(stored, STORE + 3_600_000, OWN + 1000) == OWN - 4000
    assert moments.stored(OWN - 4000, STORE - 3_600_000, OWN + 1000) == stored


def test_a_restarted_operator_goes_on_by_the_stores_clock():
    assert StoreMoments().own(STORE - 4000, STORE, OWN) == OWN - 4000


def test_a_moment_that_the_stores_clock_has_not_reached_is_now():
    assert StoreMoments().own(STORE + 3_600_000, STORE, OWN) == OWN


def test_moments_that_stand_nowhere_are_forgotten():
    moments = StoreMoments()
    stored = moments.stored(OWN, STORE, OWN)
    moments.keep([stored])
    assert moments.own(stored, STORE + 9000, OWN) == OWN
    moments.keep([])
    assert moments.own(stored, STORE + 9000, OWN) == OWN - 9000


STEPS = pytest.mark.parametrize("step", [3_600_000, -3_600_000], ids=["set ahead", "set back"])


@STEPS
def test_a_clock_that_was_set_gives_a_moment_another_name_and_the_former_one_is_understood(step):
    moments = StoreMoments()
    former = moments.stored(OWN - 4000, STORE, OWN)
    moments.rename()
    later = moments.renamed(former, STORE + step + 1000, OWN + 1000)
    assert later == former + step
    assert [moments.own(name, STORE + step + 9000, OWN + 9000) for name in (former, later)] == [OWN - 4000] * 2
    moments.keep([former])
    assert moments.renamed(former, STORE + step + 9000, OWN + 9000) == later, "it may not have been written yet"
    moments.keep([later])
    assert moments.own(later, 0, 0) == OWN - 4000


@STEPS
def test_an_operator_that_comes_after_that_goes_on_with_the_new_name(step):
    moments = StoreMoments()
    former = moments.stored(OWN - 4000, STORE, OWN)
    moments.rename()
    later = moments.renamed(former, STORE + step, OWN)
    assert StoreMoments().own(later, STORE + step + 5000, OWN + 5000) == OWN - 4000


def test_a_name_that_another_moment_has_had_is_not_given_again():
    moments = StoreMoments()
    taken = moments.stored(OWN - 3_604_000, STORE, OWN)
    assert taken == STORE - 3_604_000
    moments.rename()
    name = moments.stored(OWN - 4000, STORE - 3_600_000, OWN)
    assert name == taken + 1
    assert moments.own(taken, STORE, OWN) == OWN - 3_604_000


def test_two_moments_stay_two_although_the_stores_clock_is_read_a_little_late():
    moments = StoreMoments()
    moments.own(STORE - 4000, STORE, OWN)
    moments.own(STORE - 3999, STORE + 1, OWN)
    names = [STORE - 4000, STORE - 3999]
    assert [moments.renamed(name, STORE + 1, OWN) for name in names] == names


def test_what_the_stores_clock_has_not_reached_is_named_anew():
    moments = StoreMoments()
    assert moments.renamed(STORE + 3_600_000, STORE, OWN) == STORE


@STEPS
def test_an_end_that_is_to_come_stays_where_it_was(step):
    ends = StoreMoments(past=False)
    assert ends.own(STORE + 20_000, STORE, OWN) == OWN + 20_000
    assert ends.renamed(STORE + 20_000, STORE + 5003, OWN + 5000) == STORE + 20_000, "a few ms are no step"
    ends.rename()
    later = ends.renamed(STORE + 20_000, STORE + 6000 + step, OWN + 6000)
    assert later == STORE + 20_000 + step
    assert ends.renamed(later, STORE + 7000 + step, OWN + 7000) == later
    assert ends.own(STORE + 20_000, STORE + 7000 + step, OWN + 7000) == OWN + 20_000


def test_the_steady_clock_goes_on():
    before = steady()
    assert steady() >= before
