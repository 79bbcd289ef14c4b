"""The checker of lost updates finds what it is there for."""

import pytest

from support.kept_versions import KeptVersions, Version
from support.lost_updates import (
    Acknowledged,
    Failure,
    Record,
    inexcusable,
    lost,
    overwritten,
    saves_by_former_owners,
    two_owners,
)

A, B = "pod-a", "pod-b"


def told(change, pod=A, at=1.0):
    return Acknowledged(change, "ada", at, pod)


def history(*steps):
    """Versions of ada, each ``(kind, epoch, pod, changes)``, and False as a fifth where it was refused."""
    return [
        Version(number, float(number), kind, "ada", epoch, pod, accepted=not refused, changes=tuple(changes))
        for number, (kind, epoch, pod, changes, *refused) in enumerate(steps)
    ]


HANDED_OVER = history(("load", 1, A, ""), ("save", 1, A, "xy"), ("load", 2, B, "xy"))


def test_what_is_saved_or_in_the_owners_memory_is_not_lost():
    assert lost(Record([told("x"), told("y")], HANDED_OVER)) == []
    assert lost(Record([told("x"), told("z", B)], HANDED_OVER, {B: {"ada": "xyz"}})) == []


@pytest.mark.parametrize(
    ("versions", "memories"),
    [
        ((), {}),
        (HANDED_OVER, {}),
        (HANDED_OVER, {B: {"ada": "xy"}}),
        (HANDED_OVER, {B: {"bob": "xyz"}}),
        (history(("save", 1, A, "xyz"), ("save", 2, B, "xy")), {}),
        (history(("save", 1, A, "xy"), ("save", 1, A, "xyz", True)), {}),
        (history(("save", 1, A, "xyz")), {B: {"ada": "xy"}}),
        (history(("save", 1, A, "xy"), ("load", 2, B, "xyz")), {}),
    ],
    ids=[
        *("nothing saved", "saved without it", "not in the memory", "another user's", "overwritten", "refused"),
        *("the owner has not got it", "a load saves nothing"),
    ],
)
def test_a_change_that_is_nowhere_is_lost(versions, memories):
    assert lost(Record([told("z")], versions, memories)) == [told("z")]


def test_two_owners_in_the_end_are_told():
    assert two_owners(Record(memories={A: {"ada": "x"}, B: {"bob": ""}})) == []
    assert len(two_owners(Record(memories={A: {"ada": "x"}, B: {"ada": "x"}}))) == 1


def test_a_former_owners_save_is_found():
    assert saves_by_former_owners(HANDED_OVER) == []
    assert saves_by_former_owners([*HANDED_OVER, *history(("save", 1, A, "xyz", True))]) == []
    assert len(saves_by_former_owners([*HANDED_OVER, *history(("save", 1, A, "xyz"))])) == 1
    assert len(saves_by_former_owners(history(("load", 1, A, ""), ("save", 1, B, "x")))) == 1, "one epoch of two"


def test_a_save_that_takes_a_saved_change_away_is_found():
    assert overwritten(HANDED_OVER) == []
    assert overwritten(history(("save", 1, A, "x"), ("save", 2, B, "xy"))) == []
    assert len(overwritten(history(("save", 1, A, "xy"), ("save", 2, B, "x")))) == 1
    assert overwritten(history(("save", 1, A, "xy"), ("save", 2, B, "x", True))) == []


def test_only_what_a_failed_pod_had_not_saved_may_be_lost():
    failures = [Failure(A, 5.0)]
    assert inexcusable([told("z", A, 4.9)], HANDED_OVER, failures, 0.5) == []
    for one in (told("z", B, 4.9), told("z", A, 5.6), told("x", A, 4.9)):
        assert inexcusable([one], HANDED_OVER, failures, 0.5) == [one]


def test_the_database_keeps_all_versions_and_refuses_a_former_owner(tmp_path):
    database = KeptVersions(tmp_path / "versions.sqlite")
    assert database.load("ada", 1, A) == []
    assert database.save("ada", 1, A, ["x"])
    assert database.save("ada", 1, A, ["x", "y"])
    assert database.load("ada", 2, B) == ["x", "y"]
    assert not database.save("ada", 1, A, ["x", "y", "z"])
    assert database.load("ada", 1, A) is None
    assert database.save("ada", 2, B, ["x", "y", "b"])
    found = [(one.kind, one.epoch, one.accepted, "".join(one.changes)) for one in database.all()]
    assert found == [
        *(("load", 1, True, ""), ("save", 1, True, "x"), ("save", 1, True, "xy"), ("load", 2, True, "xy")),
        *(("save", 1, False, "xyz"), ("load", 1, False, "xy"), ("save", 2, True, "xyb")),
    ]
