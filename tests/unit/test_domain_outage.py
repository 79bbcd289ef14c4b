"""Since when stores cannot be used, and when a fresh client is tried."""

from datetime import UTC, datetime

import pytest

from stateful_route.domain import outage
from stateful_route.domain.errors import AuthenticationFailed, Deposed, StoreRejected, StoreUnavailable, UnfitServer
from stateful_route.domain.outage import due, everywhere, failed, fresh_may_help, missed, renewed, told

STORE = "redis://valkey:6379"
REFUSED = StoreUnavailable(f"{STORE}: connection refused")
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()


def first(route="games/rooms", now=100.0, store=STORE):
    return failed(None, route, store, REFUSED, now)


def test_a_fresh_client_is_tried_10_seconds_after_the_first_failure_whatever_comes_between():
    known = failed(first(), "games/rooms", STORE, StoreUnavailable(f"{STORE}: late"), 105)
    assert (known.since, known.cause) == (100, "late")
    assert not due(known, 109.9)
    assert due(known, 110)


def test_one_that_does_not_reach_the_store_either_costs_nothing_and_is_tried_again_as_soon():
    known = missed(missed(first(), 110), 121)
    assert not due(known, 130.9)
    assert due(known, 131)


def test_those_that_reach_it_and_do_not_help_are_tried_less_and_less_often():
    known, now, pauses = first(), 110.0, []
    for _ in range(7):
        known = renewed(known, now)
        pauses.append(known.try_at - now)
        now = known.try_at
    assert pauses == [10, 20, 40, 80, 160, 300, 300]


@pytest.mark.parametrize(
    ("error", "may"),
    [
        (StoreUnavailable("no answer"), True),
        (Deposed("no clock"), True),
        (UnfitServer("a replica"), True),
        (StoreRejected("READONLY You can't write against a read only replica"), True),
        (StoreRejected("redis://valkey: You can't write against a read only replica. script: on @user_script:1"), True),
        (StoreRejected("OOM command not allowed"), False),
        (AuthenticationFailed("WRONGPASS"), False),
    ],
)
def test_a_fresh_client_is_tried_where_it_may_find_another_server(error, may):
    assert fresh_may_help(error) is may
    assert due(failed(None, "games/rooms", STORE, error, 100), 1000) is may


def test_nothing_is_told_where_nothing_has_failed():
    assert told([], 100, NOON) is None


def test_what_is_told_names_store_moment_and_cause_and_the_first_of_those_who_miss_it():
    here = [first(f"games/{name}", 100 + n) for n, name in enumerate("abcde")]
    there = first("other/x", 160, "redis://elsewhere")
    assert told([there, *reversed(here)], 160, NOON) == (
        "the store redis://valkey:6379 cannot be used since 2026-01-31T11:59:00Z for games/a, games/b, games/c and 2 "
        "more: connection refused; the store redis://elsewhere cannot be used since 2026-01-31T12:00:00Z for other/x: "
        "redis://valkey:6379: connection refused"
    )


def test_an_operator_that_serves_somebody_is_not_cut_off():
    assert not everywhere({}, 0)
    assert not everywhere({"a": first()}, 2)
    assert everywhere({"a": first(), "b": first()}, 2)


def test_the_first_pause_is_the_shortest():
    assert first().pause == outage.FIRST_SECONDS < outage.LONGEST_SECONDS
