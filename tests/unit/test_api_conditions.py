"""One condition of a status changes, the others stay."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import ValidationError

from stateful_route.api.conditions import MAX_MESSAGE, Condition, ConditionType, Reason, set_condition

NOON = datetime(2026, 1, 31, 12, 0, 0, 999_999, tzinfo=UTC)
LATER = NOON + timedelta(hours=1)


def ready(status="True", reason=Reason.ROUTING, message="3 of 3 pods take users", now=NOON, generation=1):
    return Condition(
        type=ConditionType.READY,
        status=status,
        reason=reason,
        message=message,
        last_transition_time=now,
        observed_generation=generation,
    )


def stalled(status="False", now=NOON):
    return ready(status, Reason.PROGRESSING, "", now).model_copy(update={"type": "Stalled"})


def test_the_first_condition_of_a_type_is_added_at_the_end():
    assert set_condition([stalled()], ready()) == (stalled(), ready())


def test_the_transition_time_is_kept_while_the_status_stays():
    (condition,) = set_condition([ready()], ready(message="2 of 3 pods take users", now=LATER, generation=2))
    assert condition == ready(message="2 of 3 pods take users", now=NOON, generation=2)


def test_the_transition_time_is_now_when_the_status_changes():
    (condition,) = set_condition([ready()], ready("False", Reason.NO_READY_POD, "", LATER))
    assert condition == ready("False", Reason.NO_READY_POD, "", LATER)


def test_saying_the_same_again_changes_nothing():
    conditions = (ready(), stalled())
    assert set_condition(conditions, ready(now=LATER)) == conditions


def test_other_conditions_keep_their_place_and_content():
    before = (stalled(), ready())
    after = set_condition(before, stalled("True", LATER))
    assert after == (stalled("True", LATER), ready())
    assert before == (stalled(), ready())


def test_a_time_is_written_in_utc_to_the_second():
    berlin = datetime(2026, 1, 31, 13, 0, 0, 5, tzinfo=timezone(timedelta(hours=1)))
    assert ready(now=berlin).model_dump(mode="json")["lastTransitionTime"] == "2026-01-31T12:00:00Z"


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(ValidationError):
        ready(now=datetime(2026, 1, 31, 12))  # noqa: DTZ001  the very thing under test


def test_a_message_that_is_too_long_is_cut_to_what_the_api_server_takes():
    assert ready(message="x" * (MAX_MESSAGE + 1)).message == "x" * MAX_MESSAGE
