"""The operator's record, incarnations, effective states, and how a score holds a pod and an epoch."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stateful_route.domain.epoch import EPOCH_BITS, STEP, score, score_range, split
from stateful_route.domain.incarnation import Container, Incarnation
from stateful_route.domain.names import MAX_ORDINAL
from stateful_route.domain.record import OperatorRecord
from stateful_route.domain.routing import LinkAction, Reason, RoutingState, effective

READY, DENY, SHUTDOWN = RoutingState
MILLISECONDS = st.integers(0, STEP - 1)
INCARNATIONS = st.builds(Incarnation, st.text("0123456789abcdef-/", min_size=1, max_size=36), st.integers(0, 2**31 - 1))
RECORDS = st.builds(
    OperatorRecord,
    state=st.sampled_from(RoutingState),
    reason=st.sampled_from(Reason),
    links=st.sampled_from(LinkAction),
    incarnation=st.none() | INCARNATIONS,
    ever_ready=st.booleans(),
    unready_since=st.none() | MILLISECONDS,
    before=st.none() | MILLISECONDS,
    loss=st.none() | st.sampled_from([Reason.REPLACED, Reason.RESTARTED]),
    address=st.none() | st.text(min_size=1),
    count=st.integers(0, 10**9),
    since=MILLISECONDS,
    app_word=st.none() | st.sampled_from(RoutingState),
    written=st.none() | st.sampled_from(RoutingState),
    release=st.none() | MILLISECONDS,
    unreachable_since=st.none() | MILLISECONDS,
    ready_changed=st.none() | st.floats(1e9, 2e9),
    kubelet_behind=st.none() | st.integers(-(10**9), 10**9),
    container=st.builds(Container, id=st.text(), started=st.text(), name=st.text()),
    heard=st.none() | MILLISECONDS,
    begun=st.none() | MILLISECONDS,
    serves=st.booleans(),
    served=st.booleans(),
    added=st.booleans(),
    stops=st.none() | MILLISECONDS,
)


@given(RECORDS)
def test_what_the_operator_decides_comes_back_and_what_the_script_adds_is_not_sent(record):
    back = OperatorRecord.from_json(record.decision_json())
    assert back == replace(record, app_word=None, written=None, heard=None)


@given(RECORDS)
def test_what_the_script_adds_is_read(record):
    added = {}
    if record.heard is not None:
        added["heard"] = record.heard
    if record.app_word:
        added["appWord"] = record.app_word
    if record.written:
        added["written"] = record.written
    assert OperatorRecord.from_json(json.dumps(json.loads(record.decision_json()) | added)) == record


GARBAGE = {
    "no JSON": "hello",
    "nothing": "",
    "a list": "[]",
    "null": "null",
    "no state": '{"reason": "Ready"}',
    "no reason": '{"state": "READY"}',
    "a state that is none": '{"state": "BUSY", "reason": "Ready"}',
    "a reason that is no word": '{"state": "READY", "reason": 5}',
    "a reason that is a list": '{"state": "READY", "reason": []}',
    "a time that is none": '{"state": "READY", "reason": "Ready", "unreadySince": "noon"}',
    "a time without end": '{"state": "READY", "reason": "Ready", "unreadySince": 1e999}',
    "an incarnation that is no text": '{"state": "READY", "reason": "Ready", "incarnation": 5}',
    "a container that is text": '{"state": "READY", "reason": "Ready", "container": "app"}',
    "a container whose words are none": '{"state": "READY", "reason": "Ready", "container": [1, 2, 3]}',
    "a container of more words than it has": '{"state": "READY", "reason": "Ready", "container": ["a", "b", "c", "d"]}',
    "more brackets than anybody can read": "[" * 100_000,
    "bytes that are no text": b"\xff\xfe",
}


@pytest.mark.parametrize("sentence", GARBAGE)
def test_a_record_that_somebody_else_wrote_is_none(sentence):
    assert OperatorRecord.from_json(GARBAGE[sentence]) is None


def test_a_reason_of_a_later_version_takes_nothing_from_the_record():
    record = OperatorRecord.from_json('{"state": "DENY_NEW_CALL", "reason": "Hibernating", "links": "drain"}')
    assert (record.state, record.links, record.reason) == (DENY, LinkAction.DRAIN, Reason.UNKNOWN)


@given(raw=st.binary(max_size=40) | st.text(max_size=40))
def test_garbage_is_no_record(raw):
    assert OperatorRecord.from_json(raw) is None


def test_the_words_on_the_wire():
    record = OperatorRecord(
        state=DENY,
        reason=Reason.TERMINATING,
        links=LinkAction.DRAIN,
        incarnation=Incarnation("7f3a", 2),
        ever_ready=True,
        unready_since=1_800_000_000_000,
        address="10.0.0.7:7000",
        count=12,
        release=1_800_000_020_000,
        unreachable_since=1_800_000_000_001,
    )
    assert json.loads(record.decision_json()) == {
        "state": "DENY_NEW_CALL",
        "reason": "Terminating",
        "links": "drain",
        "incarnation": "7f3a/2",
        "everReady": True,
        "served": False,
        "unreadySince": 1_800_000_000_000,
        "address": "10.0.0.7:7000",
        "count": 12,
        "release": 1_800_000_020_000,
        "unreachableSince": 1_800_000_000_001,
    }


DECIDES = {
    "what the app is asked for": ({"release": 5}, True),
    "that it does not answer": ({"unreachable_since": 5}, True),
    "how many links there are": ({"count": 5}, False),
    "which container it is": ({"container": Container("a")}, True),
    "that it serves already": ({"serves": True}, True),
    "which word an earlier life has left": ({"heard": 5}, False),
    "when its app began": ({"begun": 5}, False),
}


@pytest.mark.parametrize("sentence", DECIDES)
def test_a_record_is_written_anew_for(sentence):
    fields, expected = DECIDES[sentence]
    record = OperatorRecord(state=READY, reason=Reason.READY)
    assert (replace(record, **fields).decision != record.decision) is expected


@given(INCARNATIONS)
def test_an_incarnation_is_parsed_back_from_its_text(incarnation):
    assert Incarnation.parse(str(incarnation)) == incarnation


TEXTS = {
    "uid and count": ("7f3a/2", Incarnation("7f3a", 2)),
    "no count": ("7f3a", Incarnation("7f3a", 0)),
    "a count that is none": ("7f3a/x", Incarnation("7f3a/x", 0)),
    "no uid": ("/2", Incarnation("/2", 0)),
    "nothing": ("", Incarnation("", 0)),
}


@pytest.mark.parametrize("sentence", TEXTS)
def test_an_incarnation_is_parsed_from(sentence):
    raw, expected = TEXTS[sentence]
    assert Incarnation.parse(raw) == expected


EFFECTIVE = {
    "nobody says anything": ((), READY),
    "no layer says anything": ((None, None), READY),
    "one layer": ((DENY, None), DENY),
    "the more severe, first": ((SHUTDOWN, READY), SHUTDOWN),
    "the more severe, last": ((READY, DENY), DENY),
    "three layers": ((READY, SHUTDOWN, DENY), SHUTDOWN),
}


@pytest.mark.parametrize("sentence", EFFECTIVE)
def test_the_effective_state_is_the_most_severe(sentence):
    layers, expected = EFFECTIVE[sentence]
    assert effective(*layers) is expected


def test_severity_rises_with_each_word():
    assert [state.severity for state in (READY, DENY, SHUTDOWN)] == [0, 1, 2]


@given(ordinal=st.integers(0, MAX_ORDINAL), epoch=MILLISECONDS)
def test_a_score_holds_pod_and_epoch_exactly_also_as_a_float(ordinal, epoch):
    value = score(ordinal, epoch)
    assert split(value) == split(float(value)) == (ordinal, epoch)
    assert value < 2**53


@given(ordinal=st.integers(0, MAX_ORDINAL), epoch=MILLISECONDS, before=st.none() | st.integers(0, STEP))
def test_a_score_range_holds_the_pods_links_with_a_lower_epoch(ordinal, epoch, before):
    lowest, highest = score_range(ordinal, before)
    assert (lowest <= score(ordinal, epoch) <= highest) is (before is None or epoch < before)
    assert not lowest <= score(ordinal + 1, epoch) <= highest


def test_the_layout_of_a_score():
    assert EPOCH_BITS == 40
    assert score(3, 5) == 3 * 1_099_511_627_776 + 5
