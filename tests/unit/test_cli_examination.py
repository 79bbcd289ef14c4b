"""What the doctor concludes from the StatefulRoutes that it sees."""

from datetime import UTC, datetime, timedelta

import pytest

from stateful_route.api.statefulroute import StatefulRoute
from stateful_route.cli.inspect.examination import SILENT, examine_operator, last_at_work
from stateful_route.domain.diagnosis import Severity

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
OURS, OTHERS = "ops/stateful-route", "ops/another"


def route(name, *, probed=None, operator=OURS):
    """A StatefulRoute that an operator serves; ``probed``: how long ago it wrote into this one's status."""
    status = {"observedGeneration": 1}
    if operator is not None:
        status["operator"] = {"name": operator, "renewTime": "2026-11-30T11:00:00Z", "seconds": 60}
    if probed is not None:
        status["lastProbeTime"] = (NOW - probed).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata = {"name": name, "namespace": "games", "uid": name, "generation": 1, "resourceVersion": "1"}
    return StatefulRoute.parse({"metadata": metadata, "spec": {}, "status": status})


SOON, LONG = timedelta(seconds=10), SILENT + timedelta(seconds=1)
CASES = {
    "it wrote into this one just now": (route("rooms", probed=SOON), [], Severity.OK),
    "it wrote into another one just now": (route("rooms"), [route("halls", probed=SOON)], Severity.OK),
    "it wrote into this one long ago, and into another just now": (
        route("rooms", probed=LONG),
        [route("halls", probed=SOON)],
        Severity.OK,
    ),
    "it wrote into another one long ago": (route("rooms"), [route("halls", probed=LONG)], Severity.ERROR),
    "only another operator is at work": (
        route("rooms", probed=LONG),
        [route("halls", probed=SOON, operator=OTHERS)],
        Severity.ERROR,
    ),
    "one without a name wrote into another one just now": (
        route("rooms", operator=None),
        [route("halls", probed=SOON, operator=None)],
        Severity.OK,
    ),
    "it is seen to have written nowhere": (route("rooms"), [route("halls")], Severity.UNKNOWN),
}


@pytest.mark.parametrize("case", CASES)
def test_an_operator_is_at_work_if_it_wrote_into_any_of_its_statuses(case):
    one, others, severity = CASES[case]
    found = examine_operator(one, last_at_work(one, others), NOW)
    assert [finding.severity for finding in found] == [severity]


def test_without_a_clock_nobody_knows_whether_it_is_at_work():
    one = route("rooms", probed=LONG)
    assert [finding.severity for finding in examine_operator(one, last_at_work(one, []), None)] == [Severity.UNKNOWN]
