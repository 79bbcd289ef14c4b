"""Since when stores cannot be used, and when a fresh client is tried."""

from datetime import UTC, datetime

import pytest

from stateful_route.domain import outage
from stateful_route.domain.errors import (
    AuthenticationFailed,
    Deposed,
    StatefulRouteError,
    StoreRejected,
    StoreUnavailable,
    UnfitServer,
)
from stateful_route.domain.outage import answered, due, everywhere, failed, fresh_may_help, missed, renewed, told

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


def test_another_store_has_its_own_beginning():
    known = failed(first(), "games/rooms", "redis://elsewhere", StoreUnavailable("redis://elsewhere: late"), 160)
    assert (known.store, known.since, known.cause, known.try_at) == ("redis://elsewhere", 160, "late", 170)
    nowhere = failed(known, "games/rooms", "", StatefulRouteError("there is no Secret 'a'"), 170)
    assert (nowhere.since, nowhere.hopeful) == (170, False)


def test_each_route_without_a_store_is_told_with_its_own_cause():
    routes = [failed(None, f"games/{name}", "", StatefulRouteError(f"no Secret {name}"), 160) for name in "ab"]
    assert told(routes, 160, NOON) == (
        "no store is known since 2026-01-31T12:00:00Z for games/a: no Secret a; "
        "no store is known since 2026-01-31T12:00:00Z for games/b: no Secret b"
    )


@pytest.mark.parametrize(
    ("error", "well"),
    [
        (Deposed(f"{STORE}: DEPOSED the deadline of this write has passed 6021 ms ago"), True),
        (Deposed(f"{STORE}: the server's clock has not been noted yet"), False),
        (StoreUnavailable(f"{STORE}: timed out"), False),
    ],
)
def test_a_server_that_says_that_a_write_came_too_late_is_well(error, well):
    assert answered(error) is well


def test_an_operator_that_serves_somebody_is_not_cut_off():
    assert not everywhere({}, 0)
    assert not everywhere({"a": first()}, 2)
    assert everywhere({"a": first(), "b": first()}, 2)


def test_the_first_pause_is_the_shortest():
    assert first().pause == outage.FIRST_SECONDS < outage.LONGEST_SECONDS
