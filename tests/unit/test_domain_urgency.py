"""What the operator does first on a store that many services share."""

import pytest

from stateful_route.domain.sharing import is_worth_a_list
from stateful_route.domain.urgency import AT_ONCE, Urgency, next_in_turn
from stateful_route.store.connection import StoreOptions

EVENT, MOVE, PODS, ROUTINE, UPKEEP = Urgency
FULL = dict(AT_ONCE)
CASES = {
    "nothing waits": ({}, {}, None),
    "an event goes first": ({EVENT: 1, PODS: 9, ROUTINE: 9}, {}, EVENT),
    "an event begins beside all the routine there may be": ({EVENT: 1}, {ROUTINE: AT_ONCE[ROUTINE]}, EVENT),
    "routine waits while a service with pods has not been looked at": (
        {PODS: 1, ROUTINE: 1},
        {PODS: AT_ONCE[PODS]},
        None,
    ),
    "routine begins once the last service with pods has begun": ({ROUTINE: 1}, {PODS: AT_ONCE[PODS]}, ROUTINE),
    "links move although services with pods wait": ({MOVE: 1, PODS: 1}, {PODS: AT_ONCE[PODS]}, MOVE),
    "upkeep waits for routine": ({UPKEEP: 1, ROUTINE: 1}, {ROUTINE: AT_ONCE[ROUTINE]}, None),
    "upkeep begins while events are dealt with": ({UPKEEP: 1}, {EVENT: 1}, UPKEEP),
    "one repair at a time": ({UPKEEP: 1}, {UPKEEP: 1}, None),
    "there is room for nothing more": (dict.fromkeys(Urgency, 1), FULL, None),
}


@pytest.mark.parametrize(("waiting", "running", "first"), CASES.values(), ids=CASES)
def test_who_is_next(waiting, running, first):
    assert next_in_turn(waiting, running) is first


def test_all_that_may_be_under_way_finds_a_free_connection():
    connections = sum(AT_ONCE.values()) + AT_ONCE[MOVE]  # a migration has two round trips under way
    assert connections < StoreOptions().max_connections


SHARING = {
    "one who asks has its own request": (1, 0, False),
    "two who ask when nobody knows how much there is": (2, 0, True),
    "a few beside very many objects": (5, 10_000, False),
    "very many beside very many objects": (1_000, 10_000, True),
}


@pytest.mark.parametrize(("asking", "objects", "shared"), SHARING.values(), ids=SHARING)
def test_one_list_for_all_who_ask_where_it_is_cheaper_than_their_requests(asking, objects, shared):
    assert is_worth_a_list(asking, objects) is shared
