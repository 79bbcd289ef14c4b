"""No history that hypothesis can think of breaks a promise about what the operator decides; see the package."""

import os

import pytest

from rules.promises import PROMISES
from rules.search import search

SEEDS = (1, 2, 3)
"""The same ones each time: what another seed finds is new knowledge, and no reason to refuse somebody's change."""
HISTORIES = int(os.environ.get("RULES_HISTORIES", "60"))
"""For each seed: a few seconds."""

pytestmark = pytest.mark.timeout(180 + HISTORIES)


def explore(seed):
    broken = search(seed, HISTORIES)
    if broken is not None:
        pytest.fail(f"RULES_SEED={seed}\n{broken}\n{broken.steps}", pytrace=False)


@pytest.mark.skipif("RULES_SEED" in os.environ, reason="a seed was given")
@pytest.mark.parametrize("seed", SEEDS)
def test_no_history_breaks_a_promise(seed):
    explore(seed)


@pytest.mark.skipif("RULES_SEED" not in os.environ, reason="no seed was given: RULES_SEED=$RANDOM explores")
def test_no_history_of_another_seed_breaks_a_promise():
    explore(int(os.environ["RULES_SEED"]))


def test_there_are_four_promises():
    assert len(set(PROMISES)) == 4
