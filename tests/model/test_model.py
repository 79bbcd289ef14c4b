"""No history that hypothesis can think of breaks a promise; see the package for what is in it."""

import os

import pytest

from model.clock import COMPILER
from model.explore import explore
from model.judge import PROMISES, Broken
from model.run import Counts, real_server

SEEDS = (1, 2, 3, 4)
"""The same ones each time: what another seed finds is new knowledge, and no reason to refuse somebody's change."""
STEPS = int(os.environ.get("MODEL_STEPS", "1200"))
"""For each seed: some fifteen seconds."""

ASKED = os.environ.get("MODEL_INVARIANTS", "")

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="no cc on this machine, which builds the server's clock"),
    pytest.mark.timeout(300 + STEPS),
]


@pytest.fixture(scope="module")
def network():
    with real_server() as network:
        yield network


def search(network, seed):
    counts = Counts()
    promises = ASKED.split(",") if ASKED else PROMISES
    broken = ""
    try:
        explore(network, seed, STEPS, promises, counts)
    except Broken as found:
        broken = str(found)
    if broken:
        pytest.fail(f"MODEL_SEED={seed}: {counts.first}\n{broken}", pytrace=False)
    assert counts.steps > STEPS / 4


@pytest.mark.skipif("MODEL_SEED" in os.environ, reason="a seed was given")
@pytest.mark.parametrize("seed", SEEDS)
def test_no_history_breaks_a_promise(network, seed):
    search(network, seed)


@pytest.mark.skipif("MODEL_SEED" not in os.environ, reason="no seed was given: MODEL_SEED=$RANDOM explores")
def test_no_history_of_another_seed_breaks_a_promise(network):
    search(network, int(os.environ["MODEL_SEED"]))
