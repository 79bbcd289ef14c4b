"""Data of the API server that were put back are noticed, and others are not."""

import pytest

from stateful_route.reconcile.revisions import Revisions

ANSWERS = {
    "as new as what was known": (20, 20, False),
    "newer": (21, 20, False),
    "older than what was known when it was asked for": (19, 20, True),
    "of a thing that was not known": (1, 0, False),
}


@pytest.mark.parametrize("sentence", ANSWERS)
def test_an_answer_is(sentence):
    version, before, put_back = ANSWERS[sentence]
    revisions = Revisions()
    revisions.compare(version, before)
    assert revisions.put_back.is_set() is put_back


def test_an_event_that_comes_while_a_list_is_under_way_makes_it_no_older():
    revisions = Revisions()
    revisions.seen(20)
    before = revisions.latest
    revisions.seen(25)
    revisions.compare(22, before)
    assert not revisions.put_back.is_set()
    assert revisions.latest == 25


def test_what_is_read_anew_is_compared_with_nothing_from_before():
    revisions = Revisions()
    revisions.seen(20)
    revisions.compare(3, revisions.latest)
    revisions.forget()
    revisions.compare(3, revisions.latest)
    assert not revisions.put_back.is_set()
