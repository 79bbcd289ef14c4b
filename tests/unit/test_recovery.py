"""What the matrix of faults is judged by: since when somebody works again, and which reads were wrong."""

import math

import pytest

from support.recovery import Read, Tries, Try, Write, wrong_reads

STRUCK = 10.0


def tries(*outcomes):
    """One try a second from second 8 on; each worked (True) or not."""
    made = [Try(8.0 + n, 8.5 + n, None if worked else "trouble") for n, worked in enumerate(outcomes)]
    return Tries("somebody", made)


@pytest.mark.parametrize(
    ("outcomes", "back_at"),
    [
        ((True, True, True, True), STRUCK),
        ((True, True, False, True, True), 11.5),
        ((True, True, False, True, False, True), 13.5),
        ((False, True, True), STRUCK),
        ((True, True, False), math.inf),
    ],
    ids=["nothing failed", "one failed", "it failed again", "it failed before", "it fails still"],
)
def test_somebody_is_back_with_the_first_try_that_worked_behind_the_last_that_failed(outcomes, back_at):
    assert tries(*outcomes).back_at(STRUCK) == back_at


def test_only_tries_that_began_after_a_moment_show_that_it_works_since_then():
    made = tries(True, True, True, False, True, True)
    assert made.works_since(12.0, 2)
    assert not made.works_since(12.5, 2)
    assert not made.works_since(0.0, 3), "one failed meanwhile"


def test_what_failed_is_told_since_a_moment():
    assert tries(False, True, True, False).trouble(STRUCK) == "somebody: 1 of 2 tries failed, the last with trouble"


WRITES = [Write(1, 100), Write(2, 200), Write(3, 300)]


@pytest.mark.parametrize(
    ("asked", "number", "wrong"),
    [(250, 2, False), (250, 3, False), (250, 1, True), (350, 0, True), (150, 0, False)],
    ids=["the last", "one under way", "an older one", "none", "what was acknowledged before the fault may be lost"],
)
def test_a_read_is_wrong_that_gives_less_than_was_acknowledged_since_the_fault(asked, number, wrong):
    found = wrong_reads([Read("a reader", "ada", asked, number)], lambda _: WRITES, 150)
    assert bool(found) is wrong


def test_reads_from_before_the_fault_is_over_are_not_judged():
    assert wrong_reads([Read("a reader", "ada", 140, 0)], lambda _: WRITES, 50) == [
        "a reader read 0 of ada, 1 had been acknowledged"
    ]
    assert wrong_reads([Read("a reader", "ada", 140, 0)], lambda _: WRITES, 145) == []
