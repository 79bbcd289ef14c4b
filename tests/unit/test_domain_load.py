"""The load that a pod publishes: the formula, its bounds, and what is refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stateful_route.domain.errors import InvalidArgument
from stateful_route.domain.load import check_cpu_factor, per_mille, published_load

FORMULA = {
    # sentence: (process load, load state, cpu factor, published)
    "the app's word alone": (900, 40, 0, 40),
    "the process's load alone": (900, 40, 1, 900),
    "half of each": (900, 100, 0.5, 500),
    "a quarter of the process, three of the app": (400, 1000, 0.25, 850),
    "an idle pod": (0, 0, 0.5, 0),
    "a load of the app far beyond a process's": (1000, 50_000, 0.5, 25_500),
    "an app that calls itself less than idle": (500, -1000, 0.5, -250),
    "a whole number, since foreign readers know no other": (333, 0.4, 0.5, 167),
}


@pytest.mark.parametrize("sentence", FORMULA)
def test_the_published_load(sentence):
    process, load, factor, published = FORMULA[sentence]
    assert published_load(process, load, factor) == published
    assert isinstance(published_load(process, load, factor), int)


@given(st.floats(0, 1000), st.floats(-1e9, 1e9), st.floats(0, 1))
def test_the_published_load_lies_between_the_two(process, load, factor):
    published = published_load(process, load, factor)
    assert math.floor(min(process, load)) <= published <= math.ceil(max(process, load))


@pytest.mark.parametrize("load", [math.nan, math.inf, -math.inf, "7", None, True])
def test_a_load_that_is_no_number_is_refused(load):
    with pytest.raises(InvalidArgument, match="load"):
        published_load(0, load, 0.5)


@pytest.mark.parametrize("factor", [0, 1, 0.5, 1.0])
def test_a_cpu_factor_from_0_to_1_is_good(factor):
    assert check_cpu_factor(factor) == factor


@pytest.mark.parametrize("factor", [-0.1, 1.01, math.nan, math.inf, "0.5", None, True])
def test_another_cpu_factor_is_refused(factor):
    with pytest.raises(InvalidArgument, match="cpu_factor is a number from 0"):
        check_cpu_factor(factor)


PER_MILLE = {
    # sentence: (CPU seconds, seconds, CPUs, load)
    "one of two CPUs": (10, 10, 2, 500),
    "all of half a CPU": (5, 10, 0.5, 1000),
    "nothing": (0, 10, 4, 0),
    "more than it may, for a moment": (11, 10, 1, 1000),
    "a clock that stands still": (1, 0, 1, 0),
    "a clock that goes backwards": (1, -1, 1, 0),
    "CPU time that goes backwards": (-1, 10, 1, 0),
}


@pytest.mark.parametrize("sentence", PER_MILLE)
def test_the_load_of_a_process(sentence):
    cpu_seconds, seconds, cpus, load = PER_MILLE[sentence]
    assert per_mille(cpu_seconds, seconds, cpus) == load
