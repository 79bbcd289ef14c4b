"""Which of several StatefulRoutes has a service."""

import itertools

import pytest

from stateful_route.domain.precedence import Contender, incumbent

A, B, C = (Contender(uid, serves=False) for uid in "abc")
SERVING = {one.uid: Contender(one.uid, serves=True) for one in (A, B, C)}

CASES = {
    "nobody has it before one has claimed it in the store": ([A, B], "", ""),
    "who has it keeps it, whoever comes": ([A, SERVING["b"], C], "", "b"),
    "of two that seem to have it the one whom the store names": ([SERVING["a"], SERVING["b"]], "b", "b"),
    "the store's word counts more than what is known otherwise": ([SERVING["a"], B], "b", "b"),
    "of two that seem to have it, and nobody has asked the store, always the same one": (
        [SERVING["a"], SERVING["b"]],
        "",
        "a",
    ),
    "an owner that claims it no more does not count": ([A, B], "z", ""),
    "the one that has it counts where the owner claims it no more": ([A, SERVING["b"]], "z", "b"),
    "where nobody claims it nobody has it": ([], "z", ""),
}


@pytest.mark.parametrize("sentence", CASES)
def test_one_has_the_service(sentence):
    contenders, owner, expected = CASES[sentence]
    assert {incumbent(order, owner) for order in itertools.permutations(contenders)} == {expected}
