"""The one word for a whole service, and who says it."""

import pytest

from stateful_route.domain.routing import RoutingState
from stateful_route.domain.workload import speaks_for_all, workload_state

READY, DENY, SHUTDOWN = RoutingState

WORDS = {
    # sentence: (states of the pods that are alive, word)
    "all take new uids": ([READY, READY], READY),
    "one takes new uids": ([DENY, READY, DENY], READY),
    "nobody does, but some serve those they have": ([DENY, DENY], DENY),
    "nobody is alive": ([], SHUTDOWN),
}


@pytest.mark.parametrize("sentence", WORDS)
def test_the_word_is_the_mildest_state(sentence):
    states, word = WORDS[sentence]
    assert workload_state(states) is word


SPEAKERS = {
    # sentence: (pods alive, pod, whether it speaks)
    "pod 0": ({0, 1, 2}, 0, True),
    "pod 0, which nobody has seen yet": ({1, 2}, 0, True),
    "pod 1 beside pod 0": ({0, 1}, 1, False),
    "pod 1 while pod 0 is away": ({1, 2}, 1, True),
    "pod 2 beside pod 1": ({1, 2}, 2, False),
    "the only pod": ({7}, 7, True),
    "the only one that is known to itself": (set(), 7, True),
    "the lowest, where ordinals begin at 5": ({5, 6}, 5, True),
}


@pytest.mark.parametrize("sentence", SPEAKERS)
def test_who_speaks(sentence):
    alive, pod, speaks = SPEAKERS[sentence]
    assert speaks_for_all(pod, alive) is speaks
