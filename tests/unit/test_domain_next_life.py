"""Whether the users of a pod that stops stay linked to it: the operator's word, and else the policy."""

import pytest

from stateful_route.domain.incarnation import Incarnation
from stateful_route.domain.next_life import stay_linked
from stateful_route.domain.policy import OnLoss
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import LinkAction, Reason, RoutingState

READY, DENY, SHUTDOWN = RoutingState
STAY, DRAIN, MOVE = LinkAction
ME = "pod-a"


def said(state, reason, links=STAY, *, life=ME, release=None):
    return OperatorRecord(
        state=state, reason=reason, links=links, incarnation=life and Incarnation(life, 0), release=release
    )


CASES = {
    "no operator: nobody brings them back": (None, False, False),
    "deleted, a successor to come": (said(DENY, Reason.TERMINATING), True, True),
    "deleted, and none to come": (said(DENY, Reason.TERMINATING, DRAIN), False, False),
    "deleted, and its app is asked to give them away": (said(DENY, Reason.TERMINATING, release=9), False, False),
    "its hook runs, and they would stay whatever comes": (said(DENY, Reason.STOPPING), True, True),
    "its hook runs, and they might be lost": (said(DENY, Reason.STOPPING, DRAIN), False, False),
    "somebody drains it": (said(DENY, Reason.DRAIN_REQUESTED, DRAIN), False, False),
    "somebody drains it, and its app is asked": (said(DENY, Reason.DRAIN_REQUESTED, release=9), False, False),
    "scaled down": (said(DENY, Reason.SCALED_DOWN, DRAIN), False, False),
    "disowned": (said(DENY, Reason.DISOWNED, release=9), False, False),
    "failed": (said(SHUTDOWN, Reason.UNREADY_TOO_LONG, MOVE), False, False),
    "the operator has not noticed yet that it stops": (said(READY, Reason.READY), False, True),
    "not Ready for a moment": (said(DENY, Reason.UNREADY), False, True),
    "the operator knows its predecessor alone": (said(SHUTDOWN, Reason.GONE, MOVE, life="pod-0"), False, True),
    "the operator's word is about nobody": (said(READY, Reason.READY, life=None), False, True),
}


@pytest.mark.parametrize("sentence", CASES)
def test_whether_the_users_of_a_pod_that_stops_stay(sentence):
    record, with_move, with_keep = CASES[sentence]
    assert stay_linked(record, OnLoss.MOVE, ME) is with_move
    assert stay_linked(record, OnLoss.KEEP, ME) is with_keep


def test_a_pod_that_does_not_know_its_uid_believes_what_is_said_of_its_name():
    assert stay_linked(said(DENY, Reason.SCALED_DOWN, DRAIN, life="pod-0"), OnLoss.KEEP, "") is False
    assert stay_linked(said(DENY, Reason.TERMINATING, life="pod-0"), OnLoss.MOVE, "") is True
