"""What the store says on a channel, and that nothing that anybody may say there goes wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stateful_route.domain.routing import LinkAction, RoutingState
from stateful_route.drivers.messages import (
    LinksMoved,
    PodChange,
    PodDoubted,
    StatesChanged,
    place,
    understood,
)

READY, DENY, SHUTDOWN = RoutingState
MESSAGES = {
    "ev 1-0 2-1 3=DENY_NEW_CALL": StatesChanged("1-0", "2-1", (PodChange(3, DENY, None),), complete=True),
    "ev 1-0 2-1 3=SHUTDOWN/move 0=READY/stay": StatesChanged(
        "1-0", "2-1", (PodChange(3, SHUTDOWN, LinkAction.MOVE), PodChange(0, READY, LinkAction.STAY)), complete=True
    ),
    "ev 1-0 2-1 3=": StatesChanged("1-0", "2-1", (PodChange(3, None, None),), complete=True),
    "ev 1-0 2-1 3=WORSE 4=READY": StatesChanged("1-0", "2-1", (PodChange(4, READY, None),), complete=False),
    "ev 1-0 2-1 3=READY/fly": StatesChanged("1-0", "2-1", (), complete=False),
    "ev": StatesChanged(),
    "ev x y 3=READY": StatesChanged(changes=(PodChange(3, READY, None),)),
    "ev 1-0 2-1": StatesChanged(),
    "mv 1-0 2-0 3 0,1": LinksMoved("1-0", "2-0", 3, (0, 1)),
    "mv 1-0 2-0 3 -1": LinksMoved("1-0", "2-0", 3, (-1,)),
    "mv": LinksMoved(),
    "mv 1-0 2-0 3": LinksMoved(),
    "mv x y 3 1": LinksMoved(),
    "mv 1-0 2-0 - purged": LinksMoved(),
    "mv 1-0 2-0 a b": LinksMoved(),
    "hi 3": PodDoubted(),
    "": None,
    "new 1 2": None,
}


@pytest.mark.parametrize("text", MESSAGES)
def test_a_message(text):
    assert understood(text) == MESSAGES[text]


@given(st.text(alphabet="evmhi 0123456789-=/,READYstay", max_size=40) | st.text(max_size=40))
def test_whatever_is_said_is_understood_or_is_not(text):
    """What has an entry has one that can be compared."""
    said = understood(text)
    if isinstance(said, StatesChanged | LinksMoved) and said.last:
        assert place(said.last)
