"""When a pod that lost its memory is settled, although links turn up that nobody had in the index."""

from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import LinkAction, Reason, RoutingState
from stateful_route.reconcile.search import Search


def lost(before, links=LinkAction.MOVE):
    return OperatorRecord(state=RoutingState.SHUTDOWN, reason=Reason.REPLACED, links=links, before=before)


def test_a_loss_is_held_until_all_keys_were_looked_at_and_nothing_was_found():
    search, records = Search(), {1: lost(100)}
    begun = search.missing(records)
    assert begun == {1: 100}
    assert search.holds(1, 100)
    search.ended(begun, found=0)
    assert search.missing(records) == {}
    assert not search.holds(1, 100)


def test_links_that_are_found_belong_to_the_loss_that_was_known():
    search, records = Search(), {1: lost(100)}
    search.ended(search.missing(records), found=3)
    assert search.holds(1, 100)
    assert search.include(records, highest=140) == {1: 141}
    assert search.missing({1: lost(141)}) == {}, "all were seen that there were"
    assert not search.holds(1, 141)


def test_links_that_are_found_belong_to_a_loss_that_became_known_meanwhile_which_is_searched_for_again():
    search, records = Search(), {1: lost(None)}
    begun = search.missing(records)
    records[1] = lost(100)
    search.ended(begun, found=3)
    assert search.include(records, highest=140) == {1: 141}
    assert search.missing({1: lost(141)}) == {1: 141}


def test_links_that_are_found_belong_to_a_loss_that_is_being_noted_while_they_are():
    """Its epoch was read before they got theirs, and it stands in the record after all keys were looked at."""
    search, records = Search(), {1: lost(None)}
    search.ended(search.missing(records), found=3)
    records[1] = lost(100)
    assert search.late
    assert search.holds(1, 100)
    search.ended(search.missing(records), found=0)
    assert search.holds(1, 100), "another look finds nothing, as they are in the index by now"
    assert search.include(records, highest=140) == {1: 141}


def test_a_pod_whose_links_stay_loses_none():
    search, records = Search(), {1: lost(100, LinkAction.STAY)}
    search.ended(search.missing(records), found=3)
    assert search.include(records, highest=140) == {}


def test_a_loss_for_which_was_searched_is_as_it_was():
    search, records = Search(), {1: lost(100)}
    search.ended(search.missing(records), found=0)
    search.ended(search.missing(records), found=3)
    assert search.include(records, highest=140) == {}
