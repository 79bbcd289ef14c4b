"""Which connections still lead to the server that their address stands for."""

import pytest

from stateful_route.domain.trust import Due, Trust


@pytest.fixture
def trust():
    return Trust(ask_seconds=1, look_seconds=10)


def test_a_new_connection_is_used_as_it_is(trust):
    assert trust.due(None, 5) is Due.NOTHING
    assert trust.due(trust.met("a", 5), 5.9) is Due.NOTHING


def test_one_that_was_not_seen_for_a_while_is_asked(trust):
    assert trust.due(trust.met("a", 5), 6) is Due.ASK


def test_when_another_server_is_met_all_older_connections_are_given_up(trust):
    older = trust.met("a", 0)
    newer = trust.met("b", 0)
    assert trust.due(older, 0) is Due.RENEW
    assert trust.due(newer, 0) is Due.NOTHING
    assert trust.due(trust.met("b", 1), 1) is Due.NOTHING


def test_when_the_same_server_is_met_again_all_stay(trust):
    older = trust.met("a", 0)
    trust.met("a", 0.5)
    assert trust.due(older, 0.5) is Due.NOTHING


def test_in_doubt_all_are_made_anew_once(trust):
    older = trust.met("a", 0)
    trust.doubt()
    assert trust.due(older, 0) is Due.RENEW
    first, second = trust.met("b", 0), trust.met("b", 0)
    assert trust.due(first, 0) is trust.due(second, 0) is Due.NOTHING


def test_one_of_all_who_ask_takes_a_look(trust):
    assert not trust.look_is_due(100), "nobody is connected"
    trust.met("a", 100)
    assert not trust.look_is_due(109.9)
    assert trust.look_is_due(110)
    assert not trust.look_is_due(110)
    assert trust.look_is_due(120), "the look has shown nothing"


def test_after_a_pause_the_look_is_waited_for_once(trust):
    trust.met("a", 0)
    assert not trust.look_is_overdue(15)
    assert trust.look_is_overdue(16)
    trust.confirm(16)
    assert not trust.look_is_overdue(17)


def test_a_look_in_vain_is_not_waited_for_again_for_a_while(trust):
    trust.met("a", 0)
    trust.excuse(20)
    assert not trust.look_is_overdue(100)
    assert trust.look_is_overdue(140)
