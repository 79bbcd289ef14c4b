"""Whom to believe of several servers, some of which are gone, silent or behind."""

import math

import pytest

from stateful_route.domain.witnesses import STRAGGLER_SECONDS, Word, believed, patience

OLD, NEW = ("10.0.0.1", 6379), ("10.0.0.2", 6379)
GONE = Word("gone", why="gone: connection refused")
VACANT = Word("down", why="down cannot reach the primary so far", vacant=True)


def test_the_newest_word_is_believed_whoever_was_quicker():
    assert believed([Word("stale", OLD, 3), Word("a", NEW, 4), Word("b", NEW, 4)]).place == NEW


def test_the_quicker_one_is_believed_of_two_that_are_as_new():
    assert believed([Word("a", OLD, 3), Word("b", NEW, 3)]).place == OLD


def test_who_says_how_new_it_is_is_believed_before_one_who_does_not():
    assert believed([Word("a", OLD), Word("b", NEW, 0)]).place == NEW


def test_nobody_is_believed_who_said_nothing_of_use():
    assert believed([GONE]) is None
    assert believed([]) is None


@pytest.mark.parametrize(
    ("words", "asked", "seconds"),
    [
        ([], 3, math.inf),
        ([GONE], 3, math.inf),
        ([Word("a", NEW, 1)], 3, STRAGGLER_SECONDS),
        ([GONE, Word("a", NEW, 1)], 3, STRAGGLER_SECONDS),
        ([Word("a", NEW, 1), Word("b", NEW, 1)], 3, 0),
        ([GONE, GONE, Word("a", NEW, 1)], 3, 0),
        ([GONE, GONE, GONE], 3, 0),
        ([Word("a", NEW, 1)], 2, STRAGGLER_SECONDS),
        ([Word("a", NEW, 1)], 1, 0),
        ([VACANT], 3, math.inf),
        ([VACANT, GONE], 3, math.inf),
        ([VACANT, VACANT], 3, STRAGGLER_SECONDS),
        ([VACANT, VACANT, GONE], 3, 0),
    ],
)
def test_others_are_waited_for_until_most_have_said_something_of_use_or_that_nobody_is_there(words, asked, seconds):
    assert patience(words, asked) == seconds
