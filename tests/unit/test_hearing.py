"""Which messages of the store say what the operator does not know already, and how often it looks for them."""

import asyncio

import pytest

from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import Reason, RoutingState
from stateful_route.drivers.messages import understood
from stateful_route.reconcile.hearing import RING_SECONDS, Ear, tells_news
from support.waiting import always, eventually

READY, DENY, SHUTDOWN = RoutingState
RECORDS = {
    0: OperatorRecord(state=READY, reason=Reason.READY, written=READY),
    1: OperatorRecord(state=READY, reason=Reason.READY, written=DENY),
}
MESSAGES = {
    "an app that denies": ("ev 1-0 2-0 0=DENY_NEW_CALL", True),
    "an app that comes back": ("ev 1-0 2-0 1=READY", True),
    "an app that serves nobody any more": ("ev 1-0 2-0 1=SHUTDOWN", True),
    "an app of a pod that is not known yet": ("ev 0-0 2-0 7=READY", True),
    "an app that says what the operator has read": ("ev 1-0 2-0 1=DENY_NEW_CALL", False),
    "what an operator has written": ("ev 1-0 2-0 0=SHUTDOWN/move 7=READY/stay", False),
    "one app's word among others": ("ev 1-0 2-0 0=SHUTDOWN/move 1=READY", True),
    "pods that were forgotten": ("ev 1-0 2-0 0= 1=", False),
    "the service was given up": ("ev", True),
    "a state of a later version": ("ev 1-0 2-0 0=HIBERNATING", True),
    "a pod index that is none": ("ev 1-0 2-0 zero=READY", True),
}


@pytest.mark.parametrize("sentence", MESSAGES)
def test_news(sentence):
    message, expected = MESSAGES[sentence]
    assert tells_news(understood(message), RECORDS) is expected


class Desk:
    """What an ear has asked for."""

    def __init__(self):
        self.hints, self.looks, self.restored = 0, [], 0
        self.ear = Ear(lambda: RECORDS, self._hint, self._look, self._restore)

    def _hint(self):
        self.hints += 1

    def _look(self):
        self.looks.append(asyncio.get_running_loop().time())

    def _restore(self):
        self.restored += 1

    async def asked(self):
        return self.hints, len(self.looks)


async def test_an_app_s_first_word_is_looked_at_at_once_and_a_thousand_more_together():
    desk = Desk()
    began = asyncio.get_running_loop().time()
    desk.ear.hear("ev 1-0 2-0 0=SHUTDOWN")
    await eventually(desk.asked, lambda asked: asked == (0, 1), "it looks")
    for pod in range(1000):
        desk.ear.hear(f"ev 1-0 2-0 {pod}=SHUTDOWN")
    await eventually(desk.asked, lambda asked: asked == (0, 2), "it looks again")
    await always(desk.asked, lambda asked: asked == (0, 2), "it looks once more only", seconds=2 * RING_SECONDS)
    assert desk.looks[0] - began < RING_SECONDS
    assert desk.looks[1] - desk.looks[0] >= RING_SECONDS


async def test_hints_are_handed_on_and_what_was_missed_may_have_been_either():
    desk = Desk()
    desk.ear.hear("hi 3")
    assert await desk.asked() == (1, 0)
    assert not desk.restored
    desk.ear.missed()
    assert desk.restored == 1, "at once: an attempt may wait for the store"
    await eventually(desk.asked, lambda asked: asked == (2, 1), "it looks at everything")


async def test_messages_about_moved_links_and_our_own_echo_ask_for_nothing():
    desk = Desk()
    for message in ("mv 1-0 2-0 1 0,2", "ev 1-0 2-0 0=SHUTDOWN/move", "", "hello"):
        desk.ear.hear(message)
    await always(desk.asked, lambda asked: asked == (0, 0), "nobody is asked", seconds=0.1)


async def test_whoever_is_closed_asks_for_nothing_any_more():
    desk = Desk()
    desk.ear.hear("ev")
    desk.ear.close()
    await always(desk.asked, lambda asked: asked == (0, 0), "nobody is asked", seconds=0.1)
