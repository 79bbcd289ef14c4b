"""What conditions and Events say, to the letter."""

from datetime import UTC, datetime

import pytest

from stateful_route.api.conditions import ConditionType, Reason
from stateful_route.api.status import StatefulRouteStatus
from stateful_route.domain.startup import Start
from stateful_route.reconcile.attempt import starting
from stateful_route.reconcile.status import Findings, build_status, resolved

NOON = datetime(2026, 11, 30, 12, tzinfo=UTC)
STARTS = {
    1: "no pod served; 1 of 3 is READY again, and users of ordinals 1, 2 stay linked there until 3 pods are READY",
    2: "no pod served; 2 of 3 are READY again, and users of ordinals 1, 2 stay linked there until 3 pods are READY",
}


@pytest.mark.parametrize("ready", STARTS)
def test_a_service_that_starts_says_how_many_pods_are_ready_and_how_many_must_be(ready):
    _, message = starting(Start(waiting=frozenset({1, 2}), ready=ready, needed=3, until=0), NOON)
    assert message.startswith(STARTS[ready])


@pytest.mark.parametrize("kind", ["FailoverPaused", "RedisConnected", "Stalled", "Degraded"])
def test_the_event_of_a_condition_that_is_fine_again_says_what_the_condition_says_now(kind):
    bad = (Reason.TOO_MANY_UNREADY, "users stay until 14:22:17 UTC")
    worse = build_status(StatefulRouteStatus(), Findings(degraded=bad), NOON)
    now = build_status(worse, Findings(reached=True), NOON)
    message = next(c.message for c in now.conditions if c.type == kind)
    assert resolved(ConditionType(kind), bad) == f"{message}; no longer TooManyUnready"
